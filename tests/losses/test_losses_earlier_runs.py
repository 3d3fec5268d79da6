"""Which entries of a config keep the gains on the bins when an older run is resumed."""

import copy
from typing import Any

import pytest

from ear_sat.losses.earlier_runs import PREFILTER_MARK, with_earlier_weighting

CASES = [
    ({}, True),
    ({"weighting": "a"}, True),
    ({"weighting_mode": "prefilter"}, True),
    ({"weighting": "none"}, False),
    ({"weighting_mode": "gain"}, False),
    ({"weighting_mode": "bins"}, False),
]


@pytest.mark.parametrize(("settings", "changes"), CASES)
def test_only_prefilters_of_older_runs_change(settings: dict[str, Any], changes: bool) -> None:
    losses = {
        "loud": {"type": "ear_magnitude", "config": settings, "weights": {"log": 1}},
        "phase": {"type": "ear_correlation", "weights": {"correlation": 1}},
        "bottleneck": {"type": "kl"},
    }
    config = {"sample_rate": 44100, "training": {"type": "ear", "loss_configs": losses}}
    before = copy.deepcopy(config)
    same, none = with_earlier_weighting(config, {"torch": "2.8", **PREFILTER_MARK})
    earlier, names = with_earlier_weighting(config, {"torch": "2.8"})
    assert config == before == same and none == []
    assert names == ["loud"] * changes
    expected = copy.deepcopy(before)
    if changes:
        expected["training"]["loss_configs"]["loud"]["config"] = {**settings, "weighting_mode": "gain"}
    assert earlier == expected
    assert with_earlier_weighting(earlier, {}) == (earlier, [])


@pytest.mark.parametrize("config", [{}, {"training": None}, {"training": {"loss_configs": [1]}}, {"model": {}}])
def test_configs_without_our_losses_stay(config: dict[str, Any]) -> None:
    assert with_earlier_weighting(config, {}) == (config, [])
    odd = {"training": {"loss_configs": {"a": 1, "b": {"type": "ear_magnitude", "config": [1]}}}}
    assert with_earlier_weighting(odd, {}) == (odd, [])
