"""Runs that began when words of their config meant something else: they go on with what they know.

A run folder's ``versions.json`` says which meaning its ``model_config.json`` has; what it does not name is the earlier
one.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

_PREFILTER, _PHASES = "weighting_mode prefilter", "phases losses"
#: What a run folder says in ``versions.json``: word → what it means.
MEANINGS = {_PREFILTER: "filters the signals", _PHASES: "name the discriminator"}


def as_meant(model_config: Mapping[str, Any], versions: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The config of a run in today's words.

    ``"prefilter"`` once put gains on the bins, which is ``"gain"`` today. A phase that listed its losses without
    ``"discriminator"`` once had an adversary nevertheless.

    Args:
        model_config: of the run; never written to.
        versions: its ``versions.json``.

    Returns:
        the config, and a notice for each kind of change.

    >>> entry = {"type": "ear_magnitude", "weights": {"log": 1.0}}
    >>> config, notices = as_meant({"training": {"loss_configs": {"magnitude": entry}}}, versions={})
    >>> config["training"]["loss_configs"]["magnitude"]["config"], len(notices)
    ({'weighting_mode': 'gain'}, 1)
    """
    config = copy.deepcopy(dict(model_config))
    training = config.get("training")
    training = training if isinstance(training, dict) else {}
    losses = training.get("loss_configs")
    losses = losses if isinstance(losses, dict) else {}
    notices = []
    if versions.get(_PREFILTER) != MEANINGS[_PREFILTER] and (names := list(_keep_gain(losses))):
        notices.append(
            'this run began when weighting_mode "prefilter" put the gains on the bins, and goes on so: '
            f'{", ".join(names)} keeps "gain"; give --model-config to train on with another'
        )
    if versions.get(_PHASES) != MEANINGS[_PHASES] and (names := list(_keep_adversary(training.get("phases"), losses))):
        notices.append(
            "this run began when a phase had an adversary whatever losses it listed, and goes on so: "
            f'{", ".join(names)} lists "discriminator" now; give --model-config to train on with another'
        )
    return config, notices


def _keep_gain(losses: Mapping[str, Any]) -> Iterator[str]:
    for name, entry in losses.items():
        settings = (entry.get("config") or {}) if isinstance(entry, dict) else None
        if not isinstance(settings, dict) or entry.get("type") != "ear_magnitude":
            continue
        if settings.get("weighting_mode", "prefilter") == "prefilter" and settings.get("weighting", "k") != "none":
            entry["config"] = {**settings, "weighting_mode": "gain"}
            yield name


def _keep_adversary(phases: object, losses: Mapping[str, Any]) -> Iterator[str]:
    for index, phase in enumerate(phases if isinstance(phases, list) else ()):
        listed = phase.get("losses") if isinstance(phase, dict) else None
        if not isinstance(listed, list) or "discriminator" in listed or "discriminator" not in losses:
            continue
        if phase.get("adversarial", True) is True:
            phase["losses"] = [*listed, "discriminator"]
            yield str(phase.get("name", f"phase {index + 1}"))
