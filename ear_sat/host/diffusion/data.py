"""Whether data and network fit a latent model: audio or latents, their channels, and what it is conditioned on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...errors import UserError


def check_data(model: Any, pre_encoded: bool, channels: int, info: Mapping[str, Any]) -> None:
    """Compares an item of a data set with a model of the host.

    Args:
        model: the host's model; one with a discrete pretransform takes whatever there is.
        pre_encoded: the wrapper's ``training.pre_encoded``.
        channels: of the item's audio or latents.
        info: the item's metadata.

    Raises:
        UserError: audio where latents are expected or the reverse, another channel count, a network for other
            latents, or a condition is missing.
    """
    pretransform = getattr(model, "pretransform", None)
    if pretransform is None and not pre_encoded:
        _check_alone(model, channels)
    elif pretransform is not None and not pretransform.is_discrete:
        _check_network(model, pretransform.encoded_channels)
        _check_channels(pre_encoded, channels, pretransform.io_channels, pretransform.encoded_channels)
    conditioner = getattr(model, "conditioner", None)
    if conditioner is not None:
        defaults = conditioner.default_keys
        missing = [key for key in conditioner.conditioners if key not in info and defaults.get(key) not in info]
        if missing:
            raise UserError(
                f"the model is conditioned on {', '.join(missing)}, which the data set's items do not have; "
                "add it with a custom_metadata_module in the dataset config"
            )


def _widths(model: Any) -> list[int]:
    """The channel counts that the model's transformers, and the model itself, are made for."""
    from stable_audio_tools.models.dit import DiffusionTransformer

    networks = [network for network in model.modules() if isinstance(network, DiffusionTransformer)]
    return [*(network.postprocess_conv.in_channels for network in networks), model.io_channels]


def _check_alone(model: Any, audio: int) -> None:
    for channels in _widths(model) if hasattr(model, "io_channels") else ():
        if channels != audio:
            raise UserError(
                f"the diffusion model is made for {channels} channels and has no pretransform, but the data set yields "
                f"audio of {audio}; give it a pretransform, or set every io_channels to {audio}"
            )


def _check_network(model: Any, latent: int) -> None:
    for channels in _widths(model):
        if channels != latent:
            raise UserError(
                f"the diffusion model is made for {channels} channels, but its pretransform's latents have {latent}; "
                "set every io_channels (in_channels of an unconditional model) to that"
            )


def _check_channels(pre_encoded: bool, channels: int, audio: int, latent: int) -> None:
    if channels == (latent if pre_encoded else audio):
        return
    if pre_encoded and channels == audio:
        raise UserError(
            f"training.pre_encoded is true, but the data set yields audio ({channels} channels); "
            "set it to false, or use a dataset config of type pre_encoded"
        )
    if not pre_encoded and channels == latent:
        raise UserError(
            f"the data set yields latents ({channels} channels), but training.pre_encoded is false; set it to true"
        )
    kind, wanted = ("latents", latent) if pre_encoded else ("audio", audio)
    raise UserError(
        f"the data set yields {kind} of {channels} channels, but the pretransform's have {wanted}; "
        f"{'encode the data with this pretransform' if pre_encoded else 'adapt audio_channels in the model config'}"
    )


def check_loader(wrapper: Any, model: Any, loader: Any) -> None:
    """:func:`check_data` on the first item, where the data set can be asked for it; streams are checked while training.

    Raises:
        UserError: as above, or no item can be read.
    """
    dataset: Any = getattr(loader, "dataset", None)
    if not (hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")):
        return
    item, info = dataset[0]
    check_data(model, getattr(wrapper, "pre_encoded", False), item.shape[0], info)
