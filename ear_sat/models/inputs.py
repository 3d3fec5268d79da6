"""What a network can take: checked at the door and refused in one sentence."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..compute import autocast_rounds
from ..errors import UserError
from .oobleck import Decoder, Encoder


def check_audio(encoder: Encoder, audio: Tensor) -> None:
    """Raises :class:`UserError` unless ``audio`` is (batch, the encoder's channels, time), floating point.

    >>> check_audio(Encoder(2, 4, [1], [2], latent_dim=8), torch.zeros(2, 9))
    Traceback (most recent call last):
    ear_sat.errors.UserError: audio must have the shape (batch, channels, time), not (2, 9); add an axis: audio[None]
    """
    _check(encoder, "audio", audio, ("batch", "channels", "time"), encoder.in_channels)


def check_latents(decoder: Decoder, latents: Tensor, channels: int | None = None) -> None:
    """Raises :class:`UserError` unless ``latents`` are (batch, ``channels``, frames ≥ 1), floating point.

    ``channels`` is the decoder's unless given.
    """
    _check(decoder, "latents", latents, ("batch", "channels", "frames"), channels or decoder.latent_dim)
    if latents.shape[-1] == 0:
        raise UserError("there are no latents to decode; give at least one frame")


def too_short(samples: int, hop: int) -> UserError:
    """The error for audio of which no latent frame can be made."""
    return UserError(f"{samples} samples are too short for a latent frame; pad them with zeros to {hop}")


def _check(network: nn.Module, what: str, x: Tensor, axes: tuple[str, ...], channels: int) -> None:
    if not isinstance(x, Tensor):
        raise UserError(f"{what} must be a tensor, not a {type(x).__name__}; convert it with torch.as_tensor")
    shape = tuple(x.shape)
    if x.ndim != len(axes):
        remedy = f"; add an axis: {what}[None]" if x.ndim == len(axes) - 1 else ""
        raise UserError(f"{what} must have the shape ({', '.join(axes)}), not {shape}{remedy}")
    if x.shape[1] != channels:
        remedy = f"; swap axes: {what}.transpose(1, 2)" if x.shape[2] == channels else ""
        raise UserError(f"{what} must have {channels} channels for this model, not {x.shape[1]} as in {shape}{remedy}")
    if not x.is_floating_point():
        raise UserError(f"{what} must be floating point, full scale ±1, not {x.dtype}; convert and scale it")
    # numpy's type; all others are autocast's, or those of networks that convert by themselves.
    if x.dtype == torch.float64 and not autocast_rounds(x.device.type) and next(network.parameters()).dtype != x.dtype:
        raise UserError(f"{what} must be float32 as the model is, not float64; convert it with {what}.float()")
