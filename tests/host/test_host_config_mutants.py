"""A config of the host's latent diffusion, made wrong at any place: one sentence and no folder, or it trains."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from config_mutants import mutants
from stable_audio_tools.models.factory import create_model_from_config

from ear_sat.errors import UserError
from ear_sat.host.jobs import HostBuilders
from ear_sat.named_configs import MODEL, load_config
from ear_sat.training.run.options import TrainOptions
from ear_sat.training.run.train import RUN_FOLDER_VARIABLE, train


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ear_ldm_demo", "ear_ldm_demo_uncond", "ear_ldm_demo_inpaint"])
def test_a_mutant_is_refused_or_trains(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config(name, MODEL)
    pretransform: Any = create_model_from_config(config).pretransform
    weights = tmp_path / "pretransform.ckpt"
    torch.save({"state_dict": pretransform.model.state_dict()}, weights)
    refused = 0
    for number, (what, mutant) in enumerate(mutants(config, 130, seed=5)):
        if number % 5:  # each costs a second
            continue
        monkeypatch.delenv(RUN_FOLDER_VARIABLE, raising=False)
        path, runs = tmp_path / f"{number}.json", tmp_path / f"runs-{number}"
        path.write_text(json.dumps(mutant).replace("NaN", "null").replace("Infinity", "null"))
        options = TrainOptions(path, Path("demo"), save_dir=runs, pretransform_ckpt_path=weights, accelerator="cpu")
        options.batch_size, options.num_workers, options.max_steps = 2, 0, 1
        try:
            train(options, HostBuilders())
        except UserError as error:
            refused += 1
            assert "\n" not in str(error), what
            assert not list(runs.glob("*")), what
    assert refused > 10
