"""The host trains from our latents as from the audio they were made of."""

from __future__ import annotations

import importlib.util
import json

import pytest
import torch
from encoding_test_model import HOP, LATENT, RATE, SIZE, model_config, noise

import ear_sat
from ear_sat.data.windows import open_windows
from ear_sat.encoding import pre_encode

if importlib.util.find_spec("stable_audio_tools") is None:
    pytest.skip("stable-audio-tools is not installed", allow_module_level=True)

SCALE = 0.37


@pytest.fixture(scope="module", autouse=True)
def _registered():
    ear_sat.register()


@pytest.fixture
def result(weights, music, tmp_path):
    return pre_encode(weights, music, tmp_path / "latents", sample_size=SIZE, device="cpu", progress=False)


def load(config, batch_size, sample_size=SIZE):
    from stable_audio_tools.data.dataset import create_dataloader_from_config

    return create_dataloader_from_config(config, batch_size, sample_size, RATE, 2, 0, shuffle=False)


def latent_files(dataset):
    """0.0.20 keeps the metadata's name beside each."""
    return [name if isinstance(name, str) else name[0] for name in dataset.filenames]


def test_the_hosts_loader_reads_every_window(result):
    from stable_audio_tools.data.dataset import PreEncodedDataset

    config = json.loads((result.out / "dataset_config.json").read_text(encoding="utf-8"))
    loader = load({**config, "drop_last": False}, 5)
    assert isinstance(loader.dataset, PreEncodedDataset) and len(loader.dataset) == 5
    ((latents, infos),) = loader
    assert latents.shape == (5, LATENT, SIZE // HOP) and latents.dtype == torch.float32
    # On an error the host prints and takes another item at random.
    assert [info["latent_filename"] for info in infos] == latent_files(loader.dataset)
    ones = {(info["relpath"], int(info["seconds_start"] > 0)): int(info["padding_mask"][0].sum()) for info in infos}
    assert ones == {
        ("a.wav", 0): SIZE // HOP,
        ("a.wav", 1): SIZE // HOP // 2,
        ("sub/b.wav", 0): SIZE // HOP,
        ("sub/c.wav", 0): -(-(SIZE // 10) // HOP),
    }
    assert all(info["sample_rate"] == RATE and len(info["padding_mask"][0]) == SIZE // HOP for info in infos)


def test_the_host_crops_them(result):
    config = result.dataset_config() | {"latent_crop_length": 16, "random_crop": True, "min_length_sec": 1}
    ((latents, infos),) = load(config, 4)
    assert latents.shape == (4, LATENT, 16) and all(len(info["padding_mask"][0]) == 16 for info in infos)


class ReachedError(Exception):
    pass


@pytest.fixture
def diffusion_input(weights):
    """What a conditional diffusion model of the host is given in a training step."""
    from stable_audio_tools.models import create_model_from_config
    from stable_audio_tools.training import create_training_wrapper_from_config

    number = {"type": "number", "config": {"min_val": 0, "max_val": 512}}
    conditions = ["seconds_start", "seconds_total"]
    transformer = {"io_channels": LATENT, "embed_dim": 32, "depth": 1, "num_heads": 1, "cond_token_dim": 32}
    config = {
        "model_type": "diffusion_cond",
        "sample_size": SIZE,
        "sample_rate": RATE,
        "audio_channels": 2,
        "model": {
            "pretransform": {"type": "autoencoder", "scale": SCALE, "config": model_config()["model"]},
            "conditioning": {"configs": [{"id": name, **number} for name in conditions], "cond_dim": 32},
            "diffusion": {
                "type": "dit",
                "cross_attention_cond_ids": conditions,
                "mask_padding_attention": True,
                "config": {**transformer, "transformer_type": "continuous_transformer"},
            },
            "io_channels": LATENT,
        },
        "training": {"learning_rate": 1e-4, "mask_padding": True},  # 0.0.19's name; 0.0.20's is in the model
    }

    def run(batch, pre_encoded):
        config["training"]["pre_encoded"] = pre_encoded
        model = create_model_from_config(config)
        model.pretransform.load_state_dict(ear_sat.load_autoencoder(weights).state_dict())
        wrapper = create_training_wrapper_from_config(config, model)
        given = {}

        def forward(x, t, cond, **keys):
            mask = keys["mask"] if "mask" in keys else keys["padding_mask"]
            given.update(x=x, t=t, mask=mask.bool(), **{name: cond[name][0] for name in conditions})
            raise ReachedError

        wrapper.diffusion.forward = forward
        model.conditioner.load_state_dict({k: torch.ones_like(v) for k, v in model.conditioner.state_dict().items()})
        wrapper.rng = torch.quasirandom.SobolEngine(1, scramble=True, seed=0)
        torch.manual_seed(0)
        with pytest.raises(ReachedError):
            wrapper.training_step(batch, 0)
        return given

    return run


@pytest.mark.filterwarnings("ignore")
def test_the_diffusion_model_sees_the_same_as_from_audio(result, music, diffusion_input):
    windows = open_windows(music, SIZE, RATE)
    raw = [windows.read(window) for window in windows.windows]
    loader = load(result.dataset_config(), 5)
    order = [next(i for i, w in enumerate(windows.windows) if w.name in name) for name in latent_files(loader.dataset)]
    from_audio = diffusion_input((torch.stack([raw[i][0] for i in order]), tuple(raw[i][1] for i in order)), False)
    from_latents = diffusion_input(next(iter(loader)), True)
    assert from_audio.keys() == from_latents.keys() and from_audio["x"].std() > 0.5
    for key, value in from_audio.items():
        assert value.dtype == from_latents[key].dtype and torch.allclose(value, from_latents[key], atol=1e-5), key
    assert not from_audio["mask"].all()


@pytest.mark.filterwarnings("ignore")
def test_and_the_same_as_from_the_hosts_own_data_set(weights, write, tmp_path, diffusion_input):
    for number in range(3):
        write(f"{number}.wav", noise(SIZE - 100 * number, seed=number))
    config = {"dataset_type": "audio_dir", "datasets": [{"id": "m", "path": str(tmp_path / "music")}]}
    raw = load({**config, "random_crop": False}, 3)
    raw.dataset.augs = None  # it flips the phase of every other item
    audio, infos = next(iter(raw))
    result = pre_encode(weights, config, tmp_path / "latents", sample_size=SIZE, device="cpu", progress=False)
    latents = load(result.dataset_config(), 3)
    theirs = {info["relpath"]: (clip, info) for clip, info in zip(audio, infos, strict=True)}
    encoded, described = next(iter(latents))
    for info in described:
        for key in ("path", "seconds_start", "seconds_total", "sample_rate", "timestamps"):
            expected = theirs[info["relpath"]][1][key]
            assert info[key] == (list(expected) if isinstance(expected, tuple) else expected), key
    order = [theirs[info["relpath"]] for info in described]
    from_audio = diffusion_input((torch.stack([clip for clip, _ in order]), tuple(info for _, info in order)), False)
    from_latents = diffusion_input((encoded, described), True)
    for key, value in from_audio.items():
        assert torch.allclose(value, from_latents[key], atol=1e-5), key
