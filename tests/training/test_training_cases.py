"""Configs that once ended in a traceback or a signal, most of them after the run had begun: one sentence, no folder."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("pytorch_lightning")

from training_test_runs import ROOT

from ear_sat.errors import UserError
from ear_sat.training.run.options import TrainOptions
from ear_sat.training.run.own import OwnBuilders
from ear_sat.training.run.train import train

CASES = ROOT / "tests" / "data" / "cases" / "cfg"
#: File → what the sentence names.
REFUSED = {
    "ac1_only": "audio_channels is 1, and the model's in_channels is 2",
    "betas_one": r"training.optimizer_configs.autoencoder.optimizer.*betas",
    "channels_0": "encoder.config.channels must be a whole number of at least 1, not 0",
    "demo_0": "training.demo.demo_every must be a whole number of rounds of at least 1, not 0",
    "demo_str": "training.demo.demo_every must be a whole number of rounds of at least 1, not '5'",
    "disc_filters_0": "discriminator.config.filters must be a whole number of at least 1, not 0",
    "dupkey": 'the key "magnitude" stands twice in one object',
    "eval_list": "training.eval_loss_configs must be an object",
    "force_mono": "training.force_input_mono .* in_channels must be 1, not 2",
    "lr_0": "optimizer.config.lr must be a number above 0, not 0",
    "model_null": "model must be an object, not None",
    "opt_sparse": "SparseAdam",
    "phase_empty_losses": "no loss with a weight other than 0 trains the generator in the phase 'warm-up'",
    "ss_1": "sample_size is 1, less than one latent frame of 8 samples",
    "training_null": "training must be an object, not None",
    "weights_all_0": "no loss with a weight other than 0 trains the generator in the phase 'warm-up'",
}


def test_every_case_is_here() -> None:
    assert {path.stem for path in CASES.glob("*.json")} == {*REFUSED, "bom"}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_before_the_run_begins(name: str, tmp_path: Path) -> None:
    options = TrainOptions(CASES / f"{name}.json", Path("demo"), save_dir=tmp_path / "runs", num_workers=0)
    with pytest.raises(UserError, match=REFUSED[name]) as refused:
        train(options, OwnBuilders())
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.iterdir())
