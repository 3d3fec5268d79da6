"""Training runs from two JSON files: what lies in the run folder, how a run goes on, and what is refused."""

from __future__ import annotations

import csv
import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import soundfile
import torch
from host_test_configs import ABSENT, RATE, AtStart, changed, model_config, same, sgd, train_watched
from stable_audio_tools.models import create_model_from_config
from stable_audio_tools.models.utils import load_ckpt_state_dict

from ear_sat import compute
from ear_sat.cli import errors, train
from ear_sat.training.run.earlier_runs import MEANINGS

SCRIPT = Path(__file__).parents[2] / "scripts" / "train.py"
#: Both activations of a residual unit are one module under two names.
SHARED = re.compile(r"\.layers\.2\.(alpha|beta)$")
DATA = {"dataset_type": "ear_demo", "tracks": 2, "seconds": 2.0, "crops_per_track": 4}


def run_config():
    """Two phases with a warm-up, moving average, validation and demos."""
    config = model_config()
    config["training"].update(
        use_ema=True,
        phases=[
            {"name": "warm-up", "steps": 2, "adversarial": False, "lr_warmup_steps": 2},
            {"name": "train", "steps": 8, "lr_milestones": [3]},
        ],
        eval_loss_configs={"stft_distance": {}, "si_sdr_db": {}},
        demo={"demo_every": 3, "max_demos": 1},
    )
    return config


def write(folder, config=None, data=None):
    (folder / "tiny.json").write_text(json.dumps(config or run_config()), encoding="utf-8")
    (folder / "data.json").write_text(json.dumps(data or DATA), encoding="utf-8")


def flags(folder, *more, name="run"):
    inputs = ["--model-config", f"{folder / 'tiny.json'}", "--dataset-config", f"{folder / 'data.json'}"]
    common = ["--save-dir", f"{folder / 'runs'}", "--batch-size", "2", "--num-workers", "0", "--accelerator", "cpu"]
    return [*inputs, *common, "--name", name, *more]


def resume_flags(run, *more):
    return ["--resume", str(run), "--batch-size", "2", "--num-workers", "0", "--accelerator", "cpu", *more]


def call(*arguments):
    """The script's exit code, in this process."""
    return errors.run(lambda: train.main([str(argument) for argument in arguments]))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of 4 rounds out of 10, with checkpoints at 2 and 4."""
    folder = tmp_path_factory.mktemp("trained")
    write(folder)
    assert call(*flags(folder, "--max-steps", 4, "--checkpoint-every", 2)) == 0
    return folder / "runs" / "run"


@pytest.fixture
def run(trained, tmp_path):
    """A copy of it; hard links stay links."""
    subprocess.run(["cp", "-a", str(trained), str(tmp_path / "run")], check=True)
    return tmp_path / "run"


def load(path):
    return torch.load(path, map_location="cpu", weights_only=True)


def rows(run):
    """Those of rounds; the held-out clip is measured before the first one, too."""
    with (run / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["step"] != "0"]


def plain_only(value):
    if isinstance(value, dict):
        return all(type(key) in (str, int) and plain_only(item) for key, item in value.items())
    if isinstance(value, list):
        return all(map(plain_only, value))
    return value is None or type(value) in (torch.Tensor, str, int, float, bool)


@pytest.mark.slow
def test_the_script_trains_and_leaves_a_complete_folder(folder):
    validation = ["--val-every", "2", "--checkpoint-every", "2", "--max-steps", "4"]
    command = [sys.executable, str(SCRIPT), *flags(folder, *validation)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    run = folder / "runs" / "run"
    assert sorted(path.name for path in run.iterdir()) == [
        "checkpoints",
        "curves.png",
        "dataset_config.json",
        "demos",
        "export",
        "metrics.csv",
        "model_config.json",
        "versions.json",
    ]
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == [
        "best.ckpt",
        "last.ckpt",
        "step-2.ckpt",
        "step-4.ckpt",
    ]
    assert sorted(path.name for path in (run / "export").iterdir()) == [
        "model.ckpt",
        "model.safetensors",
        "model_config.json",
    ]
    assert json.loads((run / "model_config.json").read_text(encoding="utf-8")) == run_config()
    assert json.loads((run / "dataset_config.json").read_text(encoding="utf-8")) == DATA
    assert (run / "export" / "model_config.json").read_text(encoding="utf-8") == (run / "model_config.json").read_text(
        encoding="utf-8"
    )
    assert sorted(path.name for path in (run / "demos").iterdir()) == ["step-1", "step-3", "step-4"]
    for step in ("step-1", "step-3", "step-4"):
        clips = {path.name: path for path in (run / "demos" / step).iterdir()}
        assert clips.keys() == {"clip-0.target.wav", "clip-0.estimate.wav", "clip-0.png"}
        for kind in ("target", "estimate"):
            audio, rate = soundfile.read(clips[f"clip-0.{kind}.wav"])
            assert (audio.shape, rate) == ((6 * RATE, 2), RATE)  # the held-out clip of the table
    table = rows(run)
    assert [int(row["step"]) for row in table if row["train/loss/total"]] == [1, 2, 3, 4]
    assert [int(row["step"]) for row in table if row["val/stft_distance"]] == [2, 4]
    assert "Before and after" in done.stdout and "4 rounds" in done.stdout
    assert "Traceback" not in done.stderr
    leftovers = {path.name for path in folder.iterdir()} - {"tiny.json", "data.json", "runs"}
    assert not leftovers


def test_the_exported_model_loads_strictly_in_the_host(trained):
    average = "autoencoder_ema.ema_model."
    stored = load(trained / "checkpoints" / "last.ckpt")["state_dict"]
    expected = {key.removeprefix(average): value for key, value in stored.items() if key.startswith(average)}
    config = json.loads((trained / "export" / "model_config.json").read_text(encoding="utf-8"))
    for name in ("model.ckpt", "model.safetensors"):
        model = create_model_from_config(config)
        state = load_ckpt_state_dict(str(trained / "export" / name))
        model.load_state_dict(state, strict=True)
        assert state.keys() == expected.keys()
        assert all(torch.equal(state[key], expected[key]) for key in expected)


def test_checkpoints_hold_plain_values_and_say_what_they_are(trained):
    checkpoint = load(trained / "checkpoints" / "last.ckpt")
    assert plain_only(checkpoint)
    assert checkpoint["ear_sat"] == {"rounds": 4, "bad_batches": 0, "seed": 42}
    assert checkpoint["model_config"] == run_config()
    assert (trained / "checkpoints" / "last.ckpt").samefile(trained / "checkpoints" / "step-4.ckpt")


def test_the_log_says_where_the_phases_are(trained):
    table = rows(trained)
    assert [float(row["train/phase"]) for row in table] == [0, 0, 1, 1]
    assert [float(row["train/lr/generator"]) for row in table] == pytest.approx([5e-4, 1e-3, 1e-3, 1e-3])


def test_resuming_goes_on_where_the_checkpoint_was(run, capsys):
    stored = load(run / "checkpoints" / "last.ckpt")
    start = AtStart()
    train_watched(start, resume=run, checkpoint_every=3)
    assert start.rounds == 4
    assert same(start.state, stored["state_dict"])
    assert any(key.startswith("autoencoder_ema.") for key in start.state)
    assert same(start.optimizers, stored["optimizer_states"])
    assert load(run / "checkpoints" / "last.ckpt")["ear_sat"]["rounds"] == 10  # the phases' end
    table = rows(run)
    assert [int(row["step"]) for row in table] == list(range(1, 11))
    assert [float(row["train/phase"]) for row in table] == [0, 0] + [1] * 8
    assert [float(row["train/lr/generator"]) for row in table][4:] == pytest.approx([1e-3] + [5e-4] * 5)
    assert "10 rounds" in capsys.readouterr().out


def test_a_finished_run_does_no_more_rounds(run):
    before = load(run / "checkpoints" / "last.ckpt")["state_dict"]
    assert call(*resume_flags(run, "--max-steps", 4)) == 0
    after = load(run / "checkpoints" / "last.ckpt")
    assert after["ear_sat"]["rounds"] == 4
    assert all(torch.equal(before[key], after["state_dict"][key]) for key in before)
    assert [int(row["step"]) for row in rows(run)] == [1, 2, 3, 4]


def test_rows_after_the_checkpoint_do_not_appear_twice(run):
    (run / "checkpoints" / "last.ckpt").unlink()
    (run / "checkpoints" / "step-4.ckpt").unlink()
    assert call(*resume_flags(run, "--max-steps", 5)) == 0
    assert [int(row["step"]) for row in rows(run)] == [1, 2, 3, 4, 5]


def test_a_truncated_checkpoint_is_named_and_the_one_before_used(run, caplog):
    newest = run / "checkpoints" / "step-4.ckpt"  # last.ckpt is the same file
    with newest.open("rb+") as file:
        file.truncate(newest.stat().st_size // 2)
    assert call(*resume_flags(run, "--max-steps", 3)) == 0
    assert "step-4.ckpt is truncated: using step-2.ckpt" in caplog.text
    assert load(run / "checkpoints" / "last.ckpt")["ear_sat"]["rounds"] == 3
    assert [int(row["step"]) for row in rows(run)] == [1, 2, 3]


def test_a_run_from_before_the_filter_keeps_its_gain_on_the_bins(run, caplog):
    versions = json.loads((run / "versions.json").read_text())
    assert versions.items() >= MEANINGS.items()
    (run / "versions.json").write_text(json.dumps({k: v for k, v in versions.items() if k not in MEANINGS}))

    def modes():
        losses = json.loads((run / "model_config.json").read_text())["training"]["loss_configs"].values()
        return {e.get("config", {}).get("weighting_mode") for e in losses if e["type"] == "ear_magnitude"}

    assert modes() <= {None, "prefilter"}
    assert call(*resume_flags(run, "--max-steps", 5)) == 0
    (notice,) = [r.getMessage() for r in caplog.records if "began when weighting_mode" in r.getMessage()]
    assert 'keeps "gain"; give --model-config to train on with another' in notice
    assert modes() == {"gain"}
    assert (run / "model_config.until-4.json").is_file()
    caplog.clear()
    assert call(*resume_flags(run, "--max-steps", 6)) == 0  # the config says it now
    assert modes() == {"gain"} and "began when" not in caplog.text


def test_a_run_without_readable_checkpoint_says_so(run, capsys):
    for file in (run / "checkpoints").iterdir():
        file.write_bytes(b"PK")
    assert call(*resume_flags(run)) == 1
    assert "no readable checkpoint" in one_line(capsys)


def one_line(capsys):
    """What went to stderr, which must be one line that begins with "error:"."""
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(lines) == 1, lines
    return lines[0]


@pytest.mark.slow
def test_a_killed_run_resumes(folder):
    config = run_config()
    config["training"]["phases"][1]["steps"] = 100000
    write(folder, config)
    command = [sys.executable, str(SCRIPT), *flags(folder, "--checkpoint-every", "2")]
    run = folder / "runs" / "run"
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
        try:
            end = time.monotonic() + 300
            while not (run / "checkpoints" / "step-6.ckpt").exists():
                assert process.poll() is None and time.monotonic() < end, (folder / "log").read_text(encoding="utf-8")
                time.sleep(0.05)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
    reached = max(int(path.stem.split("-")[1]) for path in (run / "checkpoints").glob("step-*.ckpt"))
    assert call(*resume_flags(run, "--max-steps", reached + 2, "--checkpoint-every", 100)) == 0
    assert load(run / "checkpoints" / "last.ckpt")["ear_sat"]["rounds"] == reached + 2
    assert [int(row["step"]) for row in rows(run)] == list(range(1, reached + 3))
    assert not [path for path in run.rglob("*") if path.name.endswith(".tmp") or path.name.startswith(".")]


def test_a_full_disk_is_said_and_the_old_checkpoint_kept(run, monkeypatch, capsys):
    last = run / "checkpoints" / "last.ckpt"
    before = last.read_bytes()

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(torch, "save", full)
    assert call(*resume_flags(run, "--checkpoint-every", 6)) == 1
    message = one_line(capsys)
    assert "step-6.ckpt" in message and "free some space and resume with --resume" in message
    assert last.read_bytes() == before
    assert load(last)["ear_sat"]["rounds"] == 4
    names = sorted(path.name for path in (run / "checkpoints").iterdir())
    assert names == ["last.ckpt", "step-2.ckpt", "step-4.ckpt"]


def test_a_used_name_is_refused(run, capsys, monkeypatch):
    monkeypatch.chdir(run.parent)
    write(run.parent)
    used = ["--save-dir", str(run.parent), "--name", "run"]
    assert call(*flags(run.parent), *used) == 1
    assert re.search(r"exists already; pick another --name or continue it with --resume", one_line(capsys))


def test_step_checkpoints_are_kept_as_asked(folder):
    assert call(*flags(folder, "--max-steps", 4, "--checkpoint-every", 1, "--save-top-k", 2)) == 0
    names = sorted(path.name for path in (folder / "runs" / "run" / "checkpoints").iterdir())
    assert names == ["last.ckpt", "step-3.ckpt", "step-4.ckpt"]


def test_a_round_accumulates_is_clipped_and_is_what_validation_counts(folder):
    """Steps of SGD at rate 1 are gradients, so a round moves each player's weights by the limit at most."""
    config = changed(run_config(), "training.phases", ABSENT)
    for player in ("autoencoder", "discriminator"):
        config = changed(config, f"training.optimizer_configs.{player}", sgd())
    write(folder, changed(config, "training.use_ema", False))
    limit, more = 0.5, ["--accum-batches", "2", "--gradient-clip-val", "0.5", "--val-every", "2"]
    assert call(*flags(folder, "--max-steps", 4, "--checkpoint-every", 1, *more)) == 0
    run = folder / "runs" / "run"
    table = rows(run)
    assert [int(row["step"]) for row in table if row["train/loss/total"]] == [1, 2, 3, 4]
    assert [int(row["step"]) for row in table if row["val/stft_distance"]] == [2, 4]
    for player, prefix in (("generator", "autoencoder."), ("discriminator", "discriminator.")):
        norms = [float(row[f"train/grad_norm/{player}"]) for row in table if row["train/loss/total"]]
        states = [load(run / "checkpoints" / f"step-{n}.ckpt")["state_dict"] for n in (1, 2, 3, 4)]
        names = [key for key in states[0] if key.startswith(prefix) and not SHARED.search(key)]
        for before, after, norm in zip(states[:-1], states[1:], norms[1:], strict=True):
            moved = torch.stack([(after[name] - before[name]).norm() for name in names]).norm().item()
            assert moved == pytest.approx(min(limit, norm), rel=1e-2)
        assert max(norms[1:]) > limit
    (order,) = (v for v in load(run / "checkpoints" / "last.ckpt")["callbacks"].values() if "used" in v)
    assert order["epoch"] * order["items"] + order["used"] == 4 * 2 * 2  # rounds × batches × clips


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("training.use_emma", True, "did you mean 'use_ema'"),
        ("training.loss_configs.magnitude.config.weighting", "kk", "did you mean 'k'"),
        ("training.optimizer_configs.autoencoder.optimizer.type", "AdamWW", "did you mean 'AdamW'"),
        ("training.phases", [{"name": "a", "stps": 1}], "did you mean 'steps'"),
        ("training.eval_loss_configs", {"icp": {}}, "did you mean 'icpc'"),
        ("training.demo", {"demo_evry": 1}, "did you mean 'demo_every'"),
        ("training", ABSENT, 'the model config needs "training"'),
        ("sample_rate", ABSENT, '"sample_rate"'),
        (
            "sample_size",
            "4096",
            "sample_size must be a whole number of samples of at least 1 and at most 134217728, not '4096'",
        ),
        ("model_type", "autoencodr", "Unknown model type: autoencodr"),
        ("model", ABSENT, 'the model config needs "model"'),
        ("model.encoder.type", "ear_encodr", "did you mean 'ear_encoder'"),
    ],
)
def test_a_wrong_config_is_one_line_and_leaves_no_folder(folder, capsys, path, value, message):
    write(folder, changed(run_config(), path, value))
    assert call(*flags(folder)) == 1
    assert message in one_line(capsys)
    assert not (folder / "runs").exists()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"dataset_type": "ear_dmo"}, "did you mean 'ear_demo'"),
        ({"dataset_type": "ear_demo", "track": 2}, "did you mean 'tracks'"),
        ({}, "Dataset type must be specified"),
        ({"dataset_type": "audio_dirs"}, "did you mean 'audio_dir'"),
        ({"dataset_type": "audio_dir"}, '"datasets" of the dataset config must be a list of at least one'),
        ({"dataset_type": "ear_audio", "datasets": [{"id": "x", "path": "/no/such/folder"}]}, "/no/such/folder"),
    ],
)
def test_a_wrong_dataset_config_is_one_line_and_leaves_no_folder(folder, capsys, data, message):
    (folder / "data.json").write_text(json.dumps(data), encoding="utf-8")
    assert call(*flags(folder)) == 1
    assert message in one_line(capsys)
    assert not (folder / "runs").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--strategy", "deepspeed_stage_2"], "use --strategy ddp"),
        (["--strategy", "ddp_spawn"], "ends its processes before the run can be exported"),
        (["--strategy", "fsdp"], "--strategy fsdp shards one network with one optimizer"),
        (["--strategy", "dpp"], "Lightning refuses"),
        (["--precision", "17"], "Lightning refuses"),
        (["--precision", "bf16-true"], "would round weights and losses; use bf16-mixed"),
        (["--devices", "two"], "devices"),
        (["--accelerator", "gpu"], "Lightning refuses"),
        (["--pretrained-ckpt-path", "none.ckpt"], "no such file: none.ckpt"),
        (["--ckpt-path", "none.ckpt"], "no such checkpoint: none.ckpt"),
        (["--ckpt-path", "tiny.json"], "truncated or not a checkpoint"),
        (["--val-dataset-config", "wrong.json"], "did you mean 'tracks'"),
        (["--val-dataset-config", "none.json"], "no such file: none.json"),
        (["--model-config", "none.json"], "no such file: none.json"),
        (["--dataset-config", "none.json"], "no such file: none.json"),
        (["--resume", "nothing"], "nothing"),
        (["--name", "a/b"], "cannot name a folder"),
        (["--logger", "comet"], "needs the package comet_ml"),
        (["--pretransform-ckpt-path", "x.ckpt"], "has no pretransform"),
    ],
)
def test_flags_that_cannot_work_are_one_line_and_leave_no_folder(folder, capsys, more, message):
    if "gpu" in more and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    (folder / "wrong.json").write_text(json.dumps({"dataset_type": "ear_demo", "track": 2}), encoding="utf-8")
    assert call(*flags(folder), *more) == 1
    assert message in one_line(capsys)
    assert not list(folder.glob("runs/*"))


def test_bf16_by_software_is_told(folder, monkeypatch, caplog):
    monkeypatch.setattr(compute, "cpu_computes_bf16", lambda: False)
    compute.warn_of_slow_bf16.cache_clear()
    try:
        assert call(*flags(folder, "--max-steps", 1, "--precision", "bf16-mixed")) == 0
    finally:
        compute.warn_of_slow_bf16.cache_clear()
    assert "this CPU computes bfloat16 by software" in caplog.text


def test_configs_are_asked_for(capsys):
    assert call("--name", "x") == 1
    assert "--model-config is missing" in one_line(capsys)


def test_a_broken_json_says_where(folder, capsys):
    (folder / "tiny.json").write_text('{"model_type": }', encoding="utf-8")
    assert call(*flags(folder)) == 1
    assert "line 1, column 16" in one_line(capsys)


def test_weights_to_start_from_must_fit(trained, folder, capsys):
    export = trained / "export" / "model.ckpt"
    assert call(*flags(folder, "--max-steps", 1, "--pretrained-ckpt-path", export)) == 0
    write(folder, changed(run_config(), "model.decoder.config.transformer", ABSENT))
    capsys.readouterr()
    assert call(*flags(folder, "--pretrained-ckpt-path", export, name="other")) == 1
    assert re.search(r"unexpected \(decoder\.transformers.* use the model config it was made with", one_line(capsys))
    assert not (folder / "runs" / "other").exists()


def test_a_new_folder_goes_on_from_a_checkpoint(trained, folder):
    assert call(*flags(folder, "--max-steps", 5, "--ckpt-path", trained / "checkpoints" / "last.ckpt")) == 0
    run = folder / "runs" / "run"
    assert [int(row["step"]) for row in rows(run)] == [5]
    assert load(run / "checkpoints" / "last.ckpt")["ear_sat"]["rounds"] == 5


@pytest.mark.parametrize("of_the_run", [True, False])
def test_a_state_of_another_model_is_refused(run, capsys, of_the_run):
    config = changed(run_config(), "model.decoder.config.transformer", ABSENT)
    write(run.parent, config)
    written = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    more = ["--model-config", run.parent / "tiny.json"]
    if of_the_run:
        assert call(*resume_flags(run, *more)) == 1
    else:
        state = run / "checkpoints" / "step-2.ckpt"
        assert call(*flags(run.parent, *more, "--ckpt-path", state, name="other")) == 1
    message = one_line(capsys)
    assert "is of another model: " in message and "unexpected (autoencoder.decoder.transformer" in message
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == written
    assert not list(run.parent.glob("runs/*"))


def test_weights_alone_are_no_state_to_go_on_from(trained, folder, capsys):
    assert call(*flags(folder, "--ckpt-path", trained / "export" / "model.ckpt")) == 1
    message = one_line(capsys)
    assert "holds no state of a training; start a new run from it with --pretrained-ckpt-path" in message
    assert not list(folder.glob("runs/*"))


def test_weights_that_the_state_replaces_are_not_read(run, caplog):
    assert call(*resume_flags(run, "--max-steps", 5, "--pretrained-ckpt-path", "absent.ckpt", "--allow-partial")) == 0
    assert "absent.ckpt is not read: all weights come from --resume" in caplog.text


def test_resuming_takes_its_own_checkpoint(run, capsys):
    assert call(*resume_flags(run, "--ckpt-path", run / "checkpoints" / "step-2.ckpt")) == 1
    assert "--resume goes on from the run's newest checkpoint" in one_line(capsys)


def test_the_folder_keeps_every_config_the_run_had(run):
    first = (run / "dataset_config.json").read_text(encoding="utf-8")
    model = (run / "model_config.json").read_text(encoding="utf-8")
    second = {**DATA, "seed": 7}
    write(run.parent, data=second)
    other = ["--dataset-config", run.parent / "data.json"]
    assert call(*resume_flags(run, "--precision", "17", *other)) == 1
    assert (run / "dataset_config.json").read_text(encoding="utf-8") == first
    # The second call stands for a run that was killed before its next checkpoint.
    assert call(*resume_flags(run, "--max-steps", 4, *other)) == 0
    assert call(*resume_flags(run, "--max-steps", 4, *other)) == 0
    assert json.loads((run / "dataset_config.json").read_text(encoding="utf-8")) == second
    assert (run / "dataset_config.until-4.json").read_text(encoding="utf-8") == first
    assert (run / "model_config.json").read_text(encoding="utf-8") == model
    assert not list(run.glob("model_config.until-*"))
    assert call(*resume_flags(run, "--max-steps", 5)) == 0
    assert json.loads((run / "dataset_config.json").read_text(encoding="utf-8")) == second


def test_two_runs_with_one_seed_end_alike(folder, trained):
    assert call(*flags(folder, "--max-steps", 4, "--checkpoint-every", 2)) == 0
    one = load(trained / "checkpoints" / "last.ckpt")["state_dict"]
    other = load(folder / "runs" / "run" / "checkpoints" / "last.ckpt")["state_dict"]
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("accumulated", [1, 2])
def test_a_resumed_run_ends_where_an_undisturbed_one_does(folder, accumulated):
    """Bit for bit, with a bottleneck that draws and a run's seed of its own.

    Demos, which draw too, are no part of it, neither in the round in which the run stopped nor elsewhere.
    """
    config = changed(run_config(), "training.latent_mask_ratio", 0.1)
    config = changed(config, "model.bottleneck.config.sample", "always")
    write(folder, config)
    more = ("--accum-batches", accumulated, "--checkpoint-every", 4)
    assert call(*flags(folder, "--seed", 5, "--max-steps", 8, *more, name="whole")) == 0
    config["training"]["demo"]["demo_every"] = 2
    write(folder, config)
    assert call(*flags(folder, "--seed", 5, "--max-steps", 4, *more, name="parts")) == 0
    assert call(*resume_flags(folder / "runs" / "parts", "--max-steps", 8, *more)) == 0
    whole, parts = (load(folder / "runs" / name / "checkpoints" / "last.ckpt") for name in ("whole", "parts"))
    for key in ("state_dict", "optimizer_states", "ear_sat"):
        assert same(whole[key], parts[key]), key
    assert whole["ear_sat"] == {"rounds": 8, "bad_batches": 0, "seed": 5}


def test_another_seed_draws_other_noise(run, folder):
    states = []
    for seed in ([], ["--seed", 1]):
        copy = folder / f"run{len(seed)}"
        subprocess.run(["cp", "-a", str(run), str(copy)], check=True)
        assert call(*resume_flags(copy, "--max-steps", 5, *seed)) == 0
        states.append(load(copy / "checkpoints" / "last.ckpt")["state_dict"])
    assert not same(*states)


def test_bad_batches_stop_the_script_with_one_line(run, monkeypatch, capsys):
    """NaN in every clip of the demo set."""
    from ear_sat.data.demo import DemoDataset

    original = DemoDataset.__getitem__

    def spoiled(self, index):
        audio, info = original(self, index)
        return audio * float("nan"), info

    monkeypatch.setattr(DemoDataset, "__getitem__", spoiled)
    config = changed(run_config(), "training.max_bad_batches", 3)
    (run / "model_config.json").write_text(json.dumps(config), encoding="utf-8")
    before = (run / "checkpoints" / "last.ckpt").read_bytes()
    assert call(*resume_flags(run)) == 1
    assert "3 batches in a row were not finite, first bad: input/peak" in one_line(capsys)
    assert (run / "checkpoints" / "last.ckpt").read_bytes() == before
