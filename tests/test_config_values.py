"""A value of a wrong type is refused by its key, wherever a config holds it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from ear_sat import UserError
from ear_sat.losses import LossBundle
from ear_sat.models import Autoencoder
from ear_sat.models.discriminator import DISCRIMINATORS
from ear_sat.named_configs import MODEL, load_config, named_configs
from ear_sat.training.section import check_model_config

CONFIG = load_config("ear_vae_mini", MODEL)


def wrong_for(value: object) -> list[Any]:
    """Values as people mistype them: text for a number or a switch, one number for a list, a list for one."""
    if isinstance(value, bool):
        return ["false", 0, None]
    if isinstance(value, int | float):
        return [str(value), True, [value]]
    return {list: ["2, 4", 2, ["2"]], dict: [[2], "x"], str: [2, None, True]}[type(value)]


def leaves(config: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        for wrong in wrong_for(value):
            yield key, wrong


@pytest.mark.parametrize("part", ["encoder", "decoder", "bottleneck"])
def test_of_the_model(part: str) -> None:
    for key, wrong in leaves(CONFIG["model"][part]["config"]):
        if (part, key) in {("bottleneck", "sample"), ("decoder", "transformer")} and wrong is None:
            continue  # none at all
        if (key, wrong) == ("gradient_checkpointing", True):
            continue
        config = copy.deepcopy(CONFIG)
        config["model"][part]["config"][key] = wrong
        with pytest.raises(UserError, match=key):
            Autoencoder.from_config(config)


def test_of_the_losses() -> None:
    entries = CONFIG["training"]["loss_configs"]
    for name in ("magnitude", "correlation", "phase_derivative"):
        for key, wrong in leaves(entries[name].get("config", {})):
            if wrong is None or (key, type(wrong)) == ("channels", list):
                continue
            config = copy.deepcopy(entries)
            config[name]["config"][key] = wrong
            with pytest.raises(UserError, match="channel" if key == "channels" else key):
                LossBundle.from_config(config, 44100)


def test_of_the_discriminator() -> None:
    from ear_sat.config import build

    entry = CONFIG["training"]["loss_configs"]["discriminator"]
    for key, wrong in leaves(entry["config"]):
        if wrong is None:
            continue
        with pytest.raises(UserError, match="channel" if key == "channels" else key):
            build(
                "loss_configs.discriminator.config",
                DISCRIMINATORS["ear_mrstft"],
                {**entry["config"], key: wrong},
                in_channels=2,
            )


@pytest.mark.parametrize(
    "path",
    [
        "audio_channels",
        "model.pretransform",
        "model.pretransform.scale",
        "model.conditioning.cond_dim",
        "model.diffusion.cross_attention_cond_ids",
        "model.diffusion.global_cond_ids",
    ],
)
def test_a_misspelt_key_that_a_host_would_pass_over(path: str) -> None:
    config = copy.deepcopy(load_config("ear_ldm_demo", MODEL))
    *parents, key = path.split(".")
    parent = config
    for name in parents:
        parent = parent[name]
    parent[f"{key}s"] = parent.pop(key)
    with pytest.raises(UserError, match=f"'{key}s'; did you mean '{key}'"):
        check_model_config(config)


@pytest.mark.parametrize("name", named_configs(MODEL))
def test_no_key_of_a_shipped_config_is_taken_for_another(name: str) -> None:
    check_model_config(load_config(name, MODEL))
