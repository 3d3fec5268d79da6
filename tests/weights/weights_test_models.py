"""Small models, and the files that a user may hold of them."""

from __future__ import annotations

import copy
import json
import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file, save_model
from torch import Tensor

from ear_sat.models import Autoencoder
from ear_sat.weights import config_metadata

GOLDEN = Path(__file__).parents[1] / "data" / "golden"
NETWORKS = ("tiny_transformer", "tiny_no_transformer")


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
    return _WRITERS[form](cloned(state), folder, config)


def _saved(content: Any, path: Path, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path


def _prefixed(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}.{key}": value for key, value in state.items()}


def _training(
    state: dict[str, Tensor], path: Path, config: dict[str, Any] | None, averaged: dict[str, Tensor] | None = None
) -> Path:
    """A checkpoint of our wrapper; ``averaged`` is the moving average, which is what counts."""
    wrapped = _prefixed("autoencoder", state)
    if averaged is not None:
        wrapped |= _prefixed("autoencoder_ema.ema_model", averaged)
        wrapped |= {"autoencoder_ema.initted": torch.tensor(True), "autoencoder_ema.step": torch.tensor(7)}
    wrapped |= {"discriminator.convs.0.bias": torch.zeros(3), "discriminator.convs.0.weight": torch.zeros(3, 4)}
    content: dict[str, Any] = {"state_dict": wrapped, "global_step": 14, "ear_sat": {"rounds": 7}}
    if config:
        content["model_config"] = {**config, "training": {"type": "ear"}}
    return _saved({**content, "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(2)}}}]}, path)


def _training_ema(state: dict[str, Tensor], folder: Path, config: dict[str, Any] | None) -> Path:
    other = {key: torch.zeros_like(value) for key, value in state.items()}
    return _training(other, folder / "last.ckpt", config, averaged=state)


def _run(state: dict[str, Tensor], folder: Path, config: dict[str, Any] | None) -> Path:
    (folder / "run" / "checkpoints").mkdir(parents=True, exist_ok=True)
    _training(state, folder / "run" / "checkpoints" / "last.ckpt", config)
    return folder / "run"


def _safetensors(state: dict[str, Tensor], folder: Path, config: dict[str, Any] | None) -> Path:
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    return folder / "model.safetensors"


def _save_model(state: dict[str, Tensor], folder: Path, config: dict[str, Any] | None) -> Path:
    fitting = Autoencoder.from_config(config or config_of())
    fitting.load_state_dict(state)
    save_model(fitting, str(folder / "saved.safetensors"))  # keeps one of the two keys of a shared parameter
    return folder / "saved.safetensors"


def _hub(state: dict[str, Tensor], folder: Path, config: dict[str, Any] | None) -> Path:
    (folder / "hub").mkdir()
    save_file(state, folder / "hub" / "model.safetensors")
    if config:
        (folder / "hub" / "model_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder / "hub"


def _diffusion_training(state: dict[str, Tensor], folder: Path, config: dict[str, Any] | None) -> Path:
    networks = ("diffusion.model.model.weight", "diffusion_ema.ema_model.model.weight")
    wrapped = _prefixed("diffusion.pretransform.model", state) | {key: torch.ones(2) for key in networks}
    return _saved({"state_dict": wrapped, "global_step": 3}, folder / "diffusion.ckpt")


def _diffusion(state: dict[str, Tensor], folder: Path, config: dict[str, Any] | None) -> Path:
    wrapped = _prefixed("pretransform.model", state) | {"model.model.weight": torch.ones(2)}
    return _saved({"state_dict": wrapped}, folder / "diffusion_unwrapped.ckpt")


_WRITERS: dict[str, Callable[[dict[str, Tensor], Path, dict[str, Any] | None], Path]] = {
    "release": lambda state, folder, _: _saved(release_keys(state), folder / "model.pyt"),
    "legacy": lambda state, folder, _: _saved(
        release_keys(state), folder / "legacy.pt", _use_new_zipfile_serialization=False
    ),
    "host": lambda state, folder, _: _saved({"state_dict": state}, folder / "model.ckpt"),
    "training": lambda state, folder, config: _training(state, folder / "last.ckpt", config),
    "training_ema": _training_ema,
    "run": _run,
    "safetensors": _safetensors,
    "export": lambda state, folder, config: _safetensors(state, folder, config).parent,
    "save_model": _save_model,
    "hub": _hub,
    "diffusion_training": _diffusion_training,
    "diffusion": _diffusion,
}
#: Everything that :func:`write_as` can write.
FORMATS = tuple(_WRITERS)


CONFIG = config_of(transformer={"depth": 2, "dim_heads": 32}, sample_rate=22050)
METADATA = {**config_metadata(CONFIG, rounds=77), "author": "ε"}


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Bit for bit: −0 is not 0."""
    return one.keys() == other.keys() and all(
        torch.equal(value.view(torch.int32), other[key].view(torch.int32)) for key, value in one.items()
    )


@torch.no_grad()
def outputs(model: Autoencoder, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Encoder output for noise, and decoded noise."""
    generator = torch.Generator().manual_seed(seed)
    audio = torch.randn(1, model.encoder.in_channels, 6 * model.downsampling_ratio + 1, generator=generator)
    latents = torch.randn(1, model.latent_dim, 5, generator=generator)
    return model.encoder(audio), model.decode(latents)


class Evil:
    """Runs a command when it is unpickled."""

    def __init__(self, call: Callable[..., Any], *arguments: Any) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> Any:
        return self.call, self.arguments


def rezip(path: Path, change: Callable[[str, bytes], bytes], compression: int = zipfile.ZIP_STORED) -> None:
    """Writes a torch file anew, entry by entry."""
    with zipfile.ZipFile(path) as archive:
        entries = [(name, archive.read(name)) for name in archive.namelist()]
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in entries:
            archive.writestr(name, change(name, data))
