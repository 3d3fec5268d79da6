"""The adversarial pass: both players' gradients in every form, and what it keeps in memory."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ear_sat.losses import FORMS, discriminator_loss, feature_matching, generator_loss
from ear_sat.models import MultiResolutionSTFTDiscriminator
from ear_sat.training.adversary import adversarial_pass


def small(loss: str = "lsgan") -> MultiResolutionSTFTDiscriminator:
    torch.manual_seed(0)
    return MultiResolutionSTFTDiscriminator(filters=2, windows=[128, 64], loss=loss)


def pair() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    reals, noise = (torch.randn(1, 2, 300, generator=generator) for _ in range(2))
    return reals, (reals + 0.5 * noise).requires_grad_()


def plain_backward(loss: Tensor, **options: Any) -> None:
    loss.backward(**options)


def in_float64(discriminator: MultiResolutionSTFTDiscriminator, x: Tensor) -> list[tuple[Tensor, list[Tensor]]]:
    """Logits and features per resolution by plain operations in float64, behind the spectrogram."""
    outputs = []
    for network in discriminator.discriminators:
        z, features = network.spectrogram(x).double(), []
        for conv in network.convs:
            z = F.leaky_relu(conv(z), 0.2)
            features.append(z)
        outputs.append((network.conv_post(z), features))
    return outputs


def plain_losses(loss: str, real: list[Any], fake: list[Any]) -> tuple[Tensor, Tensor, Tensor]:
    """The discriminator's loss, the generator's and feature matching, as papers write them."""
    of_discriminator, of_generator, matching = [], [], []
    for (d, f), (d_hat, f_hat) in zip(real, fake, strict=True):
        if loss == "lsgan":
            of_discriminator.append(((1 - d) ** 2).mean() + (d_hat**2).mean())
            of_generator.append(((1 - d_hat) ** 2).mean())
        elif loss == "hinge":
            of_discriminator.append((1 - d).clamp(min=0).mean() + (1 + d_hat).clamp(min=0).mean())
            of_generator.append(-d_hat.mean())
        else:
            of_discriminator.append(torch.log1p(torch.exp(d_hat - d)).mean())
            of_generator.append(torch.log1p(torch.exp(d - d_hat)).mean())
        matching += [
            sum((a - b).abs().mean() / (a.abs().mean() + 1e-3) for a, b in zip(f, f_hat, strict=True)) / len(f)
        ]
    means = [sum(values) / len(values) for values in (of_discriminator, of_generator, matching)]
    return means[0], means[1], means[2]


def close(one: Tensor, other: Tensor) -> bool:
    return bool((one.double() - other).norm() <= 1e-4 * other.norm() + 1e-9)


@pytest.mark.parametrize("loss", FORMS)
def test_both_players_have_the_gradients_of_plain_autograd_in_float64(loss: str) -> None:
    discriminator, (reals, fakes) = small(loss), pair()
    wide, fakes_too = copy.deepcopy(discriminator).double(), fakes.detach().clone().requires_grad_()
    for network in wide.discriminators:
        network.window = network.window.float()
    losses = adversarial_pass(discriminator, reals, fakes, train=True, backward=plain_backward)
    real, fake = in_float64(wide, reals), in_float64(wide, fakes_too)
    expected = plain_losses(loss, real, fake)
    assert [value.item() for value in losses] == pytest.approx([value.item() for value in expected], rel=1e-4)
    wanted = torch.autograd.grad(expected[0], list(wide.parameters()), retain_graph=True)
    got = torch.cat([p.grad.flatten() for p in discriminator.parameters()])
    assert close(got, torch.cat([gradient.flatten() for gradient in wanted]))
    assert fakes.grad is None  # the discriminator's loss stops at its own weights
    with torch.no_grad():
        real = in_float64(wide, reals)
    _, *of_generator = plain_losses(loss, real, fake)
    for value, reference in zip(losses[1:], of_generator, strict=True):
        (ours,), (plain,) = (
            torch.autograd.grad(v, x, retain_graph=True) for v, x in ((value, fakes), (reference, fakes_too))
        )
        assert close(ours, plain)


@pytest.mark.parametrize("loss", FORMS)
def test_a_generator_alone_is_judged_alike(loss: str) -> None:
    """Without a turn of the discriminator there is no graph over the real audio, and no gradient of its own."""
    discriminator, (reals, fakes) = small(loss), pair()
    losses = adversarial_pass(discriminator, reals, fakes, train=False, backward=plain_backward)
    assert all(p.grad is None for p in discriminator.parameters())
    both = adversarial_pass(discriminator, reals, fakes, train=True, backward=plain_backward)
    assert [a.item() for a in losses] == [b.item() for b in both]
    gradients = [torch.autograd.grad(x.adversarial + x.feature_matching, fakes)[0] for x in (losses, both)]
    assert torch.equal(*gradients)


@pytest.mark.parametrize("loss", FORMS)
def test_what_the_host_calls_is_the_same(loss: str) -> None:
    discriminator, (reals, fakes) = small(loss), pair()
    ours = adversarial_pass(discriminator, reals, fakes, train=False, backward=plain_backward)
    real, fake = discriminator(reals), discriminator(fakes)
    expected = (
        discriminator_loss(real.logits, fake.logits, loss),
        generator_loss(fake.logits, real.logits, loss),
        feature_matching(preds=fake.features, target=real.features),
    )
    for one, other, third in zip(ours, discriminator.loss(reals, fakes), expected, strict=True):
        assert one.item() == pytest.approx(other.item()) == pytest.approx(third.item())


@pytest.mark.parametrize("loss", FORMS)
def test_each_player_wins_its_own_game(loss: str) -> None:
    discriminator, (reals, fakes) = small(loss), pair()
    played, fooled, weights = [], [], list(discriminator.parameters())
    for _ in range(20):
        losses = adversarial_pass(discriminator, reals, fakes.detach(), train=True, backward=plain_backward)
        played.append(losses.discriminator.item())
        _step(weights, [p.grad for p in weights], 0.1)
        discriminator.zero_grad()
    for _ in range(20):
        losses = adversarial_pass(discriminator, reals, fakes, train=False, backward=plain_backward)
        fooled.append(losses.adversarial.item())
        _step([fakes], torch.autograd.grad(losses.adversarial, [fakes]), 100.0)
    assert played[-1] < played[0] and fooled[-1] < fooled[0]


@torch.no_grad()
def _step(players: list[Any], gradients: Any, rate: float) -> None:
    for player, gradient in zip(players, gradients, strict=True):
        player -= rate * gradient
