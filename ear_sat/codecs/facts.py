"""What a codec costs: rates, parameters and time."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from ..models import Autoencoder

#: Of the music that is coded: a mono codec codes each channel.
STEREO = 2


@dataclass(frozen=True)
class CodecFacts:
    """Rates are for stereo: a mono codec's counts twice.

    Attributes:
        sample_rate: Hz.
        channels: audio channels of the model.
        latent_rate: latent frames per second.
        latent_channels: of continuous latents; None where they are quantised.
        codebooks: codes per frame; None where the latents are continuous.
        parameters: of the whole model.
        kbit_per_s: of codes.
        values_per_s: of continuous latents.
        times_real_time: seconds of audio per second of work, reading and resampling included; None before any work.
        timed_seconds: of audio, over which that was measured.
        device: that did the work.
    """

    sample_rate: int
    channels: int
    latent_rate: float
    latent_channels: int | None
    codebooks: int | None
    parameters: float
    kbit_per_s: float | None
    values_per_s: float | None
    times_real_time: float | None = None
    timed_seconds: float | None = None
    device: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def facts_of(model: Autoencoder) -> CodecFacts:
    """Of a model before :func:`ear_sat.models.optimize_for_inference`, which makes other parameters of its own.

    >>> from ear_sat.models import Decoder, Encoder, VAEBottleneck
    >>> size = {"channels": 4, "c_mults": [1], "strides": [4]}
    >>> parts = Encoder(2, latent_dim=16, **size), Decoder(2, latent_dim=8, **size), VAEBottleneck()
    >>> facts = facts_of(Autoencoder(*parts, latent_dim=8, downsampling_ratio=4, sample_rate=44100))
    >>> facts.latent_rate, facts.latent_channels, facts.values_per_s, facts.kbit_per_s
    (11025.0, 8, 88200.0, None)
    """
    codebooks, times = model.bottleneck.codebooks, max(1, STEREO // model.io_channels)
    rate = model.sample_rate / model.downsampling_ratio
    if codebooks is not None and codebooks.frame_rate is not None:
        rate = codebooks.frame_rate
    return CodecFacts(
        model.sample_rate,
        model.io_channels,
        rate,
        model.latent_dim if codebooks is None else None,
        None if codebooks is None else codebooks.number,
        sum(parameter.numel() for parameter in model.parameters()),
        None if codebooks is None else times * rate * codebooks.number * math.log2(codebooks.size) / 1000,
        times * rate * model.latent_dim if codebooks is None else None,
    )
