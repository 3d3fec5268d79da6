"""One batch of a round: its audio, its reconstruction, and the gradients it adds to both players.

The losses' gradient is taken with respect to the decoded audio, cut off from the generator: first that of the
reconstruction terms, then that of the adversary, whose passes also give the discriminator its own (see
:mod:`.adversary`). One backward through the generator follows with the sum. So no two of the three graphs, losses,
discriminator and generator's backward, need memory together.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.profiler import record_function

from ..compute import outside_autocast
from ..config import choice_error
from ..errors import UserError
from ..losses import LossBundle, gradient_norms
from .adversary import adversarial_pass
from .combined import Member, members_of
from .latents import Equivariance, altered
from .phases import Phase
from .players import Autoencoder, Discriminator
from .round_log import latent_statistics

#: What a loader yields: the audio, then what is known of each clip.
Batch = Sequence[Tensor]


class Players(Protocol):
    """What a round reads of the training wrapper; :class:`.wrapper.EarTrainingWrapper` tells the meanings."""

    autoencoder: Autoencoder
    discriminator: Discriminator | None
    bundle: LossBundle
    adversarial_weights: dict[str, float]
    bottleneck_weights: dict[str, float]
    force_input_mono: bool
    latent_mask_ratio: float
    latent_noise: float
    equivariance: Equivariance | None
    accumulate: int
    rounds: int

    @property
    def exported_autoencoder(self) -> Autoencoder: ...

    @property
    def loss_scale(self) -> float: ...

    def manual_backward(self, loss: Tensor, **options: object) -> None: ...


class Exported(Protocol):
    """What a reconstruction reads of a training wrapper."""

    @property
    def exported_autoencoder(self) -> Autoencoder: ...

    @property
    def force_input_mono(self) -> bool: ...


class Turn(NamedTuple):
    """Who is updated in a round, and how.

    phase: of the schedule.
    generator, discriminator: which players are updated.
    measure: whether each weighted term's gradient at the decoded audio is measured.
    factors: entry → what its weights are multiplied with; see :mod:`.balance`.
    weigh: the entries whose gradients are measured for them.
    """

    phase: Phase
    generator: bool
    discriminator: bool
    measure: bool = False
    factors: Mapping[str, float] = MappingProxyType({})
    weigh: Collection[str] = ()


class Added(NamedTuple):
    """What a batch gives beside its gradients.

    values: numbers to log, detached.
    norms: :func:`ear_sat.losses.gradient_norms` of the weighted terms, if they were to be measured.
    entry_norms: of the entries that were to be measured, with the config's weights.
    """

    values: dict[str, Tensor]
    norms: dict[str, float]
    entry_norms: dict[str, float]


def audio_of(batch: Batch) -> Tensor:
    """The audio of a loader's ``(audio, infos)``: (batch, channels, time)."""
    reals = batch[0]
    if reals.ndim == 4 and reals.shape[0] == 1:  # WebDataset adds an axis.
        reals = reals[0]
    return reals.unsqueeze(1) if reals.ndim == 2 else reals


def encoder_input(players: Exported, reals: Tensor) -> Tensor:
    """What the encoder gets: ``reals``, or the mean of their channels with ``force_input_mono``."""
    return reals.mean(dim=1, keepdim=True) if players.force_input_mono and reals.shape[1] > 1 else reals


@torch.no_grad()
def reconstruct(players: Exported, reals: Tensor) -> Tensor:
    """Reconstruction by the exported model in eval mode, outside of autocast, cut to the length of ``reals``."""
    model = players.exported_autoencoder
    training = model.training
    model.train(False)
    try:
        with outside_autocast(reals.device.type):
            decoded = model.decode(model.encode(encoder_input(players, reals)))
    finally:
        model.train(training)
    return nn.functional.pad(decoded, (0, max(0, reals.shape[-1] - decoded.shape[-1])))[..., : reals.shape[-1]]


def add_gradients(players: Players, reals: Tensor, turn: Turn) -> Added:
    """Adds one batch's gradients to the parameters of the players that are updated.

    Args:
        players: the training wrapper, its trainer attached.
        reals: (batch, channels, time).
        turn: who is updated.
    """
    with torch.set_grad_enabled(turn.generator), record_function("ear_sat: generator forward"):
        latents, info = players.autoencoder.encode(encoder_input(players, reals), return_info=True)
        if players.latent_mask_ratio > 0:
            latents = latents.masked_fill(torch.rand_like(latents) < players.latent_mask_ratio, 0)
        to_decode, reals = altered(players, latents, reals)
        decoded = players.autoencoder.decode(to_decode)
        length = min(decoded.shape[-1], reals.shape[-1])
        decoded, reals = decoded[..., :length], reals[..., :length].float()
    if turn.generator and not decoded.requires_grad:  # the host decodes without a graph through a pretransform
        raise UserError(
            "the losses cannot reach the autoencoder, because its output carries no gradient; "
            'set "enable_grad": true in model.pretransform'
        )
    values = {"input/peak": reals.abs().max(), **latent_statistics(latents, info)}
    output = decoded.detach().float().requires_grad_(turn.generator)
    pull = OutputGradient(output, players.loss_scale, turn.measure, turn.factors, turn.weigh)
    if turn.generator:
        with record_function("ear_sat: reconstruction losses"):
            losses = players.bundle(output, reals, step=players.rounds, entries=turn.phase.losses)
        pull.add(losses.raw, losses.weighted)
        del losses  # and their graphs
    if players.discriminator is not None and turn.phase.adversarial:
        values |= _add_adversary(players, players.discriminator, reals, turn, pull)
    if turn.generator:
        raw = {f"bottleneck/{key}": info[key] for key in _wanted_of_bottleneck(players, info, turn.phase)}
        weighted = {f"bottleneck/{key}": w * info[key] for key, w in players.bottleneck_weights.items() if raw}
        pull.log(raw, weighted)
        surrogate = torch.stack([(decoded.float() * pull.total).sum(), *(v.float() for v in weighted.values())]).sum()
        if surrogate.requires_grad:
            with record_function("ear_sat: generator backward"):
                players.manual_backward(surrogate / players.accumulate)
        values["loss/total"] = sum(pull.weighted.values(), reals.new_zeros(()))
    values |= {f"raw/{key}": value for key, value in pull.raw.items()}
    values |= {f"weighted/{key}": value for key, value in pull.weighted.items()}
    return Added(values, pull.norms, pull.entry_norms())


class OutputGradient:
    """The gradient of loss terms with respect to the decoded audio, added up group by group.

    Args:
        output: the decoded audio, a leaf.
        scale: what fp16 multiplies losses with, without which the discriminator's gradients underflow; else 1.
        measure: whether each term's own gradient is measured.
        factors: entry → what its weights are multiplied with.
        weigh: the entries whose gradients are kept for :meth:`entry_norms`.

    ``total`` is the sum so far; ``raw`` and ``weighted`` are the terms' values, detached; ``norms`` their gradients'.
    """

    def __init__(
        self,
        output: Tensor,
        scale: float = 1.0,
        measure: bool = False,
        factors: Mapping[str, float] = MappingProxyType({}),
        weigh: Collection[str] = (),
    ) -> None:
        self.output, self.scale, self.measure, self.factors, self.weigh = output, scale, measure, factors, weigh
        self.total = torch.zeros_like(output)
        self.raw: dict[str, Tensor] = {}
        self.weighted: dict[str, Tensor] = {}
        self.norms: dict[str, float] = {}
        self._entries: dict[str, Tensor] = {}

    def add(self, raw: Mapping[str, Tensor], weighted: Mapping[str, Tensor]) -> None:
        """Adds the gradient of ``weighted``, scalars under ``entry/part``, whose graphs are freed."""
        if self.factors:
            weighted = {key: self.factors.get(_entry(key), 1.0) * value for key, value in weighted.items()}
        self.log(raw, weighted)
        if self.measure:
            scaled = gradient_norms({key: value * self.scale for key, value in weighted.items()}, self.output)
            self.norms |= {key: norm / self.scale for key, norm in scaled.items()}
        groups: dict[str, list[Tensor]] = {}
        for key, value in weighted.items():
            if value.requires_grad:
                entry = _entry(key)
                groups.setdefault(entry if entry in self.weigh else "", []).append(value.float())
        for i, (entry, live) in enumerate(groups.items(), start=1):
            with record_function("ear_sat: losses back to the audio"):
                loss = torch.stack(live).sum() * self.scale
                (gradient,) = torch.autograd.grad(loss, self.output, retain_graph=i < len(groups))
            gradient = gradient / self.scale
            self.total += gradient
            if entry:
                self._entries[entry] = self._entries.get(entry, 0) + gradient

    def entry_norms(self) -> dict[str, float]:
        """Entry → norm of its gradient without its factor, in the unit of :func:`ear_sat.losses.gradient_norms`."""
        unit = (self.output.shape[0] * self.output.shape[-1]) ** 0.5
        norms = {name: gradient.norm().item() * unit for name, gradient in self._entries.items()}
        return {name: norms.get(name, 0.0) / self.factors.get(name, 1.0) for name in self.weigh}

    def log(self, raw: Mapping[str, Tensor], weighted: Mapping[str, Tensor]) -> None:
        """Keeps the terms' values."""
        self.raw |= {key: value.detach().float() for key, value in raw.items()}
        self.weighted |= {key: value.detach().float() for key, value in weighted.items()}


def _entry(key: str) -> str:
    """The entry of ``entry/part``."""
    return key.split("/", 1)[0]


def _add_adversary(
    players: Players, discriminator: Discriminator, reals: Tensor, turn: Turn, pull: OutputGradient
) -> dict[str, Tensor]:
    """Adds both players' gradients of the adversarial losses; returns the discriminator's loss, and its members'."""
    members = members_of(discriminator)
    # One after the other: no two members' graphs need memory together.
    losses = [_add_member(players, member, reals, turn, pull) for member in members]
    total = torch.stack([member.weight * loss for member, loss in zip(members, losses, strict=True)]).sum()
    named = {f"loss/discriminator/{member.name}"[:-1]: loss for member, loss in zip(members, losses, strict=True)}
    return {**(named if len(members) > 1 else {}), "loss/discriminator": total}


def _add_member(players: Players, member: Member, reals: Tensor, turn: Turn, pull: OutputGradient) -> Tensor:
    def backward(loss: Tensor, **options: object) -> None:
        players.manual_backward(member.weight * loss / players.accumulate, **options)

    losses = adversarial_pass(member.discriminator, reals, pull.output, train=turn.discriminator, backward=backward)
    if turn.generator:
        weights = {key: member.weight * weight for key, weight in players.adversarial_weights.items()}
        raw = {f"discriminator/{member.name}{key}": getattr(losses, key) for key in weights}
        pull.add(raw, {key: weight * raw[key] for key, weight in zip(raw, weights.values(), strict=True)})
    return losses.discriminator.detach()


def _wanted_of_bottleneck(players: Players, info: Mapping[str, Tensor], phase: Phase) -> Sequence[str]:
    """The keys of the bottleneck's ``info`` that are losses in this phase."""
    if phase.losses is not None and "bottleneck" not in phase.losses:
        return []
    for key in players.bottleneck_weights:
        if key not in info:
            scalars = [k for k, v in info.items() if isinstance(v, Tensor) and v.ndim == 0]
            raise choice_error("key in loss_configs.bottleneck.weights", key, scalars)
    return list(players.bottleneck_weights)
