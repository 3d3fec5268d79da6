"""Registration reaches every binding, touches nothing else, and the core does without the host."""

from __future__ import annotations

import importlib
import pkgutil
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import stable_audio_tools
import torch
from host_test_configs import Recorder, batches, fit, make_wrapper, model_config
from stable_audio_tools.models import create_model_from_config
from stable_audio_tools.models.autoencoders import create_decoder_from_config, create_encoder_from_config
from stable_audio_tools.models.factory import create_bottleneck_from_config

import ear_sat
from ear_sat import UserError
from ear_sat.host.compat import inverse_lr
from ear_sat.host.register import ORIGINAL, TARGETS, host_modules
from ear_sat.training.wrapper import EarTrainingWrapper

#: Optional packages of the host, and one import that scipy ≥ 1.13 broke.
OPTIONAL = {"x_transformers", "flash_attn", "laion_clap", "kaiser", "gradio", "transformers", "dctorch"}


def import_all_host_modules():
    failed = {}
    for module in pkgutil.walk_packages(stable_audio_tools.__path__, "stable_audio_tools.", onerror=lambda _: None):
        try:
            importlib.import_module(module.name)
        except ImportError as error:
            failed[module.name] = str(error)
    return failed


def originals():
    return {getattr(getattr(sys.modules[f"stable_audio_tools.{m}"], n), ORIGINAL) for m, n in TARGETS}


def unpatched():
    """Bindings of a target's name that are not ours, and of the host's own factories under any name."""
    names, own = {name for _, name in TARGETS}, originals()
    for module in host_modules():
        for name, value in vars(module).items():
            if (name in names and not hasattr(value, ORIGINAL)) or (callable(value) and value in own):
                yield f"{module.__name__}.{name}"


def test_no_host_module_keeps_an_unpatched_binding(monkeypatch):
    failed = import_all_host_modules()
    assert all(any(name in message for name in OPTIONAL) for message in failed.values()), failed
    assert len(host_modules()) > 40
    assert list(unpatched()) == []
    # The other way round: everything imported first, then registered.
    for module in host_modules():
        for name, value in list(vars(module).items()):
            if hasattr(value, ORIGINAL):
                monkeypatch.setattr(module, name, getattr(value, ORIGINAL))
    ear_sat.register()
    assert list(unpatched()) == []


def test_registering_again_changes_nothing():
    before = {(m.__name__, n): id(v) for m in host_modules() for n, v in vars(m).items() if callable(v)}
    ear_sat.register()
    assert {(m.__name__, n): id(v) for m in host_modules() for n, v in vars(m).items() if callable(v)} == before


def test_replacements_keep_name_and_documentation():
    for module, name in TARGETS:
        replaced = getattr(sys.modules[f"stable_audio_tools.{module}"], name)
        original = getattr(replaced, ORIGINAL)
        assert (replaced.__name__, replaced.__module__) == (original.__name__, original.__module__)


def test_the_hosts_own_types_are_untouched():
    oobleck = {"channels": 4, "c_mults": [1, 2], "strides": [2, 4], "latent_dim": 8}
    encoder = create_encoder_from_config({"type": "oobleck", "config": {"in_channels": 2, **oobleck}})
    decoder = create_decoder_from_config({"type": "oobleck", "config": {"out_channels": 2, **oobleck}})
    bottleneck = create_bottleneck_from_config({"type": "vae"})
    modules = {type(part).__module__ for part in (encoder, decoder, bottleneck)}
    assert modules == {"stable_audio_tools.models.autoencoders", "stable_audio_tools.models.bottleneck"}


def test_the_hosts_errors_stay():
    from stable_audio_tools.data.dataset import create_dataloader_from_config

    with pytest.raises(AssertionError, match="Encoder type must be specified"):
        create_encoder_from_config({})
    with pytest.raises(TypeError, match="chanels"):
        create_encoder_from_config({"type": "oobleck", "config": {"chanels": 4}})
    with pytest.raises(AssertionError, match="Dataset type must be specified"):
        create_dataloader_from_config({}, 1, 1024, 8000)


def test_unknown_types_of_the_hosts_name_the_close_match():
    from stable_audio_tools.models.factory import create_pretransform_from_config

    with pytest.raises(UserError, match="encoder type 'oobleckk'; did you mean 'oobleck'"):
        create_encoder_from_config({"type": "oobleckk"})
    with pytest.raises(UserError, match="decoder type 'seanett'; did you mean 'seanet'"):
        create_decoder_from_config({"type": "seanett"})
    with pytest.raises(UserError, match="bottleneck type 'wassersten'; did you mean 'wasserstein'"):
        create_bottleneck_from_config({"type": "wassersten"})
    with pytest.raises(UserError, match="pretransform type 'wavlet'; did you mean 'wavelet'"):
        create_pretransform_from_config({"type": "wavlet"}, 8000)


def test_unknown_types_of_ours_name_the_close_match():
    from stable_audio_tools.data.dataset import create_dataloader_from_config

    with pytest.raises(UserError, match="did you mean 'ear_encoder'"):
        create_encoder_from_config({"type": "ear_enc"})
    with pytest.raises(UserError, match="did you mean 'ear_decoder'"):
        create_decoder_from_config({"type": "ear_dec"})
    with pytest.raises(UserError, match="did you mean 'ear_vae'"):
        create_bottleneck_from_config({"type": "ear_vea"})
    with pytest.raises(UserError, match="did you mean 'ear_demo'"):
        create_dataloader_from_config({"dataset_type": "ear_dmo"}, 1, 1024, 8000)


def test_a_second_loss_of_one_name_is_refused():
    class Mine(torch.nn.Module):
        def forward(self, preds, target):
            return (preds - target).abs().mean()

    with pytest.raises(UserError, match="'ear_magnitude' is taken"):
        ear_sat.register_loss("ear_magnitude", Mine)


def test_a_loss_of_the_user_trains(monkeypatch):
    from ear_sat.losses import registry

    class Mine(torch.nn.Module):
        def __init__(self, sample_rate, power=1.0):
            super().__init__()
            self.rate, self.power = sample_rate, power

        def forward(self, preds, target):
            return {"first": (preds - target).abs().pow(self.power).mean(), "second": preds.square().mean()}

    monkeypatch.setitem(registry.LOSS_TYPES, "mine", Mine)
    ear_sat.register_loss("mine", Mine)  # the same class again is no duplicate
    config = model_config()
    entry = {"type": "mine", "config": {"power": 2.0}, "weights": {"first": 1.0, "second": 0.1}}
    config["training"]["loss_configs"]["own"] = entry
    log = Recorder()
    fit(make_wrapper(config), batches(1), logger=log)
    row = log.rows[0][1]
    assert row["train/weighted/own/second"] == pytest.approx(0.1 * row["train/raw/own/second"])


def test_the_hosts_factory_builds_our_model_with_its_own_class():
    from stable_audio_tools.models.autoencoders import AudioAutoencoder

    model = create_model_from_config(model_config())
    assert isinstance(model, AudioAutoencoder)
    audio = torch.randn(1, 2, 4096)
    assert model.decode(model.encode(audio)).shape == audio.shape


def test_the_wrapper_is_ours_for_our_type_and_the_hosts_otherwise():
    assert isinstance(make_wrapper(model_config()), EarTrainingWrapper)


def run_python(code):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=300, check=False
    )


def test_importing_the_package_is_cheap():
    done = run_python(
        """
        import sys, ear_sat
        heavy = {"torch", "numpy", "stable_audio_tools", "pytorch_lightning"} & sys.modules.keys()
        assert not heavy, heavy
        """
    )
    assert done.returncode == 0, done.stderr


def test_the_core_works_without_the_host():
    done = run_python(
        """
        import sys

        class Blocker:
            blocked = ("stable_audio_tools", "pytorch_lightning", "lightning", "ema_pytorch", "wandb")
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] in self.blocked:
                    raise ModuleNotFoundError(f"No module named {name!r}", name=name)

        sys.meta_path.insert(0, Blocker())
        import torch
        import ear_sat
        import ear_sat.models, ear_sat.losses, ear_sat.metrics, ear_sat.data
        import ear_sat.report.plots, ear_sat.report.tables, ear_sat.report.audio
        import ear_sat.cli.main

        bundle = ear_sat.losses.LossBundle.from_config(
            {"m": {"type": "ear_magnitude", "config": {"windows": [128]}, "weights": {"log": 1.0}}}, 8000
        )
        preds = torch.randn(1, 2, 1024, requires_grad=True)
        bundle(preds, torch.randn(1, 2, 1024)).total.backward()
        assert preds.grad.isfinite().all()
        try:
            ear_sat.register()
        except ear_sat.UserError as error:
            print(error)
        """
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("stable-audio-tools is not installed; run: ")
    command = shlex.split(done.stdout.split("; run: ")[1])
    if sys.version_info < (3, 12):
        assert command == ["pip", "install", "ear-sat[sat]"]
    else:
        assert command[:5] == ["uv", "pip", "install", "--python", sys.executable]
        assert "torch==2.8.0" in Path(command[command.index("--overrides") + 1]).read_text()


@pytest.mark.parametrize(
    ("module", "name", "value", "sentence"),
    [
        (
            "training.factory",
            "create_demo_callback_from_config",
            None,
            "training.factory.create_demo_callback_from_con",
        ),
        (
            "models.autoencoders",
            "create_encoder_from_config",
            lambda spec: spec,
            "does not take encoder_config, but (spec",
        ),
        ("training.utils", "InverseLR", None, "has no attribute 'InverseLR'"),
    ],
)
def test_a_host_that_is_neither_gets_one_sentence(module, name, value, sentence, monkeypatch):
    owner = importlib.import_module(f"stable_audio_tools.{module}")
    if value is None:
        monkeypatch.delattr(owner, name)
    else:
        monkeypatch.setattr(owner, name, value)
    monkeypatch.setattr(inverse_lr, "needed", lambda: True)
    with pytest.raises(UserError, match=r"the installed stable-audio-tools 0\.0\.\d+ does not fit") as refused:
        ear_sat.register()
    assert sentence in str(refused.value) and "\n" not in str(refused.value)
