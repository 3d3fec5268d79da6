"""Computes what a round of training would need on a GPU: memory, and the least time on some cards. No GPU is used.

    python scripts/round_size.py --model-config ear_vae ear_vae_24gb [--batch-size 1 8] [--probes 4 8]

Batches of short clips are trained on the CPU under bfloat16 autocast, one of each size of --probes. Every allocation
and every operation of a round is counted. The two largest give what a clip adds, which grows with its length; smaller
ones show how far off such a line is. An operation takes at least as long as a card needs for its floating-point
operations, or for reading and writing its tensors once; real rounds take longer. What a graphics driver and CUDA's
libraries hold (about half a GiB) is not counted.
"""

from __future__ import annotations

import argparse
import copy
import sys
from dataclasses import dataclass, field
from typing import Any

import torch
from bench_machine import MIB
from bench_memory import PeakMemory
from gpu_setting import Setting
from gpu_training import create, train
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from ear_sat.checks import whole
from ear_sat.cli import errors
from ear_sat.errors import UserError
from ear_sat.named_configs import MODEL, load_config
from ear_sat.report.tables import print_table

#: TFLOP/s of dense bfloat16 products summed in float32, and GB/s of memory, as the makers' data sheets have them.
CARDS = {
    "RTX 3060, 12 GB": (25.5, 360.0),
    "RTX 4090, 24 GB": (165.2, 1008.0),
    "A100 SXM, 80 GB": (312.0, 2039.0),
}
#: Length of the clips that are measured, in samples: eight times the longest window of the configs.
PROBE = 16384
GIB = 2**30
#: Parts of a training section that change what a round has.
NOT_MEASURED = ("phases", "eval_loss_configs", "demo")
#: Operations that neither read nor write what they give.
UNTOUCHED = {torch.ops.aten.empty, torch.ops.aten.empty_like, torch.ops.aten.empty_strided, torch.ops.aten.new_empty}


@dataclass
class Operations(TorchDispatchMode):
    """Counts what every operation computes, reads and writes while it is entered.

    Attributes:
        flops: in all.
        seconds: card → the least time.
    """

    flops: float = 0.0
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(CARDS, 0.0))

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        read = {_span(x) for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)}
        written = {_span(x) for x in tree_leaves(result) if isinstance(x, torch.Tensor)}
        if not func.is_view and func.overloadpacket not in UNTOUCHED:
            in_place = bool(read & written)
            moved = sum(size for _, size in read) + sum(size for _, size in (written if in_place else written - read))
            count = flop_registry.get(func.overloadpacket)
            flops = float(count(*args, **kwargs, out_val=result)) if count else 0.0
            self.flops += flops
            for card, (tera, giga) in CARDS.items():
                self.seconds[card] += max(flops / (tera * 1e12), moved / (giga * 1e9))
        return result


def _span(tensor: torch.Tensor) -> tuple[int, int]:
    """Where a tensor begins, and its bytes: those of a part are its own, those of a broadcast are counted once."""
    return tensor.data_ptr(), min(tensor.nbytes, tensor.untyped_storage().nbytes())


@dataclass(frozen=True)
class Size:
    """What one round needs: bytes at its peak, weights and moments included, FLOPs, and least seconds by card."""

    peak: float
    flops: float
    seconds: dict[str, float]

    def plus(self, other: Size, times: float) -> Size:
        """This and ``other``, so many times."""
        seconds = {card: self.seconds[card] + times * other.seconds[card] for card in self.seconds}
        return Size(self.peak + times * other.peak, self.flops + times * other.flops, seconds)


def measure(config: dict[str, Any], clips: int) -> Size:
    """A round on ``clips`` short clips: operations of the first, memory of the second, which has all moments."""
    wrapper = create(config, "cpu")
    memory, operations = PeakMemory("cpu"), Operations()
    held = 0

    def before(trainer: Any) -> None:
        nonlocal held
        if wrapper.rounds == 0:
            operations.__enter__()
            return
        states = (state for optimizer in trainer.optimizers for state in optimizer.state.values())
        tensors = [*wrapper.parameters(), *wrapper.buffers(), *(t for s in states for t in tree_leaves(s))]
        tensors += [parameter.grad for parameter in wrapper.parameters()]
        held = sum(tensor.nbytes for tensor in tensors if isinstance(tensor, torch.Tensor))
        memory.start()

    def after(trainer: Any) -> None:
        if wrapper.rounds == 1:
            operations.__exit__(None, None, None)
        else:
            memory.stop()

    music = 0.1 * torch.randn(clips, 2, PROBE, generator=torch.Generator().manual_seed(0))
    train(wrapper, [music], 2, Setting("cpu", mini=False), "bf16-mixed", before=before, after=after)
    return Size(held + memory.mib * MIB, operations.flops, operations.seconds)


def line(few: tuple[int, Size], many: tuple[int, Size], clips: float) -> Size:
    """The size of a round of ``clips``, on the line through two measured ones."""
    (n, small), (m, large) = few, many
    per_clip = Size(0, 0, dict.fromkeys(CARDS, 0.0)).plus(large, 1 / (m - n)).plus(small, -1 / (m - n))
    return small.plus(per_clip, clips - n)


def for_a_round(config: dict[str, Any]) -> dict[str, Any]:
    """The config with every loss from the first round on, no checkpointing unless it says so, and only the round."""
    config = copy.deepcopy(config)
    for part in ("encoder", "decoder"):
        values = config["model"][part]["config"]
        values["gradient_checkpointing"] = values.get("gradient_checkpointing") is True
    training = {key: value for key, value in config["training"].items() if key not in NOT_MEASURED}
    return config | {"training": training | {"log_every": 1, "gradient_log_every": 0}}


def main() -> None:
    """Prints a table, one row per config and batch."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    add = parser.add_argument
    add("--model-config", nargs="+", default=["ear_vae"], help="names or files")
    add("--batch-size", type=whole(1), nargs="+", default=[1, 2, 4, 8, 16])
    add("--probes", type=whole(1), nargs="+", default=[2, 4, 8], help="numbers of short clips (default: 2 4 8)")
    arguments = parser.parse_args()
    if len(set(arguments.probes)) < 2:
        raise UserError("--probes needs two different numbers of clips, such as 4 8: a line goes through their sizes")
    rows = []
    for name in arguments.model_config:
        config = for_a_round(load_config(name, MODEL))
        probes = [(clips, measure(config, clips)) for clips in sorted(set(arguments.probes))]
        few, many = probes[-2:]
        for clips, size in probes[:-2]:
            off = line(few, many, clips).peak / size.peak - 1
            print(f"{name}: the line is {100 * off:+.1f} % off the memory of {clips} short clips", flush=True)
        for batch in arguments.batch_size:
            round_ = line(few, many, batch * config["sample_size"] / PROBE)
            figures = [f"{round_.peak / GIB:.1f}", f"{round_.flops / 1e12:.2f}"]
            rows.append([name, str(batch), *figures, *(f"{round_.seconds[card]:.2f}" for card in CARDS)])
    columns = ["config", "batch", "GiB", "TFLOP", *(f"s, {card}" for card in CARDS)]
    print_table("A round, bf16-mixed; computed, not measured on a GPU", columns, rows)


if __name__ == "__main__":
    sys.exit(errors.run(main))
