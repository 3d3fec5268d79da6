"""The host's chunked ``encode_audio`` and ``decode_audio`` crash on less than one chunk, and are inexact at the seams.

Short input is done at once instead. Where the autoencoder's parts are ours, chunks get the context that their receptive
field needs (:mod:`ear_sat.models.chunking`), whatever the overlap, so that the result is that of doing it at once.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch

from ...models import Decoder, Encoder
from ...models.chunking import decode_in_chunks, encode_in_chunks
from .wrapping import wrap


def apply() -> None:
    """Replaces both methods of ``AudioAutoencoder``."""
    from stable_audio_tools.models.autoencoders import AudioAutoencoder

    wrap(AudioAutoencoder, "encode_audio", _encode_audio)
    wrap(AudioAutoencoder, "decode_audio", _decode_audio)


def _is_plain(model: Any) -> bool:
    """Whether encoder, bottleneck and decoder are all there is: no pretransform, no diffusion."""
    from stable_audio_tools.models.autoencoders import AudioAutoencoder

    return type(model) is AudioAutoencoder and model.pretransform is None


def _encode_audio(original: Any) -> Any:
    def encode_audio(
        self: Any, audio: Any, chunked: bool = False, overlap: int = 32, chunk_size: int = 128, **kwargs: Any
    ) -> Any:
        if chunked and isinstance(self.encoder, Encoder) and _is_plain(self):
            return _encode_exactly(self, audio, chunk_size, **kwargs)
        chunked = chunked and audio.shape[-1] >= chunk_size * self.downsampling_ratio
        return original(self, audio, chunked=chunked, overlap=overlap, chunk_size=chunk_size, **kwargs)

    return encode_audio


def _encode_exactly(
    model: Any,
    audio: Any,
    chunk_size: int,
    skip_bottleneck: bool = False,
    return_info: bool = False,
    iterate_batch: bool = False,
    skip_pretransform: bool = False,  # there is none
    **kwargs: Any,
) -> Any:
    latents = encode_in_chunks(model.encoder, audio, chunk_size, iterate_batch)
    # Like encode() itself: 0.0.19 tells these and can leave the bottleneck out, 0.0.20 does neither.
    tells = "skip_bottleneck" in inspect.signature(model.encode).parameters
    info = {"pre_bottleneck_latents": latents} if tells else {}
    if model.bottleneck is not None and not skip_bottleneck:
        latents, posterior = model.bottleneck.encode(latents, return_info=True, **kwargs)
        info.update(posterior)
    return (latents, info) if return_info else latents


def _decode_audio(original: Any) -> Any:
    def decode_audio(
        self: Any, latents: Any, chunked: bool = False, overlap: int = 32, chunk_size: int = 128, **kwargs: Any
    ) -> Any:
        if chunked and isinstance(self.decoder, Decoder) and _is_plain(self):
            return _decode_exactly(self, latents, chunk_size, **kwargs)
        chunked = chunked and latents.shape[-1] >= chunk_size
        return original(self, latents, chunked=chunked, overlap=overlap, chunk_size=chunk_size, **kwargs)

    return decode_audio


def _decode_exactly(
    model: Any, latents: Any, chunk_size: int, skip_bottleneck: bool = False, iterate_batch: bool = False
) -> Any:
    if model.bottleneck is not None and not skip_bottleneck:
        latents = model.bottleneck.decode(latents)
    audio = decode_in_chunks(model.decoder, latents, chunk_size, iterate_batch)
    return torch.tanh(audio) if model.soft_clip else audio
