"""The precisions that gpu_check.py compares, and the error that each may have."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch

ROUNDING = "another order of summation in float32"
#: The bounds leave some 10 dB. In bf16 the full config's audio had 36 dB on a CPU; with 64 channels and the rounding of
#: tensor cores emulated (gpu_arithmetic.py) it had 48 dB, in fp16 66 and in TF32 72.
TF32 = "convolutions round their factors to 10 bits (TF32)"
BF16 = "convolutions round factors and results to 8 bits"
FP16 = "convolutions round factors and results to 11 bits"


@dataclass(frozen=True)
class Precision:
    """One precision of training.

    name: what the tables call it.
    dtype: of autocast; None for none.
    tf32: whether float32 convolutions may use TF32.
    audio_db: least SNR of what a network computes.
    weights_cosine: least cosine of the gradient of its weights.
    reason: for the bounds.
    """

    name: str
    dtype: torch.dtype | None
    tf32: bool
    audio_db: float
    weights_cosine: float
    reason: str

    @contextlib.contextmanager
    def open(self, device: str) -> Iterator[None]:
        """While open, networks compute in this precision."""
        before = torch.backends.cudnn.allow_tf32
        torch.backends.cudnn.allow_tf32 = self.tf32
        try:
            with torch.autocast(device, self.dtype, enabled=self.dtype is not None):
                yield
        finally:
            torch.backends.cudnn.allow_tf32 = before


def precisions(device: str) -> list[Precision]:
    """Those that ``device`` has: a CPU has no TF32."""
    every = [
        Precision("32", None, False, 90.0, 0.9999, ROUNDING),
        Precision("32, TF32", None, True, 46.0, 0.999, TF32),
        Precision("bf16-mixed", torch.bfloat16, True, 26.0, 0.99, BF16),
        Precision("16-mixed", torch.float16, True, 44.0, 0.999, FP16),
    ]
    return [p for p in every if device == "cuda" or p.name != "32, TF32"]


def trained_in(device: str) -> list[str]:
    """Lightning's names of the precisions that are trained in; on a GPU "32" has torch's default, TF32 convolutions.

    On a CPU Lightning puts bf16-mixed in the place of 16-mixed.
    """
    return ["32", "bf16-mixed", "16-mixed"] if device == "cuda" else ["32", "bf16-mixed"]
