"""SnakeBeta's kernels against its plain formula in float32 on the CPU: part of the section ``equality``."""

from __future__ import annotations

import torch
from gpu_precision import ROUNDING
from gpu_section import Section
from gpu_setting import SEED, Setting, snr_db
from torch import Tensor

from ear_sat.models.snake import snake_beta, snake_beta_reference

TABLE = "SnakeBeta: value and gradients"
#: Type → least SNR of what is in it. Rounding to n bits leaves about 6 n + 8 dB.
LEAST_DB = {torch.float32: 100.0, torch.float16: 64.0, torch.bfloat16: 46.0}
REASONS = {
    torch.float32: ROUNDING,
    torch.float16: "the result is rounded to 11 bits, some 74 dB",
    torch.bfloat16: "the result is rounded to 8 bits, some 56 dB",
}
OUTPUTS = ("value", "gradient by x", "gradient by alpha", "gradient by beta")


def compare_snake(section: Section, setting: Setting, compiled: bool) -> None:
    """One row per type and output; the input's length is odd, so that no kernel has whole blocks only."""
    function = torch.compile(snake_beta, dynamic=False) if compiled else snake_beta
    channels, length = (4, 1001) if setting.mini else (256, 65537)
    generator = torch.Generator().manual_seed(SEED)
    x, grad = (torch.randn(2, channels, length, generator=generator) for _ in range(2))
    alpha, beta = (0.3 * torch.randn(channels, generator=generator) for _ in range(2))
    for dtype in section.within_cap(LEAST_DB, lambda d: f"SnakeBeta {d}{', compiled' if compiled else ''}"):
        low, low_grad = x.to(dtype), grad.to(dtype)  # the reference gets the same rounded input
        expected = _outputs(snake_beta_reference, low.float(), alpha, beta, low_grad.float())
        got = _outputs(function, *(t.to(setting.device) for t in (low, alpha, beta, low_grad)))
        for name, value, reference in zip(OUTPUTS, got, expected, strict=True):
            kept = torch.float32 if name in OUTPUTS[2:] else dtype  # sums over time, in float32
            least = 80.0 if name in OUTPUTS[2:] else LEAST_DB[dtype]
            reason = "a long sum in another order" if name in OUTPUTS[2:] else REASONS[kept]
            what = f"{name}, {str(dtype).removeprefix('torch.')}, {'compiled' if compiled else 'eager'}"
            section.check(TABLE, what, snr_db(value, reference), least, reason, "dB", least=True)


def _outputs(function: object, x: Tensor, alpha: Tensor, beta: Tensor, grad: Tensor) -> list[Tensor]:
    assert callable(function)
    inputs = [t.detach().clone().requires_grad_() for t in (x, alpha, beta)]
    y = function(*inputs)
    return [y, *torch.autograd.grad(y, inputs, grad)]
