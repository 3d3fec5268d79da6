"""EnCodec (arXiv 2210.13438), as transformers has it.

The 48 kHz model works on pieces of one second that overlap by 1 %, each with a gain of its own: a piece is a "latent
frame" here, with its codes and its gain, and chunks are exact. The 24 kHz model has an LSTM, which sees the whole past:
chunks have a second of context.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import UserError
from ..models import Autoencoder, Codebooks
from ..models.measured_reach import decoder_reach, encoder_reach
from ..models.receptive_field import Reach
from .adapting import autoencoder_of
from .pretrained import load_pretrained

#: Of the context of a chunk of the model with one LSTM over the whole signal.
CONTEXT_SECONDS = 1.0


def build(folder: Path, bandwidth: float | None) -> Autoencoder:
    """The codec in ``folder``, at ``bandwidth`` kbit/s or its highest."""
    from transformers import EncodecModel

    model = load_pretrained(EncodecModel, folder).eval()
    config = model.config
    if bandwidth not in (None, *config.target_bandwidths):
        choices = ", ".join(f"{value:g}" for value in config.target_bandwidths)
        raise UserError(f"{folder} has the bandwidths {choices} kbit/s, not {bandwidth:g}")
    if config.chunk_length is None and (config.normalize or config.norm_type == "time_group_norm"):
        raise UserError(f"{folder} is normalised over whole files, which cannot be computed in bounded memory")
    chosen = max(config.target_bandwidths) if bandwidth is None else bandwidth
    number = min(model.quantizer.get_num_quantizers_for_bandwidth(chosen), len(model.quantizer.layers))
    make = _whole if config.chunk_length is None else _in_pieces
    encode, decode, reaches, latent_dim = make(model, chosen, number)
    return autoencoder_of(
        model,
        encode,
        decode,
        *reaches,
        exact=config.chunk_length is not None,
        latent_dim=latent_dim,
        sample_rate=config.sampling_rate,
        channels=config.audio_channels,
        codebooks=Codebooks(number, config.codebook_size, config.sampling_rate / config.hop_length),
    )


_Parts = tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor], tuple[Reach, Reach], int]


def _whole(model: Any, bandwidth: float, number: int) -> _Parts:
    hop = model.config.hop_length

    def encode(audio: Tensor) -> Tensor:
        codes: Tensor = model.encode(audio, bandwidth=bandwidth).audio_codes[0]
        return codes.float()

    def decode(codes: Tensor) -> Tensor:
        audio: Tensor = model.decode(codes.long()[None], [None]).audio_values
        return audio

    context = math.ceil(CONTEXT_SECONDS * model.config.sampling_rate / hop)
    reaches = encoder_reach(hop, context, context), decoder_reach(hop, context, context)
    return encode, decode, reaches, number


def _in_pieces(model: Any, bandwidth: float, number: int) -> _Parts:
    """A piece's codes, its codebooks one after the other, and then its gain."""
    length, step = model.config.chunk_length, model.config.chunk_stride
    frames = -(-length // model.config.hop_length)
    gains = int(model.config.normalize)

    def encode(audio: Tensor) -> Tensor:
        pieces = max(1, audio.shape[-1] // step)
        padded = F.pad(audio, (0, (pieces - 1) * step + length - audio.shape[-1]))
        encoded = model.encode(padded, bandwidth=bandwidth)  # with a rest of the overlap, which is no piece
        codes = encoded.audio_codes[:pieces].flatten(2).permute(1, 2, 0).float()
        if not gains:
            return codes
        return torch.cat([codes, torch.stack(encoded.audio_scales[:pieces], dim=-1)], dim=1)

    def decode(latents: Tensor) -> Tensor:
        codes = latents[:, : number * frames].permute(2, 0, 1).unflatten(2, (number, frames)).long()
        scales = [gain[:, None] for gain in latents[:, -1].unbind(-1)] if gains else [None] * len(codes)
        audio: Tensor = model.decode(codes, scales).audio_values
        return audio

    reaches = Reach(length, step, 0, length - step), Reach(length, step, 0, length - step, transposed=True)
    return encode, decode, reaches, number * frames + gains
