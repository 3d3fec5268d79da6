"""The JSON Schema of the configs, read by an independent validator: it takes what trains and refuses what does not."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("jsonschema")
pytest.importorskip("pytorch_lightning")

import jsonschema

from ear_sat.cli.main import main
from ear_sat.config import value_types
from ear_sat.data import DATASET_TYPES
from ear_sat.losses import LOSS_TYPES
from ear_sat.models import BOTTLENECKS, DECODERS, ENCODERS
from ear_sat.models.discriminator import DISCRIMINATORS
from ear_sat.named_configs import DATASET, MODEL, load_config, named_configs

FACTORIES: list[Callable[..., Any]] = [
    factory
    for types in (ENCODERS, DECODERS, BOTTLENECKS, DISCRIMINATORS, LOSS_TYPES, DATASET_TYPES)
    for factory in types.values()
]


@pytest.fixture(scope="module")
def schemas() -> dict[str, Any]:
    from ear_sat.config_schema import dataset_config_schema, model_config_schema

    made = {MODEL: model_config_schema(), DATASET: dataset_config_schema()}
    for schema in made.values():
        jsonschema.Draft202012Validator.check_schema(schema)
    return made


def fits(schema: Any, config: Any) -> bool:
    return bool(jsonschema.Draft202012Validator(schema).is_valid(config))


@pytest.mark.parametrize(("folder", "name"), [(f, n) for f in (MODEL, DATASET) for n in named_configs(f)])
def test_shipped_configs_fit(schemas: dict[str, Any], folder: str, name: str) -> None:
    jsonschema.validate(load_config(name, folder), schemas[folder])


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("sample_size", 0),
        ("sample_rate", "44100"),
        ("model", None),
        ("model.latent_dim", 0),
        ("model.encoder.config.channels", 0),
        ("model.encoder.config.strides", [2, 0]),
        ("model.encoder.config.use_snake", "false"),
        ("model.encoder.config.chanels", 4),
        ("model.decoder.config.transformer.depth", 0),
        ("model.decoder.config.gradient_checkpointing", "on"),
        ("model.bottleneck.config.sample", "often"),
        ("training.update", "bth"),
        ("training.phases", []),
        ("training.phase", []),
        ("training.balance", {"type": "gradient", "share": {"magnitude": 1}}),
        ("training.balance", {"type": "gradient", "shares": {"magnitude": 0}}),
        ("training.balance", {"type": "gradient", "shares": {"magnitude": 1}, "every": 0}),
        ("training.demo.demo_every", "5"),
        ("training.ema", {"beta": 2}),
        ("training.eval_loss_configs", ["si_sdr_db"]),
        ("training.optimizer_configs.autoencoder.optimiser", {}),
        ("training.loss_configs.magnitude.config.hop_factor", 0),
        ("training.loss_configs.magnitude.config.weighting", "kk"),
        ("training.loss_configs.magnitude.weights", {"log": "1"}),
        ("training.loss_configs.discriminator.config.filters", 0),
        ("training.loss_configs.discriminator.config.loss", "hinges"),
        *(
            ("training.loss_configs.discriminator", {"type": "combined", "config": config, "weights": {}})
            for config in (
                None,
                {},
                {"discriminators": []},
                {"discriminators": [{"type": "ear_mrstft"}], "weights": {}},
                {"discriminators": [{"type": "ear_mrstft", "weight": 0}]},
                {"discriminators": [{"type": "ear_mrstft", "config": {"filter": 2}}]},
                {"discriminators": [{"type": "combined", "config": {}}]},
            )
        ),
        ("training.loss_configs.bottleneck.weight", {"kl": 1}),
    ],
)
def test_what_does_not_train_does_not_fit(schemas: dict[str, Any], path: str, value: Any) -> None:
    config = copy.deepcopy(load_config("ear_vae_mini", MODEL))
    *parents, last = path.split(".")
    parent = config
    for key in parents:
        parent = parent.setdefault(key, {})
    parent[last] = value
    assert not fits(schemas[MODEL], config)


def test_a_combined_discriminator_fits(schemas: dict[str, Any]) -> None:
    config = copy.deepcopy(load_config("ear_vae_mini", MODEL))
    own = {"type": "ear_mrstft", "config": {"filters": 2, "loss": "relativistic"}, "weight": 0.5}
    members = [own, {"type": "dac", "config": {"rates": []}}]
    entry = {"type": "combined", "config": {"discriminators": members}, "weights": {"adversarial": 0.1}}
    config["training"]["loss_configs"]["discriminator"] = entry
    jsonschema.validate(config, schemas[MODEL])


@pytest.mark.parametrize("change", [{"tracks": 0}, {"split": "trian"}, {"crops": 8}, {"drop_last": 1}, {"seconds": 0}])
def test_of_data_sets(schemas: dict[str, Any], change: dict[str, Any]) -> None:
    assert not fits(schemas[DATASET], {**load_config("demo", DATASET), **change})


@pytest.mark.parametrize("factory", FACTORIES, ids=lambda factory: factory.__name__)
def test_the_annotations_of_our_types_can_be_read(factory: Callable[..., Any]) -> None:
    """Where they cannot, nothing would be checked, and nobody would notice."""
    own = factory.__init__.__qualname__.split(".")[0]  # type: ignore[misc]
    assert value_types(factory) or own == "Module"


@pytest.mark.parametrize("arguments", [["--schema"], ["--schema", "dataset"]])
def test_the_command_prints_or_writes_it(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["config", *arguments]) == 0
    printed = capsys.readouterr().out
    assert json.loads(printed)["$schema"].startswith("https://json-schema.org/")
    assert main(["config", *arguments, "--out", str(tmp_path / "schema.json")]) == 0
    assert (tmp_path / "schema.json").read_text() == printed
