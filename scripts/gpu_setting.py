"""What the sections of gpu_check.py measure: networks and music of the full config, or of a narrow one in miniature."""

from __future__ import annotations

import copy
import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

CONFIG = Path(__file__).parents[1] / "model_configs" / "ear_vae.json"
#: Batch of the GPU column of docs/performance.md.
BATCH = 8
SEED = 0


@dataclass(frozen=True)
class Setting:
    """Where and at which size is measured. ``device`` is "cuda" or "cpu"."""

    device: str
    mini: bool

    @property
    def batch(self) -> int:
        return 2 if self.mini else BATCH

    @property
    def samples(self) -> int:
        """Length of a clip."""
        return 2048 if self.mini else int(self.config()["sample_size"])

    def config(self, **widths: int) -> dict[str, Any]:
        """The config that is trained: every loss from the first round on, at a constant rate.

        ``widths`` may hold ``channels`` of the autoencoder and ``filters`` of the discriminator.
        """
        config: dict[str, Any] = copy.deepcopy(_full_config())
        training = config["training"]
        del training["phases"], training["eval_loss_configs"], training["demo"]
        training |= {"log_every": 1, "gradient_log_every": 0}
        losses = training["loss_configs"]
        sides = [config["model"][side]["config"] for side in ("encoder", "decoder")]
        if self.mini:
            # oneDNN 3.7 gives noise for some bfloat16 convolutions of fewer than 16 channels (see models/optimized.py).
            widths = {"channels": 16, "filters": 4, **widths}
            config["sample_size"] = 2048
            config["model"]["downsampling_ratio"] = 32
            for side in sides:
                side |= {"c_mults": [1, 1], "strides": [4, 8]}
            for name, entry in losses.items():
                if "windows" in entry.get("config", {}):
                    entry["config"]["windows"] = [512, 128] if name == "discriminator" else [512, 128, 32]
        if "channels" in widths:
            for side in sides:
                side["channels"] = widths["channels"]
        if "filters" in widths:
            losses["discriminator"]["config"]["filters"] = widths["filters"]
        return config

    def music(self, batches: int = 1) -> list[Tensor]:
        """Batches of synthesised music, (batch, 2, samples), on the CPU; always the same."""
        from ear_sat.data.demo import DemoDataset

        tracks = 1 if self.mini else 4
        data = DemoDataset(self.samples, 44100, tracks=tracks, seconds=2.0 if self.mini else 12.0, crops_per_track=64)
        clips = (data[index % len(data)][0] for index in range(batches * self.batch))
        return list(torch.stack(list(clips)).split(self.batch))


@functools.cache
def _full_config() -> dict[str, Any]:
    config: dict[str, Any] = json.loads(CONFIG.read_text(encoding="utf-8"))
    return config


@torch.no_grad()
def roughen(network: nn.Module) -> nn.Module:
    """Gives parameters that start at 0 small random values, so that nothing multiplies by 0 or is a plain constant."""
    generator = torch.Generator().manual_seed(SEED)
    for parameter in network.parameters():
        if not parameter.any():
            scale = 0.1 if parameter.ndim < 2 else 0.02
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
    return network


def snr_db(value: Tensor, reference: Tensor) -> float:
    """Level of ``reference`` over that of the difference, dB; 300 where there is none, NaN where value is not finite.

    >>> round(snr_db(torch.tensor([1.01, -1.0]), torch.tensor([1.0, -1.0])), 2), snr_db(torch.ones(2), torch.ones(2))
    (43.01, 300.0)
    """
    value, reference = value.detach().double().cpu(), reference.detach().double().cpu()
    noise, level = (value - reference).square().sum(), reference.square().sum()
    return min(300.0, (10 * torch.log10(level / noise)).item()) if noise != 0 else 300.0


def cosine(value: Tensor, reference: Tensor) -> float:
    """Cosine of the angle between two gradients.

    >>> round(cosine(torch.tensor([1.0, 1.0]), torch.tensor([1.0, 0.0])), 4)
    0.7071
    """
    value, reference = value.detach().double().cpu().flatten(), reference.detach().double().cpu().flatten()
    return float(value @ reference / (value.norm() * reference.norm()))
