"""Clips to hear with what became of them, and to switch between while they play; a page of nothing else."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from ..files import write_text
from .excerpts import RATES, match_loudness, mp3_uri
from .html import render


def save_listening_page(
    path: Path, title: str, lead: str, clips: Mapping[str, Mapping[str, Tensor]], sample_rate: int
) -> bool:
    """Writes the page; False, and no page, at a sample rate that MP3 does not have.

    Args:
        path: the HTML file, replaced atomically.
        title, lead: its heading, and a sentence.
        clips: name of the clip → name of the version → audio (1 | 2, time); the first version is the original.
        sample_rate: Hz.
    """
    if sample_rate not in RATES:
        return False
    write_text(
        path,
        render(
            "listen.html",
            title=title,
            lead=lead,
            alerts=[],
            clips=[playable(name, versions, sample_rate) for name, versions in clips.items()],
        ),
    )
    return True


def playable(
    name: str, versions: Mapping[str, Tensor], sample_rate: int, styles: Mapping[str, str] | None = None
) -> dict[str, object]:
    """A clip as the templates' player takes it.

    Args:
        name: of the clip.
        versions: name → audio (1 | 2, time); the first is the original.
        sample_rate: Hz, one of :data:`.excerpts.RATES`.
        styles: classes of the style sheet, by version; by default its colours in their order.
    """
    styles = {label: f"c{index - 1}" for index, label in enumerate(versions)} if styles is None else styles
    first = next(iter(versions))
    audio = {label: signal.detach().float().cpu() for label, signal in versions.items()}
    loudness, gains = match_loudness(audio.values(), sample_rate)
    shown = [
        {
            "name": label,
            "audio": mp3_uri(signal, sample_rate),
            "gain_db": gain,
            "color": "" if label == first else styles[label],
            "facts": "n/a LUFS" if math.isnan(lufs) else f"{lufs:.1f} LUFS".replace("-", "−"),
        }
        for (label, signal), lufs, gain in zip(audio.items(), loudness, gains, strict=True)
    ]
    return {"file": name, "seconds": audio[first].shape[-1] / sample_rate, "versions": shown}
