"""Starts a model from existing weights; a key that does not fit is never skipped in silence."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import cast

from torch import Tensor, nn

from ...errors import UserError
from ...report.tables import print_table
from ...weights import check_finite, fit_partly, fit_strictly, read_checkpoint, read_tensors, resolve
from ..wrapper import EarTrainingWrapper
from .options import TrainOptions

logger = logging.getLogger(__name__)


def load_weights(model: nn.Module, options: TrainOptions) -> None:
    """Starts ``model`` from ``--pretrained-ckpt-path``, if it is given."""
    if options.pretrained_ckpt_path is not None:
        (load_partly if options.allow_partial else load_strictly)(model, options.pretrained_ckpt_path)


def load_strictly(model: nn.Module, path: str | Path, what: str = "the model") -> None:
    """Loads the autoencoder, or the diffusion model, in ``path`` into ``model``; every key must fit.

    Raises:
        UserError: the file cannot be used, or keys are missing, unexpected or mis-shaped.
    """
    remedy = "use the model config it was made with, or ear-sat config --model-from to make one"
    if _is_latent(model):
        remedy = "use the model config it was made with; weights of its pretransform go to --pretransform-ckpt-path"
    fit_strictly(model, _state_for(model, path), str(path), what, remedy=remedy)


def load_partly(model: nn.Module, path: str | Path) -> None:
    """Loads what fits and prints the coverage of every module."""
    rows = fit_partly(model, _state_for(model, path), str(path))
    table = [
        [c.module, f"{c.loaded_tensors} of {c.tensors}", f"{100 * c.loaded_values / c.values:.1f} %"] for c in rows
    ]
    share = 100 * sum(c.loaded_values for c in rows) / sum(c.values for c in rows)
    note = f"{share:.1f} % of all values are loaded, the others keep their random start"
    print_table(f"Loaded from {path}", ["module", "tensors", "values"], table, notes=[note])


def start_discriminator(wrapper: EarTrainingWrapper, path: Path | None, reuse: bool) -> None:
    """Loads the discriminator of a training checkpoint if ``reuse``, and says what the discriminator starts from.

    Raises:
        UserError: the file has no discriminator, or one that does not fit.
    """
    if wrapper.discriminator is None or path is None:
        return
    if reuse:
        checkpoint = read_checkpoint(path)
        if not checkpoint.discriminator:
            raise UserError(
                f"{path} holds no discriminator: only checkpoints of a training do, none was released; "
                "drop --reuse-discriminator and let a first phase train a fresh one"
            )
        fit_strictly(cast("nn.Module", wrapper.discriminator), checkpoint.discriminator, str(path), "the discriminator")
        logger.warning("the discriminator continues with the weights of %s", path)
    else:
        logger.warning("the discriminator starts from random weights: none was loaded from %s", path)


def _is_latent(model: nn.Module) -> bool:
    """Whether ``model`` works on latents; the host's autoencoders have the attribute too."""
    return hasattr(model, "pretransform") and not hasattr(model, "encoder")


def _state_for(model: nn.Module, path: str | Path) -> dict[str, Tensor]:
    if not _is_latent(model):
        return read_checkpoint(path).state
    file = resolve(path)
    every, _, _ = read_tensors(file)
    prefix, averaged = "diffusion.", "diffusion_ema.ema_model."
    wrapped = {key[len(prefix) :]: value for key, value in every.items() if key.startswith(prefix)}
    if wrapped:
        wrapped |= {f"model.{k[len(averaged) :]}": v for k, v in every.items() if k.startswith(averaged)}
    state = wrapped or every
    check_finite(file, state)
    return state
