"""Adversarial losses in three forms and feature matching, averaged over resolutions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

#: Keeps the normalisation of a silent feature map finite; the host's (normalize_losses).
FEATURE_GUARD = 1e-3


def _mean(values: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(values)).mean()


class AdversarialForm(Protocol):
    """A game of discriminator and generator: their losses on logits, one tensor of them per resolution.

    Each loss is a mean over values in float32, then over resolutions.
    """

    def on_real(self, real: Sequence[Tensor]) -> Tensor | None:
        """The discriminator's loss on real audio alone; None where a form only compares it with its reconstruction."""

    def on_fake(self, fake: Sequence[Tensor], real: Sequence[Tensor]) -> Tensor:
        """The rest of the discriminator's loss."""

    def generator(self, fake: Sequence[Tensor], real: Sequence[Tensor]) -> Tensor:
        """The generator's loss; no gradient flows to ``real``."""


class Separable(NamedTuple):
    """A form whose losses judge real and reconstructed audio each by itself; three penalties of a logit."""

    real: Callable[[Tensor], Tensor]
    fake: Callable[[Tensor], Tensor]
    fooled: Callable[[Tensor], Tensor]

    def on_real(self, real: Sequence[Tensor]) -> Tensor:
        return _mean([self.real(d.float()).mean() for d in real])

    def on_fake(self, fake: Sequence[Tensor], real: Sequence[Tensor]) -> Tensor:
        return _mean([self.fake(d.float()).mean() for d in fake])

    def generator(self, fake: Sequence[Tensor], real: Sequence[Tensor]) -> Tensor:
        return _mean([self.fooled(d.float()).mean() for d in fake])


class Paired:
    """RpGAN (Jolicoeur-Martineau, 2018; Huang et al., 2024): each logit against that of the same place in real audio.

    Discriminator: mean softplus(D(x̂) − D(x)); generator: mean softplus(D(x) − D(x̂)).
    """

    def on_real(self, real: Sequence[Tensor]) -> None:
        return None

    def on_fake(self, fake: Sequence[Tensor], real: Sequence[Tensor]) -> Tensor:
        return _mean([F.softplus(f.float() - r.float()).mean() for f, r in zip(fake, real, strict=True)])

    def generator(self, fake: Sequence[Tensor], real: Sequence[Tensor]) -> Tensor:
        return _mean([F.softplus(r.detach().float() - f.float()).mean() for f, r in zip(fake, real, strict=True)])


#: JSON value of ``loss`` → form. LSGAN (Mao et al., 2017): mean (1 − D(x))² + mean D(x̂)², generator mean (1 − D(x̂))².
#: Hinge (Lim and Ye, 2017): mean relu(1 − D(x)) + mean relu(1 + D(x̂)), generator −mean D(x̂).
FORMS: dict[str, AdversarialForm] = {
    "lsgan": Separable(real=lambda d: (1 - d).square(), fake=torch.square, fooled=lambda d: (1 - d).square()),
    "hinge": Separable(real=lambda d: F.relu(1 - d), fake=lambda d: F.relu(1 + d), fooled=torch.neg),
    "relativistic": Paired(),
}


def discriminator_loss(real: Sequence[Tensor], fake: Sequence[Tensor], loss: str = "lsgan") -> Tensor:
    """What the discriminator pays, a scalar, for logits of real and of reconstructed audio in the form ``loss``.

    >>> one, zero = [torch.ones(1, 1, 2, 2)], [torch.zeros(1, 1, 2, 2)]
    >>> [discriminator_loss(one, zero, loss).item() for loss in ("lsgan", "hinge")]
    [0.0, 1.0]
    >>> round(discriminator_loss(one, zero, "relativistic").item(), 4)  # ln(1 + 1/e)
    0.3133
    """
    alone, rest = FORMS[loss].on_real(real), FORMS[loss].on_fake(fake, real)
    return rest if alone is None else alone + rest


def generator_loss(fake: Sequence[Tensor], real: Sequence[Tensor] = (), loss: str = "lsgan") -> Tensor:
    """What the generator pays, a scalar; ``real`` are the logits of real audio, which "relativistic" alone asks for."""
    return FORMS[loss].generator(fake, real)


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
