"""Makes the host's factories know our types. Explicit, idempotent, and the only thing that changes the host.

Each factory is replaced by a function that looks our types up first and hands everything else through untouched. A name
may be bound in several host modules (``from .factory import …``): every binding is replaced.
"""

from __future__ import annotations

import copy
import functools
import importlib
import importlib.metadata
import inspect
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, NamedTuple

import torch

from ..config import choice_error
from ..data import DATASET_TYPES, create_dataloader
from ..errors import UserError, in_words
from ..models import BOTTLENECKS, DECODERS, ENCODERS, build_part, check_model_sizes
from . import compat
from .compat.wrapping import ORIGINAL
from .dataset_entries import blame_metadata, checked_entries
from .diffusion.pretransform_weights import watch
from .engine_types import hand_over
from .host_terms import add_terms, bottleneck_losses, check_training, split_losses
from .host_types import branch_types
from .importing import importing
from .installing import not_installed

HOST = "stable_audio_tools"


def _is_ours(config: Any, key: str = "type") -> bool:
    return isinstance(config, Mapping) and str(config.get(key, "")).startswith("ear_")


def _part_factory(what: str, types: Mapping[str, Callable[..., Any]]) -> Callable[..., Any]:
    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def create(config: Any) -> Any:
            if _is_ours(config):
                return build_part(what, types, config)
            try:
                return original(copy.deepcopy(config))  # "seanet" turns its ratios round in it, at every call
            except (NotImplementedError, ValueError) as error:  # how the host says that it knows no such type
                kind, theirs = config.get("type"), branch_types(original, f"{what}_type")
                if theirs and kind not in theirs:
                    raise choice_error(f"{what} type", kind, [*types, *theirs]) from error
                raise
            except NameError as error:  # 0.0.20's "patched" refers to a class that the package does not define
                raise UserError(
                    f"the installed stable-audio-tools cannot build its own {what} type '{config.get('type')}' "
                    f"({error}); use another"
                ) from error

        return create

    return make


def _autoencoder_factory(original: Callable[..., Any]) -> Callable[..., Any]:
    def create_autoencoder_from_config(config: Any) -> Any:
        model = config.get("model", {}) if isinstance(config, Mapping) else None
        if not isinstance(model, Mapping):
            raise UserError("the config of an autoencoder must be an object with a model, which is an object")
        if any(_is_ours(model.get(part)) for part in ("encoder", "decoder", "bottleneck")):
            check_model_sizes(model)
        return original(config)

    return create_autoencoder_from_config


def _wrapper_factory(original: Callable[..., Any]) -> Callable[..., Any]:
    def create_training_wrapper_from_config(model_config: Any, model: Any) -> Any:
        from .diffusion.guard import attach_guard  # needs Lightning, which the core does without

        training = model_config.get("training") or {}
        kind = training.get("type")
        if model_config.get("model_type") == "autoencoder" and kind is not None:
            if kind != "ear":
                raise choice_error("training.type", kind, ["ear"])
            return _ear_wrapper(model_config, model)
        if model_config.get("model_type") == "autoencoder":
            check_training(training)
        return attach_guard(original(model_config, model), model)

    return create_training_wrapper_from_config


def _ear_wrapper(model_config: Any, model: Any) -> Any:
    from ..training.factory import create_wrapper

    training, ema_copy = model_config["training"], None
    if training.get("use_ema", False):
        from stable_audio_tools.models.factory import create_model_from_config

        with torch.random.fork_rng(devices=[]):  # its random start is replaced, and may cost no random number
            ema_copy = create_model_from_config(model_config)
        ema_copy.load_state_dict(model.state_dict())
    wrapper = create_wrapper(model, model_config["sample_rate"], training, ema_copy)
    wrapper.embedded_config = dict(model_config)
    return wrapper


def _pretransform_factory(original: Callable[..., Any]) -> Callable[..., Any]:
    def create_pretransform_from_config(pretransform_config: Any, sample_rate: Any) -> Any:
        try:
            pretransform = original(pretransform_config, sample_rate)
        except NotImplementedError as error:
            kind, known = pretransform_config.get("type"), branch_types(original, "pretransform_type")
            if known and kind not in known:
                raise choice_error("pretransform type", kind, known) from error
            raise
        except ModuleNotFoundError as error:
            raise UserError(
                f"a pretransform '{pretransform_config.get('type')}': {in_words(error)}; install it"
            ) from error
        except (ImportError, TypeError) as error:  # "pqmf" is older than today's scipy and numpy
            kind = pretransform_config.get("type")
            raise UserError(
                f"the installed stable-audio-tools cannot build a pretransform '{kind}' ({in_words(error)}); "
                "correct its config, or use another"
            ) from error
        return watch(pretransform)

    return create_pretransform_from_config


def _demo_factory(original: Callable[..., Any]) -> Callable[..., Any]:
    def create_demo_callback_from_config(model_config: Any, **kwargs: Any) -> Any:
        if (model_config.get("training") or {}).get("type") != "ear":
            return original(model_config, **kwargs)
        from ..training.run.autoencoder_job import create_demo

        return create_demo(model_config, **kwargs)

    return create_demo_callback_from_config


def _dataloader_factory(original: Callable[..., Any]) -> Callable[..., Any]:
    signature = inspect.signature(original)

    def create_dataloader_from_config(dataset_config: Any, *args: Any, **kwargs: Any) -> Any:
        kind = dataset_config.get("dataset_type")
        if _is_ours(dataset_config, "dataset_type"):
            if kind not in DATASET_TYPES:
                raise choice_error("dataset_type", kind, DATASET_TYPES)
            kwargs.pop("tokenizers", None)  # the host's own audio leaves texts as they are too
            return create_dataloader(dataset_config, *args, **kwargs)
        given = signature.bind(checked_entries(dataset_config), *args, **kwargs)
        given.apply_defaults()
        workers = compat.settled_workers(**{name: given.arguments[name] for name in _LOADER[:6]})
        given.arguments["num_workers"] = workers
        with compat.mended_loaders(workers):
            try:
                return original(*given.args, **given.kwargs)
            except Exception:
                blame_metadata(dataset_config)
                raise

    return create_dataloader_from_config


def _wrapper_class(original: Any) -> Any:
    """A subclass under the same name: the host's factory and its unwrap script build it directly."""

    signature = inspect.signature(original.__init__)

    class AutoencoderTrainingWrapper(original):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            given = signature.bind(self, *args, **kwargs)
            given.apply_defaults()
            split = split_losses(given.arguments["loss_config"])
            if split is None:
                super().__init__(*args, **kwargs)
                return
            given.arguments["loss_config"] = split.host
            super().__init__(*given.args[1:], **given.kwargs)
            add_terms(self, split, given.arguments["sample_rate"])

        @classmethod
        def load_from_checkpoint(cls, checkpoint_path: Any, *args: Any, **kwargs: Any) -> Any:
            """What the unwrap script calls; a checkpoint of our own wrapper brings that one back."""
            from .unwrapping import load_own_checkpoint

            ours = load_own_checkpoint(checkpoint_path, **kwargs)
            return super().load_from_checkpoint(checkpoint_path, *args, **kwargs) if ours is None else ours

    return AutoencoderTrainingWrapper


class Target(NamedTuple):
    """A name of the host's that is replaced: how, and the first parameters that the replacement counts on."""

    make: Callable[[Any], Any]
    parameters: tuple[str, ...]


_LOADER = ("dataset_config", "batch_size", "sample_size", "sample_rate", "audio_channels", "num_workers", "shuffle")
_WRAPPER = ("autoencoder", "sample_rate", "loss_config")

#: (module that defines it, name) → how to replace it.
TARGETS: dict[tuple[str, str], Target] = {
    ("models.autoencoders", "create_encoder_from_config"): Target(
        _part_factory("encoder", ENCODERS), ("encoder_config",)
    ),
    ("models.autoencoders", "create_decoder_from_config"): Target(
        _part_factory("decoder", DECODERS), ("decoder_config",)
    ),
    ("models.factory", "create_bottleneck_from_config"): Target(
        _part_factory("bottleneck", BOTTLENECKS), ("bottleneck_config",)
    ),
    ("models.factory", "create_pretransform_from_config"): Target(
        _pretransform_factory, ("pretransform_config", "sample_rate")
    ),
    ("models.autoencoders", "create_autoencoder_from_config"): Target(_autoencoder_factory, ("config",)),
    ("training.factory", "create_training_wrapper_from_config"): Target(_wrapper_factory, ("model_config", "model")),
    ("training.factory", "create_demo_callback_from_config"): Target(_demo_factory, ("model_config",)),
    ("data.dataset", "create_dataloader_from_config"): Target(_dataloader_factory, _LOADER),
    ("training.autoencoders", "AutoencoderTrainingWrapper"): Target(_wrapper_class, _WRAPPER),
    ("training.autoencoders", "create_loss_modules_from_bottleneck"): Target(
        bottleneck_losses, ("bottleneck", "loss_config")
    ),
}


def register() -> None:
    """Replaces every factory in :data:`TARGETS` and applies the compatibility fixes that this host needs;
    hands the host's types to the training engine.

    Raises:
        UserError: stable-audio-tools is not installed, or its factories are others than the ones known here.
    """
    try:
        with importing():
            modules = {name: importlib.import_module(f"{HOST}.{name}") for name, _ in TARGETS}
    except ModuleNotFoundError as error:
        if error.name == HOST:
            raise not_installed("stable-audio-tools") from None
        if error.name is None or error.name.split(".")[0] != HOST:
            raise
        raise misfit(f"it has no module {error.name}") from error
    originals = {key: _checked(modules[key[0]], *key, target) for key, target in TARGETS.items()}
    try:
        compat.apply()
    except (AttributeError, ImportError) as error:
        raise misfit(str(error)) from error
    for key, original in originals.items():
        if not hasattr(original, ORIGINAL):
            _rebind(original, key[1], _marked(TARGETS[key].make(original), original))
    hand_over()


def _checked(module: ModuleType, module_name: str, name: str, target: Target) -> Any:
    """The host's ``name``, with the parameters that we count on."""
    original = getattr(module, name, None)
    if original is None:
        raise misfit(f"{module_name}.{name} is gone")
    if not hasattr(original, ORIGINAL):
        taken = inspect.signature(original).parameters
        missing = [parameter for parameter in target.parameters if parameter not in taken]
        if missing:
            raise misfit(f"{module_name}.{name} does not take {', '.join(missing)}, but ({', '.join(taken)})")
    return original


def misfit(what: str) -> UserError:
    """The sentence about a host that is neither of the known ones."""
    return UserError(
        f"the installed stable-audio-tools {importlib.metadata.version('stable-audio-tools')} does not fit this "
        f"ear_sat: {what}; install stable-audio-tools 0.0.20, or a newer ear_sat"
    )


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
