"""What a loss term is: plain terms on waveforms, spectral terms on shared spectra."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence

from torch import Tensor, nn

from .spectra import SpectraPair
from .stft import Resolution, resolutions
from .weighting import Weighting

#: STFT windows in samples. Ours, the host's stock set: the paper's list is not known to us.
DEFAULT_WINDOWS = (2048, 1024, 512, 256, 128, 64, 32)
#: Hop as a fraction of the window: the paper's metrics and the host's stock losses.
DEFAULT_HOP_FACTOR = 0.25


class SpectralTerm(nn.Module, ABC):
    """A term evaluated on the spectra the bundle shares, one resolution at a time.

    Subclasses set ``PARTS``, the names of their values, which are the keys of the entry's ``weights``, and may set
    ``prefilter``: what the bundle filters both signals with before it transforms them for this term.
    """

    PARTS: tuple[str, ...] = ()
    prefilter: Weighting | None = None

    def __init__(self, windows: Sequence[int] = DEFAULT_WINDOWS, hop_factor: float = DEFAULT_HOP_FACTOR) -> None:
        super().__init__()
        self.resolutions: list[Resolution] = resolutions(windows, hop_factor)

    @abstractmethod
    def evaluate(self, pair: SpectraPair, resolution: Resolution, parts: Collection[str]) -> dict[str, Tensor]:
        """Scalars of the wanted ``parts`` at one resolution; the bundle takes the mean over resolutions."""
