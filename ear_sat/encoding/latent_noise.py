"""How well a decoder stands latents that are not quite right, as those of a diffusion model are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch

from ..compute import true_float32
from ..metrics import si_sdr_db, stft_distance
from ..models import Autoencoder
from .posterior import draw
from .stream import Encoded


class NoiseError(NamedTuple):
    """What noise on the latents does to the audio; means over windows, NaN where no window has a value.

    snr_db: of the latents, against how they vary within a window.
    si_sdr_db, stft_distance: of the audio decoded with the noise, against that without.
    """

    snr_db: float
    si_sdr_db: float
    stft_distance: float


class NoiseMeter:
    """Decodes windows with and without noise.

    Args:
        model: in eval mode.
        snrs_db: of the latents.
        sample_rate: Hz.
        seed: of the noise, which is the same for every SNR but for its strength.
    """

    def __init__(self, model: Autoencoder, snrs_db: Sequence[float], sample_rate: int, seed: int = 0) -> None:
        self.model, self.snrs_db, self.sample_rate, self.seed = model, list(snrs_db), sample_rate, seed
        self._values: dict[float, list[list[float]]] = {snr: [[0.0, 0.0], [0.0, 0.0]] for snr in snrs_db}

    def update(self, encoded: Encoded) -> None:
        """Adds a window: the frames inside its file."""
        latents = encoded.mean[:, encoded.mask.bool()]
        if not self.snrs_db or latents.shape[-1] == 0:
            return
        window, zero = encoded.window, torch.zeros_like(latents)
        noise = draw(zero, latents.std(correction=0).expand_as(latents), self.seed, window.source.key, window.number)
        target = self._decode(latents)
        for snr_db, sums in self._values.items():
            preds = self._decode(latents + noise * 10 ** (-snr_db / 20))
            for total, metric in zip(sums, (si_sdr_db, stft_distance), strict=True):
                value = metric(preds, target, self.sample_rate)
                if math.isfinite(value):
                    total[0] += value
                    total[1] += 1

    def results(self) -> list[NoiseError]:
        """One for each SNR."""
        return [
            NoiseError(snr, *(total / count if count else math.nan for total, count in sums))
            for snr, sums in self._values.items()
        ]

    def _decode(self, latents: torch.Tensor) -> torch.Tensor:
        device = next(self.model.parameters()).device
        with torch.inference_mode(), true_float32():
            return self.model.decode_audio(latents[None].to(device), chunked=True)[0].float().cpu()
