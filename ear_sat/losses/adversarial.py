"""Least-squares adversarial losses (Mao et al., 2017) and feature matching, averaged over resolutions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

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


def feature_matching(
    preds: Sequence[Sequence[Tensor]], target: Sequence[Sequence[Tensor]], normalize: bool = True
) -> Tensor:
    """mean |f − f̂| / (mean |f| + 1e-3), mean over layers, then over resolutions; the real features are detached.

    Args:
        preds, target: per resolution the feature maps of the reconstruction and of the real audio; logits are not
            features.
        normalize: divide by the features' size (EnCodec's form); else mean |f − f̂|, the host's stock form.

    >>> f = [[torch.ones(1, 2, 3, 3)]]
    >>> round(feature_matching(preds=[[3 * f[0][0]]], target=f).item(), 3)
    1.998
    >>> feature_matching(preds=[[3 * f[0][0]]], target=f, normalize=False).item()
    2.0
    """
    return _mean(
        [
            _mean([_Distance.apply(f_hat, f.detach(), normalize) for f_hat, f in zip(layers_hat, layers, strict=True)])
            for layers_hat, layers in zip(preds, target, strict=True)
        ]
    )


class _Distance(torch.autograd.Function):
    """Σ|f̂ − f| / N, hence ∂/∂f̂ = G·sign(f̂ − f)/N; N = Σ|f| + guard·n or n. Keeps nothing but the two features.

    Summed in float32. The gradient is laid out as the features, which are channels_last.
    """

    @staticmethod
    def forward(ctx: Any, preds: Tensor, target: Tensor, normalize: bool) -> Tensor:
        if normalize:
            norm = target.abs().sum(dtype=torch.float32) + FEATURE_GUARD * target.numel()
        else:
            norm = torch.tensor(float(target.numel()), device=target.device)
        ctx.save_for_backward(preds, target, norm)
        return preds.float().sub(target).abs_().sum(dtype=torch.float32) / norm

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        preds, target, norm = ctx.saved_tensors
        gradient = torch.sub(preds, target, out=torch.empty_like(preds))
        return gradient.sign_().mul_(grads[0] / norm), None, None
