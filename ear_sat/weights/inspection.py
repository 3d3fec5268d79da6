"""Says what a file of weights is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..models import chunks_in_words
from .checkpoint import Checkpoint, read_checkpoint
from .loading import fit_checkpoint
from .released import RELEASES, sha256
from .source import Source, as_source, is_foreign


@dataclass
class Inspection:
    """Facts about a file; rates in Hz, ``parameters`` with shared ones counted once.

    ``release`` names the published file with the same checksum; ``chunks`` says how audio is computed in chunks;
    ``assumed`` lists what the file does not say.
    """

    path: str
    kind: str
    sha256: str
    release: str | None
    rounds: int | None
    parameters: int
    discriminator_parameters: int
    sample_rate: int
    latent_rate: float
    chunks: str
    model_config: dict[str, Any]
    assumed: list[str]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def rows(self) -> list[list[Any]]:
        """Name and value, for a table."""
        discriminator = self.discriminator_parameters
        match = f"the published {RELEASES[self.release].filename}" if self.release else "of no published file"
        return [
            ["kind", self.kind],
            ["checksum", f"{self.sha256}, {match}"],
            ["training rounds", "not recorded" if self.rounds is None else self.rounds],
            ["parameters", f"{self.parameters:,}"],
            ["discriminator", f"{discriminator:,} parameters" if discriminator else "none"],
            *architecture_rows(self.model_config),
            ["chunks", self.chunks],
            ["assumed", ", ".join(self.assumed) or "nothing"],
        ]


def architecture_rows(config: Mapping[str, Any]) -> list[list[Any]]:
    """Name and value of what a model config says about audio, latents and parts."""
    model, rate = config["model"], config["sample_rate"]
    inputs, outputs = (model.get(f"{side}_channels") or model["io_channels"] for side in ("in", "out"))
    latents = f"{model['latent_dim']} channels at {rate / model['downsampling_ratio']:.2f} Hz"
    return [
        ["audio", f"channels: {inputs} in, {outputs} out; {rate} Hz"],
        ["latents", f"{latents}, one frame per {model['downsampling_ratio']} samples"],
        *(_foreign_parts(model) if is_foreign(config) else _own_parts(model)),
    ]


def _own_parts(model: Mapping[str, Any]) -> list[list[Any]]:
    encoder, decoder = model["encoder"]["config"], model["decoder"]["config"]
    transformer = decoder.get("transformer")
    heads = f"depth {transformer['depth']}, dim_heads {transformer['dim_heads']}" if transformer else "none"
    return [
        ["encoder", _part(encoder, {})],
        ["decoder", _part(decoder, model["decoder"])],
        ["transformer", heads],
    ]


def _foreign_parts(model: Mapping[str, Any]) -> list[list[Any]]:
    """Type and settings of each part, as its config has them."""
    rows: list[list[Any]] = []
    for name in ("encoder", "decoder", "bottleneck", "pretransform"):
        part = model.get(name) or {"type": "none"}
        settings = ", ".join(f"{key} {value}" for key, value in (part.get("config") or {}).items())
        rows.append([name, f"{part['type']}: {settings}" if settings else part["type"]])
    return rows


def _part(config: dict[str, Any], around: dict[str, Any]) -> str:
    words = [f"channels {config['channels']} × {config['c_mults']}, strides {config['strides']}"]
    words.append("SnakeBeta" if config["use_snake"] else "ELU")
    options = ("antialias_activation", "use_nearest_upsample", "final_tanh", "soft_clip")
    words += [name for name in options if config.get(name) or around.get(name)]
    return ", ".join(words if config["bias"] else [*words, "no bias"])


def inspect(path: str | Path | Source, **known: Any) -> Inspection:
    """Reads ``path``; ``known`` as in :func:`.loading.load_autoencoder`.

    Raises:
        UserError: the file cannot be used as weights of an autoencoder.
    """
    checkpoint = read_checkpoint(path)
    fitted = fit_checkpoint(checkpoint, as_source(path).builder, **known)
    config = fitted.config
    digest = sha256(checkpoint.path)
    return Inspection(
        path=str(checkpoint.path),
        kind=checkpoint.kind,
        sha256=digest,
        release=next((name for name, release in RELEASES.items() if release.sha256 == digest), None),
        rounds=checkpoint.rounds,
        parameters=sum(p.numel() for p in fitted.model.parameters()),
        discriminator_parameters=_size(checkpoint),
        sample_rate=config["sample_rate"],
        latent_rate=config["sample_rate"] / config["model"]["downsampling_ratio"],
        chunks=chunks_in_words(fitted.model),
        model_config=config,
        assumed=fitted.assumed,
    )


def _size(checkpoint: Checkpoint) -> int:
    return sum(value.numel() for value in checkpoint.discriminator.values())
