"""Device and arithmetic of the networks. Importing this module does not import torch."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import logging
import platform
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from .errors import UserError, first_line

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

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
        raise UserError(f"the device {name} cannot be used ({first_line(error)}); use --device cpu") from None
    return device


def cpu_computes_bf16() -> bool:
    """Whether this machine's CPU has instructions for bfloat16, as torch tells; without, it is many times slower.

    On x86 oneDNN takes any AVX-512 for good enough and emulates them.
    """
    import torch

    if not torch.backends.mkldnn.is_available() or not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    query = getattr(torch.cpu, "_is_avx512_bf16_supported", None)  # not in every version
    return platform.machine().lower() not in ("x86_64", "amd64") or query is None or query()


@functools.cache
def warn_of_slow_bf16() -> None:
    """Logs one sentence, once, if the CPU is about to compute in bfloat16 and cannot; see :func:`cpu_computes_bf16`."""
    if not cpu_computes_bf16():
        logger.warning("this CPU computes bfloat16 by software, 5 to 12 times slower than float32; take precision 32")


def autocast_rounds(device_type: str) -> bool:
    """Whether autocast is on for such a device; "meta", which has shapes and no numbers, knows none."""
    import torch

    return device_type != "meta" and torch.is_autocast_enabled(device_type)


def outside_autocast(device_type: str) -> AbstractContextManager[object]:
    """While open, nothing on such a device is rounded to a half type."""
    import torch

    return contextlib.nullcontext() if device_type == "meta" else torch.autocast(device_type, enabled=False)


def keep_freed_memory() -> None:
    """Makes glibc keep blocks of up to 1 GiB that are freed, and hand them out again, for the rest of the process.

    By default it returns blocks of 32 MiB and more to the system at once; then every large activation of a network on
    the CPU is mapped, faulted in page by page and zeroed anew, which can take longer than the arithmetic. What it keeps
    leaves gaps; :func:`return_freed_memory` empties them. Nothing is done where the C library is another one.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mmap_threshold, trim_threshold = -3, -1  # their numbers in malloc.h
        # Before glibc 2.35 or so 32 MiB was the most.
        _ = mallopt(mmap_threshold, 1 << 30) or mallopt(mmap_threshold, 32 << 20)
        mallopt(trim_threshold, 2**31 - 1)


def return_freed_memory() -> None:
    """Returns to the system what glibc has kept so far; takes milliseconds."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


@contextlib.contextmanager
def true_float32() -> Iterator[None]:
    """While open, float32 is float32 also on those GPUs where torch's convolutions round the factors to 10 bits (TF32).

    With TF32, chunked and unchunked audio differ by more than rounding.
    """
    import torch

    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
