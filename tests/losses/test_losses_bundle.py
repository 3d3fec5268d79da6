"""The bundle: sums, selection, channels, lengths, gradients."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from ear_sat.losses import LossBundle, LossOutput

Noise = Callable[..., Tensor]
PARTS = [
    "spectral/log", "spectral/convergence", "spectral/contrast", "spectral/linear", "correlation/correlation",
    "correlation/complex", "derivative/if", "derivative/gd", "adaptive/log", "phasor/if", "phasor/gd", "l1/l1", "l2/l2",
]  # fmt: skip


@pytest.mark.parametrize("level", [1.0, 0.1, 1e-8, 0.0])  # 0: digital silence against itself
def test_identity_is_zero(level: float, bundle: LossBundle, noise: Noise) -> None:
    target = noise(level=level)
    output = bundle(target.clone(), target)
    assert list(output.raw) == PARTS
    assert {key: value.item() for key, value in output.raw.items()} == pytest.approx(dict.fromkeys(PARTS, 0), abs=1e-6)
    assert output.total.item() == pytest.approx(0, abs=1e-5)  # the weights sum to 20


def test_anything_else_is_above_zero(bundle: LossBundle, noise: Noise) -> None:
    output = bundle(noise(), noise())
    assert all(value > 1e-3 for value in output.raw.values())


def test_parts_sum_to_the_total(bundle: LossBundle, every_term: dict[str, Any], noise: Noise) -> None:
    output = bundle(noise(), noise())
    for key, value in output.weighted.items():
        name, part = key.split("/")
        assert value.item() == pytest.approx(every_term[name]["weights"][part] * output.raw[key].item(), rel=1e-6)
    assert output.total.item() == pytest.approx(sum(v.item() for v in output.weighted.values()), rel=1e-6)
    assert output.total.shape == () and output.total.dtype == torch.float32


def test_terms_do_not_depend_on_their_company(bundle: LossBundle, every_term: dict[str, Any], noise: Noise) -> None:
    # Spectra and the phase error are shared; each term alone must see the same.
    preds, target = noise(), noise()
    together = bundle(preds, target).raw
    alone: dict[str, Tensor] = {}
    for name, config in every_term.items():
        alone |= LossBundle.from_config({name: config}, 44100)(preds, target).raw
    assert {k: v.item() for k, v in alone.items()} == {k: v.item() for k, v in together.items()}


def test_resolutions_are_averaged(single: Callable[..., LossBundle], noise: Noise) -> None:
    preds, target = noise(), noise()

    def value(windows: list[int]) -> float:
        return single("ear_magnitude", "log", windows=windows)(preds, target).total.item()

    assert value([512, 64]) == pytest.approx((value([512]) + value([64])) / 2, rel=1e-6)


def test_clips_are_averaged(bundle: LossBundle, noise: Noise) -> None:
    # No term lets a loud clip of a batch outvote a quiet one, or normalises over clips.
    preds, target = noise(batch=3), noise(batch=3)
    preds[1] *= 0.01
    target[2] *= 0.01
    batch = bundle(preds, target).raw
    clips = [bundle(preds[i : i + 1], target[i : i + 1]).raw for i in range(3)]
    for key, value in batch.items():
        assert value.item() == pytest.approx(sum(c[key].item() for c in clips) / 3, rel=1e-5)


def test_left_and_right_are_equals(bundle: LossBundle, noise: Noise) -> None:
    # Swapping the channels of both turns the sign of S, which no term sees.
    preds, target = noise(), noise()
    swapped = bundle(preds.flip(1), target.flip(1)).raw
    for key, value in bundle(preds, target).raw.items():
        assert swapped[key].item() == pytest.approx(value.item(), rel=1e-5)


def test_polarity_of_both_changes_nothing(bundle: LossBundle, noise: Noise) -> None:
    preds, target = noise(), noise()
    flipped = bundle(-preds, -target).raw
    for key, value in bundle(preds, target).raw.items():
        assert flipped[key].item() == pytest.approx(value.item(), rel=1e-5)


def test_deterministic(bundle: LossBundle, noise: Noise) -> None:
    preds, target = noise().requires_grad_(), noise()
    first, second = bundle(preds, target), bundle(preds, target)
    assert torch.equal(first.total, second.total)
    gradients = [torch.autograd.grad(output.total, preds)[0] for output in (first, second)]
    assert torch.equal(*gradients)


# --- selection ---------------------------------------------------------------------------------------------------


def test_start_step(every_term: dict[str, Any], noise: Noise) -> None:
    every_term["correlation"]["start_step"] = 100
    bundle = LossBundle.from_config(every_term, 44100)
    preds, target = noise(), noise()
    late = "correlation/correlation"
    assert late not in bundle(preds, target, step=99).raw
    assert late in bundle(preds, target, step=100).raw
    assert late in bundle(preds, target).raw  # without a round, everything has started
    assert bundle(preds, target, step=99).total < bundle(preds, target, step=100).total


def test_entries_select_and_order_does_not_matter(bundle: LossBundle, noise: Noise) -> None:
    preds, target = noise(), noise()
    everything = bundle(preds, target).raw
    chosen = bundle(preds, target, entries=["l1", "derivative", "bottleneck"]).raw
    assert set(chosen) == {"derivative/if", "derivative/gd", "l1/l1"}
    assert all(torch.equal(value, everything[key]) for key, value in chosen.items())


def test_nothing_selected_is_zero(bundle: LossBundle, noise: Noise) -> None:
    assert bundle(noise(), noise(), entries=["bottleneck"]) == LossOutput(torch.tensor(0.0), {}, {})


def test_weight_zero_leaves_a_part_out(every_term: dict[str, Any], noise: Noise) -> None:
    every_term["spectral"]["weights"] = {"log": 0, "linear": 1}
    every_term["derivative"]["weights"] = every_term["phasor"]["weights"] = {"if": 0.0}
    del every_term["adaptive"]
    every_term["correlation"]["weights"]["complex"] = 0
    keys = set(LossBundle.from_config(every_term, 44100)(noise(), noise()).raw)
    assert keys == {"spectral/linear", "correlation/correlation", "l1/l1", "l2/l2"}


def test_config_is_not_written_to(every_term: dict[str, Any]) -> None:
    before = repr(every_term)
    LossBundle.from_config(every_term, 44100)
    assert repr(every_term) == before


def test_buffers_stay_out_of_checkpoints(bundle: LossBundle) -> None:
    assert not bundle.state_dict() and not list(bundle.parameters())


# --- channels, lengths ---------------------------------------------------------------------------------------------


def test_mono_equals_one_of_two_equal_channels(bundle: LossBundle, single: Callable[..., LossBundle]) -> None:
    preds, target = 0.1 * torch.randn(2, 1, 2000), 0.1 * torch.randn(2, 1, 2000)
    mono = bundle(preds, target).raw
    stereo = bundle(preds.expand(2, 2, -1), target.expand(2, 2, -1)).raw
    for key in PARTS:
        if not key.startswith(("spectral", "adaptive")):  # dual mono has a Side of 0 beside three equal components
            assert mono[key].item() == pytest.approx(stereo[key].item(), rel=1e-5)
    left_right = single(
        "ear_magnitude", ["log", "convergence", "contrast", "linear"], windows=[512, 128, 32], channels="lr"
    )
    for key, value in left_right(preds.expand(2, 2, -1), target.expand(2, 2, -1)).raw.items():
        assert mono[key.replace("term", "spectral")].item() == pytest.approx(value.item(), rel=1e-5)


@pytest.mark.parametrize("length", [1, 15, 100, 511, 512, 513])
def test_shorter_than_a_window(length: int, bundle: LossBundle, noise: Noise) -> None:
    target = noise(time=length)
    preds = noise(time=length).requires_grad_()
    output = bundle(preds, target)
    output.total.backward()
    assert torch.stack(list(output.raw.values())).isfinite().all() and output.total > 0
    assert preds.grad.isfinite().all() and preds.grad.abs().max() > 0
    assert bundle(target, target).total.item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("shapes", [((2, 2, 9), (2, 2, 8)), ((2, 9), (2, 9)), ((1, 3, 9), (1, 3, 9)), ((2,), (2,))])
def test_wrong_shapes(shapes: tuple[tuple[int, ...], ...], bundle: LossBundle) -> None:
    with pytest.raises(ValueError, match="must both be"):
        bundle(*(torch.zeros(shape) for shape in shapes))


# --- gradients -----------------------------------------------------------------------------------------------------


def test_gradients_flow_to_preds_only(bundle: LossBundle, noise: Noise) -> None:
    preds, target = noise().requires_grad_(), noise().requires_grad_()
    bundle(preds, target).total.backward()
    assert target.grad is None
    assert preds.grad.abs().amax(dim=-1).min() > 0


# What these divide by is a constant to the gradient and not to the value: test_losses_forms.py has theirs.
@pytest.mark.parametrize("part", [part for part in PARTS if part not in ("adaptive/log", "correlation/complex")])
def test_gradient_equals_finite_differences(part: str, bundle: LossBundle, noise: Noise) -> None:
    # The arithmetic is float32, too coarse for gradcheck. Along the gradient a step of 3e-5 moves the value well above
    # its rounding; where a bin happens to be as small as the step the slope changes on the way, hence the median.
    step, ratios = 3e-5, []
    for _ in range(7):
        preds, target = noise(batch=1, time=700).requires_grad_(), noise(batch=1, time=700)
        (gradient,) = torch.autograd.grad(bundle(preds, target).raw[part], preds)
        move = step * gradient / gradient.norm()
        with torch.no_grad():
            high, low = (bundle(preds + sign * move, target).raw[part].double() for sign in (1, -1))
        ratios.append((high - low) / (2 * step) / gradient.norm())
    assert torch.stack(ratios).median().item() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("part", PARTS)
def test_descent_leads_home(part: str, bundle: LossBundle, noise: Noise) -> None:
    # Near the target the negative gradient points to it, whatever the term.
    target = noise(batch=1)
    preds = (target + 0.02 * noise(batch=1)).requires_grad_()
    (gradient,) = torch.autograd.grad(bundle(preds, target).raw[part], preds)
    assert (gradient * (target - preds.detach())).sum() < 0
