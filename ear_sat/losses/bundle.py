"""All reconstruction terms of a config, evaluated on one pair of signals."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Annotated, Any, NamedTuple

import torch
from torch import Tensor, nn

from ..checks import require_number
from ..compute import outside_autocast
from ..config import TypedEntry, build, check_keys, check_section, choice_error
from ..errors import UserError
from ..value_types import Range
from .registry import find_loss
from .term import SpectralTerm, Wanted, as_pair, evaluate_spectral

#: Entries of ``loss_configs`` that are not reconstruction terms.
OTHER_ENTRIES = ("discriminator", "bottleneck")


class LossOutput(NamedTuple):
    """The losses of one pair, scalars.

    total: the sum of ``weighted``.
    weighted: ``entry/part`` → weight · value.
    raw: ``entry/part`` → value.
    """

    total: Tensor
    weighted: dict[str, Tensor]
    raw: dict[str, Tensor]


class LossEntry(TypedEntry, total=False):
    """The keys of one term in ``loss_configs``, which Python has as :class:`Entry`.

    Keys:
        type: which loss: one of the types below, or ``"module:Class"`` of your own.
        config: its constructor's arguments.
        weights: part → weight; a part without one, or with 0, is not computed.
        start_step: rounds of the run before which the term is left out.
    """

    weights: Mapping[str, float]
    start_step: Annotated[int, Range(at_least=0, unit="rounds")]


class Entry(NamedTuple):
    """One named term of ``loss_configs``."""

    kind: str
    weights: dict[str, float]
    start_step: int
    module: nn.Module


def check_weights(name: str, weights: Any, parts: Iterable[str] | None) -> dict[str, float]:
    """Checked weights of the entry ``name``: finite numbers, known keys; raises :class:`UserError`."""
    where = f"loss_configs.{name}.weights"
    if not isinstance(weights, Mapping) or not weights:
        example = ", ".join(f'"{part}": 1.0' for part in parts or ("value",))
        raise UserError(f"{where} is missing; give a weight for each part you want, for example {{{example}}}")
    if parts is not None:
        check_keys(where, weights, parts)
    for key, value in weights.items():
        require_number(f"{where}.{key}", value)
    return {key: float(value) for key, value in weights.items()}


class LossBundle(nn.Module):
    """Weighted sum of named terms; spectral terms share one STFT per resolution, signal and prefilter.

    Built by :meth:`from_config`; a weight of 0 leaves a part out.
    """

    def __init__(self, entries: Mapping[str, Entry]) -> None:
        super().__init__()
        self.entries = dict(entries)
        # A list: the names are the user's, and a ModuleDict refuses "train", "type" and those with a dot.
        self.terms = nn.ModuleList(entry.module for entry in self.entries.values())

    @classmethod
    def from_config(cls, loss_configs: Mapping[str, Any], sample_rate: int) -> LossBundle:
        """Builds the terms of ``loss_configs``: every entry but ``discriminator`` and ``bottleneck``.

        Args:
            loss_configs: name → ``{"type", "config", "weights", "start_step"?}``.
            sample_rate: Hz, for the perceptual weightings.

        Raises:
            UserError: an unknown type, key or part, with the close match.
        """
        entries: dict[str, Entry] = {}
        for name, config in loss_configs.items():
            if name in OTHER_ENTRIES:
                continue
            if not name or "/" in name:
                raise UserError(f"name an entry of loss_configs without '/', which is kept for its parts; got '{name}'")
            check_section(f"loss_configs.{name}", LossEntry, config)
            kind = config.get("type")
            factory = find_loss(kind, f"loss type in loss_configs.{name}")
            module = build(f"loss_configs.{name}.config", factory, config.get("config"), sample_rate=sample_rate)
            weights = check_weights(name, config.get("weights"), getattr(module, "PARTS", None))
            used = {key: weight for key, weight in weights.items() if weight != 0}
            entries[name] = Entry(str(kind), used, config.get("start_step", 0), module)
        return cls(entries)

    def forward(
        self, preds: Tensor, target: Tensor, step: int | None = None, entries: Collection[str] | None = None
    ) -> LossOutput:
        """Evaluates the terms.

        Args:
            preds: estimate, (batch, channels, time), one or two channels; any floating type.
            target: the same shape; gradients do not flow to it.
            step: round of the run, for ``start_step``; None counts every term as started.
            entries: names of the entries to evaluate; None for all.

        Raises:
            ValueError: shapes that differ or are not (batch, 1 or 2, time).
        """
        preds, target = as_pair(preds, target)
        active = {
            name: entry
            for name, entry in self.entries.items()
            if (entries is None or name in entries) and (step is None or step >= entry.start_step) and entry.weights
        }
        with outside_autocast(preds.device.type):
            raw = _evaluate(active, preds, target)
        weighted = {
            key: active[key.split("/", 1)[0]].weights[key.split("/", 1)[1]] * value for key, value in raw.items()
        }
        total = torch.stack(list(weighted.values())).sum() if weighted else preds.new_zeros((), dtype=torch.float32)
        return LossOutput(total, weighted, raw)


def _evaluate(entries: Mapping[str, Entry], preds: Tensor, target: Tensor) -> dict[str, Tensor]:
    """``entry/part`` → value."""
    values: dict[str, Mapping[str, Tensor]] = {}
    spectral: dict[str, Wanted] = {}
    for name, entry in entries.items():
        if isinstance(entry.module, SpectralTerm):
            spectral[name] = Wanted(entry.module, entry.weights)
        else:
            values[name] = _as_parts(name, entry.module(preds, target), entry.weights)
    values |= evaluate_spectral(spectral, preds, target)
    return {f"{name}/{part}": values[name][part] for name, entry in entries.items() for part in entry.weights}


def _as_parts(name: str, value: Any, weights: Mapping[str, float]) -> dict[str, Tensor]:
    if isinstance(value, Tensor):
        if len(weights) != 1:
            raise UserError(f"loss_configs.{name} returns one value but has weights for {', '.join(weights)}; keep one")
        return dict.fromkeys(weights, value.mean())
    missing = [part for part in weights if part not in value]
    if missing:
        raise choice_error(f"part in loss_configs.{name}.weights", missing[0], value)
    return {part: value[part].mean() for part in weights}
