"""``ear-sat run``, ``config`` and ``balance``; the released configs."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import soundfile
import torch
from host_test_configs import ABSENT, RATE, audio, batches, changed, fit, make_wrapper, model_config
from stable_audio_tools.models import create_model_from_config
from stable_audio_tools.models.utils import load_ckpt_state_dict
from torch import nn

from ear_sat.cli.config import differences
from ear_sat.cli.main import main
from ear_sat.data import create_dataset
from ear_sat.json_file import load_json
from ear_sat.models import Autoencoder
from ear_sat.training.factory import create_wrapper
from ear_sat.training.run.checkpoint_io import AtomicCheckpointIO

ROOT = Path(__file__).parents[2]
MODELS = sorted((ROOT / "model_configs").glob("ear_vae*.json"))
DATASETS = sorted((ROOT / "dataset_configs").glob("*.json"))

#: What the host's own script does, which is not in its wheel.
UNWRAP = """
import argparse
import json
import sys

import torch

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--model-config")
    parser.add_argument("--ckpt-path")
    parser.add_argument("--name")
    parser.add_argument("--use-safetensors", action="store_true")
    args = parser.parse_args()
    with open(args.model_config) as f:
        model_config = json.load(f)
    from stable_audio_tools.models import create_model_from_config
    model = create_model_from_config(model_config)
    if model_config["model_type"] == "autoencoder":
        from stable_audio_tools.training.autoencoders import AutoencoderTrainingWrapper
        ema_copy = None
        training = model_config["training"]
        if training.get("use_ema", False):
            from stable_audio_tools.models.factory import create_model_from_config
            ema_copy = create_model_from_config(model_config)
            ema_copy = create_model_from_config(model_config)
            for name, param in model.state_dict().items():
                if isinstance(param, torch.nn.Parameter):
                    param = param.data
                ema_copy.state_dict()[name].copy_(param)
        training_wrapper = AutoencoderTrainingWrapper.load_from_checkpoint(
            args.ckpt_path,
            autoencoder=model,
            strict=False,
            loss_config=training["loss_configs"],
            use_ema=training.get("use_ema", False),
            ema_copy=ema_copy,
        )
    ending = "safetensors" if args.use_safetensors else "ckpt"
    training_wrapper.export_model(f"{args.name}.{ending}", args.use_safetensors)
    print(json.dumps([sys.argv, __name__, __file__]))
"""


@pytest.fixture
def as_script(monkeypatch, tmp_path):
    """Undoes what running a script in this process changes."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("EAR_SAT_RUN_SCRIPT", "")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("use_ema", [True, False])
@pytest.mark.parametrize("safetensors", [True, False])
def test_the_hosts_unwrap_script_exports_our_checkpoint(as_script, capsys, use_ema, safetensors):
    config = changed(model_config(), "training.use_ema", use_ema)
    (as_script / "model.json").write_text(json.dumps(config), encoding="utf-8")
    (as_script / "unwrap_model.py").write_text(UNWRAP, encoding="utf-8")
    wrapper = make_wrapper(config)
    trainer = fit(wrapper, batches(3), plugins=[AtomicCheckpointIO()])
    trainer.save_checkpoint("last.ckpt")
    arguments = ["--model-config", "model.json", "--ckpt-path", "last.ckpt", "--name", "out"]
    arguments += ["--use-safetensors"] if safetensors else []
    assert main(["run", "unwrap_model.py", *arguments]) == 0
    script = str(as_script / "unwrap_model.py")
    seen = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert seen == [[script, *arguments], "__main__", script]
    state = load_ckpt_state_dict(f"out.{'safetensors' if safetensors else 'ckpt'}")
    create_model_from_config(config).load_state_dict(state, strict=True)
    expected = (wrapper.autoencoder_ema.ema_model if use_ema else wrapper.autoencoder).state_dict()
    assert all(torch.equal(state[key], expected[key]) for key in expected)


def test_a_scripts_exit_code_and_imports_are_its_own(as_script):
    (as_script / "neighbour.py").write_text("CODE = 3\n", encoding="utf-8")
    (as_script / "leaves.py").write_text("import sys, neighbour\nsys.exit(neighbour.CODE)\n", encoding="utf-8")
    with pytest.raises(SystemExit) as left:
        main(["run", "leaves.py"])
    assert left.value.code == 3
    sys.modules.pop("neighbour", None)


def test_a_missing_script_is_one_line(capsys, tmp_path):
    assert main(["run", str(tmp_path / "nothing.py")]) == 1
    error = capsys.readouterr().err
    assert error == f"error: no such script: {tmp_path / 'nothing.py'}; give the path of a Python file\n"


def test_an_unknown_command_is_an_error(capsys):
    with pytest.raises(SystemExit) as left:
        main(["blance"])
    assert left.value.code == 2 and "blance" in capsys.readouterr().err


@pytest.fixture
def base(tmp_path):
    (tmp_path / "base.json").write_text(json.dumps(model_config()), encoding="utf-8")
    return tmp_path / "base.json"


def test_config_sets_and_removes(base, tmp_path):
    out = tmp_path / "variant.json"
    changes = [
        "--set",
        'training.loss_configs.magnitude.config.weighting="a"',
        "--set",
        "model.encoder.config.strides.0=2",
    ]
    changes += ["--set", "training.update=alternate", "--unset", "training.loss_configs.time"]
    assert main(["config", str(base), *changes, "--out", str(out)]) == 0
    found = {path for path, _, _ in differences(model_config(), load_json(out))}
    assert found == {
        "training.loss_configs.magnitude.config.weighting",
        "model.encoder.config.strides",
        "training.update",
        "training.loss_configs.time",
    }
    assert load_json(out)["training"]["update"] == "alternate"
    assert load_json(base) == model_config()


def test_config_prints_and_compares(base, tmp_path, capsys):
    assert main(["config", str(base)]) == 0
    assert json.loads(capsys.readouterr().out) == model_config()
    other = tmp_path / "other.json"
    other.write_text(json.dumps(changed(model_config(), "training.log_every", 7)), encoding="utf-8")
    assert main(["config", str(base), "--diff", str(other)]) == 0
    assert capsys.readouterr().out == "training.log_every: 1 → 7\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "training.update"], "--set takes PATH=JSON"),
        (["--set", "trainin.update=1"], "did you mean 'training'"),
        (["--set", "sample_rate.x=1"], "'sample_rate' is a value"),
        (["--set", "model.encoder.config.strides.9=1"], "'9' is not an index of a list of 2"),
        (["--unset", "training.updat"], "unknown key 'updat'"),
        (["--diff", "none.json"], "no such file"),
        (["--out", "{base}"], "exists already"),
    ],
)
def test_config_errors(base, arguments, message, capsys):
    assert main(["config", str(base), *(a.format(base=base) for a in arguments)]) == 1
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) == 1


@pytest.fixture
def pairs(tmp_path):
    for folder, noise in (("reference", 0.0), ("estimate", 0.05)):
        (tmp_path / folder).mkdir()
        for i in range(2):
            clip = audio(1, size=8000, seed=i)[0]
            clip = clip + noise * torch.randn(clip.shape, generator=torch.Generator().manual_seed(i))
            soundfile.write(tmp_path / folder / f"{i}.wav", clip.T.numpy(), RATE, subtype="FLOAT")
    return tmp_path


def balance_rows(out):
    """Term → the numbers of its row, of the first pair."""
    rows = [line.split() for line in out.split("Mean over pairs")[0].splitlines() if "/" in line or "total" in line]
    return {" ".join(row[:-4]): [float(x) for x in row[-4:]] for row in reversed(rows) if len(row) > 4}


def test_balance_shows_every_term_of_every_pair(base, pairs, capsys):
    folders = ["--reference", str(pairs / "reference"), "--estimate", str(pairs / "estimate")]
    assert main(["balance", "--model-config", str(base), *folders]) == 0
    out = capsys.readouterr().out
    terms = ["magnitude/log", "magnitude/convergence", "correlation/correlation", "phase_derivative/if", "time/l1"]
    terms += ["discriminator/adversarial (fresh)", "discriminator/feature_matching (fresh)"]
    for term in (*terms, "total"):
        assert out.count(term) == 3  # two pairs and the mean
    rows = balance_rows(out)
    assert sum(row[3] for term, row in rows.items() if term != "total") == pytest.approx(100, abs=0.2)
    assert all(rows[term][2] > 0 for term in terms)


def test_balance_shows_a_trained_discriminator_beside_a_fresh_one(base, pairs, capsys):
    wrapper = make_wrapper(model_config(), seed=9)
    state = wrapper.state_dict()
    last = max(key for key in state if key.startswith("discriminator.") and "conv_post" in key and key.endswith("bias"))
    state[last] = torch.full_like(state[last], 3.0)
    torch.save({"state_dict": state}, pairs / "training.ckpt")
    files = ["--reference", str(pairs / "reference/0.wav"), "--estimate", str(pairs / "estimate/0.wav")]
    assert main(["balance", "--model-config", str(base), *files, "--checkpoint", str(pairs / "training.ckpt")]) == 0
    rows = balance_rows(capsys.readouterr().out)
    fresh, trained = (rows[f"discriminator/adversarial ({state})"] for state in ("fresh", "trained"))
    assert trained[0] > fresh[0] + 0.3  # its logits are larger by 3 at one of the resolutions
    assert fresh[3] == 0 and trained[3] > 0
    assert sum(row[3] for term, row in rows.items() if term != "total") == pytest.approx(100, abs=0.2)


def test_balance_shows_each_member_of_a_combined_discriminator(base, pairs, capsys):
    entry = model_config()["training"]["loss_configs"]["discriminator"]
    members = [
        {"type": "ear_mrstft", "config": {**entry["config"], "loss": loss}} for loss in ("hinge", "relativistic")
    ]
    config = {"discriminators": [{**members[0], "weight": 2.0}, members[1]]}
    changes = {**entry, "type": "combined", "config": config}
    base.write_text(
        json.dumps(changed(model_config(), "training.loss_configs.discriminator", changes)), encoding="utf-8"
    )
    files = ["--reference", str(pairs / "reference/0.wav"), "--estimate", str(pairs / "estimate/0.wav")]
    assert main(["balance", "--model-config", str(base), *files]) == 0
    rows = balance_rows(capsys.readouterr().out)
    for name, weight in (("ear_mrstft", 2.0), ("ear_mrstft_2", 1.0)):
        value, weighted, pull, _ = rows[f"discriminator/{name}/feature_matching (fresh)"]
        assert weighted == pytest.approx(5 * weight * value, rel=0.01) and pull > 0
    assert sum(row[3] for term, row in rows.items() if term != "total") == pytest.approx(100, abs=0.2)


def test_balance_refuses_a_checkpoint_without_discriminator(base, pairs, capsys):
    torch.save(make_wrapper(model_config()).autoencoder.state_dict(), pairs / "model.ckpt")
    files = ["--reference", str(pairs / "reference/0.wav"), "--estimate", str(pairs / "estimate/0.wav")]
    command = ["balance", "--model-config", str(base), *files, "--checkpoint", str(pairs / "model.ckpt")]
    assert main(command) == 1
    assert "holds no discriminator; give a checkpoint of a training" in capsys.readouterr().err
    config = changed(model_config(), "training.loss_configs.discriminator", ABSENT)
    base.write_text(json.dumps(config), encoding="utf-8")
    assert main(command) == 1
    assert "this config has none; drop the flag" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("reference", "estimate", "message"),
    [
        ("reference", "nothing", "must both be files or both be folders"),
        ("reference/0.wav", "estimate", "must both be files or both be folders"),
        ("reference", "empty", "estimate"),
        ("base.json", "estimate/0.wav", "cannot read"),
    ],
)
def test_balance_errors(base, pairs, capsys, reference, estimate, message):
    (pairs / "empty").mkdir()
    files = ["--reference", str(pairs / reference), "--estimate", str(pairs / estimate)]
    assert main(["balance", "--model-config", str(base), *files]) == 1
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) == 1


def test_balance_needs_losses(tmp_path, pairs, capsys):
    (tmp_path / "empty.json").write_text("{}", encoding="utf-8")
    files = ["--reference", str(pairs / "reference"), "--estimate", str(pairs / "estimate")]
    assert main(["balance", "--model-config", str(tmp_path / "empty.json"), *files]) == 1
    assert "no training.loss_configs" in capsys.readouterr().err


class StandIn(nn.Module):
    """As much of an autoencoder as building a wrapper asks for."""

    def __init__(self, channels, sample_rate):
        super().__init__()
        self.out_channels, self.sample_rate = channels, sample_rate
        self.weight = nn.Parameter(torch.zeros(1))
        self.bottleneck = Autoencoder.from_config(model_config()).bottleneck


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_released_model_configs_build(path):
    config = load_json(path)
    with torch.device("meta"):
        model = Autoencoder.from_config(config)
    assert config["sample_size"] % model.downsampling_ratio == 0
    with torch.device("meta"):
        latents = model.encode(torch.zeros(1, 2, config["sample_size"]))
        assert latents.shape == (1, model.latent_dim, config["sample_size"] // model.downsampling_ratio)
        assert model.decode(latents).shape == (1, 2, config["sample_size"])


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_released_training_sections_pass_the_checks(path):
    config = load_json(path)
    wrapper = create_wrapper(StandIn(2, config["sample_rate"]), config["sample_rate"], config["training"])
    assert wrapper.schedule.total_steps == sum(phase["steps"] for phase in config["training"]["phases"])
    assert set(wrapper.bundle.entries) - {"side", "waveform"} == {"magnitude", "correlation", "phase_derivative"}
    assert wrapper.bottleneck_weights == {"kl": 1e-6}
    assert "stft_distance" in wrapper.validation.names  # chooses the best checkpoint


#: Paths at which a variant may differ from ear_vae.json.
VARIANTS = {
    "ear_vae_48k": {
        "sample_size",
        "sample_rate",
        "model.encoder.config.strides",
        "model.decoder.config.strides",
        "model.decoder.config.transformer",  # the 48 kHz release has none
        "model.downsampling_ratio",
    },
    "ear_vae_paper": {
        "training.update",
        "training.loss_configs.magnitude.weights.convergence",
        "training.loss_configs.magnitude.config.weighting_floor_db",
        "training.loss_configs.correlation.config.bin_weighting",
        "training.loss_configs.phase_derivative.config.bin_weighting",
        "training.loss_configs.phase_derivative.weights.if",
        "training.loss_configs.phase_derivative.weights.gd",
    },
    "ear_vae_mini": {
        "sample_size",
        "model.encoder.config.channels",
        "model.decoder.config.channels",
        "training.optimizer_configs.autoencoder.optimizer.config.lr",
        "training.optimizer_configs.autoencoder.optimizer.config.betas",
        "training.optimizer_configs.discriminator.optimizer.config.lr",
        "training.optimizer_configs.discriminator.optimizer.config.betas",
        "training.phases",
        "training.loss_configs.discriminator.config.filters",
        "training.demo.demo_every",
        "training.log_every",
        "training.gradient_log_every",
        "training.ema",
    },
    "ear_vae_demo": {
        "sample_size",
        *(
            f"model.{part}.config.{key}"
            for part in ("encoder", "decoder")
            for key in ("channels", "c_mults", "strides", "latent_dim")
        ),
        "model.latent_dim",
        "model.downsampling_ratio",
        *(
            f"training.optimizer_configs.{player}.optimizer.config.{key}"
            for player in ("autoencoder", "discriminator")
            for key in ("lr", "betas")
        ),
        "training.phases",
        *(f"training.loss_configs.magnitude.config.weighting{key}" for key in ("", "_mode", "_floor_db")),
        "training.loss_configs.waveform",  # locks phase sooner, and sees what is below the lowest bins
        "training.loss_configs.side",  # locks the phase of the side, which one of left and right leaves alone so early
        "training.loss_configs.discriminator.config.filters",
        "training.demo.demo_every",
        "training.demo.max_demos",
        "training.log_every",
        "training.gradient_log_every",
        "training.ema",
    },
    "ear_vae_12gb": {
        *(f"model.{part}.config.channels" for part in ("encoder", "decoder")),
        "training.loss_configs.discriminator.config.filters",
        "training.phases",
    },
    "ear_vae_24gb": {"training.phases"},
    "ear_vae_80gb": {"training.phases"},
    "ear_vae_x64": {
        "sample_size",
        *(
            f"model.{part}.config.{key}"
            for part in ("encoder", "decoder")
            for key in ("channels", "c_mults", "strides", "latent_dim", "gradient_checkpointing")
        ),
        "model.decoder.config.transformer",
        "model.latent_dim",
        "model.downsampling_ratio",
        *(
            f"training.optimizer_configs.{player}.optimizer.config.{key}"
            for player in ("autoencoder", "discriminator")
            for key in ("lr", "betas")
        ),
        "training.use_ema",
        "training.phases",
        "training.loss_configs.discriminator.config.filters",
        "training.demo.demo_every",
        "training.demo.max_demos",
        "training.gradient_log_every",
    },
    "ear_vae_finetune": {
        "training.optimizer_configs.autoencoder.optimizer.config.lr",
        "training.optimizer_configs.discriminator.optimizer.config.lr",
        "training.phases",
    },
    "ear_vae_finetune_decoder": {
        "model.encoder.requires_grad",
        "training.optimizer_configs.autoencoder.optimizer.config.lr",
        "training.optimizer_configs.discriminator.optimizer.config.lr",
        "training.phases",
    },
}


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_differ_where_they_say(name):
    folder = ROOT / "model_configs"
    found = differences(load_json(folder / "ear_vae.json"), load_json(folder / f"{name}.json"))
    assert {path for path, _, _ in found} <= VARIANTS[name]


def test_every_variant_is_listed():
    assert {path.stem for path in MODELS} == {"ear_vae", *VARIANTS}


@pytest.mark.parametrize("path", DATASETS, ids=lambda path: path.stem)
def test_released_dataset_configs_load(path, tmp_path):
    config = load_json(path)
    if config["dataset_type"] == "wds":
        assert config["datasets"][0].keys() == {"id", "path"}  # the host's; it reads shards that are not here
        return
    if config["dataset_type"] == "ear_audio":
        for i in range(2):
            soundfile.write(tmp_path / f"{i}.wav", audio(1, size=4 * RATE, seed=i)[0].T.numpy(), RATE)
        config["datasets"][0]["path"] = str(tmp_path)
    dataset = create_dataset(config, 4096, RATE)
    assert len(dataset) > 0
    if config["dataset_type"] == "ear_audio":
        assert dataset[0][0].shape == (2, 4096)
