"""Small models, and the files that a user may hold of them."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file, save_model
from torch import Tensor

from ear_sat.models import Autoencoder

GOLDEN = Path(__file__).parents[1] / "data" / "golden"
NETWORKS = ("tiny_transformer", "tiny_no_transformer")
#: Everything that :func:`write_as` can write.
FORMATS = (
    "release",
    "legacy",
    "host",
    "training",
    "training_ema",
    "safetensors",
    "save_model",
    "hub",
    "run",
    "export",
    "diffusion_training",
    "diffusion",
)


def golden_state(name: str) -> dict[str, Tensor]:
    """The authors' tensors under the keys of an unwrapped model."""
    state = load_file(GOLDEN / f"{name}.state_dict.safetensors")
    return {f"decoder.{key}" if key.startswith("transformers.") else key: value for key, value in state.items()}


def golden_io(name: str) -> dict[str, Tensor]:
    """The authors' inputs and outputs."""
    return load_file(GOLDEN / f"{name}.io.safetensors")


def release_keys(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The transformer beside the decoder."""
    return {key.removeprefix("decoder.") if ".transformers." in key else key: value for key, value in state.items()}


def config_of(
    strides: list[int] = [2, 4],  # noqa: B006
    c_mults: list[int] = [1, 2],  # noqa: B006
    channels: int = 4,
    latent: int = 32,
    in_channels: int = 2,
    out_channels: int = 2,
    transformer: dict[str, int] | None = None,
    sample_rate: int = 44100,
    encoder: dict[str, Any] | None = None,
    decoder: dict[str, Any] | None = None,
    soft_clip: bool = False,
) -> dict[str, Any]:
    """A model config."""
    sizes = {"channels": channels, "c_mults": c_mults, "strides": strides}
    decoding = {"out_channels": out_channels, "latent_dim": latent, **sizes, **(decoder or {})}
    if transformer:
        decoding["transformer"] = transformer
    return copy.deepcopy(
        {
            "model_type": "autoencoder",
            "sample_size": 1024,
            "sample_rate": sample_rate,
            "audio_channels": in_channels,
            "model": {
                "encoder": {
                    "type": "ear_encoder",
                    "config": {"in_channels": in_channels, "latent_dim": 2 * latent, **sizes, **(encoder or {})},
                },
                "decoder": {"type": "ear_decoder", "config": decoding, **({"soft_clip": True} if soft_clip else {})},
                "bottleneck": {"type": "ear_vae", "config": {"sample": "training"}},
                "latent_dim": latent,
                "downsampling_ratio": math.prod(strides),
                "io_channels": in_channels,
                "out_channels": out_channels,
            },
        }
    )


def model_of(config: dict[str, Any], seed: int = 0) -> Autoencoder:
    """A model in eval mode of which every parameter matters: none is at its neutral initial value."""
    torch.manual_seed(seed)
    model = Autoencoder.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def tiny(seed: int = 0, **options: Any) -> Autoencoder:
    """:func:`model_of` :func:`config_of`."""
    return model_of(config_of(**options), seed)


def cloned(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Shared activations as independent tensors, as the released files hold them."""
    return {key: value.detach().clone() for key, value in state.items()}


def write_as(form: str, state: dict[str, Tensor], folder: Path, config: dict[str, Any] | None = None) -> Path:
    """Writes ``state`` in one of :data:`FORMATS`, without our writer; returns what a user would give."""
    state = cloned(state)
    other = {key: torch.zeros_like(value) for key, value in state.items()}
    discriminator = {"discriminator.convs.0.bias": torch.zeros(3), "discriminator.convs.0.weight": torch.zeros(3, 4)}
    if form == "release":
        path = folder / "model.pyt"
        torch.save(release_keys(state), path)
    elif form == "legacy":
        path = folder / "legacy.pt"
        torch.save(release_keys(state), path, _use_new_zipfile_serialization=False)
    elif form == "host":
        path = folder / "model.ckpt"
        torch.save({"state_dict": state}, path)
    elif form in ("training", "training_ema", "run"):
        path = folder / ("run/checkpoints" if form == "run" else ".") / "last.ckpt"
        path.parent.mkdir(parents=True, exist_ok=True)
        averaged = form == "training_ema"
        wrapped = {f"autoencoder.{key}": value for key, value in (other if averaged else state).items()}
        if averaged:
            wrapped |= {f"autoencoder_ema.ema_model.{key}": value for key, value in state.items()}
            wrapped |= {"autoencoder_ema.initted": torch.tensor(True), "autoencoder_ema.step": torch.tensor(7)}
        content: dict[str, Any] = {"state_dict": wrapped | discriminator, "global_step": 14, "ear_sat": {"rounds": 7}}
        if config:
            content["model_config"] = {**config, "training": {"type": "ear"}}
        torch.save({**content, "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(2)}}}]}, path)
        path = folder / "run" if form == "run" else path
    elif form in ("safetensors", "export"):
        path = folder / "model.safetensors"
        save_file(state, path, metadata={"format": "pt"})
        path = folder if form == "export" else path
    elif form == "save_model":
        path = folder / "saved.safetensors"
        fitting = Autoencoder.from_config(config or config_of())
        fitting.load_state_dict(state)
        save_model(fitting, str(path))  # keeps one of the two keys of a shared parameter
    elif form == "hub":
        path = folder / "hub"
        path.mkdir()
        save_file(state, path / "model.safetensors")
        if config:
            (path / "model_config.json").write_text(json.dumps(config), encoding="utf-8")
    elif form == "diffusion_training":
        path = folder / "diffusion.ckpt"
        wrapped = {f"diffusion.pretransform.model.{key}": value for key, value in state.items()}
        wrapped |= {
            "diffusion.model.model.weight": torch.ones(2),
            "diffusion_ema.ema_model.model.weight": torch.ones(2),
        }
        torch.save({"state_dict": wrapped, "global_step": 3}, path)
    elif form == "diffusion":
        path = folder / "diffusion_unwrapped.ckpt"
        wrapped = {f"pretransform.model.{key}": value for key, value in state.items()}
        torch.save({"state_dict": wrapped | {"model.model.weight": torch.ones(2)}}, path)
    else:
        raise ValueError(form)
    return path


@torch.no_grad()
def outputs(model: Autoencoder, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Encoder output for noise, and decoded noise."""
    generator = torch.Generator().manual_seed(seed)
    audio = torch.randn(1, model.encoder.in_channels, 6 * model.downsampling_ratio + 1, generator=generator)
    latents = torch.randn(1, model.latent_dim, 5, generator=generator)
    return model.encoder(audio), model.decode(latents)
