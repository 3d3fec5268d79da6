"""What is heard: the same excerpt of every system and, for MUSHRA, the anchors, as loud as each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..data.parts import UnusableFileError
from ..evaluate.excerpt import load_excerpt
from ..evaluate.loading import SAMPLE_RATE
from ..report.excerpts import flac_uri, match_loudness
from .anchors import anchors


@dataclass(frozen=True)
class Stimuli:
    """The excerpt of one file; ``audio``: "reference", system or anchor → data address. All are equally long."""

    file: str
    seconds: float
    audio: dict[str, str]

    def size(self) -> int:
        """Bytes in a page."""
        return sum(map(len, self.audio.values()))


def render_stimuli(
    file: str, reference: Path, estimates: Mapping[str, Path], align: bool, with_anchors: bool
) -> Stimuli | None:
    """Loads, matches and encodes one file; None where it has changed or vanished since it was measured.

    The gains that match loudness are in the audio. Runs in a worker process.
    """
    try:
        excerpt = load_excerpt(reference, estimates, align)
    except UnusableFileError:
        return None
    channels = max(signal.shape[0] for signal in excerpt.signals.values())  # mono is louder by itself than copied
    signals = {name: signal.expand(channels, -1) for name, signal in excerpt.signals.items()}
    if with_anchors:
        signals |= anchors(signals["reference"], SAMPLE_RATE)
    _, gains = match_loudness(signals.values(), SAMPLE_RATE)
    audio = {
        name: flac_uri(signal * 10 ** (gain / 20), SAMPLE_RATE)
        for (name, signal), gain in zip(signals.items(), gains, strict=True)
    }
    return Stimuli(file, excerpt.length / SAMPLE_RATE, audio)
