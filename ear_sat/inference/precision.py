"""Device and arithmetic of the networks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from ..errors import UserError

#: Name → type in which the convolutions are computed.
PRECISIONS = {"32": torch.float32, "bf16": torch.bfloat16, "16": torch.float16}


def choose_device(name: str = "auto") -> torch.device:
    """The device of that name; ``auto``: a GPU where there is one.

    Raises:
        UserError: torch does not know the device or cannot use it.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"device {name!r} cannot be used ({reason}); leave --device out, or use cpu") from None
    return device


@contextlib.contextmanager
def arithmetic(device: torch.device, precision: str) -> Iterator[None]:
    """While open, convolutions compute in ``precision``.

    ``32`` is float32 throughout: also on those GPUs where torch would round the factors to 10 bits (TF32), which makes
    chunked and unchunked audio differ by more than rounding. ``bf16`` and ``16`` are torch's autocast: weights stay in
    float32, convolutions and what lies between them are in half precision, posterior and transformer in float32.
    """
    if precision != "32":
        with torch.autocast(device.type, PRECISIONS[precision]):
            yield
        return
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
