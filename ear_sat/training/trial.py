"""A round without numbers, on torch's meta device, before a run begins.

Whatever of a config cannot be trained, whoever built the parts, fails here in a second and with nothing written: sizes
that do not fit together, optimizers that cannot step two players, more memory than there is.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import cast

import psutil
import torch

from ..errors import REFUSALS, UserError, in_words
from .latents import Equivariance
from .round import Players, Turn, add_gradients
from .wrapper import EarTrainingWrapper

#: How torch says that an operation of somebody else's module cannot do without numbers: no fault of the config.
_NEEDS_NUMBERS = re.compile(r"\bmeta\b|tensor\.item\(\)", re.IGNORECASE)


def try_round(build: Callable[[], EarTrainingWrapper], channels: int, samples: int) -> None:
    """Builds the wrapper without memory and trains a round of each phase.

    Args:
        build: makes model and wrapper; called with torch's meta device as the default.
        channels, samples: of a clip.

    Raises:
        UserError: it cannot be built or trained.
    """
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            wrapper = build().to("meta")
            _check_clips(wrapper, channels, samples)
            _check_memory(wrapper)
            _train(wrapper, torch.zeros(2, channels, samples))
    except REFUSALS as error:  # UserError among them
        told = isinstance(error, UserError)
        if _NEEDS_NUMBERS.search(str(error.__cause__ if told else error)):
            return
        if told:
            raise
        raise UserError(f"a round of this model config fails: {in_words(error)}; change what it names") from error


def _check_memory(wrapper: EarTrainingWrapper) -> None:
    """Weights, gradients and two moments must fit into the machine; what a round needs beside is not known here."""
    numbers = sum(p.numel() * (4 if p.requires_grad else 1) for p in wrapper.parameters())
    need, there = 4 * numbers, psutil.virtual_memory().total
    if need > there and not torch.cuda.is_available():
        raise UserError(
            f"weights, gradients and optimizers of this model take {need / 2**30:.0f} GiB, and this machine has "
            f"{there / 2**30:.0f}; make channels or c_mults smaller"
        )


def _check_clips(wrapper: EarTrainingWrapper, channels: int, samples: int) -> None:
    model = wrapper.autoencoder
    if wrapper.force_input_mono and model.in_channels != 1:
        raise UserError(
            "training.force_input_mono encodes the mean of the channels, so that the encoder's in_channels must be 1, "
            f"not {model.in_channels}"
        )
    for key, expected in (("in_channels", model.in_channels), ("out_channels", model.out_channels)):
        if expected != channels and not (key == "in_channels" and wrapper.force_input_mono):
            raise UserError(f"audio_channels is {channels}, and the model's {key} is {expected}; make them the same")
    if samples < model.downsampling_ratio:
        raise UserError(
            f"sample_size is {samples}, less than one latent frame of {model.downsampling_ratio} samples; "
            "take a multiple of that, such as 65536"
        )
    if wrapper.equivariance is not None:
        wrapper.equivariance.check_length(samples, model.downsampling_ratio)


class _Untrained:
    """The wrapper as a round sees it, without the trainer that it does not have yet."""

    loss_scale = 1.0

    def __init__(self, wrapper: EarTrainingWrapper, equivariance: Equivariance | None) -> None:
        self._wrapper, self.equivariance = wrapper, equivariance

    def __getattr__(self, name: str) -> object:
        return getattr(self._wrapper, name)

    def manual_backward(self, loss: torch.Tensor, **options: object) -> None:
        """Nothing: torch's weight norm has no backward pass without numbers, and its shapes are the forward pass's."""


def _train(wrapper: EarTrainingWrapper, reals: torch.Tensor) -> None:
    configs = wrapper.optimizer_configs
    built = wrapper.configure_optimizers()
    optimizers, schedulers = built if isinstance(built, tuple) else (built, [])
    for phase in wrapper.schedule.phases:
        turn = Turn(phase, phase.generator, phase.adversarial)
        configs.set_rates(optimizers, phase, 0)
        for change in (None, *(wrapper.equivariance.changes() if wrapper.equivariance else ())):
            add_gradients(cast(Players, _Untrained(wrapper, change)), reals, turn)
        players = (wrapper.autoencoder, turn.generator), (wrapper.discriminator, turn.discriminator)
        for (module, active), optimizer in zip(players, configs.pair(optimizers), strict=True):
            if module is None or optimizer is None or not active:
                continue
            for parameter in module.parameters():
                parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
            optimizer.step()
    for scheduler in schedulers:
        scheduler.step()
