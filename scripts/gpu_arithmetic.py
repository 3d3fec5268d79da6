"""The rounding of a GPU's tensor cores on the CPU, to try precisions where there is no GPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

aten = torch.ops.aten
#: What tensor cores compute: convolutions and matrix products, forward and backward.
CONVOLUTIONS = {aten.convolution.default, aten.convolution_backward.default, aten._convolution.default}
PRODUCTS = {aten.mm.default, aten.addmm.default, aten.bmm.default, aten.baddbmm.default}
HALVES = (torch.bfloat16, torch.float16)


def tf32(x: Tensor) -> Tensor:
    """``x``, float32, rounded to TF32's 10 bits of mantissa, ties away from 0.

    >>> tf32(torch.tensor([1.0, 1 + 2**-10, 1 + 2**-11, 1 + 2**-12])).sub(1).mul(2**10).tolist()
    [0.0, 1.0, 1.0, 0.0]
    """
    return ((x.contiguous().view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)


class GpuArithmetic(TorchDispatchMode):
    """While open, factors and results of convolutions and matrix products have a GPU's precision.

    bfloat16 and float16 products are summed in float32 and rounded once, as tensor cores do; a CPU's own kernels may
    round each partial sum, and some are wrong. float32 convolutions multiply TF32's 10 bits, torch's default on a GPU;
    float32 matrix products do not, likewise.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func not in CONVOLUTIONS and func not in PRODUCTS:
            return func(*args, **kwargs)
        dtype = next(a.dtype for a in args if isinstance(a, Tensor))
        if dtype in HALVES:
            args = tree_map_only(Tensor, lambda t: t.float() if t.dtype in HALVES else t, args)
            return tree_map_only(Tensor, lambda t: t.to(dtype), func(*args, **kwargs))
        if dtype == torch.float32 and func in CONVOLUTIONS:
            factors = 3 if func is aten.convolution_backward.default else 2  # and the gradient; the bias is no factor
            args = (*map(tf32, args[:factors]), *args[factors:])
        return func(*args, **kwargs)
