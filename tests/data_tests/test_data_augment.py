"""Augmentation: each option draws for itself, and gains are in dB."""

from __future__ import annotations

import numpy as np
import pytest

from ear_sat.data.augment import Augmentation

DRAWS = 400


def changes(augmentation: Augmentation) -> np.ndarray:
    """(draws, 3): gain in dB, whether the polarity changed, whether the channels did."""
    audio = np.array([[0.1], [0.02]], np.float32)
    rows = []
    for seed in range(DRAWS):
        left, right = augmentation(audio, np.random.default_rng(seed))[:, 0]
        rows.append((20 * np.log10(max(abs(left), abs(right)) / 0.1), left < 0, abs(left) < abs(right)))
    return np.array(rows, float)


def test_options_are_independent() -> None:
    correlation = np.corrcoef(changes(Augmentation([-6, 3], flip_polarity=True, swap_channels=True)).T)
    assert np.abs(correlation - np.eye(3)).max() < 4 / DRAWS**0.5  # 4 σ


def test_gains_are_even_in_db() -> None:
    gains, flipped, swapped = changes(Augmentation([-6, 3])).T
    assert -6 <= gains.min() < -5.5 and 2.5 < gains.max() <= 3 + 1e-6
    assert gains.mean() == pytest.approx(-1.5, abs=4 * 9 / (12 * DRAWS) ** 0.5)  # 4 σ of an even distribution
    assert not flipped.any() and not swapped.any()


@pytest.mark.parametrize("option", ["flip_polarity", "swap_channels"])
def test_half_of_the_crops_change(option: str) -> None:
    _, flipped, swapped = changes(Augmentation(**{option: True})).T
    changed, other = (flipped, swapped) if option == "flip_polarity" else (swapped, flipped)
    assert changed.mean() == pytest.approx(0.5, abs=4 * 0.5 / DRAWS**0.5) and not other.any()
