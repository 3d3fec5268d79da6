"""Decides ``"gradient_checkpointing": "auto"``: off where a round fits into memory, else on where it saves most.

Checkpointing computes the same numbers, about a third slower, so only measured need is a reason for it.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from ..models import Decoder, Encoder
from .free_memory import free_memory
from .graph_memory import graph_memory

#: Share of the free memory to plan with. The rest is for what no graph holds: gradients of activations on their way,
#: workspaces, fragments.
USABLE = 0.85
#: Numbers per parameter that an optimizer keeps: Adam's two moments, and no type in use keeps more.
MOMENTS = 2
GIB = 2**30


def plan_checkpointing(wrapper: Any, reals: Tensor) -> bool:
    """Sets ``gradient_checkpointing`` of every encoder and decoder that says "auto"; always True: it is done.

    Called inside the first training step: everything that is allocated before a round is allocated by then, and
    autocast is as in training. All ranks decide the same; the first one says what.

    Args:
        wrapper: the training wrapper, its trainer attached.
        reals: the first batch, (batch, channels, time).
    """
    modules = wrapper.autoencoder.named_modules()
    parts = {n: m for n, m in modules if isinstance(m, Encoder | Decoder) and m.gradient_checkpointing == "auto"}
    if not parts:
        return True
    room = free_memory(wrapper.device, sharing=wrapper.trainer.num_devices)
    choices = [c for count in range(len(parts) + 1) for c in itertools.combinations(parts, count)]
    state = _gradients_and_moments(wrapper)
    graphs = [graph_memory(wrapper, phase, parts, *reals.shape) for phase in _phases_ahead(wrapper)]
    needs = [state + max(graph.peak(choice) for graph in graphs) for choice in choices]
    *needs, room = _worst_of_ranks([*needs, -room], wrapper.device)
    need = dict(zip(choices, needs, strict=True))
    choice = choose(need, USABLE * -room)
    for name, part in parts.items():
        part.gradient_checkpointing = name in choice
    if wrapper.global_rank == 0:
        tqdm.write(describe(need, -room, choice))
    return True


def choose(need: dict[tuple[str, ...], float], room: float) -> tuple[str, ...]:
    """The fewest parts with which a round fits into ``room``, among equally many those that save most.

    >>> need = {(): 9.0, ("encoder",): 6.0, ("decoder",): 5.0, ("encoder", "decoder"): 2.0}
    >>> choose(need, 9), choose(need, 8), choose(need, 4), choose(need, 1)
    ((), ('decoder',), ('encoder', 'decoder'), ('encoder', 'decoder'))
    """
    fitting = [choice for choice in need if need[choice] <= room]
    if fitting:
        return min(fitting, key=lambda choice: (len(choice), need[choice]))
    return min(need, key=lambda choice: (need[choice], len(choice)))


def describe(need: dict[tuple[str, ...], float], room: float, choice: tuple[str, ...]) -> str:
    """The decision in one line.

    >>> describe({(): 3 * GIB, ("decoder",): 2 * GIB}, 4 * GIB, ())
    'gradient checkpointing off: a round needs about 3.0 GiB of 4.0 GiB free'
    >>> describe({(): 5 * GIB, ("decoder",): 2 * GIB}, 4 * GIB, ("decoder",))
    'gradient checkpointing on (decoder): a round needs about 2.0 GiB of 4.0 GiB free, 5.0 GiB without'
    """
    free = "an unknown amount" if math.isinf(room) else f"{room / GIB:.1f} GiB"
    text = f"a round needs about {need[choice] / GIB:.1f} GiB of {free} free"
    text = f"on ({' and '.join(choice)}): {text}, {need[()] / GIB:.1f} GiB without" if choice else f"off: {text}"
    if need[choice] > USABLE * room:
        text += "; that may be too much: use a smaller --batch-size with --accum-batches"
    return f"gradient checkpointing {text}"


def _phases_ahead(wrapper: Any) -> list[Any]:
    """One phase of each kind that is still to come: with every loss started, and both players where both take turns."""
    schedule = wrapper.schedule
    first = schedule.phases.index(schedule.at(wrapper.rounds)[0])
    kinds = {(phase.losses, phase.generator, phase.adversarial): phase for phase in schedule.phases[first:]}
    return list(kinds.values())


def _gradients_and_moments(wrapper: Any) -> int:
    """Bytes of gradients and optimizer states that do not exist yet; weights and moving average do."""
    missing = 0
    for optimizer in wrapper.trainer.optimizers:
        for parameter in (p for group in optimizer.param_groups for p in group["params"]):
            missing += parameter.nbytes * ((parameter.grad is None) + MOMENTS * (parameter not in optimizer.state))
    return missing


def _worst_of_ranks(values: list[float], device: torch.device) -> list[float]:
    """The largest of each value over all ranks."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return values
    shared = torch.tensor(values, dtype=torch.float64, device=device)
    torch.distributed.all_reduce(shared, op=torch.distributed.ReduceOp.MAX)
    return shared.tolist()
