"""Loss configs: the user's own terms, and errors that name the close match."""

from collections.abc import Callable, Collection
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ear_sat.config import parameter_names
from ear_sat.errors import UserError
from ear_sat.losses import LOSS_TYPES, LossBundle, Resolution, SpectralTerm, check_weights, register_loss
from ear_sat.losses.spectra import SpectraPair

Noise = Callable[..., Tensor]


class Peak(nn.Module):
    """One value; has a key of its own and takes the sample rate from the model."""

    def __init__(self, sample_rate: int, power: float = 1.0) -> None:
        super().__init__()
        self.sample_rate, self.power = sample_rate, power

    def forward(self, preds: Tensor, target: Tensor) -> Tensor:
        assert preds.dtype == target.dtype == torch.float32
        return (preds - target).abs().amax() ** self.power


class Levels(nn.Module):
    """Two values in a dict."""

    def forward(self, preds: Tensor, target: Tensor) -> dict[str, Tensor]:
        error = preds - target
        return {"left": error[:, 0].abs().mean(), "right": error[:, 1].abs().mean()}


class Filtered(nn.Module):
    """A convolution, which autocast would run in a half type."""

    def forward(self, preds: Tensor, target: Tensor) -> Tensor:
        kernel = torch.full((2, 1, 5), 0.2)
        return nn.functional.conv1d(preds - target, kernel, groups=2).abs().mean()


class Energy(SpectralTerm):
    """A term on the shared spectra."""

    PARTS = ("ratio",)

    def evaluate(self, pair: SpectraPair, resolution: Resolution, parts: Collection[str]) -> dict[str, Tensor]:
        assert resolution in self.resolutions and list(parts) == ["ratio"]
        preds, target = (spectra.magnitude(("mid",)).square().sum() for spectra in pair)
        return {"ratio": preds / target}


@pytest.mark.usefixtures("restored_types")
class TestOwnTerms:
    def test_scalar(self, noise: Noise) -> None:
        register_loss("peak", Peak)
        config = {"mine": {"type": "peak", "config": {"power": 2}, "weights": {"value": 3}}}
        bundle = LossBundle.from_config(config, 48000)
        preds, target = noise().double(), noise()
        output = bundle(preds, target)
        assert output.raw["mine/value"].item() == pytest.approx((preds - target).abs().max().item() ** 2, rel=1e-5)
        assert output.total.item() == pytest.approx(3 * output.raw["mine/value"].item(), rel=1e-6)
        assert bundle.entries["mine"].module.sample_rate == 48000

    def test_scalar_needs_one_weight(self, noise: Noise) -> None:
        register_loss("peak", Peak)
        bundle = LossBundle.from_config({"mine": {"type": "peak", "weights": {"a": 1, "b": 1}}}, 48000)
        with pytest.raises(UserError, match="returns one value but has weights for a, b"):
            bundle(noise(), noise())

    def test_dict(self, noise: Noise) -> None:
        register_loss("levels", Levels)
        config = {"mine": {"type": "levels", "weights": {"left": 1, "right": 2}}}
        target = noise()
        preds = target + torch.tensor([0.1, 0.3]).view(1, 2, 1)
        output = LossBundle.from_config(config, 44100)(preds, target)
        assert {k: v.item() for k, v in output.raw.items()} == pytest.approx({"mine/left": 0.1, "mine/right": 0.3})
        assert output.total.item() == pytest.approx(0.7, rel=1e-5)

    def test_dict_with_a_misspelt_part(self, noise: Noise) -> None:
        register_loss("levels", Levels)
        bundle = LossBundle.from_config({"mine": {"type": "levels", "weights": {"rigth": 1}}}, 44100)
        with pytest.raises(UserError, match="did you mean 'right'"):
            bundle(noise(), noise())

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_autocast_does_not_reach_the_terms(self, dtype: torch.dtype, noise: Noise) -> None:
        register_loss("filtered", Filtered)
        bundle = LossBundle.from_config({"mine": {"type": "filtered", "weights": {"value": 1}}}, 44100)
        preds, target = noise(), noise()
        with torch.autocast("cpu", dtype=dtype):
            inside = bundle(preds, target).total
        assert torch.equal(inside, bundle(preds, target).total)

    def test_spectral_term(self, noise: Noise) -> None:
        register_loss("energy", Energy)
        config = {
            "mine": {"type": "energy", "config": {"windows": [512, 64]}, "weights": {"ratio": 1}},
            "ours": {"type": "ear_magnitude", "config": {"windows": [512, 32]}, "weights": {"log": 1}},
        }
        bundle = LossBundle.from_config(config, 44100)
        target = noise()
        assert bundle(0.5 * target, target).raw["mine/ratio"].item() == pytest.approx(0.25, rel=1e-5)

    def test_registering_again_is_harmless(self, restored_types: dict[str, Any]) -> None:
        register_loss("peak", Peak)
        register_loss("peak", Peak)
        assert restored_types["peak"] is Peak

    @pytest.mark.parametrize("name", ["ear_magnitude", "l1", "peak"])
    def test_a_taken_name_raises(self, name: str, restored_types: dict[str, Any]) -> None:
        register_loss("peak", Peak)
        before = dict(restored_types)
        with pytest.raises(UserError, match=f"'{name}' is taken"):
            register_loss(name, Levels)
        assert restored_types == before


def entry(**changes: Any) -> dict[str, Any]:
    return {"type": "ear_magnitude", "config": {}, "weights": {"log": 1}, **changes}


#: Type → one of its parts, and its choices.
TYPES: dict[str, tuple[str, dict[str, str]]] = {
    "ear_magnitude": (
        "log",
        {"weighting": "none", "weighting_mode": "bins", "log_form": "adaptive", "log_floor_reference": "clip"},
    ),
    "ear_correlation": ("correlation", {"bin_weighting": "magnitude"}),
    "ear_phase_derivative": ("if", {"bin_weighting": "magnitude", "form": "phasor", "wrapping": "principal"}),
}
KEYS = [(kind, key) for kind in TYPES for key in parameter_names(LOSS_TYPES[kind], without=["sample_rate"])]
CHOICES = [(kind, key, value) for kind, (_, choices) in TYPES.items() for key, value in choices.items()]


def refusal(config: Any) -> str:
    with pytest.raises(UserError) as error:
        LossBundle.from_config({"term": config}, 44100)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(("kind", "key"), KEYS)
def test_a_misspelt_key_is_named_with_the_right_one(kind: str, key: str) -> None:
    wrong = key[:-1]
    message = refusal({"type": kind, "config": {wrong: None}, "weights": {TYPES[kind][0]: 1}})
    assert message.startswith(f"unknown key in loss_configs.term.config '{wrong}'; did you mean '{key}'?")


@pytest.mark.parametrize(("kind", "key", "value"), CHOICES)
def test_a_misspelt_choice_is_named_with_the_right_one(kind: str, key: str, value: str) -> None:
    message = refusal({"type": kind, "config": {key: value[:-1]}, "weights": {TYPES[kind][0]: 1}})
    assert f"{key} '{value[:-1]}'; did you mean '{value}'?" in message


@pytest.mark.parametrize("kind", [*TYPES, "l1", "l2"])
def test_a_misspelt_type_or_part_is_named_with_the_right_one(kind: str) -> None:
    assert f"in loss_configs.term '{kind}{kind[-1]}'; did you mean '{kind}'?" in refusal(entry(type=kind + kind[-1]))
    part = TYPES[kind][0] if kind in TYPES else kind
    message = refusal({"type": kind, "weights": {part + "s": 1}})
    assert f"in loss_configs.term.weights '{part}s'; did you mean '{part}'?" in message


@pytest.mark.parametrize("key", ["type", "config", "weights", "start_step"])
def test_a_misspelt_key_of_an_entry_is_named_with_the_right_one(key: str) -> None:
    assert f"in loss_configs.term '{key}s'; did you mean '{key}'?" in refusal(entry(**{key + "s": 1}))


@pytest.mark.parametrize(
    ("place", "values"),
    [
        ("config.windows", [2048, [2], [], ["512"]]),
        ("config.hop_factor", [2, 0, "0.25"]),
        ("config.weighting_floor_db", [3, True, float("nan")]),
        ("config.channels", ["mslrr", 3, []]),
        ("weights.log", ["1", float("nan"), True]),
        ("start_step", [-1, 1.5, True]),
    ],
)
def test_a_wrong_value_is_named_with_its_key(place: str, values: list[Any]) -> None:
    first, _, key = place.partition(".")
    for value in values:
        message = refusal(entry(**{first: {key: value} if key else value}))
        wrong = value[0] if isinstance(value, list) and value else value
        assert (key or first) in message and str(wrong) in message


@pytest.mark.parametrize(
    ("kind", "config", "cause"),
    [
        ("ear_magnitude", {"log_form": "adaptive", "log_floor_db": -60}, "log_floor_db"),
        ("ear_magnitude", {"log_form": "adaptive", "log_floor_reference": "clip"}, "log_floor_reference"),
        ("ear_phase_derivative", {"form": "phasor", "wrapping": "none"}, '"wrapping": "none"'),
    ],
)
def test_keys_of_one_form_beside_another_are_refused(kind: str, config: dict[str, Any], cause: str) -> None:
    message = refusal({"type": kind, "config": config, "weights": {TYPES[kind][0]: 1}})
    assert cause in message and "leave" in message


@pytest.mark.parametrize("config", [[], entry(config=[1]), entry(weights={}), entry(type=None)])
def test_what_is_no_entry_is_said(config: Any) -> None:
    assert "loss_configs.term" in refusal(config)


def test_a_channel_is_named_with_the_right_one() -> None:
    assert "unknown channel 'mslx'; did you mean 'mslr'?" in refusal(entry(config={"channels": "mslx"}))
    assert "unknown channel 'rigth'; did you mean 'right'?" in refusal(entry(config={"channels": ["mid", "rigth"]}))


def test_what_the_model_gives_is_no_key() -> None:
    assert "unknown key in loss_configs.term.config 'sample_rate'" in refusal(entry(config={"sample_rate": 8000}))


@pytest.mark.parametrize("name", ["", "spec/lr"])
def test_entry_names_leave_the_slash_to_parts(name: str) -> None:
    with pytest.raises(UserError, match="without '/'"):
        LossBundle.from_config({name: entry()}, 44100)


@pytest.mark.parametrize("name", ["train", "type", "keys", "v1.5", "ε"])
def test_other_entry_names_are_free(name: str, noise: Noise) -> None:
    bundle = LossBundle.from_config({name: entry(config={"windows": [64]})}, 44100)
    assert list(bundle(noise(), noise()).raw) == [f"{name}/log"]


def test_check_weights_takes_any_part_of_a_term_without_parts() -> None:
    assert check_weights("mine", {"anything": 2}, None) == {"anything": 2.0}
    with pytest.raises(UserError, match=r'for example \{"value": 1.0\}'):
        check_weights("mine", None, None)


def test_discriminator_and_bottleneck_are_not_terms() -> None:
    assert not LossBundle.from_config({"discriminator": {}, "bottleneck": {}}, 44100).entries
