"""Loads autoencoders in the host's format: weights with the model config they were made with."""

from __future__ import annotations

import contextlib
import copy
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..checks import require_whole
from ..errors import UserError, refusing
from ..models import Autoencoder
from ..models.receptive_field import hop_length, output_length, reaches
from ..weights import Checkpoint, Fitted, Source, build_autoencoder, read_checkpoint
from ..weights.fit import fit_strictly
from .refusals import in_host_words


def load_autoencoder(
    path: str | Path,
    device: str | torch.device = "cpu",
    *,
    model_config: str | Path | None = None,
    sample_rate: int | None = None,
    dim_heads: int | None = None,
    final_tanh: bool | None = None,
) -> Autoencoder:
    """A ready model in eval mode, from any file of weights.

    One of ours is read off its tensors and needs no stable-audio-tools and no config; any other that stable-audio-tools
    trains is built by it from the ``model_config.json`` with or beside its weights.

    Args:
        path: released ``.pyt``, host checkpoint, training checkpoint (its moving average where there is one),
            ``.safetensors``, or the folder of an export or a run.
        device: where the model is to be.
        model_config: name or file of the config, in place of the one with or beside the weights.
        sample_rate: Hz. This and the next two cannot be read off the tensors; without a value here or in the config
            they are the released models', with a warning.
        dim_heads: channels per attention head of the transformer.
        final_tanh: the decoder ends in a tanh.

    Raises:
        UserError: the file cannot be read, is refused, or does not fit; missing, unexpected and mis-shaped keys are
            counted by module.
    """
    source = weights_source(path, model_config)
    known = {"sample_rate": sample_rate, "dim_heads": dim_heads, "final_tanh": final_tanh}
    return build_autoencoder(read_checkpoint(source), device, builder=source.builder, **known)


def weights_source(path: str | Path, model_config: str | Path | None = None) -> Source:
    """What names a model of any kind, ours or the host's."""
    return Source(path, None if model_config is None else Path(model_config), build_with_host)


def build_with_host(checkpoint: Checkpoint) -> Fitted:
    """The model that the host's factory builds from the checkpoint's config, with its tensors, as one of ours.

    Raises:
        UserError: the host is not installed, cannot build it, or builds a model that the tensors do not fit.
    """
    where, config = str(checkpoint.path), checkpoint.model_config
    assert config is not None
    with contextlib.redirect_stdout(sys.stderr), torch.random.fork_rng(devices=[]):
        model = _built(where, config)
    fit_strictly(model, checkpoint.state, where, "its model config")
    model.eval().requires_grad_(False)
    state = dict(model.state_dict())
    with in_host_words(f"cannot use {where}", ours_too=True):
        return Fitted(_adapted(model), config, state, [])


def _built(where: str, config: Mapping[str, Any]) -> Any:
    from .register import register

    try:
        register()
    except UserError as error:
        raise UserError(f"{where} is an autoencoder of stable-audio-tools, whose code builds it: {error}") from error
    from stable_audio_tools.models.factory import create_model_from_config

    with warnings.catch_warnings(), in_host_words(f"the host cannot build the model config of {where}", ours_too=True):
        warnings.simplefilter("ignore", FutureWarning)  # of torch's age
        return create_model_from_config(copy.deepcopy({"model_type": "autoencoder", **config}))


def _adapted(model: Any) -> Autoencoder:
    from .bottleneck import adapted_bottleneck
    from .networks import adapted_decoder, adapted_encoder

    for name in ("sample_rate", "downsampling_ratio", "latent_dim", "in_channels", "out_channels"):
        require_whole(name, getattr(model, name), at_least=1)
    bottleneck = adapted_bottleneck(model.bottleneck)
    autoencoder = Autoencoder(
        adapted_encoder(model),
        adapted_decoder(model),
        bottleneck,
        model.latent_dim,
        model.downsampling_ratio,
        model.sample_rate,
        model.io_channels,
        model.soft_clip,
        model.in_channels,
        model.out_channels,
    ).eval()
    _check_sizes(autoencoder)
    return autoencoder


@torch.inference_mode()
def _check_sizes(model: Autoencoder) -> None:
    """Raises :class:`UserError` where the config's sizes are not what the networks make of a little audio."""
    for name, network in (("encoder", model.encoder), ("decoder", model.decoder)):
        if (hop := hop_length(reaches(network))) != model.downsampling_ratio:
            raise UserError(
                f"its {name} has {hop} samples to a latent frame, and its model config says downsampling_ratio "
                f"{model.downsampling_ratio}; use the config it was made with"
            )
    frames = 2
    encoded = model.encoder(torch.zeros(1, model.in_channels, frames * model.downsampling_ratio))
    bottleneck = getattr(model.bottleneck, "host", model.bottleneck)
    with refusing(f"its bottleneck, the host's {type(bottleneck).__name__}, fails"):
        latents = model.bottleneck.encode(encoded)
    _compare("latents", latents.shape[1:], (model.latent_dim, frames))
    samples = output_length(reaches(model.decoder), frames)
    _compare("audio", model.decode(latents).shape[1:], (model.out_channels, samples))


def _compare(what: str, made: tuple[int, ...], said: tuple[int, ...]) -> None:
    if made != said:
        raise UserError(
            f"it makes {what} of {made[0]} channels and length {made[1]}, where its model config says {said[0]} and "
            f"{said[1]}; use the config it was made with"
        )
