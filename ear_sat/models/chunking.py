"""Encodes and decodes audio of any length chunk by chunk, with the result of doing it at once.

Each chunk of output is computed from the stretch of input that it depends on (:mod:`.receptive_field`), and what the
stretch's cut edges have spoilt is dropped. Where a stretch begins or ends with the signal, the network pads it as it
would pad the whole. What is left is rounding: convolutions may add in another order for another length.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ..checks import require_whole
from ..compute import outside_autocast, return_freed_memory
from ..errors import UserError
from .inputs import check_audio, check_latents, too_short
from .oobleck import Decoder, Encoder
from .receptive_field import Reach, hop_length, inputs_of, output_length, reaches


class _Stretch(NamedTuple):
    """A stretch of input and the range of its outputs to keep."""

    x: Tensor
    skip: int
    keep: int


def encode_chunks(
    encoder: Encoder, blocks: Iterable[Tensor], chunk_frames: int, batch_size: int = 1
) -> Iterator[Tensor]:
    """The output of ``encoder`` for a signal that arrives in blocks, as successive chunks.

    Concatenated they are ``encoder(torch.cat(list(blocks), -1))``. No more than a chunk, its context and a block are
    held at any time, ``batch_size`` chunks where it is given.

    Args:
        encoder: the network.
        blocks: successive pieces of one signal, (batch, channels, any number of samples) each.
        chunk_frames: latent frames per chunk.
        batch_size: chunks per call of the network.

    Yields:
        (batch, latent_dim, frames); ``chunk_frames`` frames, fewer at the end.

    Raises:
        UserError: the signal is too short for a single frame, or ``chunk_frames`` is below 1.
    """
    _check_sizes(chunk_frames, batch_size)
    yield from _run(encoder, _audio_stretches(reaches(encoder), blocks, chunk_frames), batch_size)


def decode_chunks(decoder: Decoder, latents: Tensor, chunk_frames: int, batch_size: int = 1) -> Iterator[Tensor]:
    """The output of the decoder's convolutions for latents that :func:`attend` has been through, in successive chunks.

    Args:
        decoder: the network.
        latents: (batch, latent_dim, frames).
        chunk_frames: latent frames per chunk.
        batch_size: chunks per call of the network.

    Yields:
        (batch, out_channels, samples): ``chunk_frames`` times the hop length, less at the end. Concatenated they are
        ``decoder.run(latents)``.

    Raises:
        UserError: there are no latents, or ``chunk_frames`` is below 1.
    """
    _check_sizes(chunk_frames, batch_size)
    if latents.shape[-1] == 0:
        raise UserError("there are no latents to decode; give at least one frame")
    run = functools.partial(decoder.unrounded, decoder.run)
    yield from _run(run, _latent_stretches(reaches(decoder), latents, chunk_frames), batch_size)


def attend(decoder: Decoder, latents: Tensor, window_frames: int | None = None) -> Tensor:
    """The decoder's transformer alone, over the whole sequence at once; latents as they are where it has none.

    torch's attention works through the keys block by block, so the memory grows with the length and not with its
    square: 7 kB a frame at 64 channels, 1.1 GB for an hour at 43 frames a second. Computed in the type of the weights,
    outside of any autocast.

    Args:
        decoder: the network.
        latents: (batch, latent_dim, frames).
        window_frames: attend within windows of so many frames only. Successive windows overlap by half, and each gives
            its middle half, so every frame sees at least a quarter of a window to either side. None: no limit.

    Returns:
        (batch, latent_dim, frames).
    """
    if decoder.transformers is None:
        return latents
    with outside_autocast(latents.device.type):
        frames = latents.shape[-1]
        if window_frames is None or frames <= window_frames:
            return decoder.transformers(latents)
        context = window_frames // 4
        step = window_frames - 2 * context
        parts = []
        for start in range(0, frames, step):
            # The first and the last window lie inside the sequence, so that they see as much as the others.
            first = min(max(0, start - context), frames - window_frames)
            seen = decoder.transformers(latents[..., first : first + window_frames])
            parts.append(seen[..., start - first : min(start + step, frames) - first])
        return torch.cat(parts, dim=-1)


def encode_in_chunks(encoder: Encoder, audio: Tensor, chunk_frames: int, iterate_batch: bool = False) -> Tensor:
    """``encoder(audio)`` by way of :func:`encode_chunks`; ``iterate_batch`` takes one item after the other.

    >>> encoder, audio = Encoder(1, 4, [1, 2], [2, 4], latent_dim=8).eval(), torch.randn(1, 1, 1001)
    >>> torch.allclose(encode_in_chunks(encoder, audio, chunk_frames=10), encoder(audio), atol=1e-6)
    True
    """
    check_audio(encoder, audio)
    items = audio.split(1) if iterate_batch else (audio,)
    return torch.cat([torch.cat(list(encode_chunks(encoder, [item], chunk_frames)), dim=-1) for item in items])


def decode_in_chunks(decoder: Decoder, latents: Tensor, chunk_frames: int, iterate_batch: bool = False) -> Tensor:
    """``decoder(latents)`` by way of :func:`attend` and :func:`decode_chunks`."""
    check_latents(decoder, latents)
    items = latents.split(1) if iterate_batch else (latents,)
    parts = [list(decode_chunks(decoder, attend(decoder, item), chunk_frames)) for item in items]
    return torch.cat([torch.cat(chunks, dim=-1) for chunks in parts])


def _check_sizes(chunk_frames: int, batch_size: int) -> None:
    require_whole("the length of a chunk", chunk_frames, at_least=1, unit="latent frames")
    require_whole("the batch size", batch_size, at_least=1, unit="chunks")


def _audio_stretches(layers: list[Reach], blocks: Iterable[Tensor], chunk: int) -> Iterator[_Stretch]:
    hop = hop_length(layers)
    held: Tensor | None = None
    origin = start = 0  # the sample at which `held` begins, the frame at which the next chunk begins
    for block in blocks:
        held = block if held is None else torch.cat((held, block), dim=-1)
        while True:
            first, last = inputs_of(layers, start, start + chunk)
            # A stretch begins on the hop length's grid, so that its frames are the signal's.
            first = max(0, first // hop * hop)
            held, origin = held[..., first - origin :], first
            if last > origin + held.shape[-1]:
                break
            yield _Stretch(held[..., : last - origin], start - first // hop, chunk)
            start += chunk
    samples = 0 if held is None else origin + held.shape[-1]
    frames = output_length(layers, samples)
    if held is None or frames == 0:
        raise too_short(samples, hop)
    while start < frames:
        stop = min(start + chunk, frames)
        first, last = inputs_of(layers, start, stop)
        first = max(0, first // hop * hop)
        yield _Stretch(held[..., first - origin : last - origin], start - first // hop, stop - start)
        start = stop


def _latent_stretches(layers: list[Reach], latents: Tensor, chunk: int) -> Iterator[_Stretch]:
    hop, frames = hop_length(layers), latents.shape[-1]
    for start in range(0, frames, chunk):
        stop = start + chunk
        end = stop * hop if stop < frames else output_length(layers, frames)
        first, last = inputs_of(layers, start * hop, end)
        first = max(0, first)
        yield _Stretch(latents[..., first:last], (start - first) * hop, end - start * hop)


def _run(network: Callable[[Tensor], Tensor], stretches: Iterable[_Stretch], batch_size: int) -> Iterator[Tensor]:
    """Calls ``network`` on up to ``batch_size`` successive stretches of equal length at a time."""
    waiting: list[_Stretch] = []
    for stretch in stretches:
        if waiting and stretch.x.shape != waiting[0].x.shape:
            yield from _forward(network, waiting)
            waiting = []
        waiting.append(stretch)
        if len(waiting) == batch_size:
            yield from _forward(network, waiting)
            waiting = []
    if waiting:
        yield from _forward(network, waiting)


def _forward(network: Callable[[Tensor], Tensor], stretches: list[_Stretch]) -> Iterator[Tensor]:
    together = torch.cat([stretch.x for stretch in stretches]) if len(stretches) > 1 else stretches[0].x
    outputs = network(together).chunk(len(stretches))
    for output, (_, skip, keep) in zip(outputs, stretches, strict=True):
        yield output[..., skip : skip + keep]
    if together.device.type == "cpu":
        return_freed_memory()  # chunks differ in length: the gaps that they leave would add up
