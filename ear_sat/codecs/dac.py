"""Descript Audio Codec (arXiv 2306.06546), as transformers has it: mono, convolutions, all codebooks."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from ..models import Autoencoder, Codebooks
from .adapting import autoencoder_of, convolutional_reaches
from .pretrained import load_pretrained


def build(folder: Path, _: float | None) -> Autoencoder:
    """The codec in ``folder``."""
    from transformers import DacModel

    model = load_pretrained(DacModel, folder).eval()
    config = model.config
    hop = config.hop_length

    def encode(audio: Tensor) -> Tensor:
        codes: Tensor = model.encode(audio).audio_codes
        return codes.float()

    def decode(codes: Tensor) -> Tensor:
        audio: Tensor = model.decode(audio_codes=codes.long()).audio_values
        return audio.unsqueeze(1)

    return autoencoder_of(
        model,
        encode,
        decode,
        # Codes have no gradient, and a code depends on the encoder's output in its own frame only.
        *convolutional_reaches(model.encoder, model.decoder, 1, config.hidden_size, hop),
        exact=True,
        latent_dim=config.n_codebooks,
        sample_rate=config.sampling_rate,
        channels=1,
        codebooks=Codebooks(config.n_codebooks, config.codebook_size),
    )
