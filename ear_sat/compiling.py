"""torch.compile where there is a compiler; where there is none, the plain code and one notice."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeVar

import torch

from .errors import first_line

logger = logging.getLogger(__name__)

Function = TypeVar("Function", bound=Callable[..., object])


@functools.cache
def can_compile(device_type: str) -> bool:
    """Whether torch.compile works on "cpu", "cuda", … here, found out by compiling one line; logs a notice if not."""
    try:
        # Asked for where nothing is to be compiled, the line would be run as it is.
        with stance("default"), _hushed():
            torch.compile(_probe, dynamic=False, fullgraph=True)(torch.zeros(8, device=device_type))
    except Exception as error:  # no compiler, no headers, no Triton, a Python too new: each has an exception of its own
        needs = "Triton" if device_type == "cuda" else "a C++ compiler such as g++"
        logger.warning(
            "torch.compile does not work here, going on without it; it needs %s (%s)", needs, first_line(error)
        )
        return False
    return True


def stance(name: str) -> AbstractContextManager[object]:
    """While open, compiled functions are compiled ("default") or run as they are ("force_eager"); not in torch 2.5."""
    set_stance = getattr(torch.compiler, "set_stance", None)
    return contextlib.nullcontext() if set_stance is None else set_stance(name)


@contextlib.contextmanager
def _hushed() -> Iterator[None]:
    """While open, nothing reaches the process's outputs: compilers that fail print hundreds of lines."""
    with contextlib.ExitStack() as restored, Path(os.devnull).open("wb") as nowhere:
        for output, stream in ((1, sys.stdout), (2, sys.stderr)):
            stream.flush()
            with contextlib.suppress(OSError):  # closed
                kept = os.dup(output)
                restored.callback(os.close, kept)
                restored.callback(os.dup2, kept, output)
                os.dup2(nowhere.fileno(), output)
            restored.callback(stream.flush)  # before the output is restored
        yield


def keep_compiled_graphs() -> None:
    """Lets compiled backward passes run with ``retain_graph=True``.

    They overwrite what the graph has saved as soon as one of them was first compiled without, and the compiler keeps
    that on disk for later processes.
    """
    import torch._functorch.config as config

    if hasattr(config, "donated_buffer"):
        config.donated_buffer = False


def _probe(x: torch.Tensor) -> torch.Tensor:
    return x.sin() + 1


@functools.cache
def fused(function: Function) -> Function:
    """``function`` of GPU tensors, compiled to as few kernels as can be, for any shapes; see :func:`can_compile`."""
    return torch.compile(function, dynamic=True) if can_compile("cuda") else function  # type: ignore[return-value]
