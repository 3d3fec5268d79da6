"""What a config needs of a model hub or of a file and does not get is one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from host_test_ldm import ldm_config

from ear_sat.cli import errors, train


def test_a_text_encoder_that_cannot_be_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    config = ldm_config()
    text = {"id": "prompt", "type": "t5", "config": {"t5_model_name": "t5-base", "max_length": 8}}
    config["model"]["conditioning"] = {"configs": [text], "cond_dim": 768}
    Path("model.json").write_text(json.dumps(config), encoding="utf-8")
    Path("data.json").write_text(json.dumps({"dataset_type": "ear_demo", "tracks": 1, "seconds": 1.0}), "utf-8")
    flags = ["--model-config", "model.json", "--dataset-config", "data.json", "--accelerator", "cpu"]
    assert errors.run(lambda: train.main(flags)) == 1
    err = capsys.readouterr().err
    (sentence,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert sentence.startswith(
        "error: the host cannot build this model config: a part of it, such as a text encoder, is"
    )
    assert "huggingface.co" in sentence and "HF_HOME" in sentence and "Traceback" not in err
    assert not Path("runs").exists()
