"""Device and arithmetic of the networks. Importing this module does not import torch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from .config import check_choice
from .errors import UserError

if TYPE_CHECKING:
    import torch

#: Name → torch's name of the type in which the convolutions are computed.
PRECISIONS = {"32": "float32", "bf16": "bfloat16", "16": "float16"}


def choose_device(name: str = "auto", turn: int = 0) -> torch.device:
    """The device called ``name``: "auto", "cpu", "cuda", "cuda:1", "mps", …

    Args:
        name: "auto" is a GPU where there is one, else the CPU.
        turn: number of this process on its machine; "cuda" and "auto" deal the GPUs out by it.

    Raises:
        UserError: there is no such device, or it cannot be used.

    >>> choose_device("cpu")
    device(type='cpu')
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"unknown device '{name}'; use auto, cpu, cuda, cuda:N or mps") from None
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if count == 0:
            raise UserError(f"the device {name} was asked for, but torch sees no GPU; use --device cpu")
        if device.index is None:
            return torch.device("cuda", turn % count)
        if device.index >= count:
            raise UserError(f"there is no device {name}: torch sees {count}; use cuda:0 to cuda:{count - 1}")
        return device
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"the device {name} cannot be used ({reason}); use --device cpu") from None
    return device


@contextlib.contextmanager
def arithmetic(device: torch.device, precision: str = "32") -> Iterator[None]:
    """While open, convolutions compute in ``precision``.

    ``32`` is float32 throughout: also on those GPUs where torch would round the factors to 10 bits (TF32), which makes
    chunked and unchunked audio differ by more than rounding. ``bf16`` and ``16`` are torch's autocast: weights stay in
    float32, convolutions and what lies between them are in half precision, posterior and transformer in float32.

    Raises:
        UserError: ``precision`` is none of :data:`PRECISIONS`.
    """
    import torch

    check_choice("precision", precision, PRECISIONS)
    if precision != "32":
        with torch.autocast(device.type, getattr(torch, PRECISIONS[precision])):
            yield
        return
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
