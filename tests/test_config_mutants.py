"""Each key of each shipped config, made wrong: refused in one sentence before a run begins, or it can be trained.

In this process and on torch's meta device: a signal would end the tests, and a traceback fails them.
"""

from __future__ import annotations

import math
import wave
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

pytest.importorskip("pytorch_lightning")

from config_mutants import mutants
from torch.utils.data import DataLoader

from ear_sat.data import create_dataloader
from ear_sat.errors import UserError
from ear_sat.models import Autoencoder
from ear_sat.named_configs import DATASET, MODEL, load_config, named_configs
from ear_sat.training.factory import create_wrapper
from ear_sat.training.run.autoencoder_job import create_demo
from ear_sat.training.run.job import Crops
from ear_sat.training.section import check_model_config
from ear_sat.training.trial import try_round

#: Those that are trained by us and need no host.
AUTOENCODERS = [name for name in named_configs(MODEL) if load_config(name, MODEL)["training"].get("type") == "ear"]
DATA_SETS = [name for name in named_configs(DATASET) if load_config(name, DATASET)["dataset_type"].startswith("ear_")]
#: Of each model config; 510 in all.
MUTANTS = math.ceil(510 / len(AUTOENCODERS))


def try_model(config: Any) -> None:
    """What a run does before its folder is made."""
    check_model_config(config)
    crops = Crops.of(config)
    try_round(
        lambda: create_wrapper(Autoencoder.from_config(config), config["sample_rate"], config["training"]),
        crops.audio_channels,
        crops.sample_size,
    )
    create_demo(config, cast("DataLoader[Any]", None))


def refused(attempt: Any, *arguments: Any) -> bool:
    try:
        attempt(*arguments)
    except UserError as error:
        assert "\n" not in str(error) and len(str(error)) < 400, error
        return True
    return False


@pytest.mark.parametrize("name", [name for name in AUTOENCODERS if name != "ear_vae_mini"])
def test_shipped_configs_can_be_trained(name: str) -> None:
    try_model(load_config(name, MODEL))


@pytest.mark.slow
@pytest.mark.parametrize("name", AUTOENCODERS)
def test_a_mutant_is_refused_or_can_be_trained(name: str) -> None:
    made = list(mutants(load_config(name, MODEL), MUTANTS, seed=7))
    assert sum(refused(try_model, config) for _, config in made) > 0.8 * len(made)


@pytest.mark.slow
@pytest.mark.parametrize("name", DATA_SETS)
def test_a_mutant_of_a_data_set_is_refused_or_read(name: str, tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "tone.wav"), "wb") as file:
        file.setparams((2, 2, 44100, 0, "NONE", ""))
        file.writeframes((8000 * np.sin(np.arange(2 * 44100) / 9)).astype("<i2").tobytes())
    config = load_config(name, DATASET)
    for entry in config.get("datasets", []):
        entry["path"] = str(tmp_path)
    if "split" in config and "datasets" in config:
        config["split"] = "all"  # of one file none can be set aside

    def read(config: Any) -> None:
        audio, _ = next(iter(create_dataloader(config, 2, 4096, 44100, num_workers=0)))
        assert audio.shape == (2, 2, 4096) and audio.isfinite().all()

    made = [*mutants(config, 60, seed=1)]
    assert sum(refused(read, mutant) for _, mutant in made) > 0.5 * len(made)
