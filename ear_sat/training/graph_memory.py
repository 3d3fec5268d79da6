"""How many bytes a round's autograd graph keeps for the backward pass: measured on short clips, scaled to the batch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ..compiling import stance
from .adversary import adversarial_pass
from .phases import Phase
from .round import encoder_input

#: Length of the shorter probe in samples: four times the longest window of the configs.
PROBE = 8192


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


class GraphMemory(NamedTuple):
    """Bytes that the graph of one round keeps.

    total: at its largest: the generator's, the losses' and the discriminator's graphs together.
    generator: the part of encoder, bottleneck and decoder.
    blocks: part → (blocks, 2): what a block keeps, and its input, which is what it keeps when it is recomputed.
    """

    total: float
    generator: float
    blocks: dict[str, np.ndarray]

    def peak(self, recomputed: Iterable[str] = ()) -> float:
        """The largest number of bytes at any moment of the round with the blocks of the parts ``recomputed`` so.

        That is before the backward pass, or in it while one block is there again. By then the graphs of the losses and
        of the discriminator are gone.
        """
        rows = np.concatenate([np.zeros((1, 2)), *(self.blocks[part] for part in recomputed)])
        saved = np.maximum(rows[:, 0] - rows[:, 1], 0).sum()
        return float(max(self.total - saved, self.generator - saved + rows[:, 0].max()))


def graph_memory(
    wrapper: Any, phase: Phase, parts: Mapping[str, Any], batch: int, channels: int, length: int
) -> GraphMemory:
    """The graph of a round of ``phase`` on audio (batch, channels, length), without recomputing in ``parts``.

    Convolutions and spectrograms keep a + batch · (b + c · length) bytes; three short forward passes give a, b and c.
    Call it where training does (autocast and all). It leaves random states, gradients and buffers as they were.
    """
    hop = wrapper.autoencoder.downsampling_ratio
    short = -(-min(length, PROBE) // hop) * hop
    with _unnoticed(wrapper):
        one, two, longer = (
            _measure(wrapper, phase, parts, torch.randn(clips, channels, samples, device=wrapper.device) / 10)
            for clips, samples in ((1, short), (2, short), (1, 2 * short))
        )
    per_clip, per_sample = two - one, (longer - one) / short
    total, generator, *blocks = one - per_clip + batch * (per_clip + per_sample * (length - short))
    counts = [len(part.blocks) for part in parts.values()]
    rows = np.split(np.reshape(blocks, (-1, 2)), np.cumsum(counts)[:-1])
    return GraphMemory(float(total), float(generator), dict(zip(parts, rows, strict=True)))


@contextlib.contextmanager
def _unnoticed(wrapper: Any) -> Iterator[None]:
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


def _measure(wrapper: Any, phase: Phase, parts: Mapping[str, Any], reals: Tensor) -> np.ndarray:
    """[total, generator, and for each block of ``parts`` what it keeps and its input] in bytes."""
    ledger = Ledger([*wrapper.parameters(), *wrapper.buffers()])
    blocks = [block for part in parts.values() for block in part.blocks]
    with ledger.open(), _watched(blocks, ledger) as rows:
        output = _generate(wrapper, phase, reals)
        generator = ledger.bytes
        _judge(wrapper, phase, reals[..., : output.shape[-1]], output)
        return np.array([ledger.bytes, generator, *(value for row in rows for value in row)], dtype=float)


@contextlib.contextmanager
def _watched(blocks: Sequence[nn.Module], ledger: Ledger) -> Iterator[list[list[int]]]:
    """Fills a row [bytes kept, bytes of the input] per block while they run."""
    rows = [[0, 0] for _ in blocks]
    handles = []
    for row, block in zip(rows, blocks, strict=True):

        def before(_: nn.Module, inputs: tuple[Tensor, ...], row: list[int] = row) -> None:
            row[:] = ledger.bytes, inputs[0].nbytes

        def after(_: nn.Module, inputs: Any, output: Any, row: list[int] = row) -> None:
            row[0] = ledger.bytes - row[0]

        handles += [block.register_forward_pre_hook(before), block.register_forward_hook(after)]
    try:
        yield rows
    finally:
        for handle in handles:
            handle.remove()


def _generate(wrapper: Any, phase: Phase, reals: Tensor) -> Tensor:
    """The reconstruction, cut off from its graph as in a round."""
    with torch.set_grad_enabled(phase.generator):
        latents, _ = wrapper.autoencoder.encode(encoder_input(wrapper, reals), return_info=True)
        decoded: Tensor = wrapper.autoencoder.decode(latents)
    return decoded[..., : reals.shape[-1]].detach().float().requires_grad_(phase.generator)


def _judge(wrapper: Any, phase: Phase, reals: Tensor, output: Tensor) -> None:
    """Builds the graphs of the losses and of the discriminator."""
    if phase.generator:
        wrapper.bundle(output, reals, entries=phase.losses)
    if phase.adversarial and wrapper.discriminator is not None:
        # A round frees the graph over the real audio, but the features in it stay, also where it has no graph.
        adversarial_pass(wrapper.discriminator, reals, output, train=True, backward=lambda *_, **__: None)
