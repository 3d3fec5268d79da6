"""The STFT discriminator: layer for layer the host's, and the laws of its losses."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ear_sat.errors import UserError
from ear_sat.models import MultiResolutionSTFTDiscriminator

WINDOWS = [256, 128, 64]


def small(**changes: Any) -> MultiResolutionSTFTDiscriminator:
    return MultiResolutionSTFTDiscriminator(**{"filters": 4, "windows": WINDOWS, **changes})


def pair(length: int = 1000, channels: int = 2) -> tuple[Tensor, Tensor]:
    return torch.randn(2, channels, length), torch.randn(2, channels, length)


def renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The host wraps each convolution once and the set of networks once more."""
    return {k.removeprefix("discriminators.").replace(".conv.", "."): v for k, v in state.items() if ".window" not in k}


@pytest.fixture(scope="module")
def host_class() -> type[nn.Module]:
    return pytest.importorskip("stable_audio_tools.models.discriminators").EncodecDiscriminator


@pytest.mark.parametrize(("stride", "normalize"), [((1, 1), True), ((1, 2), False)])
def test_equals_the_host(host_class: type[nn.Module], stride: tuple[int, int], normalize: bool) -> None:
    hops = [window // 4 for window in WINDOWS]
    host = host_class(
        filters=8, in_channels=2, n_ffts=WINDOWS, hop_lengths=hops, win_lengths=WINDOWS, stride=stride,
        normalize_losses=normalize,
    )  # fmt: skip
    ours = small(filters=8, stride=stride, normalize=normalize)
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in host.parameters())
    ours.load_state_dict(renamed(host.state_dict()), strict=True)  # fails on any other name or shape
    real, fake = pair()
    logits, features = host(fake)
    output = ours(fake)
    # torch.stft on both sides, then the same convolutions: only the window's scaling is done in another order.
    for got, wanted in zip(output.logits, logits, strict=True):
        assert got.shape == wanted.shape and torch.allclose(got, wanted, atol=1e-5)
    for layers, host_layers in zip(output.features, features, strict=True):
        for got, wanted in zip(layers, host_layers, strict=True):
            assert got.shape == wanted.shape and torch.allclose(got, wanted, atol=1e-5)
    # The host's adversarial losses are hinge or relativistic; its feature matching, normalised or not, is ours.
    matching = host.loss(real, fake)[2]
    assert ours.loss(real, fake).feature_matching.item() == pytest.approx(matching.item(), rel=1e-5)


def test_layers_are_the_stated_ones() -> None:
    (network,) = small(windows=[256], filters=6).discriminators
    shapes = [tuple(conv.weight_v.shape) for conv in [*network.convs, network.conv_post]]
    assert shapes == [(6, 4, 3, 9), *[(6, 6, 3, 9)] * 3, (6, 6, 3, 3), (1, 6, 3, 3)]
    assert [conv.dilation for conv in network.convs[1:4]] == [(1, 1), (2, 1), (4, 1)]
    assert {conv.stride for conv in network.convs[1:4]} == {(1, 2)}


@torch.no_grad()
def test_spectrogram_has_unit_energy_windows() -> None:
    # Σw² = 1: white noise of variance 1 reads power 1 in each bin, half of it real, half imaginary.
    (network,) = small(windows=[128]).discriminators
    spectrum = network.spectrogram(torch.randn(1, 2, 40_000))
    assert spectrum.shape == (1, 4, (40_000 - 128) // 32 + 1, 65)
    left, right = spectrum[:, ::2, :, 1:-1].square().sum(1), spectrum[:, 1::2, :, 1:-1].square().sum(1)
    # Some 20,000 independent bins: 1 % is above 1 σ of their mean power, 3 % is safe.
    assert left.mean().item() == pytest.approx(1, abs=0.03) and right.mean().item() == pytest.approx(1, abs=0.03)
    assert spectrum[:, :2, :, 1:-1].var().item() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("hop_factor", [1.0, 0.5, 0.25, 0.1])
def test_hop_factor_is_the_hop_of_every_window(hop_factor: float) -> None:
    network, (real, _) = small(hop_factor=hop_factor), pair(2000)
    for window, sub, logits in zip(WINDOWS, network.discriminators, network(real).logits, strict=True):
        frames = (2000 - window) // int(window * hop_factor) + 1
        assert sub.spectrogram(real).shape[2] == frames and logits.shape[2] == frames


@pytest.mark.parametrize("channels", ["lr", "mslr"])
def test_identical_inputs_match_in_every_feature(channels: str) -> None:
    real, _ = pair()
    assert small(channels=channels).loss(real, real.clone()).feature_matching.item() == 0


@pytest.mark.parametrize("channels", ["lr", "mslr"])
def test_losses_are_their_formulas(channels: str) -> None:
    network = small(channels=channels)
    real, fake = pair()
    d_real, d_fake = network(real), network(fake)
    losses = network.loss(real, fake)
    expected = [
        sum(((1 - r) ** 2).mean() + (f**2).mean() for r, f in zip(d_real.logits, d_fake.logits, strict=True)),
        sum(((1 - f) ** 2).mean() for f in d_fake.logits),
        sum(
            sum((a - b).abs().mean() / (a.abs().mean() + 1e-3) for a, b in zip(x, y, strict=True)) / len(x)
            for x, y in zip(d_real.features, d_fake.features, strict=True)
        ),
    ]
    for got, wanted in zip(losses, expected, strict=True):
        assert got.item() == pytest.approx(wanted.item() / len(WINDOWS), rel=1e-5)


def test_gradients_reach_the_fakes_and_features_of_reals_are_detached() -> None:
    network = small()
    real, fake = (x.requires_grad_() for x in pair())
    losses = network.loss(real, fake)
    for value in (losses.adversarial, losses.feature_matching):
        at_real, at_fake = torch.autograd.grad(value, [real, fake], retain_graph=True, allow_unused=True)
        assert at_real is None
        assert at_fake.isfinite().all() and at_fake.abs().amax(dim=-1).min() > 0
    at_real, at_fake = torch.autograd.grad(losses.discriminator, [real, fake])
    assert at_real.abs().max() > 0 and at_fake.abs().max() > 0


@torch.no_grad()
def test_mslr_looks_at_mid_and_side() -> None:
    network = small(channels="mslr", windows=[128])
    (sub,) = network.discriminators
    assert sub.convs[0].weight_v.shape[1] == 8
    seen: list[Tensor] = []
    sub.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    x = torch.randn(1, 2, 500)
    network(x)
    left, right = x[0]
    assert torch.allclose(seen[0][0], torch.stack(((left + right) / 2, (left - right) / 2, left, right)))


def test_mslr_needs_stereo() -> None:
    with pytest.raises(UserError, match="need stereo audio; this model has 1 channel"):
        small(channels="mslr", in_channels=1)


@pytest.mark.parametrize("length", [1, 63, 200, 256, 257])
def test_input_shorter_than_the_window_is_padded(length: int) -> None:
    network = small()
    real, fake = pair(length)
    fake.requires_grad_()
    losses = network.loss(real, fake)
    sum(losses).backward()
    assert torch.stack(losses).isfinite().all() and fake.grad.isfinite().all()
    # Zeros behind the signal up to one window change nothing.
    longer = torch.nn.functional.pad(real, (0, max(0, WINDOWS[0] - length)))
    assert torch.equal(network(real).logits[0], network(longer).logits[0])


def test_mono() -> None:
    losses = small(in_channels=1).loss(*pair(channels=1))
    assert torch.stack(losses).isfinite().all()


def test_silence_is_finite() -> None:
    network, fake = small(), torch.zeros(2, 2, 600, requires_grad=True)
    losses = network.loss(torch.zeros(2, 2, 600), fake)
    sum(losses).backward()
    assert torch.stack(losses).isfinite().all() and losses.feature_matching.item() == 0
    assert fake.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_bfloat16_autocast_is_finite_and_near(scale: float) -> None:
    network = small()
    real, fake = (scale * x for x in pair())
    fake.requires_grad_()
    exact = network.loss(real, fake)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = network.loss(real, fake)
    sum(losses).backward()
    assert fake.grad.isfinite().all() and all(value.dtype == torch.float32 for value in losses)
    for got, wanted in zip(losses, exact, strict=True):
        assert got.item() == pytest.approx(wanted.item(), rel=0.05)  # eight bits of mantissa: 0.4 % per layer


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": "mslrr"}, "did you mean 'mslr'"),
        ({"kernel_size": [3, 8]}, "two odd numbers"),
        ({"stride": [1]}, "two numbers of at least 1"),
        ({"windows": []}, "windows must be 4 samples or more"),
        ({"hop_factor": 0}, "hop_factor"),
        ({"loss": "hinges"}, "did you mean 'hinge'"),
    ],
)
def test_arguments_are_checked(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        small(**changes)
