"""PNG pictures of runs: spectrograms of a reconstruction, curves of the metrics."""

from .curves import save_curves
from .spectrograms import save_spectrograms

__all__ = ["save_curves", "save_spectrograms"]
