"""The multi-resolution STFT discriminator: 2-D convolutions over complex spectrograms, one network per window.

Layer for layer the discriminator of EnCodec (Défossez et al., 2022) as stable-audio-tools configures it, without a
multi-period part and without a constant-Q transform, which the εar-VAE paper found to harm stereo and high frequencies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Annotated, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..checks import require_flag
from ..compute import outside_autocast, warn_of_slow_bf16
from ..config import check_choice
from ..errors import UserError
from ..losses.adversarial import FORMS, feature_matching
from ..value_types import HopFactor, OneOf, Size, Window
from .layers import WNConv2d

#: Slope of the leaky ReLU below zero: EnCodec's.
LEAKY_SLOPE = 0.2
#: Window lengths in samples. Ours, the host's stock set: the paper's list is not known to us.
DEFAULT_WINDOWS = (2048, 1024, 512, 256, 128)
DISCRIMINATOR_PRECISIONS = ("training", "bf16")
DISCRIMINATOR_CHANNELS = ("lr", "mslr")


class DiscriminatorOutput(NamedTuple):
    """Per resolution: logits (batch, 1, frames, bins') and the feature maps after each activation."""

    logits: list[Tensor]
    features: list[list[Tensor]]


class AdversarialLosses(NamedTuple):
    """Scalars in the host's order: discriminator loss, generator loss, feature matching distance."""

    discriminator: Tensor
    adversarial: Tensor
    feature_matching: Tensor


class STFTDiscriminator(nn.Module):
    """One resolution: conv(kernel) → a strided convolution per dilation → conv(k×k) → logits conv(k×k)."""

    window: Tensor

    def __init__(
        self,
        in_channels: int,
        filters: int,
        window: int,
        hop_length: int,
        kernel_size: tuple[int, int],
        dilations: Sequence[int],
        stride: tuple[int, int],
    ) -> None:
        super().__init__()
        self.hop_length = hop_length
        hann = torch.hann_window(window)
        # Unit-energy window, as torchaudio's normalized="window".
        self.register_buffer("window", hann / hann.square().sum().sqrt(), persistent=False)
        time, frequency = kernel_size
        square, padding = (time, time), (time // 2, time // 2)
        self.convs = nn.ModuleList(
            [
                WNConv2d(2 * in_channels, filters, kernel_size, padding=(time // 2, frequency // 2)),
                *(
                    WNConv2d(
                        filters,
                        filters,
                        kernel_size,
                        stride=stride,
                        dilation=(dilation, 1),
                        padding=(time // 2 * dilation, frequency // 2),
                    )
                    for dilation in dilations
                ),
                WNConv2d(filters, filters, square, padding=padding),
            ]
        )
        self.conv_post = WNConv2d(filters, 1, square, padding=padding)

    def spectrogram(self, x: Tensor) -> Tensor:
        """(batch, channels, time) → (batch, 2 · channels, frames, bins): all real parts, then all imaginary parts."""
        n = self.window.shape[0]
        with outside_autocast(x.device.type):
            x = F.pad(x.float(), (0, max(0, n - x.shape[-1])))
            spectrum = torch.stft(
                x.flatten(0, 1), n, self.hop_length, window=self.window, center=False, return_complex=True
            )
            parts = torch.view_as_real(spectrum).unflatten(0, x.shape[:2])  # batch, channel, bin, frame, re/im
            # channels_last in memory: the convolutions run a fifth faster on the CPU.
            return parts.permute(0, 3, 2, 4, 1).flatten(-2).contiguous().permute(0, 3, 1, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        z = self.spectrogram(x)
        features = []
        for conv in self.convs:
            z = F.leaky_relu_(conv(z), LEAKY_SLOPE)
            features.append(z)
        return self.conv_post(z), features


class MultiResolutionSTFTDiscriminator(nn.Module):
    """Discriminator type ``ear_mrstft``.

    Args:
        in_channels: audio channels; given by the model.
        filters: width of the convolutions.
        windows: STFT window lengths in samples, one sub-network each.
        hop_factor: hop length as a fraction of the window.
        channels: ``"lr"`` looks at the audio channels as they are, ``"mslr"`` at mid and side as well (stereo only).
        kernel_size: (frames, bins), odd.
        dilations: one dilated convolution each, dilated over frames.
        stride: (frames, bins) of the dilated convolutions; EnCodec's (1, 2) by default, the host's stock is (1, 1).
        precision: ``"training"``, that of the run, or ``"bf16"``: convolutions and features in bfloat16 whatever the
            run has; spectra, losses and weights stay in float32.
        normalize: feature matching is divided by the features' size; see
            :func:`ear_sat.losses.adversarial.feature_matching`.
        loss: ``"lsgan"``, ``"hinge"`` or ``"relativistic"``; see :data:`ear_sat.losses.adversarial.FORMS`.

    ``loss(reals, fakes)`` is what the host calls. The training step uses :meth:`forward` and the functions of
    :mod:`ear_sat.losses.adversarial`, so that the features of the real audio are computed once.

    >>> d = MultiResolutionSTFTDiscriminator(filters=4, windows=[128, 64])
    >>> x = torch.zeros(1, 2, 512)
    >>> [round(v.item(), 3) for v in d.loss(x, x)][2]
    0.0
    """

    def __init__(
        self,
        in_channels: Size = 2,
        filters: Size = 64,
        windows: Sequence[Window] = DEFAULT_WINDOWS,
        hop_factor: HopFactor = 0.25,
        channels: Annotated[str, OneOf(DISCRIMINATOR_CHANNELS)] = "lr",
        kernel_size: Sequence[Size] = (3, 9),
        dilations: Sequence[Size] = (1, 2, 4),
        stride: Sequence[Size] = (1, 2),
        precision: Annotated[str, OneOf(DISCRIMINATOR_PRECISIONS)] = "training",
        normalize: bool = True,
        loss: Annotated[str, OneOf(tuple(FORMS))] = "lsgan",
    ) -> None:
        super().__init__()
        self.form = FORMS[check_choice("discriminator loss", loss, FORMS)]
        self.normalize = require_flag("discriminator normalize", normalize)
        self.precision = check_choice("discriminator precision", precision, DISCRIMINATOR_PRECISIONS)
        if precision == "bf16" and not torch.cuda.is_available():
            warn_of_slow_bf16()
        self.channels = check_choice("discriminator channels", channels, DISCRIMINATOR_CHANNELS)
        if channels == "mslr" and in_channels != 2:
            raise UserError(f'discriminator channels "mslr" need stereo audio; this model has {in_channels} channel(s)')
        if len(kernel_size) != 2 or any(k < 1 or k % 2 == 0 for k in kernel_size):
            raise UserError(f"discriminator kernel_size must be two odd numbers (frames, bins), not {kernel_size}")
        if len(stride) != 2 or any(s < 1 for s in stride):
            raise UserError(f"discriminator stride must be two numbers of at least 1 (frames, bins), not {stride}")
        if not windows or any(w < 4 for w in windows) or not 0 < hop_factor <= 1:
            raise UserError(
                f"discriminator windows must be 4 samples or more and 0 < hop_factor ≤ 1; got {windows}, {hop_factor}"
            )
        self.discriminators = nn.ModuleList(
            STFTDiscriminator(
                in_channels=4 if channels == "mslr" else in_channels,
                filters=filters,
                window=window,
                hop_length=max(1, int(window * hop_factor)),
                kernel_size=(kernel_size[0], kernel_size[1]),
                dilations=dilations,
                stride=(stride[0], stride[1]),
            )
            for window in windows
        )

    def forward(self, x: Tensor) -> DiscriminatorOutput:
        """Logits and features of audio (batch, channels, time)."""
        if self.channels == "mslr":
            left, right = x[:, :1], x[:, 1:]
            x = torch.cat(((left + right) / 2, (left - right) / 2, x), dim=1)
        low = torch.autocast(x.device.type, torch.bfloat16) if self.precision == "bf16" else nullcontext()
        with low:
            outputs = [discriminator(x) for discriminator in self.discriminators]
        return DiscriminatorOutput([logits for logits, _ in outputs], [features for _, features in outputs])

    def loss(self, reals: Tensor, fakes: Tensor) -> AdversarialLosses:
        """All three losses of (batch, channels, time) pairs, as the host's wrappers expect them."""
        real, fake = self(reals), self(fakes)
        alone, rest = self.form.on_real(real.logits), self.form.on_fake(fake.logits, real.logits)
        return AdversarialLosses(
            rest if alone is None else alone + rest,
            self.form.generator(fake.logits, real.logits),
            feature_matching(preds=fake.features, target=real.features, normalize=self.normalize),
        )


#: JSON type → class, for ``loss_configs.discriminator``.
DISCRIMINATORS: dict[str, Callable[..., MultiResolutionSTFTDiscriminator]] = {
    "ear_mrstft": MultiResolutionSTFTDiscriminator
}
