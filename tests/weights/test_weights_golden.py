"""The authors' networks through every file that a user may hold: golden outputs, nothing lost on the way."""

from __future__ import annotations

import copy
import json
import warnings
from pathlib import Path

import pytest
import torch
from weights_test_models import (
    FORMATS,
    NETWORKS,
    cloned,
    config_of,
    golden_io,
    golden_state,
    outputs,
    release_keys,
    tiny,
    write_as,
)

import ear_sat
from ear_sat.weights import read_checkpoint

TOLERANCE = 1e-5  # see tests/models/test_models_golden.py


def golden_config(name: str) -> dict:
    """Ours for the authors' tiny networks, from the numbers in their configs."""
    if name == "tiny_transformer":
        return config_of([2, 4, 8], [1, 2, 4], channels=8, latent=32, transformer={"depth": 2, "dim_heads": 32})
    return config_of([3, 5], [1, 2], channels=8, latent=8)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_golden_outputs_from_every_format(name: str, form: str, tmp_path: Path) -> None:
    path = write_as(form, golden_state(name), tmp_path, golden_config(name))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = ear_sat.load_autoencoder(path)
    io = golden_io(name)
    encoder_output = model.encoder(io["audio"])
    assert (encoder_output - io["encoder_output"]).abs().max() <= TOLERANCE
    assert (model.decode(io["latents"]) - io["decoded"]).abs().max() <= TOLERANCE
    # The latents are the posterior mean, and the KL term is the authors'.
    latents, info = model.encode(io["audio"], return_info=True)
    assert torch.equal(latents, encoder_output.chunk(2, dim=1)[0])
    assert abs(info["kl"] - io["kl"]) <= TOLERANCE


def test_the_model_is_ready(tmp_path: Path) -> None:
    """The names are those of the host's AudioAutoencoder."""
    config = golden_config("tiny_transformer")
    model = ear_sat.load_autoencoder(str(write_as("run", golden_state("tiny_transformer"), tmp_path, config)), "cpu")
    assert not model.training and not any(module.training for module in model.modules())
    assert all(p.dtype == torch.float32 and p.device.type == "cpu" and p.requires_grad for p in model.parameters())
    assert (model.latent_dim, model.downsampling_ratio, model.sample_rate, model.io_channels) == (32, 64, 44100, 2)
    assert (model.in_channels, model.out_channels, model.min_length, model.soft_clip) == (2, 2, 64, False)
    assert not any(value.is_meta for value in model.state_dict().values())
    assert set(model.state_dict()) == set(golden_state("tiny_transformer"))


@pytest.mark.parametrize(
    ("form", "kind", "rounds"),
    [
        ("release", "bare tensors (the released layout)", None),
        ("legacy", "bare tensors (the released layout)", None),
        ("host", "stable-audio-tools checkpoint", None),
        ("training", "training checkpoint", 7),
        ("training_ema", "training checkpoint (moving average)", 7),
        ("run", "training checkpoint", 7),
        ("safetensors", "safetensors", None),
        ("hub", "safetensors", None),
        ("diffusion_training", "training checkpoint of a diffusion model (its pretransform)", None),
        ("diffusion", "diffusion model (its pretransform)", None),
    ],
)
def test_what_a_file_is(form: str, kind: str, rounds: int | None, tmp_path: Path) -> None:
    model = tiny(transformer={"depth": 1})
    checkpoint = read_checkpoint(write_as(form, model.state_dict(), tmp_path))
    assert (checkpoint.kind, checkpoint.rounds) == (kind, rounds)
    assert checkpoint.state.keys() == model.state_dict().keys()
    assert all(torch.equal(value, checkpoint.state[key]) for key, value in model.state_dict().items())
    expected = {"convs.0.bias", "convs.0.weight"} if form in ("training", "training_ema", "run") else set()
    assert set(checkpoint.discriminator) == expected


@pytest.mark.parametrize("place", ["export", "run", "embedded"])
def test_the_autoencoder_of_a_diffusion_model(place: str, tmp_path: Path) -> None:
    """What its config says of the pretransform counts; its own rounds and settings are not the autoencoder's."""
    config = config_of(latent=64, transformer={"depth": 1, "dim_heads": 64}, sample_rate=22050)
    model = tiny(latent=64, transformer={"depth": 1, "dim_heads": 64})
    pretransform = {"type": "autoencoder", "config": config["model"]}
    diffusion = {**config, "model_type": "diffusion_cond", "sample_size": 8, "model": {"pretransform": pretransform}}
    file = write_as("diffusion_training", model.state_dict(), tmp_path)
    content = torch.load(file, weights_only=True)
    if place == "embedded":
        torch.save({**content, "model_config": diffusion}, file)
    else:
        (tmp_path / "checkpoints").mkdir()
        torch.save(content, tmp_path / ("model.ckpt" if place == "export" else "checkpoints/last.ckpt"))
        (tmp_path / "model_config.json").write_text(json.dumps(diffusion), encoding="utf-8")
        file = tmp_path
    checkpoint = read_checkpoint(file)
    stored = checkpoint.model_config
    assert checkpoint.rounds is None and stored is not None
    assert stored == {key: config[key] for key in stored} and stored["model_type"] == "autoencoder"
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing has to be assumed
        loaded = ear_sat.load_autoencoder(file)
    assert all(torch.equal(a, b) for a, b in zip(outputs(loaded), outputs(model), strict=True))


def test_the_moving_average_is_preferred(tmp_path: Path) -> None:
    """In that file the trained weights are all zero."""
    model = tiny()
    loaded = ear_sat.load_autoencoder(write_as("training_ema", model.state_dict(), tmp_path, config_of()))
    assert all(torch.equal(a, b) for a, b in zip(outputs(loaded), outputs(model), strict=True))


def test_a_host_checkpoint_needs_only_its_state_dict(tmp_path: Path) -> None:
    """Lightning's other entries, and tensors that are not the autoencoder's, do not disturb."""
    state = {f"autoencoder.{key}": value for key, value in tiny().state_dict().items()}
    state |= {"losses.window": torch.ones(3, dtype=torch.int64), "discriminator.a": torch.full((2,), float("nan"))}
    content = {"state_dict": state, "epoch": 1, "loops": {"fit": [None, 1.5, (2, 3)]}, "pytorch-lightning_version": "2"}
    torch.save(content, tmp_path / "a.ckpt")
    assert ear_sat.load_autoencoder(tmp_path / "a.ckpt", sample_rate=8000, final_tanh=False).sample_rate == 8000


def test_tensors_that_share_or_waste_memory(tmp_path: Path) -> None:
    """A state dict saved as it is shares storage between keys; slices of one flat buffer keep all of it."""
    model = tiny()
    torch.save(model.state_dict(), tmp_path / "shared.pt")
    flat = torch.cat([value.flatten() for value in model.state_dict().values()])
    sizes = [value.numel() for value in model.state_dict().values()]
    parts = dict(zip(model.state_dict(), flat.split(sizes), strict=True))
    torch.save({k: parts[k].view(v.shape) for k, v in model.state_dict().items()}, tmp_path / "flat.pt")
    transposed = {k: v.mT.contiguous().mT if v.ndim > 1 else v for k, v in model.state_dict().items()}
    torch.save(transposed, tmp_path / "transposed.pt")
    torch.save(dict(model.state_dict(keep_vars=True)), tmp_path / "parameters.pt")
    for path in sorted(tmp_path.iterdir()):
        state = read_checkpoint(path).state
        assert all(value.untyped_storage().nbytes() == value.nbytes for value in state.values()), path
        assert all(value.is_contiguous() and not value.requires_grad for value in state.values()), path
        with pytest.warns(UserWarning, match="sample_rate"):
            loaded = ear_sat.load_autoencoder(path)
        assert all(torch.equal(a, b) for a, b in zip(outputs(loaded), outputs(model), strict=True)), path
        assert isinstance(loaded.decoder.layers[0].bias, torch.nn.Parameter)


def test_folders_stand_for_the_file_in_them(tmp_path: Path) -> None:
    old, new = tiny(1), tiny(2)
    run = write_as("run", old.state_dict(), tmp_path, config_of())
    (run / "checkpoints" / "last.ckpt").rename(run / "checkpoints" / "best.ckpt")
    assert read_checkpoint(run).path.name == "best.ckpt"
    write_as("run", new.state_dict(), tmp_path, config_of())
    assert read_checkpoint(run).path.name == "last.ckpt"
    for name in ("model.ckpt", "model.safetensors"):
        write_as("host" if name == "model.ckpt" else "safetensors", new.state_dict(), run)
        assert read_checkpoint(run).path == run / name


def test_the_config_beside_the_weights_of_a_folder_counts(tmp_path: Path) -> None:
    """Other people's hub folders have no metadata in the safetensors file."""
    config = config_of(sample_rate=22050, decoder={"final_tanh": True}, soft_clip=True)
    folder = write_as("hub", tiny().state_dict(), tmp_path, config)
    for given in (folder, folder / "model.safetensors"):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model = ear_sat.load_autoencoder(given)
        assert model.sample_rate == 22050 and model.soft_clip and isinstance(model.decoder.layers[-1], torch.nn.Tanh)
    wider, longer = (copy.deepcopy(config) for _ in range(2))  # of the same ratio, but of another model
    wider["model"]["decoder"]["config"]["channels"] *= 2
    longer["model"]["decoder"]["config"]["transformer"] = {"depth": 7, "dim_heads": 8}
    for other in (config_of(strides=[2, 2], sample_rate=22050), wider, longer, {"model_type": "lm"}):
        (folder / "model_config.json").write_text(json.dumps(other), encoding="utf-8")
        with pytest.warns(UserWarning, match="sample_rate = 44100"):
            ear_sat.load_autoencoder(folder / "model.safetensors")  # a file of its own may have left its folder
    with pytest.raises(ear_sat.UserError, match="its model config is of model_type 'lm'; give weights of an autoenc"):
        ear_sat.load_autoencoder(folder)
    (folder / "model_config.json").write_text("{", encoding="utf-8")
    with pytest.raises(ear_sat.UserError, match=r"model_config\.json is not valid JSON"):
        ear_sat.load_autoencoder(folder)


def test_home_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write_as("host", tiny().state_dict(), tmp_path)
    assert read_checkpoint("~/model.ckpt").path == tmp_path / "model.ckpt"


def test_the_whole_release_has_the_published_keys(tmp_path: Path) -> None:
    """386 entries: what our writer gives for the 44.1 kHz architecture, shapes only."""
    from ear_sat.models import Autoencoder
    from ear_sat.weights.architecture import read_architecture

    root = Path(__file__).parents[2]
    config = json.loads((root / "model_configs" / "ear_vae.json").read_text(encoding="utf-8"))
    with torch.device("meta"):
        state = Autoencoder.from_config(config).state_dict()
    manifest = json.loads(
        (Path(__file__).parents[1] / "data/golden/ear_vae_44k.manifest.json").read_text(encoding="utf-8")
    )
    assert {k: [list(v.shape), str(v.dtype)] for k, v in release_keys(dict(state)).items()} == manifest
    assert len(manifest) == 386
    found, assumed = read_architecture(state)
    given = {key: config[key] for key in ("model_type", "sample_rate", "audio_channels", "model")}
    for part in ("encoder", "decoder"):
        ours, theirs = found["model"][part]["config"], given["model"][part]["config"]
        assert theirs.pop("gradient_checkpointing") == "auto"  # a choice of training, which no tensor shows
        assert {key: ours[key] for key in theirs} == theirs
    assert {key: found["model"][key] for key in ("latent_dim", "downsampling_ratio", "io_channels")} == {
        key: given["model"][key] for key in ("latent_dim", "downsampling_ratio", "io_channels")
    }
    assert assumed == ["sample_rate = 44100", "final_tanh = false", "dim_heads = 32"]


def test_the_48k_release_is_recognised() -> None:
    """No transformer, ratio 960; the published config that declares a transformer is not believed."""
    from ear_sat.models import Autoencoder
    from ear_sat.weights.architecture import read_architecture

    root = Path(__file__).parents[2]
    config = json.loads((root / "model_configs" / "ear_vae_48k.json").read_text(encoding="utf-8"))
    with torch.device("meta"):
        state = Autoencoder.from_config(config).state_dict()
    found, assumed = read_architecture(state)
    assert found["model"]["encoder"]["config"]["strides"] == [2, 2, 4, 6, 10]
    assert found["model"]["downsampling_ratio"] == 960 and found["sample_rate"] == 48000
    assert assumed == ["sample_rate = 48000", "final_tanh = false"]
    config["model"]["decoder"]["config"]["transformer"] = {"depth": 2, "dim_heads": 32}
    found, assumed = read_architecture(state, stored=config)
    assert "transformer" not in found["model"]["decoder"]["config"] and not assumed


def test_written_tensors_are_those_of_the_release(tmp_path: Path) -> None:
    """The keys of a written .pyt are those of the file it came from."""
    state = golden_state("tiny_transformer")
    ear_sat.weights.write_weights(state, tmp_path / "a.pyt")
    written = torch.load(tmp_path / "a.pyt", weights_only=True)
    assert set(written) == set(release_keys(cloned(state)))
