"""Loss types by name, ours and the user's."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

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
