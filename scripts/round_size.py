"""Computes what a round of training would need on a GPU: memory, and the least time on some cards. No GPU is used.

    python scripts/round_size.py --model-config ear_vae [--batch-size 1 8] [--samples 65536] [--filters 64]

One and two short clips are trained on the CPU under bfloat16 autocast. Every allocation and every operation of the
round is counted and scaled to the batch: to a clip's cost in proportion to its length. An operation takes at least as
long as a card needs for its floating-point operations and for reading and writing its tensors once; real rounds take
longer. What a graphics driver and CUDA's libraries hold (about half a GiB) is not counted.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, field
from typing import Any

import torch
from gpu_memory import PeakMemory
from gpu_setting import Setting
from gpu_training import create, train
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from ear_sat.cli import errors
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


@dataclass
class Operations(TorchDispatchMode):
    """Counts what every operation computes, reads and writes while it is entered.

    Attributes:
        flops: in all.
        bytes: read and written.
        seconds: card → the least time.
    """

    flops: float = 0.0
    bytes: float = 0.0
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(CARDS, 0.0))

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        read = {_storage(x) for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)}
        written = {_storage(x) for x in tree_leaves(result) if isinstance(x, torch.Tensor)}
        if not func.is_view and written:
            in_place = bool(read & written)
            moved = sum(size for _, size in read) + sum(size for _, size in (written if in_place else written - read))
            count = flop_registry.get(func._overloadpacket)
            flops = float(count(*args, **kwargs, out_val=result)) if count else 0.0
            self.flops += flops
            self.bytes += moved
            for card, (tera, giga) in CARDS.items():
                self.seconds[card] += max(flops / (tera * 1e12), moved / (giga * 1e9))
        return result


def _storage(tensor: torch.Tensor) -> tuple[int, int]:
    return tensor.untyped_storage().data_ptr(), tensor.untyped_storage().nbytes()


@dataclass(frozen=True)
class Size:
    """What one round needs: bytes beyond what is there before it, FLOPs, and seconds by card."""

    held: float
    peak: float
    flops: float
    seconds: dict[str, float]

    def __sub__(self, other: Size) -> Size:
        seconds = {card: value - other.seconds[card] for card, value in self.seconds.items()}
        return Size(self.held - other.held, self.peak - other.peak, self.flops - other.flops, seconds)


def measure(config: dict[str, Any], clips: int) -> Size:
    """The second round on ``clips`` short clips: by then the optimizers have their moments."""
    setting = Setting("cpu", mini=False)
    wrapper = create(config, "cpu")
    music = 0.1 * torch.randn(clips, 2, PROBE)
    peak, operations = PeakMemory("cpu"), Operations()
    held = 0.0

    def before(trainer: Any) -> None:
        nonlocal held
        if wrapper.rounds == 1:
            moments = [
                t for o in trainer.optimizers for s in o.state.values() for t in s.values() if torch.is_tensor(t)
            ]
            held = sum(t.nbytes for t in [*wrapper.parameters(), *wrapper.buffers(), *moments])
            peak.start()
        if wrapper.rounds == 2:
            operations.__enter__()

    def after(trainer: Any) -> None:
        if wrapper.rounds == 2:
            peak.stop()
        if wrapper.rounds == 3:
            operations.__exit__(None, None, None)

    train(wrapper, [music], 3, setting, "bf16-mixed", before=before, after=after)
    return Size(held, peak.mib * 2**20, operations.flops, operations.seconds)


def scaled(one: Size, two: Size, batch: int, samples: int) -> Size:
    """A round of ``batch`` clips of ``samples``: what a clip adds, in proportion to its length, and the rest once."""
    clip = two - one
    fixed = one - clip
    factor = batch * samples / PROBE
    seconds = {card: fixed.seconds[card] + factor * clip.seconds[card] for card in CARDS}
    return Size(one.held, fixed.peak + factor * clip.peak, fixed.flops + factor * clip.flops, seconds)


def main() -> None:
    """Prints a table, one row per batch, without and with checkpointing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model-config", nargs="+", default=["ear_vae"], help="names or files")
    parser.add_argument("--batch-size", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32])
    parser.add_argument("--samples", type=int, help="length of a clip (default: the config's)")
    parser.add_argument("--filters", type=int, help="of the discriminator (default: the config's)")
    arguments = parser.parse_args()
    for name in arguments.model_config:
        rows = []
        for checkpointing in (False, True):
            config = load_config(name, MODEL)
            training = config["training"]
            for key in ("phases", "eval_loss_configs", "demo"):
                training.pop(key, None)
            training |= {"log_every": 1, "gradient_log_every": 0}
            for side in ("encoder", "decoder"):
                config["model"][side]["config"]["gradient_checkpointing"] = checkpointing
            if arguments.filters:
                training["loss_configs"]["discriminator"]["config"]["filters"] = arguments.filters
            one, two = (measure(config, clips) for clips in (1, 2))
            samples = arguments.samples or config["sample_size"]
            for batch in arguments.batch_size:
                size = scaled(one, two, batch, samples)
                row = [str(batch), "on" if checkpointing else "off", f"{size.held / GIB:.1f}", f"{size.peak / GIB:.1f}"]
                row += [f"{(size.held + size.peak) / GIB:.1f}", f"{size.flops / 1e12:.2f}"]
                rows.append([*row, *(f"{size.seconds[card]:.2f}" for card in CARDS)])
        columns = [
            "batch",
            "checkpointing",
            "held GiB",
            "round GiB",
            "in all GiB",
            "TFLOP",
            *(f"s, {c}" for c in CARDS),
        ]
        print_table(f"{name}: {samples} samples, bf16-mixed; computed, not measured on a GPU", columns, rows)


if __name__ == "__main__":
    sys.exit(errors.run(main))
