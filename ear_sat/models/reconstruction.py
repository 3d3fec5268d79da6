"""Reconstruction of audio that arrives in blocks, at any sample rate, in bounded memory."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import soxr
import torch
from torch import Tensor

from ..checks import require_number
from ..errors import UserError
from .chunking import attend, decode_chunks, encode_chunks
from .receptive_field import output_length, reaches

if TYPE_CHECKING:
    from .autoencoder import Autoencoder

#: Seconds of audio per chunk. The full model is widest at the full rate, 128 channels: 4 s and their context are 100 MB
#: in float32, of which some eight are alive at once. Beside the model (0.6 GB), torch (0.5 GB) and an hour's latents
#: (0.2 GB) that stays well under 3 GB; the context of both networks adds about 12 % to the work.
DEFAULT_CHUNK_SECONDS = 4.0
#: soxr's quality: linear phase, −170 dB; its cost is nothing beside the network's.
RESAMPLING_QUALITY = "VHQ"


def reconstruct_blocks(
    model: Autoencoder,
    blocks: Iterable[Tensor],
    sample_rate: int,
    *,
    chunk_seconds: float | None = DEFAULT_CHUNK_SECONDS,
    batch_size: int = 1,
    attention_seconds: float | None = None,
    sample: bool = False,
    seed: int | None = None,
) -> Iterator[Tensor]:
    """Encodes and decodes one signal; takes all of its blocks before it yields the first one of the reconstruction.

    Between the two, the latents are all that is held of the signal: 0.5 kB a frame, 80 MB for an hour at 43 frames a
    second. The reconstruction is as long as the signal and aligned with it. Call it without gradients.

    Args:
        model: the autoencoder.
        blocks: successive pieces of the signal, (batch, the model's channels, any number of samples) each.
        sample_rate: theirs, in Hz; resampled to the model's and back where it differs.
        chunk_seconds: audio per chunk; the result does not depend on it. None: everything at once.
        batch_size: chunks per call of the network.
        attention_seconds: limits the transformer to windows; see :func:`ear_sat.models.chunking.attend`.
        sample: decode a draw from the posterior instead of its mean.
        seed: of that draw; None takes torch's own generator.

    Yields:
        (batch, channels, samples), float32.

    Raises:
        UserError: an argument out of range, or there are no blocks.
    """
    chunk_frames = sys.maxsize if chunk_seconds is None else frames_in(model, "chunk_seconds", chunk_seconds)
    window = None if attention_seconds is None else frames_in(model, "attention_seconds", attention_seconds)
    weight = next(model.parameters())
    length = 0

    def counted() -> Iterator[Tensor]:
        nonlocal length
        for block in blocks:
            length += block.shape[-1]
            yield block.to(weight.device)

    resampled = _resample(counted(), sample_rate, model.sample_rate)
    # Two rates need not divide: a sample more, so that the way back never falls short of the length.
    signal = _padded(model, resampled, spare=int(sample_rate != model.sample_rate))
    chunks = encode_chunks(model.encoder, (block.to(weight.dtype) for block in signal), chunk_frames, batch_size)
    latents = _latents(model, torch.cat(list(chunks), dim=-1), sample, seed)
    latents = attend(model.decoder, model.bottleneck.decode(latents.to(weight.dtype)), window)
    audio = (model.bound(chunk).float() for chunk in decode_chunks(model.decoder, latents, chunk_frames, batch_size))
    for block in _resample(audio, model.sample_rate, sample_rate):
        yield block[..., :length]
        length -= block.shape[-1]
        if length <= 0:
            return


def frames_in(model: Autoencoder, what: str, seconds: float) -> int:
    """The latent frames that ``seconds`` come closest to, at least 1.

    Raises:
        UserError: ``seconds`` is not a positive number; ``what`` names it.
    """
    require_number(what, seconds, above=0, unit="seconds")
    return max(1, round(seconds * model.sample_rate / model.downsampling_ratio))


def _latents(model: Autoencoder, encoded: Tensor, sample: bool, seed: int | None) -> Tensor:
    """The posterior's mean or a draw from it, float32, whatever mode the bottleneck is in."""
    _, posterior = model.bottleneck.encode(encoded.float(), return_info=True)
    if not sample:
        return posterior["mean"]
    # Drawn on the CPU and for the whole signal, so that neither device nor chunk length changes it.
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    noise = torch.randn(posterior["mean"].shape, generator=generator).to(encoded.device)
    return posterior["mean"] + posterior["std"] * noise


def _padded(model: Autoencoder, blocks: Iterable[Tensor], spare: int) -> Iterator[Tensor]:
    """The blocks and then zeros, to whole latent frames whose decoding is ``spare`` samples longer than the signal."""
    hop, layers = model.downsampling_ratio, reaches(model.decoder)
    samples, block = 0, None
    for block in blocks:
        samples += block.shape[-1]
        yield block
    if block is None:
        raise UserError("there is no audio to reconstruct; give at least one block")
    frames = max(1, -(-(samples + spare) // hop))
    while output_length(layers, frames) < samples + spare:  # odd strides lose a few samples
        frames += 1
    yield block.new_zeros((*block.shape[:-1], frames * hop - samples))


def _resample(blocks: Iterable[Tensor], rate: int, target_rate: int) -> Iterator[Tensor]:
    """The blocks at another rate, as one signal: without seams and without delay."""
    if rate == target_rate:
        yield from blocks
        return
    stream, device, shape = None, torch.device("cpu"), (0, 0)
    for block in blocks:
        if stream is None:
            device, shape = block.device, (block.shape[0], block.shape[1])
            stream = soxr.ResampleStream(rate, target_rate, shape[0] * shape[1], "float32", RESAMPLING_QUALITY)
        interleaved = block.float().flatten(0, 1).T.contiguous().cpu().numpy()
        yield torch.from_numpy(stream.resample_chunk(interleaved)).T.unflatten(0, shape).to(device)
    if stream is not None:
        rest = stream.resample_chunk(np.zeros((0, shape[0] * shape[1]), np.float32), last=True)
        yield torch.from_numpy(rest).T.unflatten(0, shape).to(device)


def check_waveform(waveform: Tensor, sample_rate: int, channels: int) -> None:
    """Raises :class:`UserError` unless a model of ``channels`` channels can reconstruct this."""
    if waveform.ndim not in (2, 3) or not waveform.is_floating_point():
        shape = f"{tuple(waveform.shape)} of {waveform.dtype}"
        raise UserError(f"a waveform is (channels, time) or (batch, channels, time), floating point; got {shape}")
    if waveform.shape[-2] not in (1, 2, channels):
        raise UserError(f"a waveform is mono or stereo, not of {waveform.shape[-2]} channels; mix or transpose it")
    require_number("sample_rate", sample_rate, at_least=1, unit="Hz")
    if not waveform.isfinite().all():
        raise UserError("the waveform holds NaN or infinite samples; repair it first")


def split_channels(audio: Tensor, channels: int) -> Tensor:
    """Audio as a model of ``channels`` channels takes it: as it is, or each channel as an item of its own, copied.

    >>> split_channels(torch.zeros(1, 2, 9), 2).shape, split_channels(torch.zeros(3, 1, 9), 2).shape
    (torch.Size([1, 2, 9]), torch.Size([3, 2, 9]))
    """
    if audio.shape[1] == channels:
        return audio
    return audio.reshape(-1, 1, audio.shape[-1]).expand(-1, channels, -1)


def join_channels(audio: Tensor, channels: int) -> Tensor:
    """The way back from :func:`split_channels`: copies of one channel are averaged; (batch, ``channels``, time)."""
    if audio.shape[1] == channels:
        return audio
    return audio.mean(1).unflatten(0, (-1, channels))
