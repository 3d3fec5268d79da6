"""Each key of each shipped config, made wrong: refused in one sentence before anything is built, or it trains.

The mutants are drawn from a seed and tried in this process, on torch's meta device.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import Any, cast

import pytest
from torch.utils.data import DataLoader

from ear_sat.errors import UserError
from ear_sat.named_configs import MODEL, load_config, named_configs
from ear_sat.training.run.autoencoder_job import create_demo
from ear_sat.training.run.job import Crops
from ear_sat.training.section import check_model_config
from ear_sat.training.trial import try_round

Path = tuple[str | int, ...]
#: What stands in a value's place. "absent" takes the key out; "renamed" misspells it.
WRONG = [
    "absent",
    "renamed",
    None,
    True,
    0,
    1,
    -1,
    0.5,
    10**9,
    1e400,
    float("nan"),
    "",
    "1",
    "k",
    [],
    [0],
    {},
    {"a": 1},
]
AUTOENCODERS = [name for name in named_configs(MODEL) if load_config(name, MODEL)["model_type"] == "autoencoder"]


def paths(value: Any, here: Path = ()) -> Iterator[Path]:
    """Every place in a config."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in items:
        yield (*here, key)
        yield from paths(below, (*here, key))


def mutated(config: Any, path: Path, wrong: Any) -> Any:
    config = copy.deepcopy(config)
    parent = config
    for key in path[:-1]:
        parent = parent[key]
    if wrong in ("absent", "renamed"):
        value = parent.pop(path[-1])
        if wrong == "renamed" and isinstance(parent, dict):
            parent[f"{path[-1]}_"] = value
    else:
        parent[path[-1]] = wrong
    return config


def mutants(name: str, count: int, seed: int) -> Iterator[tuple[Path, Any]]:
    config = load_config(name, MODEL)
    places = list(paths(config))
    rng = random.Random(seed)
    for i in range(count):  # each key at least once, if there are enough
        yield places[i % len(places)] if i < len(places) else rng.choice(places), rng.choice(WRONG)


def attempt(config: Any) -> str | None:
    """The sentence that the config is refused with; None where it trains."""
    from ear_sat.models import Autoencoder
    from ear_sat.training.factory import create_wrapper

    def build() -> Any:
        return create_wrapper(Autoencoder.from_config(config), config["sample_rate"], config["training"])

    try:
        check_model_config(config)
        crops = Crops.of(config)
        try_round(build, crops.audio_channels, crops.sample_size)
        create_demo(config, cast("DataLoader[Any]", None))
    except UserError as error:
        return str(error)
    return None


@pytest.mark.parametrize("name", AUTOENCODERS)
def test_shipped_configs_train(name: str) -> None:
    assert attempt(load_config(name, MODEL)) is None


@pytest.mark.slow
@pytest.mark.parametrize("name", AUTOENCODERS)
def test_no_mutant_ends_in_a_traceback(name: str) -> None:
    refused = 0
    for path, wrong in mutants(name, 100, seed=7):
        sentence = attempt(mutated(load_config(name, MODEL), path, wrong))
        refused += sentence is not None
        if sentence is not None:
            assert "\n" not in sentence and len(sentence) < 400, (path, wrong, sentence)
    assert refused > 60
