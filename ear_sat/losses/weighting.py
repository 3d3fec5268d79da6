"""Perceptual weighting of spectral bins by K-weighting (BS.1770) or A-weighting (IEC 61672)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..config import check_choice
from ..weighting import a_gain, k_gain

WEIGHTINGS = ("k", "a", "none")
WEIGHTING_MODES = ("prefilter", "bins")


def bin_gain(weighting: str, window: int, sample_rate: float) -> Tensor | None:
    """Zero-phase gain per STFT bin, float32 (window/2 + 1,); None for no weighting."""
    check_choice("weighting", weighting, WEIGHTINGS)
    if weighting == "none":
        return None
    frequency = np.fft.rfftfreq(window, 1 / sample_rate)
    gain = k_gain(frequency, sample_rate) if weighting == "k" else a_gain(frequency)
    return torch.from_numpy(gain).float()
