"""Loss types by name, ours and the user's."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from torch import nn

from ..config import choice_error
from ..errors import UserError
from .magnitude import MagnitudeTerm
from .phase import CorrelationTerm, PhaseDerivativeTerm
from .time import L1Term, L2Term

LOSS_TYPES: dict[str, Callable[..., nn.Module]] = {
    "ear_magnitude": MagnitudeTerm,
    "ear_correlation": CorrelationTerm,
    "ear_phase_derivative": PhaseDerivativeTerm,
    "l1": L1Term,
    "l2": L2Term,
}


def is_loss_type(kind: Any) -> bool:
    """Whether ``kind`` names a loss of ours or of the user's: registered, or "module:Class"."""
    return isinstance(kind, str) and (kind in LOSS_TYPES or kind.startswith("ear_") or ":" in kind)


def find_loss(kind: Any, where: str) -> Callable[..., nn.Module]:
    """The class of a loss type: a registered name, or "module:Class" of any module that Python can import.

    Raises:
        UserError: there is none; ``where`` begins the message.
    """
    if isinstance(kind, str) and ":" in kind:
        module_name, _, name = kind.partition(":")
        try:
            module = importlib.import_module(module_name)
        except (ImportError, ValueError) as error:
            raise UserError(
                f"{where} '{kind}' cannot be imported ({error}); "
                f"put {module_name.partition('.')[0]}.py into the working folder or beside the config"
            ) from error
        classes = [
            key for key, value in vars(module).items() if isinstance(value, type) and issubclass(value, nn.Module)
        ]
        if name not in vars(module):
            raise choice_error(f"{where} in the module {module_name}", name, classes)
        found: Callable[..., nn.Module] = getattr(module, name)
        return found
    if kind not in LOSS_TYPES:
        raise choice_error(where, kind, LOSS_TYPES)
    return LOSS_TYPES[kind]


def register_loss(name: str, cls: Callable[..., nn.Module]) -> None:
    """Makes ``cls`` available as the loss type ``name`` in ``loss_configs``.

    The keys of an entry's ``config`` are the constructor's arguments; an argument named ``sample_rate`` is filled in
    from the model. The module is called as ``module(preds, target)`` with waveforms (batch, channels, time) in float32;
    it returns a scalar or a dict of scalars, one per key of the entry's ``weights``. To share the bundle's spectra,
    subclass :class:`ear_sat.losses.SpectralTerm` instead.

    Raises:
        UserError: the name is taken by another class.
    """
    if LOSS_TYPES.get(name, cls) is not cls:
        raise UserError(f"the loss type '{name}' is taken by {LOSS_TYPES[name]}; register yours under another name")
    LOSS_TYPES[name] = cls
