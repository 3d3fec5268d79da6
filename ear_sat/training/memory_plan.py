"""Decides ``"gradient_checkpointing": "auto"``: off where a round fits into the free memory, else on.

Checkpointing computes the same numbers, about a third slower, so only measured need is a reason for it. What a round
keeps for its backward pass is measured on one and on two short clips and scaled to the batch.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from tqdm import tqdm

from ..compiling import stance
from ..models import Decoder, Encoder
from .adversary import adversarial_pass
from .combined import members_of
from .free_memory import free_memory
from .phases import Phase
from .ranks import over_ranks
from .round import encoder_input

if TYPE_CHECKING:
    from .wrapper import EarTrainingWrapper

#: Length of the clips that are measured, in samples: eight times the longest window of the configs.
PROBE = 16384
#: Share of the free memory to plan with. The rest is for what no graph holds: gradients of activations on their way,
#: workspaces, fragments.
USABLE = 0.85
#: Numbers per parameter that an optimizer keeps: Adam's two moments, and no type in use keeps more.
MOMENTS = 2
GIB = 2**30


def plan_checkpointing(wrapper: EarTrainingWrapper, reals: Tensor) -> bool:
    """Sets ``gradient_checkpointing`` of encoder and decoder where it is "auto"; always True: it is done.

    Called inside the first training step: everything that is allocated before a round is allocated by then, and
    autocast is as in training. All ranks decide the same; the first one says what.

    Args:
        wrapper: the training wrapper, its trainer attached.
        reals: the first batch, (batch, channels, time).
    """
    modules = (module for _, module in wrapper.autoencoder.named_modules() if isinstance(module, Encoder | Decoder))
    parts = [module for module in modules if module.gradient_checkpointing == "auto"]
    if not parts:
        return True
    batch, channels, length = reals.shape
    graph = max(graph_bytes(wrapper, phase, batch, channels, length) for phase in _phases_ahead(wrapper))
    free = free_memory(wrapper.device, sharing=wrapper.trainer.num_devices)
    need, lack = over_ranks([_gradients_and_moments(wrapper) + graph, -free], wrapper.device, "max")
    on = need > USABLE * -lack
    for part in parts:
        part.gradient_checkpointing = on
    if wrapper.global_rank == 0:
        tqdm.write(describe(need, -lack, on))
    return True


def describe(need: float, free: float, on: bool) -> str:
    """The decision in one line.

    >>> describe(3 * GIB, 4 * GIB, on=False)
    'gradient checkpointing off: a round needs about 3.0 GiB of 4.0 GiB free'
    """
    amount = "an unknown amount" if math.isinf(free) else f"{free / GIB:.1f} GiB"
    if not on:
        return f"gradient checkpointing off: a round needs about {need / GIB:.1f} GiB of {amount} free"
    return (
        f"gradient checkpointing on: a round would need about {need / GIB:.1f} GiB of {amount} free; if memory is "
        "still short, use a smaller --batch-size with --accum-batches"
    )


def graph_bytes(wrapper: EarTrainingWrapper, phase: Phase, batch: int, channels: int, length: int) -> float:
    """Bytes that the graphs of a round of ``phase`` on audio (batch, channels, length) keep without checkpointing.

    Those of the generator, and of the losses or one discriminator, which do not exist together. A clip costs in
    proportion to its length; what is kept once, such as weights in half precision, is what two clips do not double.
    Call it where training does (autocast and all). It leaves random states, gradients and buffers as they were.
    """
    hop = wrapper.autoencoder.downsampling_ratio
    short = -(-min(length, PROBE) // hop) * hop
    with _unnoticed(wrapper):
        probes = (torch.randn(clips, channels, short, device=wrapper.device) / 10 for clips in (1, 2))
        one, two = (_kept(wrapper, phase, probe) for probe in probes)
    per_clip = two - one
    return one - per_clip + batch * per_clip * length / short


class Ledger:
    """Counts the bytes that autograd saves while :meth:`open`: each storage once, those of ``known`` not at all.

    >>> weight, x = torch.ones(4, requires_grad=True), torch.ones(4)
    >>> ledger = Ledger([weight])
    >>> with ledger.open():
    ...     y = weight * x + x * weight  # saves x and weight, twice each
    >>> ledger.bytes
    16
    """

    def __init__(self, known: Iterable[Tensor] = ()) -> None:
        self.bytes = 0
        # The storages are held, so that no address comes back under another tensor.
        self._storages = {storage.data_ptr(): storage for storage in (tensor.untyped_storage() for tensor in known)}

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        with torch.autograd.graph.saved_tensors_hooks(self._pack, lambda tensor: tensor):
            yield

    def _pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._storages:
            self._storages[storage.data_ptr()] = storage
            self.bytes += storage.nbytes()
        return tensor.detach()  # an operation that saves its own output would hold itself in memory for ever


def _kept(wrapper: EarTrainingWrapper, phase: Phase, reals: Tensor) -> int:
    ledger = Ledger([*wrapper.parameters(), *wrapper.buffers()])
    with ledger.open():
        with torch.set_grad_enabled(phase.generator):
            latents, _ = wrapper.autoencoder.encode(encoder_input(wrapper, reals), return_info=True)
            decoded = wrapper.autoencoder.decode(latents)[..., : reals.shape[-1]]
            generator = ledger.bytes
        output = decoded.detach().float().requires_grad_(phase.generator)  # cut off from its graph, as in a round
        reals = reals[..., : output.shape[-1]]
        if phase.generator:
            wrapper.bundle(output, reals, entries=phase.losses)
        others = [ledger.bytes - generator]
        adversary = wrapper.discriminator if phase.adversarial else None
        for member in () if adversary is None else members_of(adversary):
            before = ledger.bytes
            # A round frees the graph over the real audio, but the features in it stay, also where it has no graph.
            adversarial_pass(member.discriminator, reals, output, train=True, backward=lambda *_, **__: None)
            others.append(ledger.bytes - before)
    return generator + max(others)


@contextlib.contextmanager
def _unnoticed(wrapper: EarTrainingWrapper) -> Iterator[None]:
    """Whatever runs here leaves no trace in what is computed afterwards."""
    buffers = [(buffer, buffer.clone()) for buffer in wrapper.buffers()]
    device = wrapper.device
    try:
        # Nobody wants a module compiled for the lengths of the probes.
        with torch.random.fork_rng([device] if device.type == "cuda" else []), stance("force_eager"):
            yield
    finally:
        torch.clear_autocast_cache()  # casts of the weights, some of them made without gradient
        with torch.no_grad():
            for buffer, before in buffers:
                if not torch.equal(buffer, before):
                    buffer.copy_(before)


def _phases_ahead(wrapper: EarTrainingWrapper) -> list[Phase]:
    """One phase of each kind that is still to come: with every loss started, and both players where both take turns."""
    schedule = wrapper.schedule
    first = schedule.phases.index(schedule.at(wrapper.rounds)[0])
    kinds = {(phase.losses, phase.generator, phase.adversarial): phase for phase in schedule.phases[first:]}
    return list(kinds.values())


def _gradients_and_moments(wrapper: EarTrainingWrapper) -> int:
    """Bytes of gradients and optimizer states that do not exist yet; weights and moving average do."""
    missing = 0
    for optimizer in wrapper.trainer.optimizers:
        for parameter in (p for group in optimizer.param_groups for p in group["params"]):
            missing += parameter.nbytes * ((parameter.grad is None) + MOMENTS * (parameter not in optimizer.state))
    return missing
