"""One adversarial pass: the discriminator's gradients and the generator's losses from the same forward passes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.profiler import record_function

from ..losses.adversarial import feature_matching
from ..models.discriminator import AdversarialLosses, MultiResolutionSTFTDiscriminator
from .players import Discriminator

#: Back-propagates a loss, ``backward(loss, inputs=…, retain_graph=…)``: Lightning's ``manual_backward``.
Backward = Callable[..., None]


def adversarial_pass(
    discriminator: Discriminator, reals: Tensor, fakes: Tensor, *, train: bool, backward: Backward
) -> AdversarialLosses:
    """Evaluates the three adversarial losses and, if ``train``, adds the discriminator's gradients.

    The discriminator's loss reaches its own parameters only, the returned generator losses are meant to be
    differentiated with respect to ``fakes`` only, so both share one pass over the reconstruction. The discriminator is
    not stepped here: both players' gradients belong to the same weights.

    Args:
        discriminator: ours, or one of the host's with ``loss(reals, fakes)``.
        reals: real audio (batch, channels, time).
        fakes: reconstruction, the same shape, a leaf cut off from the generator; requires grad if the generator trains.
        train: whether the discriminator's gradients are wanted.
        backward: see :data:`Backward`.
    """
    parameters = [p for p in discriminator.parameters() if p.requires_grad]
    if isinstance(discriminator, MultiResolutionSTFTDiscriminator):
        return _shared_features(discriminator, reals, fakes, parameters, train, backward)
    losses = AdversarialLosses(*discriminator.loss(reals=reals, fakes=fakes))
    if train:
        backward(losses.discriminator, inputs=parameters, retain_graph=fakes.requires_grad)
    return losses


def _shared_features(
    discriminator: MultiResolutionSTFTDiscriminator,
    reals: Tensor,
    fakes: Tensor,
    parameters: list[nn.Parameter],
    train: bool,
    backward: Backward,
) -> AdversarialLosses:
    form = discriminator.form
    with torch.set_grad_enabled(train), record_function("ear_sat: discriminator forward, real"):
        real = discriminator(reals)
        on_real = form.on_real(real.logits)
    if train and on_real is not None:
        # Back-propagated at once: the graph over the real audio is gone before the one over the fakes is built.
        with record_function("ear_sat: discriminator backward, real"):
            backward(on_real, inputs=parameters)
    with record_function("ear_sat: discriminator forward, fake"):
        fake = discriminator(fakes)
        on_fake = form.on_fake(fake.logits, real.logits)
    if train:  # a paired form reaches the real audio's graph, too, which is gone when this returns
        with record_function("ear_sat: discriminator backward, fake"):
            backward(on_fake, inputs=parameters, retain_graph=fakes.requires_grad)
    with record_function("ear_sat: adversarial losses"):
        return AdversarialLosses(
            (on_fake if on_real is None else on_real + on_fake).detach(),
            form.generator(fake.logits, real.logits),
            feature_matching(preds=fake.features, target=real.features, normalize=discriminator.normalize),
        )
