"""Tensors go into a model strictly, or partly with a full account."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from weights_test_models import cloned, config_of, model_of, tiny

from ear_sat import UserError
from ear_sat.weights import Coverage, fit_partly, fit_strictly
from ear_sat.weights.fit import by_module, compare, complete, module_of, shared_keys


def states_equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[key]) for key, value in one.items())


def test_strict_fit_copies() -> None:
    source, target = tiny(1), tiny(2)
    state = cloned(source.state_dict())
    fit_strictly(target, state, "a.pt")
    assert states_equal(target.state_dict(), state)
    with torch.no_grad():
        target.encoder.layers[0].bias.add_(1)
    assert torch.equal(state["encoder.layers.0.bias"], source.encoder.layers[0].bias)


def test_a_mismatch_changes_nothing() -> None:
    source, target = tiny(1), tiny(2)
    before = cloned(target.state_dict())
    state = cloned(source.state_dict())
    del state["decoder.layers.3.alpha"]
    with pytest.raises(UserError, match=r"^a\.pt does not fit the model: 1 missing \(decoder\.layers\.3 ×1\); "):
        fit_strictly(target, state, "a.pt")
    assert states_equal(target.state_dict(), before)


def test_another_width_is_counted() -> None:
    narrow, wide = tiny(), tiny(channels=8)
    with pytest.raises(
        UserError, match=r"^w does not fit the model: (\d+) of another shape \((.*) and \d+ more modules\)"
    ):
        fit_strictly(narrow, cloned(wide.state_dict()), "w")
    mismatch = compare(narrow, wide.state_dict())
    assert not mismatch.missing and not mismatch.unexpected and len(mismatch.reshaped) > 100
    assert bool(mismatch) and not compare(narrow, narrow.state_dict())


def test_counting_by_module() -> None:
    assert module_of("a.b.c.d.weight") == "a.b.c" and module_of("a.weight") == "a" and module_of("weight") == "weight"
    assert (
        by_module(f"m{i}.weight" for i in range(8)) == ", ".join(f"m{i} ×1" for i in range(6)) + " and 2 more modules"
    )


def test_shared_keys_are_those_of_the_residual_units() -> None:
    groups = shared_keys(tiny())
    # Two blocks of three units on both sides, α and β each.
    assert len(groups) == 2 * 2 * 3 * 2
    for one, other in groups:
        unit, _, name = one.rpartition(".layers.0.")
        assert other == f"{unit}.layers.2.{name}"


def test_the_second_key_of_a_shared_parameter_is_filled_in() -> None:
    model = tiny()
    state = cloned(model.state_dict())
    for keys in shared_keys(model):
        del state[keys[len(state) % 2]]  # the first here, the second there
    assert states_equal(complete(model, state, "a"), dict(model.state_dict()))
    fit_strictly(tiny(2), state, "a")
    for key in shared_keys(model)[0]:
        state.pop(key, None)
    with pytest.raises(UserError, match=r"2 missing \(encoder\.layers\.1 ×2\)"):
        fit_strictly(tiny(2), state, "a")


class Two(nn.Module):
    """Six, three and one values."""

    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.a = nn.Linear(2, width)
        self.b = nn.Linear(1, 1, bias=False)
        self.register_buffer("steps", torch.zeros(()))


def test_coverage_counts_tensors_and_values() -> None:
    source, target = Two(), Two(4)
    target.a.bias = nn.Parameter(torch.zeros(3))  # fits, its weight does not
    state = cloned(source.state_dict()) | {"c.weight": torch.ones(5)}
    rows = fit_partly(target, state, "a")
    assert rows == [
        Coverage("steps", tensors=1, loaded_tensors=1, values=1, loaded_values=1),
        Coverage("a", tensors=2, loaded_tensors=1, values=8 + 3, loaded_values=3),
        Coverage("b", tensors=1, loaded_tensors=1, values=1, loaded_values=1),
    ]
    assert torch.equal(target.a.bias, source.a.bias) and torch.equal(target.b.weight, source.b.weight)


def test_partly_loads_what_a_model_without_transformer_has() -> None:
    """The 48 kHz model from the 44.1 kHz one: what has the same shape."""
    source = model_of(config_of([2, 4], transformer={"depth": 2}))
    target = model_of(config_of([2, 2]), seed=3)
    before = cloned(target.state_dict())
    state = cloned(source.state_dict())
    rows = {row.module: row for row in fit_partly(target, state, "a")}
    after = target.state_dict()
    for key, value in after.items():
        fits = key in state and state[key].shape == value.shape
        assert torch.equal(value, state[key] if fits else before[key]), key
    assert sum(row.tensors for row in rows.values()) == len(after)
    assert sum(row.values for row in rows.values()) == sum(value.numel() for value in after.values())
    loaded = [key for key, value in after.items() if key in state and state[key].shape == value.shape]
    assert sum(row.loaded_tensors for row in rows.values()) == len(loaded) < len(after)
    assert sum(row.loaded_values for row in rows.values()) == sum(after[key].numel() for key in loaded)
    assert rows["encoder.layers.0"].loaded_tensors == rows["encoder.layers.0"].tensors == 3
    # Only the strided convolution of the second block, 4 taps here and 8 there, keeps its start: its weight_v.
    block = rows["encoder.layers.2"]
    assert block.tensors - block.loaded_tensors == 1 and block.values - block.loaded_values == 8 * 4 * 4


def test_partly_keeps_activations_shared() -> None:
    source, target = tiny(1), tiny(2)
    state = {key: value for key, value in cloned(source.state_dict()).items() if ".layers.2.alpha" not in key}
    rows = fit_partly(target, state, "a")
    assert all(row.tensors == row.loaded_tensors and row.values == row.loaded_values for row in rows)
    unit = target.encoder.layers[1].layers[0].layers
    assert unit[0].alpha is unit[2].alpha and torch.equal(
        unit[0].alpha, source.encoder.layers[1].layers[0].layers[0].alpha
    )


def test_nothing_that_fits_is_an_error() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.PReLU())
    before = cloned(model.state_dict())
    state = {"other.weight": torch.ones(2), "0.bias": torch.ones(3)}
    with pytest.raises(UserError) as error:
        fit_partly(model, state, "a.pt")
    for part in ("a.pt", "2 missing (0 ×1, 1 ×1)", "1 unexpected (other ×1)", "0.bias: [3] in the file, [2] in the"):
        assert part in str(error.value)
    assert states_equal(dict(model.state_dict()), before)
