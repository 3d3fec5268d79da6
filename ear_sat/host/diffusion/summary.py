"""The table printed before a training of one of the host's models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...report.tables import print_table
from .export import trained_model


def print_host_summary(
    wrapper: Any, model_config: Mapping[str, Any], data: str, batch: str, max_rounds: int | None, origin: str
) -> None:
    """Prints what is trained and what is frozen, the pretransform's latents, the data set."""
    model, counts = trained_model(wrapper), {True: 0, False: 0}
    for parameter in model.parameters():
        counts[parameter.requires_grad] += parameter.numel()
    trained, frozen = counts[True] / 1e6, counts[False] / 1e6
    rows: list[list[Any]] = [["model", f"{trained:.2f} M parameters trained, {frozen:.2f} M frozen"]]
    rows.append(["starts from", origin])
    pretransform = getattr(model, "pretransform", None)
    if pretransform is not None:
        rate = model_config["sample_rate"] / pretransform.downsampling_ratio
        scale = getattr(pretransform, "scale", 1.0)
        divided = "" if scale == 1.0 else f", divided by {scale:g}"
        rows.append(["latents", f"{pretransform.encoded_channels} channels at {rate:.2f} Hz{divided}"])
        rows.append(["input", "latents, encoded before" if getattr(wrapper, "pre_encoded", False) else "audio"])
    if hasattr(model, "diffusion_objective"):
        rows.append(["objective", model.diffusion_objective])
    if getattr(model, "conditioner", None) is not None:
        rows.append(["conditions", ", ".join(model.conditioner.conditioners)])
    rows += [["data", data], ["batch", batch], ["rounds", "until stopped" if max_rounds is None else max_rounds]]
    print_table(f"Training {model_config['model_type']}", ["", ""], rows)
