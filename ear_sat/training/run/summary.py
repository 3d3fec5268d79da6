"""The table printed before training: what will be trained, on what, with which losses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.utils.data import DataLoader

from ...report.tables import print_table
from ..combined import members_of
from ..players import Trainable
from ..wrapper import EarTrainingWrapper


def parameter_count(module: Trainable) -> int:
    """Parameters, shared ones counted once."""
    return sum(p.numel() for p in module.parameters())


def dataset_line(loader: DataLoader[Any], dataset_config: Mapping[str, Any], sample_size: int, sample_rate: int) -> str:
    """Size of the data set: items per epoch and seconds, where the set can tell."""
    dataset = getattr(loader, "dataset", None)
    kind = dataset_config.get("dataset_type")
    if dataset is None or not hasattr(dataset, "__len__"):
        return f"{kind}: a stream"
    seconds = None
    if hasattr(dataset, "files"):
        files = f"{len(dataset.files)} files, "
        seconds = sum(f.frames / f.sample_rate for f in dataset.files)
    elif hasattr(dataset, "tracks"):
        files, seconds = f"{dataset.tracks} tracks, ", dataset.tracks * dataset.seconds
    else:
        files = ""
    length = "" if seconds is None else f"{seconds:.0f} s of music, "
    return f"{kind}: {files}{length}{len(dataset)} crops of {sample_size / sample_rate:.2f} s per epoch"


def print_summary(
    wrapper: EarTrainingWrapper,
    model_config: Mapping[str, Any],
    data: str,
    batch: str,
    max_rounds: int | None,
    origin: str = "random weights",
) -> None:
    """Prints model, what it starts from, phases, every loss term with weight and weighting, and the data set."""
    model = wrapper.autoencoder
    rate = model.sample_rate / model.downsampling_ratio
    rows: list[list[Any]] = [
        [
            "model",
            f"{parameter_count(model) / 1e6:.2f} M parameters, {model.sample_rate} Hz, {model.out_channels} channel(s)",
        ],
        ["starts from", origin],
        ["latents", f"{model.latent_dim} channels at {rate:.2f} Hz (one per {model.downsampling_ratio} samples)"],
    ]
    frozen = [name for name in ("encoder", "decoder") if _frozen(getattr(model, name))]
    if frozen:
        rows.append(["frozen", " and ".join(frozen)])
    if wrapper.discriminator is not None:
        kind = " + ".join(type(member.discriminator).__name__ for member in members_of(wrapper.discriminator))
        rows.append(["discriminator", f"{kind}, {parameter_count(wrapper.discriminator) / 1e6:.2f} M parameters"])
    for phase, start in zip(wrapper.schedule.phases, wrapper.schedule.starts, strict=True):
        players = [name for name, on in (("generator", phase.generator), ("discriminator", phase.adversarial)) if on]
        steps = "until the end" if phase.steps is None else f"{phase.steps} rounds"
        losses = "all losses" if phase.losses is None else ", ".join(phase.losses)
        rows.append([f"phase {phase.name}", f"from round {start}, {steps}: {' and '.join(players)}; {losses}"])
    for name, entry in wrapper.bundle.entries.items():
        for part, weight in entry.weights.items():
            rows.append([f"loss {name}/{part}", f"× {weight:g}, {_details(entry.kind, entry.module)}"])
    for key, weight in wrapper.adversarial_weights.items():
        if wrapper.discriminator is not None:
            rows.append([f"loss discriminator/{key}", f"× {weight:g}"])
    for key, weight in wrapper.bottleneck_weights.items():
        rows.append([f"loss bottleneck/{key}", f"× {weight:g}"])
    rows += [["data", data], ["batch", batch], ["rounds", "until stopped" if max_rounds is None else max_rounds]]
    print_table(f"Training {model_config.get('model_type')}", ["", ""], rows)


def _frozen(module: nn.Module) -> bool:
    return not any(p.requires_grad for p in module.parameters())


def _details(kind: str, term: Any) -> str:
    words = [kind]
    if hasattr(term, "components"):
        words.append(" ".join(term.components))
    if getattr(term, "weighting", "none") != "none":
        words.append(f"{term.weighting.upper()}-weighted ({term.weighting_mode})")
    if hasattr(term, "bin_weighting"):
        words.append("weighted by magnitude" if term.bin_weighting == "magnitude" else "unweighted")
    if hasattr(term, "resolutions"):
        words.append("windows " + " ".join(str(r.window) for r in term.resolutions))
    return ", ".join(words)
