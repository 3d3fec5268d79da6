"""Makes the host's factories know our types. Explicit, idempotent, and the only thing that changes the host.

Each factory is replaced by a function that looks our types up first and hands everything else through untouched. A name
may be bound in several host modules (``from .factory import …``): every binding is replaced.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from ..config import choice_error
from ..data import DATASET_TYPES, create_dataloader
from ..errors import UserError
from ..models import BOTTLENECKS, DECODERS, ENCODERS, build_part, check_model_sizes
from . import compat
from .missing import missing
from .pretransform_weights import watch

HOST = "stable_audio_tools"
#: Attribute that marks a replaced factory and keeps the host's.
ORIGINAL = "_ear_sat_original"


def _is_ours(config: Any, key: str = "type") -> bool:
    return isinstance(config, Mapping) and str(config.get(key, "")).startswith("ear_")


def _part_factory(what: str, types: Mapping[str, Callable[..., Any]]) -> Callable[..., Any]:
    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def create(config: Any) -> Any:
            return build_part(what, types, config) if _is_ours(config) else original(config)

        return create

    return make


def _autoencoder_factory(original: Callable[..., Any]) -> Callable[..., Any]:
    def create_autoencoder_from_config(config: Any) -> Any:
        model = config.get("model", {})
        if any(_is_ours(model.get(part)) for part in ("encoder", "decoder", "bottleneck")):
            check_model_sizes(model)
        return original(config)

    return create_autoencoder_from_config


def _wrapper_factory(original: Callable[..., Any]) -> Callable[..., Any]:
    def create_training_wrapper_from_config(model_config: Any, model: Any) -> Any:
        from .diffusion_guard import attach_guard
        from .wrapper_factory import create_wrapper, is_ear_loss_config

        training = model_config.get("training") or {}
        kind = training.get("type")
        if model_config.get("model_type") != "autoencoder" or (
            kind is None and not is_ear_loss_config(training.get("loss_configs"))
        ):
            return attach_guard(original(model_config, model), model)
        if kind != "ear":
            if kind is None:
                raise UserError('these loss_configs need "type": "ear" in the training section')
            raise choice_error("training.type", kind, ["ear"])
        ema_copy = None
        if training.get("use_ema", False):
            from stable_audio_tools.models.factory import create_model_from_config

            ema_copy = create_model_from_config(model_config)
            ema_copy.load_state_dict(model.state_dict())
        wrapper = create_wrapper(model, model_config["sample_rate"], training, ema_copy)
        wrapper.embedded_config = dict(model_config)
        return wrapper

    return create_training_wrapper_from_config


def _pretransform_factory(original: Callable[..., Any]) -> Callable[..., Any]:
    def create_pretransform_from_config(pretransform_config: Any, sample_rate: Any) -> Any:
        return watch(original(pretransform_config, sample_rate))

    return create_pretransform_from_config


def _demo_factory(original: Callable[..., Any]) -> Callable[..., Any]:
    def create_demo_callback_from_config(model_config: Any, **kwargs: Any) -> Any:
        if (model_config.get("training") or {}).get("type") != "ear":
            return original(model_config, **kwargs)
        from ..config import build
        from .demo_callback import EarDemoCallback

        demo = model_config["training"].get("demo", {})
        return build("training.demo", EarDemoCallback, demo, sample_rate=model_config["sample_rate"], **kwargs)

    return create_demo_callback_from_config


def _dataloader_factory(original: Callable[..., Any]) -> Callable[..., Any]:
    def create_dataloader_from_config(dataset_config: Any, *args: Any, **kwargs: Any) -> Any:
        kind = dataset_config.get("dataset_type")
        if _is_ours(dataset_config, "dataset_type"):
            if kind not in DATASET_TYPES:
                raise choice_error("dataset_type", kind, DATASET_TYPES)
            return create_dataloader(dataset_config, *args, **kwargs)
        with compat.worker_count_zero(kwargs.get("num_workers", args[4] if len(args) > 4 else None)):
            return original(dataset_config, *args, **kwargs)

    return create_dataloader_from_config


def _wrapper_class(original: type) -> type:
    """A subclass under the same name; the host's unwrap script builds it directly."""

    class AutoencoderTrainingWrapper(original):  # type: ignore[valid-type,misc]
        def __new__(cls, autoencoder: Any = None, *args: Any, **kwargs: Any) -> Any:
            from .wrapper_factory import create_wrapper, is_ear_loss_config

            loss_configs = kwargs.get("loss_config")
            if not is_ear_loss_config(loss_configs):
                return super().__new__(cls)
            training = {"loss_configs": loss_configs, "use_ema": kwargs.get("use_ema", True)}
            sample_rate = kwargs.get("sample_rate", autoencoder.sample_rate)
            # Not an instance of this class, so Python leaves out its __init__.
            return create_wrapper(autoencoder, sample_rate, training, kwargs.get("ema_copy"))

    return AutoencoderTrainingWrapper


#: (module that defines it, name) → how to replace it.
TARGETS: dict[tuple[str, str], Callable[[Any], Any]] = {
    ("models.autoencoders", "create_encoder_from_config"): _part_factory("encoder", ENCODERS),
    ("models.autoencoders", "create_decoder_from_config"): _part_factory("decoder", DECODERS),
    ("models.factory", "create_bottleneck_from_config"): _part_factory("bottleneck", BOTTLENECKS),
    ("models.factory", "create_pretransform_from_config"): _pretransform_factory,
    ("models.autoencoders", "create_autoencoder_from_config"): _autoencoder_factory,
    ("training.factory", "create_training_wrapper_from_config"): _wrapper_factory,
    ("training.factory", "create_demo_callback_from_config"): _demo_factory,
    ("data.dataset", "create_dataloader_from_config"): _dataloader_factory,
    ("training.autoencoders", "AutoencoderTrainingWrapper"): _wrapper_class,
}


def register() -> None:
    """Replaces every factory in :data:`TARGETS` and applies the compatibility fixes that this host needs.

    Raises:
        UserError: stable-audio-tools is not installed.
    """
    try:
        modules = {name: importlib.import_module(f"{HOST}.{name}") for name, _ in TARGETS}
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.split(".")[0] != HOST:
            raise
        raise missing("stable-audio-tools") from None
    for (module_name, name), make in TARGETS.items():
        original = getattr(modules[module_name], name)
        if not hasattr(original, ORIGINAL):
            _rebind(original, name, _marked(make(original), original))
    compat.apply()


def _marked(replacement: Any, original: Any) -> Any:
    if isinstance(replacement, type):
        replacement.__module__, replacement.__qualname__ = original.__module__, original.__qualname__
    else:
        functools.update_wrapper(replacement, original)
    setattr(replacement, ORIGINAL, original)
    return replacement


def _rebind(original: Any, name: str, replacement: Any) -> None:
    for module in host_modules():
        if getattr(module, name, None) is original:
            setattr(module, name, replacement)


def host_modules() -> list[ModuleType]:
    """The host's modules imported so far."""
    prefix = f"{HOST}."
    return [m for key, m in list(sys.modules.items()) if (key == HOST or key.startswith(prefix)) and m is not None]
