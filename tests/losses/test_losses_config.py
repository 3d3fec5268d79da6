"""Loss configs: the user's own terms, and errors that name the close match."""

from collections.abc import Callable, Collection
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ear_sat.errors import UserError
from ear_sat.losses import LossBundle, Resolution, SpectralTerm, check_weights, register_loss
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


def derivative(**config: Any) -> dict[str, Any]:
    return {"type": "ear_phase_derivative", "config": config, "weights": {"if": 1}}


ERRORS: list[tuple[Any, str]] = [
    (entry(type="ear_magnitud"), "loss type in loss_configs.term 'ear_magnitud'; did you mean 'ear_magnitude'?"),
    (entry(type="ear_corelation"), "did you mean 'ear_correlation'?"),
    (entry(type="L1"), "did you mean 'l1'?"),
    (entry(type=None), "unknown loss type in loss_configs.term 'None'"),
    (entry(weight={"log": 1}), "unknown key in loss_configs.term 'weight'; did you mean 'weights'?"),
    (entry(start_steps=1), "did you mean 'start_step'?"),
    (entry(config={"window": [512]}), "unknown key in loss_configs.term.config 'window'; did you mean 'windows'?"),
    (entry(config={"hop_factors": 0.5}), "did you mean 'hop_factor'?"),
    (entry(config={"wieghting": "k"}), "did you mean 'weighting'?"),
    (entry(config={"sample_rate": 8000}), "unknown key in loss_configs.term.config 'sample_rate'"),
    (entry(config={"weighting": "K"}), "unknown weighting 'K'; did you mean 'k'?"),
    (entry(config={"weighting_mode": "bin"}), "unknown weighting_mode 'bin'; did you mean 'bins'?"),
    (entry(config={"weighting_floor_db": 3}), "weighting_floor_db is the least gain in dB, from -200 to 0"),
    (entry(config={"weighting_floor_db": True}), "or null; got True"),
    (entry(config={"weighting_floor_db": float("nan")}), "or null; got nan"),
    (entry(config={"channels": "mslrr"}), "channels must name each of mid, side, left, right at most once"),
    (entry(config={"channels": "mslx"}), "unknown channel 'mslx'; did you mean 'mslr'?"),
    (entry(config={"channels": ["mid", "rigth"]}), "unknown channel 'rigth'; did you mean 'right'?"),
    (entry(config={"windows": 2048}), "windows must be a list of whole numbers of samples, 4 or more; got 2048"),
    (entry(config={"windows": [2]}), "windows must be a list of whole numbers of samples, 4 or more; got [2]"),
    (entry(config={"hop_factor": 2}), "hop_factor is the hop as a fraction of the window"),
    (entry(config=[1]), "loss_configs.term.config must be a JSON object, not list"),
    (entry(weights={"logs": 1}), "unknown key in loss_configs.term.weights 'logs'; did you mean 'log'?"),
    (entry(weights={"convergance": 1}), "did you mean 'convergence'?"),
    (entry(weights={}), 'loss_configs.term.weights is missing; give a weight for each part you want, for example {"'),
    (entry(weights={"log": "1"}), "loss_configs.term.weights.log must be a finite number, not '1'"),
    (entry(weights={"log": float("nan")}), "must be a finite number, not nan"),
    (entry(weights={"log": True}), "must be a finite number, not True"),
    (entry(start_step=-1), "start_step is a number of rounds, 0 or more, not -1"),
    (entry(start_step=1.5), "start_step is a number of rounds, 0 or more, not 1.5"),
    (derivative(wrapping="principle"), "unknown wrapping 'principle'; did you mean 'principal'?"),
    (derivative(bin_weighting="magnitudes"), "unknown bin_weighting 'magnitudes'; did you mean 'magnitude'?"),
    (derivative(weighting="k"), "unknown key in loss_configs.term.config 'weighting'; did you mean 'bin_weighting'?"),
    ([], "loss_configs.term must be an object with type, config and weights"),
]  # fmt: skip


@pytest.mark.parametrize(("config", "message"), ERRORS, ids=[str(i) for i in range(len(ERRORS))])
def test_errors_name_the_close_match(config: Any, message: str) -> None:
    with pytest.raises(UserError) as error:
        LossBundle.from_config({"term": config}, 44100)
    assert message in str(error.value)


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
