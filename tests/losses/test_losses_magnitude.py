"""The magnitude term: known level differences, and bounds where a component is silent."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ear_sat.errors import UserError
from ear_sat.losses import STFT, LossBundle, Resolution

Noise = Callable[..., Tensor]
Single = Callable[..., LossBundle]
PARTS = ["log", "convergence", "contrast", "linear"]


@pytest.mark.parametrize("gain", [0.5, 2.0, -1.0, 0.9])
def test_gain_has_a_closed_form(gain: float, noise: Noise, single: Single) -> None:
    target = noise()
    term = single("ear_magnitude", PARTS, windows=[512, 64], weighting="none")
    values = term(gain * target, target).raw
    # DC and Nyquist bins are real and so the likeliest to be near 0; one or two of 25,000 bins touch the floor.
    assert values["term/log"].item() == pytest.approx(abs(math.log(abs(gain))), abs=2e-4)
    assert values["term/convergence"].item() == pytest.approx(abs(1 - abs(gain)), abs=1e-5)
    contrast = abs(1 - abs(gain)) / (1 + abs(gain))
    assert values["term/contrast"].item() == pytest.approx(contrast, abs=1e-5)
    # Against silence the linear part is the mean magnitude itself.
    level = term(target, torch.zeros_like(target)).raw["term/linear"].item()
    assert values["term/linear"].item() == pytest.approx(abs(1 - abs(gain)) * level, rel=1e-4, abs=1e-7)


def test_sine_amplitude() -> None:
    # A sine in the middle of a bin spreads over three: A, A/2, A/2. Against silence the linear part reads 2A/bins.
    window, amplitude = 128, 0.5
    time = torch.arange(64 * window + 1, dtype=torch.float64)
    sine = (amplitude * torch.cos(2 * torch.pi * time * 16 / window)).float().expand(1, 2, -1)
    config = {"type": "ear_magnitude", "config": {"windows": [window], "channels": "lr", "weighting": "none"}}
    bundle = LossBundle.from_config({"a": {**config, "weights": {"linear": 1, "log": 1}}}, 44100)
    raw = bundle(sine, torch.zeros_like(sine)).raw
    # Reflected at a peak, at either end, a cosine goes on as a cosine: every frame holds the same.
    assert raw["a/linear"].item() == pytest.approx(2 * amplitude / 65, rel=1e-5)
    # ln(A/floor) in one bin, ln(A/2/floor) in two; the others stay below the floor.
    expected = (3 * math.log(amplitude / 1e-5) - 2 * math.log(2)) / 65
    assert raw["a/log"].item() == pytest.approx(expected, rel=1e-5)


def test_log_stops_at_the_floor(single: Single) -> None:
    # Below −100 dBFS nothing is compared.
    a, b = (level * torch.randn(1, 2, 2000) for level in (1e-8, 1e-9))
    term = single("ear_magnitude", "log", windows=[256], weighting="none")
    assert term(a, b).total.item() == 0
    assert term(a, torch.zeros_like(a)).total.item() == 0


def levels(target: Tensor) -> Tensor:
    """Root mean square of the bins of mid, side, left and right, (batch, 4), each at least 20 dB below the loudest."""
    spectrum = STFT(Resolution(256, 64))(target)
    left, right = spectrum[:, 0], spectrum[:, 1]
    components = torch.stack(((left + right) / 2, (left - right) / 2, left, right), 1)
    rms = components.abs().square().mean(dim=(-2, -1)).sqrt()
    return torch.maximum(rms, 0.1 * rms.amax(dim=1, keepdim=True)).clamp_min(1e-3)


@pytest.mark.parametrize("reference", ["full_scale", "clip"])
@pytest.mark.parametrize("floor_db", [-100, -60, -20])
def test_log_floor_is_where_it_is_asked_for(reference: str, floor_db: float, noise: Noise, single: Single) -> None:
    """By the plain formula; a clip at −20 dBFS, one 60 dB below with a Side of its own level, and a silent one."""
    target = torch.cat((noise(batch=1), noise(batch=1, level=1e-4), torch.zeros(1, 2, 3000)))
    target[0, 1] = target[0, 0]  # dual mono
    preds = (target + noise(batch=3, level=1e-4)).requires_grad_()
    config = {"windows": [256], "weighting": "none", "log_floor_db": floor_db, "log_floor_reference": reference}
    value = single("ear_magnitude", "log", **config)(preds, target).total
    floor = 10 ** (floor_db / 20) * (levels(target)[..., None, None] if reference == "clip" else torch.ones(3, 4, 1, 1))
    logs = []
    for signal in (preds, target):
        left, right = STFT(Resolution(256, 64))(signal).unbind(1)
        parts = torch.stack(((left + right) / 2, (left - right) / 2, left, right), 1).abs()
        logs.append(torch.maximum(parts, floor).log())
    plain = (logs[0] - logs[1]).abs().mean()
    assert value.item() == pytest.approx(plain.item(), rel=1e-4)
    ours, theirs = (torch.autograd.grad(x, preds)[0] for x in (value, plain))
    # A bin in ten thousand lies at the floor, or where both are equal, to rounding.
    assert (ours - theirs).norm() <= 2e-2 * theirs.norm()


@pytest.mark.parametrize("mode", ["prefilter", "gain", "bins"])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_floor_of_the_clip_follows_its_level(channels: int, mode: str, noise: Noise, single: Single) -> None:
    preds, target = noise(channels=channels), noise(channels=channels)
    term = single("ear_magnitude", "log", weighting_mode=mode, log_floor_db=-20, log_floor_reference="clip")
    loud, quiet = (term(gain * preds, gain * target).total.item() for gain in (10.0, 1.0))
    assert loud == pytest.approx(quiet, rel=1e-4) and loud > 0.1


@pytest.mark.parametrize("floor", [-101, 1, "-60", True, None])
def test_log_floors_that_are_none(floor: object, single: Single) -> None:
    with pytest.raises(UserError, match="log_floor_db must be a number"):
        single("ear_magnitude", "log", log_floor_db=floor)
    with pytest.raises(UserError, match=r"log_floor_reference 'clp'.*did you mean 'clip'"):
        single("ear_magnitude", "log", log_floor_reference="clp")


@pytest.mark.parametrize("weighting", ["none", "k"])
@pytest.mark.parametrize("mode", ["prefilter", "gain", "bins"])
@pytest.mark.parametrize("channels", ["mslr", "ms", "side"])
@pytest.mark.parametrize("side", [1e-3, 1e-5, 0.0])
def test_quiet_side_is_bounded(
    side: float, channels: str, mode: str, weighting: str, noise: Noise, single: Single
) -> None:
    # Dual mono at −12 dBFS, its Side at −60 dBFS, −100 dBFS or silent, and an estimate whose Side is at −20 dBFS:
    # relative to the target's Side alone, its error would be 100, 10,000 or infinite. The guard is the louder channel
    # less 20 dB, −32 dBFS: 12 dB below the error, so about 4.
    mid = noise(channels=1, level=0.25)
    s, s_hat = noise(channels=1, level=side), noise(channels=1, level=0.1).requires_grad_()
    term = single("ear_magnitude", "convergence", windows=[512, 64], channels=channels, weighting=weighting,
                  weighting_mode=mode)  # fmt: skip
    value = term(torch.cat((mid + s_hat, mid - s_hat), 1), torch.cat((mid + s, mid - s), 1)).total
    value.backward()
    assert 0.1 < value.item() < 20
    assert s_hat.grad.isfinite().all()


@pytest.mark.parametrize("channels", ["mslr", "side"])
def test_silent_clips_are_guarded_by_the_floor(channels: str, noise: Noise, single: Single) -> None:
    # The denominator is that of a spectrum at −60 dBFS throughout: the term is the RMS of |Ŷ| over 1e-3.
    preds = noise()
    preds[:, 1] = -preds[:, 0]  # all in the Side, so that |S| = |L| = |R|
    term = single("ear_magnitude", "convergence", windows=[256], channels=channels, weighting="none")
    power = STFT(Resolution(256, 64))(preds).abs().square()[:, 0]
    expected = (power.mean(dim=(-2, -1)).sqrt() / 1e-3).mean().item()
    share = 3 / 4 if channels == "mslr" else 1  # the Mid is silent in both
    assert term(preds, torch.zeros_like(preds)).total.item() == pytest.approx(share * expected, rel=1e-4)


@pytest.mark.parametrize("hertz", [40, 10_000])  # where K is −5 dB and +4 dB
@pytest.mark.parametrize("mode", ["prefilter", "gain", "bins"])
@pytest.mark.parametrize("part", ["convergence", "contrast", "log", "adaptive"])
def test_guard_is_the_same_whichever_components_are_asked_for(
    part: str, mode: str, hertz: float, noise: Noise, single: Single
) -> None:
    """It is relative to the louder of left and right as the term weighs them, compared or not."""
    tone = 0.25 * torch.sin(2 * torch.pi * hertz * torch.arange(4096) / 44100).expand(2, 1, -1)
    side, error = noise(channels=1, time=4096, level=1e-5), noise(channels=1, time=4096)
    target, preds = torch.cat((tone + side, tone - side), 1), torch.cat((tone + error, tone - error), 1)

    def value(channels: str) -> float:
        config = {"windows": [512], "channels": channels, "weighting_mode": mode}
        if part == "log":
            config |= {"log_floor_db": -20, "log_floor_reference": "clip"}
        elif part == "adaptive":
            config |= {"log_form": "adaptive"}
        name = "log" if part == "adaptive" else part
        return single("ear_magnitude", name, **config)(preds, target).total.item()

    assert value("mslr") == pytest.approx((value("ms") + value("lr")) / 2, rel=1e-5)
    assert value("ms") == pytest.approx((value("mid") + value("side")) / 2, rel=1e-5)


def test_guard_leaves_ordinary_components_alone(noise: Noise, single: Single) -> None:
    # A Side 14 dB below Mid is above the guard: the plain definition.
    mid, side = noise(channels=1), noise(channels=1, level=0.02)
    target = torch.cat((mid + side, mid - side), 1)
    preds = torch.cat((mid + 2 * side, mid - 2 * side), 1)
    term = single("ear_magnitude", "convergence", windows=[512], channels="side", weighting="none")
    assert term(preds, target).total.item() == pytest.approx(1, abs=1e-4)


def test_components_are_averaged(noise: Noise, single: Single) -> None:
    preds, target = noise(), noise()

    def value(channels: str | list[str], part: str) -> float:
        return single("ear_magnitude", part, windows=[256], channels=channels)(preds, target).total.item()

    for part in PARTS:
        parts = [value([name], part) for name in ("mid", "side", "left", "right")]
        assert value("mslr", part) == pytest.approx(sum(parts) / 4, rel=1e-5)


def test_side_sees_width_that_left_and_right_cannot_tell(noise: Noise, single: Single) -> None:
    # The right channel's polarity flips: |L| and |R| stay, M and S change places.
    target = noise()
    target[:, 1] = 0.8 * target[:, 0] + 0.2 * target[:, 1]
    preds = target * torch.tensor([1.0, -1.0]).view(1, 2, 1)
    assert single("ear_magnitude", PARTS, windows=[256], channels="lr")(preds, target).total.item() < 1e-5
    assert single("ear_magnitude", "log", windows=[256], channels="ms")(preds, target).total.item() > 1


def test_gradient_of_log_pushes_towards_the_level(single: Single, noise: Noise) -> None:
    target = noise()
    gain = torch.tensor([0.5, 2.0]).view(2, 1, 1).requires_grad_()
    single("ear_magnitude", "log", windows=[256], weighting="none")(gain * target, target).total.backward()
    # d|ln g|/dg = ∓1/g per clip, mean over two clips.
    assert gain.grad.flatten().tolist() == pytest.approx([-1 / 0.5 / 2, 1 / 2.0 / 2], rel=1e-4)
