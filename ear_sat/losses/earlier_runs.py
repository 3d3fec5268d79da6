"""Runs that began when ``weighting_mode: "prefilter"`` put the gains on the bins: they go on with what they know.

A run folder's ``versions.json`` says what the word means in its ``model_config.json``; where it does not, the run is
older than the filter.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

#: What a run folder says in ``versions.json``.
PREFILTER_MARK = {"weighting_mode prefilter": "filters the signals"}


def with_earlier_weighting(
    model_config: Mapping[str, Any], versions: Mapping[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """The config of a run as it was meant when the run began.

    Args:
        model_config: of the run; never written to.
        versions: its ``versions.json``.

    Returns:
        the config with ``"gain"`` in place of ``"prefilter"`` where the run is older, and the names of the entries of
        ``loss_configs`` that this changes.

    >>> entry = {"type": "ear_magnitude", "weights": {"log": 1.0}}
    >>> config, names = with_earlier_weighting({"training": {"loss_configs": {"magnitude": entry}}}, versions={})
    >>> config["training"]["loss_configs"]["magnitude"]["config"], names
    ({'weighting_mode': 'gain'}, ['magnitude'])
    """
    config = copy.deepcopy(dict(model_config))
    if PREFILTER_MARK.items() <= versions.items():
        return config, []
    training = config.get("training")
    losses = training.get("loss_configs") if isinstance(training, dict) else None
    changed = []
    for name, entry in losses.items() if isinstance(losses, dict) else ():
        settings = (entry.get("config") or {}) if isinstance(entry, dict) else None
        if not isinstance(settings, dict) or entry.get("type") != "ear_magnitude":
            continue
        if settings.get("weighting_mode", "prefilter") == "prefilter" and settings.get("weighting", "k") != "none":
            entry["config"] = {**settings, "weighting_mode": "gain"}
            changed.append(name)
    return config, changed
