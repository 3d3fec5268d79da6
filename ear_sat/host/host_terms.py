"""Our loss terms in the host's own autoencoder wrapper, which keeps all it has: teacher, latent terms, curricula.

A config without ``training.type`` trains there. Its ``loss_configs`` may also hold entries of our types and the user's:
the host gets its own entries, ours are added to its generator's loss.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import nn

from ..config import choice_error
from ..errors import UserError
from ..losses import LossBundle, is_loss_type
from ..models import VAEBottleneck
from ..training.discriminators import create_discriminator, is_ours

#: Types that we share with the host, which reads them in its entry "time".
SHARED = ("l1", "l2")
#: Keys of ``training`` that only our wrapper reads.
OUR_KEYS = ("phases", "update", "ema", "max_bad_batches", "log_every", "gradient_log_every", "balance")
#: Of these there is nothing in the host that could be meant.
OUR_LATENT_KEYS = ("equivariance", "latent_noise")
#: Stands for our discriminator while the host builds its own parts; it is replaced at once.
PLACEHOLDER = {"type": "encodec", "config": {"filters": 1, "n_ffts": [64], "hop_lengths": [16], "win_lengths": [64]}}


class SplitLosses(NamedTuple):
    """A ``loss_configs`` taken apart.

    host: what the host's wrapper reads.
    terms: entries of our types and of the user's.
    discriminator: the entry "discriminator" where its type is ours, else None.
    """

    host: dict[str, Any]
    terms: dict[str, Any]
    discriminator: Mapping[str, Any] | None


def split_losses(loss_configs: Any) -> SplitLosses | None:
    """``loss_configs`` in two; None where nothing in it is ours, so that the host's stay untouched.

    >>> split_losses({"spectral": {"type": "mrstft"}, "time": {"type": "l1"}}) is None
    True
    >>> split_losses({"phase": {"type": "ear_correlation"}}).host
    {'time': {'type': 'l1', 'config': {}, 'weights': {}}}
    """
    if not isinstance(loss_configs, Mapping):
        return None
    host, terms, discriminator = dict(loss_configs), {}, None
    for name, entry in loss_configs.items():
        kind = entry.get("type") if isinstance(entry, Mapping) else None
        if name == "discriminator":
            if is_ours(kind):
                discriminator = entry
                host[name] = {**entry, **PLACEHOLDER}
        elif is_loss_type(kind) and kind not in SHARED:
            terms[name] = host.pop(name)
    if not terms and discriminator is None:
        return None
    host.setdefault("time", {"type": "l1", "config": {}, "weights": {}})  # read without a question
    return SplitLosses(host, terms, discriminator)


def check_training(training: Mapping[str, Any]) -> None:
    """Checks a ``training`` section without a type that has entries of ours.

    Raises:
        UserError: a key that only our wrapper reads, or an entry that the host would pass over without a word.
    """
    losses = training.get("loss_configs")
    split = split_losses(losses)
    ours = [key for key in (*OUR_LATENT_KEYS, *(OUR_KEYS if split else ())) if key in training]
    bottleneck = losses.get("bottleneck") if isinstance(losses, Mapping) else None
    if isinstance(bottleneck, Mapping) and "target_kl" in bottleneck:
        ours.append("loss_configs.bottleneck.target_kl")
    for key in ours:
        raise UserError(
            f'training.{key} belongs to ear_sat\'s own wrapper: add "type": "ear" to the training section, '
            f"or take the key out to train in the host's wrapper"
        )
    if split is None:
        return
    known = host_entries()
    for name in split.host:
        if known and name not in known:
            raise UserError(
                f"{choice_error('entry in loss_configs', name, known)}; ear_sat's own wrapper takes entries of any "
                'name: add "type": "ear" to the training section'
            )


def host_entries() -> list[str]:
    """The names of ``loss_configs`` that the host's wrapper reads, from its source; none where that is missing."""
    from stable_audio_tools.training import autoencoders

    try:
        source = inspect.getsource(autoencoders)
    except OSError:
        return []
    quoted = r"""['"](\w+)['"]"""
    read, asked = rf"(?<!\w)loss_config\s*\[{quoted}\]", rf"{quoted}\s+in\s+loss_config\b(?!\s*\[)"
    found = re.findall(f"{read}|{asked}", source)
    return sorted({one or other for one, other in found})


def add_terms(wrapper: Any, split: SplitLosses, sample_rate: int) -> None:
    """Gives the host's ``wrapper``, built from ``split.host``, our discriminator and our terms.

    The terms hang on the module that sums the host's losses, so they are logged as the host's are, as ``entry/part``.

    Raises:
        UserError: a key, type or weight that cannot be right.
    """
    channels = wrapper.autoencoder.out_channels
    if channels not in (1, 2):
        raise UserError(f"our loss terms take one or two channels, and this autoencoder has {channels}")
    if split.discriminator is not None:
        entry = {key: value for key, value in split.discriminator.items() if key != "decay"}  # the host's key
        wrapper.discriminator = create_discriminator(entry, sample_rate, channels)
    if not split.terms:
        return
    bundle = LossBundle.from_config(split.terms, sample_rate)
    wrapper.ear_terms = bundle

    def add(module: nn.Module, arguments: tuple[Any, ...], summed: tuple[Any, dict[str, Any]]) -> Any:
        total, losses = summed
        info = arguments[0]
        ours = bundle(info["decoded"], info["reals"], step=wrapper.global_step)
        return total + ours.total, {**losses, **ours.weighted}

    wrapper.losses_gen.register_forward_hook(add)


def bottleneck_losses(original: Any) -> Any:
    """The host adds a KL term where it knows the bottleneck's class; without this, ours would have none."""

    def create_loss_modules_from_bottleneck(bottleneck: Any, loss_config: Mapping[str, Any]) -> list[nn.Module]:
        losses: list[nn.Module] = original(bottleneck, loss_config)
        if isinstance(bottleneck, VAEBottleneck):
            from stable_audio_tools.training.losses import ValueLoss

            weights = (loss_config.get("bottleneck") or {}).get("weights") or {}
            losses.append(ValueLoss(key="kl", weight=weights.get("kl", 1e-6), name="kl_loss"))  # the host's default
        return losses

    return create_loss_modules_from_bottleneck
