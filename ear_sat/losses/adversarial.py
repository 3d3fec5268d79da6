"""Least-squares adversarial losses (Mao et al., 2017) and feature matching, averaged over resolutions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

#: Keeps the normalisation of a silent feature map finite; the host's (normalize_losses).
FEATURE_GUARD = 1e-3


def _mean(values: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(values)).mean()


def real_loss(logits: Sequence[Tensor]) -> Tensor:
    """The discriminator's loss on real audio, mean (1 − D(x))²; mean over resolutions."""
    return _mean([(1 - d.float()).square().mean() for d in logits])


def fake_loss(logits: Sequence[Tensor]) -> Tensor:
    """The discriminator's loss on reconstructions, mean D(x̂)²; mean over resolutions."""
    return _mean([d.float().square().mean() for d in logits])


def discriminator_loss(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    """mean (1 − D(x))² + mean D(x̂)².

    >>> one, zero = [torch.ones(1, 1, 2, 2)], [torch.zeros(1, 1, 2, 2)]
    >>> discriminator_loss(one, zero).item(), discriminator_loss(zero, one).item()
    (0.0, 2.0)
    """
    return real_loss(real) + fake_loss(fake)


def generator_loss(fake: Sequence[Tensor]) -> Tensor:
    """The generator's adversarial loss, mean (1 − D(x̂))²: what the discriminator pays for real audio."""
    return real_loss(fake)


def feature_matching(preds: Sequence[Sequence[Tensor]], target: Sequence[Sequence[Tensor]]) -> Tensor:
    """mean |f − f̂| / (mean |f| + 1e-3), mean over layers, then over resolutions; the real features are detached.

    ``preds`` and ``target``: per resolution the feature maps of the reconstruction and of the real audio (EnCodec's
    normalised form; logits are not features).

    >>> f = [[torch.ones(1, 2, 3, 3)]]
    >>> round(feature_matching(preds=[[2 * f[0][0]]], target=f).item(), 3)
    0.999
    """
    return _mean(
        [
            _mean([_distance(f_hat, f.detach()) for f_hat, f in zip(layers_hat, layers, strict=True)])
            for layers_hat, layers in zip(preds, target, strict=True)
        ]
    )


def _distance(preds: Tensor, target: Tensor) -> Tensor:
    preds, target = preds.float(), target.float()
    # Sums, because the gradient of a mean is laid out unlike the channels_last features it belongs to.
    return (preds - target).abs().sum() / (target.abs().sum() + FEATURE_GUARD * target.numel())
