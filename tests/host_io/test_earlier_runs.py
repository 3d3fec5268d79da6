"""Which words of a config change when an older run is resumed."""

import copy
from typing import Any

import pytest

from ear_sat.training.run.earlier_runs import MEANINGS, as_meant

PREFILTERS = [
    ({}, True),
    ({"weighting": "a"}, True),
    ({"weighting_mode": "prefilter"}, True),
    ({"weighting": "none"}, False),
    ({"weighting_mode": "gain"}, False),
    ({"weighting_mode": "bins"}, False),
]
PHASES = [
    ({"losses": ["loud"]}, True),
    ({"losses": ["loud"], "adversarial": True}, True),
    ({"losses": [], "generator": False}, True),
    ({"losses": ["loud"], "adversarial": False}, False),
    ({"losses": ["loud", "discriminator"]}, False),
    ({"losses": "all"}, False),
    ({}, False),
]


def config_with(settings: dict[str, Any], phase: dict[str, Any], adversary: bool = True) -> dict[str, Any]:
    losses = {
        "loud": {"type": "ear_magnitude", "config": settings, "weights": {"log": 1}},
        "phase": {"type": "ear_correlation", "weights": {"correlation": 1}},
        **({"discriminator": {"type": "ear_mrstft"}} if adversary else {}),
    }
    return {"sample_rate": 44100, "training": {"type": "ear", "loss_configs": losses, "phases": [{"name": "a"}, phase]}}


def changed(config: dict[str, Any], versions: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    before = copy.deepcopy(config)
    result = as_meant(config, versions)
    assert config == before
    assert as_meant(result[0], versions) == (result[0], [])
    return result


@pytest.mark.parametrize(("settings", "changes"), PREFILTERS)
def test_only_prefilters_of_older_runs_change(settings: dict[str, Any], changes: bool) -> None:
    config = config_with(settings, {})
    assert changed(config, {"torch": "2.8", **MEANINGS}) == (config, [])
    earlier, notices = changed(config, {"torch": "2.8"})
    assert ["loud keeps" in notice for notice in notices] == [True] * changes
    if changes:
        config["training"]["loss_configs"]["loud"]["config"] = {**settings, "weighting_mode": "gain"}
    assert earlier == config


@pytest.mark.parametrize(("phase", "changes"), PHASES)
def test_phases_of_older_runs_keep_their_adversary(phase: dict[str, Any], changes: bool) -> None:
    config = config_with({"weighting": "none"}, phase)
    assert changed(config, MEANINGS) == (config, [])
    earlier, notices = changed(config, {})
    assert ["phase 2 lists" in notice for notice in notices] == [True] * changes
    if changes:
        config["training"]["phases"][1]["losses"] = [*phase["losses"], "discriminator"]
    assert earlier == config
    plain = config_with({"weighting": "none"}, phase, adversary=False)
    assert changed(plain, {}) == (plain, [])


@pytest.mark.parametrize("config", [{}, {"training": None}, {"training": {"loss_configs": [1]}}, {"model": {}}])
def test_configs_without_our_losses_stay(config: dict[str, Any]) -> None:
    assert changed(config, {}) == (config, [])
    losses = {"a": 1, "b": {"type": "ear_magnitude", "config": [1]}, "discriminator": 1}
    odd = {"training": {"loss_configs": losses, "phases": [1, {"losses": 2}]}}
    assert changed(odd, {}) == (odd, [])
