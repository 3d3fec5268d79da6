"""Tiny latent diffusion models over the latents of the tiny autoencoder, and pre-encoded data in the host's format."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from host_test_configs import RATE, SIZE, audio, model_config

from ear_sat.models import Autoencoder

HOP, CHANNELS = 32, 32
KINDS = ("diffusion_cond", "diffusion_uncond", "diffusion_cond_inpaint")
DIT = {"embed_dim": 64, "depth": 1, "num_heads": 1}
SECONDS = ("seconds_start", "seconds_total")


def ldm_config(
    kind: str = "diffusion_cond",
    *,
    scale: float = 1.0,
    pre_encoded: bool = False,
    objective: str = "v",
    **training: Any,
) -> dict[str, Any]:
    """A diffusion model of some ten thousand parameters; our autoencoder is its pretransform."""
    pretransform = {"type": "autoencoder", "scale": scale, "config": model_config()["model"]}
    demo: dict[str, Any] = {"demo_every": 1000, "demo_steps": 2}
    common = {"pre_encoded": pre_encoded, **training}
    if kind == "diffusion_uncond":
        model = {"type": "dit", "pretransform": pretransform, "config": {"in_channels": CHANNELS, **DIT}}
        settings = {"learning_rate": 1e-3, "demo": demo, **common}
    else:
        dit = {
            "io_channels": CHANNELS,
            **DIT,
            "cond_token_dim": 64,
            "global_cond_dim": 128,
            "project_cond_tokens": False,
        }
        ids: dict[str, Any] = {"cross_attention_cond_ids": [*SECONDS], "global_cond_ids": [*SECONDS]}
        settings = {"optimizer_configs": {"diffusion": {"optimizer": {"type": "AdamW", "config": {"lr": 1e-3}}}}}
        settings |= {"use_ema": True, "demo": {**demo, "num_demos": 1, "demo_cfg_scales": [2]}, **common}
        if kind == "diffusion_cond":
            settings["demo"]["demo_cond"] = [{"seconds_start": 0, "seconds_total": 2}]
        else:
            ids["input_concat_ids"] = ["inpaint_mask", "inpaint_masked_input"]
            dit["input_concat_dim"] = CHANNELS + 1
            settings["inpainting"] = {"mask_kwargs": {"mask_type_probabilities": [0.0, 0.0, 1.0]}}
        numbers = [{"id": key, "type": "number", "config": {"min_val": 0, "max_val": 8}} for key in SECONDS]
        model = {
            "pretransform": pretransform,
            "conditioning": {"configs": numbers, "cond_dim": 64},
            "diffusion": {**ids, "diffusion_objective": objective, "type": "dit", "config": dit},
            "io_channels": CHANNELS,
        }
    head = {"model_type": kind, "sample_size": SIZE, "sample_rate": RATE, "audio_channels": 2}
    return {**head, "model": model, "training": settings}


def autoencoder(seed: int = 1) -> Autoencoder:
    """The pretransform's network by itself, in eval mode; weights follow from the seed."""
    torch.manual_seed(seed)
    return Autoencoder.from_config(model_config()).eval()


def make_ldm(config: dict[str, Any], weights: Autoencoder | None = None, seed: int = 0) -> Any:
    """The host's training wrapper with ``weights`` in its pretransform."""
    from stable_audio_tools.models import create_model_from_config
    from stable_audio_tools.training import create_training_wrapper_from_config

    torch.manual_seed(seed)
    model = create_model_from_config(config)
    model.pretransform.load_state_dict((weights or autoencoder()).state_dict())
    return create_training_wrapper_from_config(config, model)


def infos(batch: int) -> tuple[dict[str, Any], ...]:
    """What the data sets give beside audio."""
    mask = torch.ones(SIZE)
    return tuple({"seconds_start": i, "seconds_total": 2, "padding_mask": mask} for i in range(batch))


def raw_batches(count: int, batch: int = 2, seed: int = 0) -> list[Any]:
    return [(audio(batch, seed=seed + 1000 * i), infos(batch)) for i in range(count)]


def write_latents(folder: Path, clips: torch.Tensor, weights: Autoencoder) -> dict[str, Any]:
    """Latents of ``clips`` and metadata as the host's pre-encoding script leaves them; returns the dataset config."""
    folder.mkdir(parents=True)
    with torch.no_grad():
        latents = weights.encode(clips)
    for i, latent in enumerate(latents):
        np.save(folder / f"{i:03d}.npy", latent.numpy())
        info = {"seconds_start": i % 2, "seconds_total": 2, "padding_mask": [1] * latent.shape[-1]}
        (folder / f"{i:03d}.json").write_text(json.dumps(info), encoding="utf-8")
    return {"dataset_type": "pre_encoded", "datasets": [{"id": "latents", "path": str(folder)}]}


class Inputs(pl.Callback):
    """What the diffusion network is given in each training step, with the same noise and time in every one."""

    def __init__(self) -> None:
        self.inputs: list[torch.Tensor] = []
        self.modes: list[bool] = []

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self._handle = pl_module.diffusion.model.register_forward_pre_hook(self._keep)
        encoder = pl_module.diffusion.pretransform.model.encoder
        encoder.register_forward_pre_hook(lambda module, _: self.modes.append(module.training))

    def on_train_batch_start(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        pl_module.rng = torch.quasirandom.SobolEngine(1, scramble=True, seed=3)
        torch.manual_seed(3)
        random.seed(3)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self._handle.remove()

    def _keep(self, module: Any, arguments: Any) -> None:
        self.inputs.append(arguments[0].detach().clone())
