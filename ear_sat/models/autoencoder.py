"""Encoder, bottleneck and decoder as one model, with the attribute names of the host's ``AudioAutoencoder``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import UserError
from .bottleneck import Bottleneck
from .chunking import decode_in_chunks, encode_in_chunks
from .inputs import check_audio, check_latents, too_short
from .oobleck import Decoder, Encoder
from .parts import BOTTLENECKS, DECODERS, ENCODERS, build_part, check_model_sizes
from .preprocessing import prepare_batch
from .receptive_field import output_length, reaches
from .reconstruction import (
    DEFAULT_CHUNK_SECONDS,
    check_waveform,
    join_channels,
    reconstruct_blocks,
    split_channels,
)


class Autoencoder(nn.Module):
    """A music autoencoder that needs no host.

    Args:
        encoder, decoder, bottleneck: the parts; see :mod:`ear_sat.models`.
        latent_dim: channels of the latents.
        downsampling_ratio: hop length, samples per latent frame.
        sample_rate: Hz.
        io_channels: audio channels.
        soft_clip: bound the decoded audio by tanh, as the host does where the decoder's JSON says so.
        in_channels, out_channels: audio channels of one side, where they differ.
    """

    pretransform = None
    is_discrete = False

    def __init__(
        self,
        encoder: Encoder,
        decoder: Decoder,
        bottleneck: Bottleneck,
        latent_dim: int,
        downsampling_ratio: int,
        sample_rate: int,
        io_channels: int = 2,
        soft_clip: bool = False,
        in_channels: int | None = None,
        out_channels: int | None = None,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder, self.bottleneck = encoder, decoder, bottleneck
        self.latent_dim, self.downsampling_ratio = latent_dim, downsampling_ratio
        self.sample_rate, self.io_channels = sample_rate, io_channels
        self.in_channels = io_channels if in_channels is None else in_channels
        self.out_channels = io_channels if out_channels is None else out_channels
        self.min_length = downsampling_ratio
        self.soft_clip = soft_clip

    @classmethod
    def from_config(cls, model_config: Mapping[str, Any]) -> Autoencoder:
        """Builds the model of a host model config (``model_type`` "autoencoder") whose parts are all ours.

        Raises:
            UserError: an unknown type or key, or sizes that contradict each other.
        """
        model = model_config.get("model")
        if not isinstance(model, Mapping):
            raise UserError('the model config needs a "model" object with encoder, decoder and bottleneck')
        check_model_sizes(model)
        return cls(
            encoder=cast(Encoder, build_part("encoder", ENCODERS, model["encoder"])),
            decoder=cast(Decoder, build_part("decoder", DECODERS, model["decoder"])),
            bottleneck=cast(Bottleneck, build_part("bottleneck", BOTTLENECKS, model["bottleneck"])),
            latent_dim=model["latent_dim"],
            downsampling_ratio=model["downsampling_ratio"],
            sample_rate=model_config["sample_rate"],
            io_channels=model["io_channels"],
            soft_clip=model["decoder"].get("soft_clip", False),
            in_channels=model.get("in_channels"),
            out_channels=model.get("out_channels"),
        )

    def encode(
        self,
        audio: Tensor,
        skip_bottleneck: bool = False,
        return_info: bool = False,
        iterate_batch: bool = False,
        **kwargs: Any,
    ) -> Any:
        """(batch, channels, time) → latents (batch, latent_dim, frames), or (latents, info).

        Args:
            audio: at the model's rate; a multiple of the hop length, else the rest is dropped.
            skip_bottleneck: return the encoder's output, mean and scale.
            return_info: return a dict as well, with ``pre_bottleneck_latents``, ``mean``, ``std`` and the KL term.
            iterate_batch: one item after the other, for less memory.
            kwargs: for the bottleneck.

        Raises:
            UserError: audio of another shape or type, or too short for a latent frame.
        """
        check_audio(self.encoder, audio)
        samples, hop = audio.shape[-1], self.downsampling_ratio
        if samples < hop and output_length(reaches(self.encoder), samples) == 0:
            raise too_short(samples, hop)
        items = audio.split(1) if iterate_batch else (audio,)
        encoded = torch.cat([self.encoder(item) for item in items])
        return self._bottlenecked(encoded, skip_bottleneck, return_info, **kwargs)

    def decode(
        self, latents: Tensor, skip_bottleneck: bool = False, iterate_batch: bool = False, **kwargs: Any
    ) -> Tensor:
        """(batch, latent_dim, frames) → audio (batch, channels, frames · downsampling_ratio).

        ``skip_bottleneck`` and ``iterate_batch`` as in :meth:`encode`; ``kwargs`` are for the decoder.

        Raises:
            UserError: latents of another shape or type, or without a frame.
        """
        latents = self._unbottlenecked(latents, skip_bottleneck)
        items = latents.split(1) if iterate_batch else (latents,)
        return self.bound(torch.cat([self.decoder(item, **kwargs) for item in items]))

    def encode_audio(
        self,
        audio: Tensor,
        chunked: bool = False,
        overlap: int = 32,
        chunk_size: int = 128,
        iterate_batch: bool = False,
        **kwargs: Any,
    ) -> Any:
        """:meth:`encode`, chunk by chunk where ``chunked``, with the same result.

        ``chunk_size`` counts latent frames. ``overlap`` is accepted because the host takes it; the chunks overlap by
        as much as the encoder's receptive field needs.
        """
        if not chunked:
            return self.encode(audio, iterate_batch=iterate_batch, **kwargs)
        return self._bottlenecked(encode_in_chunks(self.encoder, audio, chunk_size, iterate_batch), **kwargs)

    def decode_audio(
        self,
        latents: Tensor,
        chunked: bool = False,
        overlap: int = 32,
        chunk_size: int = 128,
        skip_bottleneck: bool = False,
        iterate_batch: bool = False,
        **kwargs: Any,
    ) -> Tensor:
        """:meth:`decode`, chunk by chunk where ``chunked``, with the same result; see :meth:`encode_audio`."""
        if not chunked:
            return self.decode(latents, skip_bottleneck, iterate_batch, **kwargs)
        latents = self._unbottlenecked(latents, skip_bottleneck)
        return self.bound(decode_in_chunks(self.decoder, latents, chunk_size, iterate_batch, **kwargs))

    def _bottlenecked(
        self, encoded: Tensor, skip_bottleneck: bool = False, return_info: bool = False, **kwargs: Any
    ) -> Any:
        info = {"pre_bottleneck_latents": encoded}
        latents = encoded
        if not skip_bottleneck:
            latents, posterior = self.bottleneck.encode(encoded, return_info=True, **kwargs)
            info.update(posterior)
        return (latents, info) if return_info else latents

    def _unbottlenecked(self, latents: Tensor, skip_bottleneck: bool) -> Tensor:
        check_latents(self.decoder, latents, None if skip_bottleneck else self.latent_dim)
        return latents if skip_bottleneck else self.bottleneck.decode(latents)

    def bound(self, audio: Tensor) -> Tensor:
        """Decoded audio, through tanh where :attr:`soft_clip` is set."""
        return audio.tanh() if self.soft_clip else audio

    def preprocess_audio_for_encoder(self, audio: Tensor, in_sr: int) -> Tensor:
        """(channels, time) at ``in_sr`` Hz → (1, in_channels, time) for :meth:`encode`; see :func:`prepare_batch`."""
        return self.preprocess_audio_list_for_encoder([audio], [in_sr])

    def preprocess_audio_list_for_encoder(
        self, audio_list: Sequence[Tensor], in_sr_list: int | Sequence[int]
    ) -> Tensor:
        """Several of (channels, time), at one or each at its own rate → one batch; see :func:`prepare_batch`."""
        return prepare_batch(audio_list, in_sr_list, self.sample_rate, self.in_channels, self.min_length)

    @torch.no_grad()
    def reconstruct(
        self,
        waveform: Tensor,
        sample_rate: int,
        *,
        chunk_seconds: float | None = DEFAULT_CHUNK_SECONDS,
        attention_seconds: float | None = None,
        sample: bool = False,
        seed: int | None = None,
    ) -> Tensor:
        """The waveform after encoding and decoding: the same shape, rate, type and device, aligned in time.

        Other rates than the model's are resampled (soxr) on the way. Channels other than the model's are reconstructed
        one by one as mono, so mono comes back as mono.

        Args:
            waveform: (channels, time) or (batch, channels, time), mono or stereo, full scale ±1.
            sample_rate: its rate in Hz.
            chunk_seconds, attention_seconds, sample, seed: see :func:`ear_sat.models.reconstruct_blocks`.

        Raises:
            UserError: a waveform of another shape, type or number of channels, or with NaN or infinite samples.
        """
        check_waveform(waveform, sample_rate, self.io_channels)
        if waveform.numel() == 0:
            return waveform.clone()
        batch = waveform if waveform.ndim == 3 else waveform[None]
        blocks = reconstruct_blocks(
            self,
            [split_channels(batch, self.io_channels)],
            sample_rate,
            chunk_seconds=chunk_seconds,
            attention_seconds=attention_seconds,
            sample=sample,
            seed=seed,
        )
        result = join_channels(torch.cat(list(blocks), dim=-1), batch.shape[1])
        return result.reshape(waveform.shape).to(waveform)

    def forward(self, audio: Tensor) -> Tensor:
        """Reconstruction of ``audio``, as long; padded with zeros on the way where the hop length does not divide it.

        Odd strides give a little less: see :class:`Decoder`.
        """
        check_audio(self.encoder, audio)
        padded = F.pad(audio, (0, -audio.shape[-1] % self.downsampling_ratio))
        return self.decode(self.encode(padded))[..., : audio.shape[-1]]
