"""What a loss term is: plain terms on waveforms, spectral terms on shared spectra."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..compute import outside_autocast
from .spectra import Spectra, SpectraPair
from .stft import STFT, Resolution, resolutions
from .weighting import Weighting, filtered

#: STFT windows in samples. Ours, the host's stock set: the paper's list is not known to us.
DEFAULT_WINDOWS = (2048, 1024, 512, 256, 128, 64, 32)
#: Hop as a fraction of the window: the paper's metrics and the host's stock losses.
DEFAULT_HOP_FACTOR = 0.25


class SpectralTerm(nn.Module, ABC):
    """A term evaluated on spectra, one resolution at a time; in a bundle, all such terms share them.

    Subclasses set ``PARTS``, the names of their values, which are the keys of the entry's ``weights``, and may set
    ``prefilter``: what both signals are filtered with before they are transformed for this term.
    """

    PARTS: tuple[str, ...] = ()
    prefilter: Weighting | None = None

    def __init__(self, windows: Sequence[int] = DEFAULT_WINDOWS, hop_factor: float = DEFAULT_HOP_FACTOR) -> None:
        super().__init__()
        self.stfts = nn.ModuleList(STFT(resolution) for resolution in resolutions(windows, hop_factor))

    @property
    def resolutions(self) -> list[Resolution]:
        return list(self.transforms())

    def transforms(self) -> dict[Resolution, STFT]:
        """The STFT of each resolution."""
        return {stft.resolution: stft for stft in self.stfts if isinstance(stft, STFT)}

    @abstractmethod
    def evaluate(self, pair: SpectraPair, resolution: Resolution, parts: Collection[str]) -> dict[str, Tensor]:
        """Scalars of the wanted ``parts`` at one resolution; the mean over resolutions is taken of them."""

    def forward(self, preds: Tensor, target: Tensor) -> dict[str, Tensor]:
        """The term alone: the scalar of each part.

        Args:
            preds: estimate, (batch, channels, time), one or two channels; any floating type.
            target: the same shape; gradients do not flow to it.

        Raises:
            ValueError: shapes that differ or are not (batch, 1 or 2, time).
        """
        preds, target = as_pair(preds, target)
        with outside_autocast(preds.device.type):
            return evaluate_spectral({"": Wanted(self, self.PARTS)}, preds, target)[""]


class Wanted(NamedTuple):
    """A spectral term and the parts of it that are wanted."""

    term: SpectralTerm
    parts: Collection[str]


def as_pair(preds: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Estimate and target in float32, the target without a gradient.

    Raises:
        ValueError: shapes that differ or are not (batch, 1 or 2, time).
    """
    if preds.shape != target.shape or preds.ndim != 3 or preds.shape[1] not in (1, 2):
        raise ValueError(
            f"preds and target must both be (batch, 1 or 2, time), got {tuple(preds.shape)} and {tuple(target.shape)}"
        )
    return preds.float(), target.detach().float()


def evaluate_spectral(wanted: Mapping[str, Wanted], preds: Tensor, target: Tensor) -> dict[str, dict[str, Tensor]]:
    """The parts of each term; terms with the same prefilter share their filtered signals, spectra and phase errors.

    Args:
        wanted: by the name of the term.
        preds, target: (batch, 1 or 2, time), float32.

    Returns:
        By name, then by part: scalars, means over the term's resolutions.
    """
    values: dict[str, dict[str, list[Tensor]]] = {
        name: {part: [] for part in parts} for name, (_, parts) in wanted.items()
    }
    # Left and right are filtered once for all resolutions; mid and side are their mixtures, filtered or not.
    for prefilter in dict.fromkeys(term.prefilter for term, _ in wanted.values()):
        users = {name: (term, parts) for name, (term, parts) in wanted.items() if term.prefilter == prefilter}
        x, y = (s if prefilter is None else filtered(s, prefilter) for s in (preds, target))
        transforms = {r: stft for term, _ in users.values() for r, stft in term.transforms().items()}
        for resolution in sorted(transforms, reverse=True):
            stft = transforms[resolution]
            pair = SpectraPair(Spectra(stft(x)), Spectra(stft(y)))
            for name, (term, parts) in users.items():
                if resolution in term.transforms():
                    scalars = term.evaluate(pair, resolution, parts)
                    for part in parts:
                        values[name][part].append(scalars[part])
    return {name: {part: torch.stack(v).mean() for part, v in parts.items()} for name, parts in values.items()}
