"""What training does to latents before they are decoded, so that a diffusion model can use them: see :func:`altered`.

Reconstruction alone asks nothing of the latents but that they hold the audio. A change of the latents that the decoder
has to follow, or has to stand, makes them smooth and simple. It costs no second decoding: the batch is decoded once,
changed or not.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Annotated, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from ..compute import outside_autocast
from ..errors import UserError
from ..resampling import resampler
from ..value_types import Range, Share, Size

#: Bounds of a gain that can be heard at both ends.
Gain = Annotated[float, Range(at_least=-60, at_most=60, unit="dB")]
PLACE = "training.equivariance"


class Equivariance:
    """Changes some batches: their latents and, in the same way, the audio that they are decoded against.

    The equivariance regularisation of EQ-VAE (Kouzelis et al., 2025, there with scalings and rotations of images): the
    decoder of a changed latent must give the changed audio, D(τ(E(x))) ≈ τ(x). A batch that is changed is changed in
    every way that is configured.

    Args:
        probability: with which a batch is changed.
        gain_db: [lowest, highest] gain, uniform in dB, drawn for each clip: z·g against x·g. None for none.
        time: factors n of which a batch draws one: the means of every n frames of latents against audio resampled to
            1/n of its length; 1 changes nothing. None for none.

    Raises:
        UserError: nothing that could change, bounds the wrong way round, or no torchaudio to resample with.
    """

    def __init__(
        self,
        probability: Share = 0.5,
        gain_db: tuple[Gain, Gain] | None = None,
        time: Sequence[Size] | None = None,
    ) -> None:
        if gain_db is None and not any(factor > 1 for factor in time or ()):
            raise UserError(
                f'{PLACE} changes nothing; give it "gain_db", such as [-6, 6], or "time" with a factor of at least 2'
            )
        if gain_db is not None and gain_db[0] > gain_db[1]:
            raise UserError(f"{PLACE}.gain_db must be [lowest, highest] in dB, such as [-6, 6], not {list(gain_db)}")
        if time is not None and not time:
            raise UserError(f"{PLACE}.time is empty; name a factor, such as [2], or leave the key out")
        self.probability, self.gain_db, self.time = probability, gain_db, tuple(time or (1,))
        self._resamplers = {factor: resampler(factor, 1) for factor in self.time if factor > 1}

    def __call__(self, latents: Tensor, reals: Tensor) -> tuple[Tensor, Tensor]:
        """A batch changed with the probability, else as it is.

        Args:
            latents: (batch, latent_dim, frames).
            reals: (batch, channels, time).

        Returns:
            latents of frames // n frames, and audio of ⌈time / n⌉ samples.
        """
        if _draw() >= self.probability:
            return latents, reals
        return self.change(latents, reals, self.time[int(_draw() * len(self.time))])

    def change(self, latents: Tensor, reals: Tensor, factor: int) -> tuple[Tensor, Tensor]:
        """The batch changed, in time by ``factor``; see :meth:`__call__`."""
        with outside_autocast(reals.device.type):
            if self.gain_db is not None:
                low, high = self.gain_db
                level = torch.rand(len(latents), 1, 1, device=latents.device)
                gain = 10 ** ((low + (high - low) * level) / 20)
                latents, reals = latents * gain, reals * gain
            if factor > 1:
                latents = F.avg_pool1d(latents, factor)
                reals = self._resamplers[factor].to(reals)(reals)
        return latents, reals

    def changes(self) -> Iterator[Equivariance]:
        """For each factor, what changes every batch by it."""
        for factor in self.time:
            always = copy.copy(self)
            always.probability, always.time = 1.0, (factor,)
            yield always

    def check_length(self, samples: int, hop: int) -> None:
        """Raises :class:`UserError` where a clip of ``samples`` would have less than one latent frame of ``hop``."""
        longest = max(self.time)
        if samples // hop < longest:
            raise UserError(
                f"{PLACE}.time averages {longest} latent frames, and a clip of sample_size {samples} has "
                f"{samples // hop}; take smaller factors or a sample_size of at least {longest * hop}"
            )


class Altering(Protocol):
    """What is read of the training wrapper."""

    equivariance: Equivariance | None
    latent_noise: float


def altered(players: Altering, latents: Tensor, reals: Tensor) -> tuple[Tensor, Tensor]:
    """What is decoded in training, and against which audio; both as they are unless the config says otherwise.

    First ``training.equivariance``, then ``training.latent_noise``: Gaussian noise of that standard deviation, relative
    to the batch's. Shapes as in :class:`Equivariance`.
    """
    if players.equivariance is not None:
        latents, reals = players.equivariance(latents, reals)
    if players.latent_noise > 0:
        latents = with_noise(latents, players.latent_noise)
    return latents, reals


def with_noise(latents: Tensor, amount: float) -> Tensor:
    """``latents`` plus Gaussian noise, ``amount`` times as strong as they vary: all of them, in the whole batch.

    No gradient flows through the noise's strength, so that nothing is won by making the latents small or large.
    """
    deviation = latents.detach().float().std(correction=0)
    return latents + (amount * deviation).to(latents) * torch.randn_like(latents)


def _draw() -> float:
    """Uniform in [0, 1), from the generator of the CPU: a GPU would have to be waited for."""
    return torch.rand((), device="cpu").item()
