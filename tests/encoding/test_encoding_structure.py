"""Golden values of constructed latents, and the laws of their accumulation."""

from __future__ import annotations

import numpy as np
import pytest

from ear_sat.encoding.structure import BAND_EDGES, SEGMENT, ShapeMeter

WIDTHS = np.diff(BAND_EDGES) / BAND_EDGES[-1]
RNG = np.random.default_rng(0)
FRAMES = 8192


def shape(*windows):
    meter = ShapeMeter(len(windows[0]))
    for window in windows:
        meter.update(window)
    return meter.result()


def test_white_latents_fill_every_dimension_and_band():
    found = shape(RNG.normal(3, 2, (8, 8 * FRAMES)))
    assert found.effective_rank == pytest.approx(8, rel=1e-3) and found.eigenvalues == pytest.approx(
        np.ones(8) / 8, 0.1
    )
    assert found.overall_kurtosis == pytest.approx(3, abs=0.05) and found.kurtosis == pytest.approx(3, abs=0.15)
    assert found.overall_smoothness == pytest.approx(1, abs=0.01) and found.smoothness == pytest.approx(1, abs=0.03)
    assert found.spectrum == pytest.approx(WIDTHS, rel=0.05)


def test_uniform_latents_have_the_kurtosis_of_their_distribution():
    assert shape(RNG.uniform(-1, 1, (4, FRAMES))).overall_kurtosis == pytest.approx(9 / 5, abs=0.03)


def test_constant_latents_have_no_shape():
    found = shape(np.full((4, FRAMES), 0.1), np.full((4, 100), 0.1))
    assert np.isnan([found.effective_rank, found.overall_kurtosis, found.overall_smoothness]).all()
    assert all(np.isnan(values).all() for values in (found.kurtosis, found.smoothness, found.spectrum))
    mixed = shape(np.stack([np.full(FRAMES, 0.1), RNG.normal(size=FRAMES)]))
    assert np.isnan(mixed.kurtosis).tolist() == [True, False] and mixed.effective_rank == pytest.approx(1, abs=1e-6)
    assert mixed.overall_kurtosis == mixed.kurtosis[1] and mixed.overall_smoothness == pytest.approx(1, abs=0.05)


def test_latents_of_rank_one():
    found = shape(np.outer([1, -2, 3, 0.5], RNG.normal(size=FRAMES)))
    assert found.effective_rank == pytest.approx(1, abs=1e-6) and found.eigenvalues[0] == pytest.approx(1)


def test_two_dimensions_of_unequal_power():
    found = shape(RNG.normal(size=(2, 64 * FRAMES)) * np.array([[3.0], [1.0]]))
    shares = np.array([0.9, 0.1])
    assert found.effective_rank == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), rel=0.01)


@pytest.mark.parametrize(("frequency", "band"), [(1 / 24, 1), (3 / 32, 2), (3 / 16, 3), (3 / 8, 4), (0.49, 4)])
def test_a_sine_lies_in_its_band(frequency, band):
    phase = 2 * np.pi * frequency * np.arange(FRAMES)
    found = shape(np.stack([np.sin(phase) + 5, np.cos(phase) - 100]))
    assert found.spectrum[band] > 0.75 and found.spectrum.sum() == pytest.approx(1)
    # Squared difference of neighbours: 2 (1 − cos ω) times the variance; the mean of sin⁴ over that of sin² squared
    assert found.overall_smoothness == pytest.approx(1 - np.cos(2 * np.pi * frequency), rel=2e-3)
    assert found.overall_kurtosis == pytest.approx(1.5, rel=2e-3)
    assert found.effective_rank == pytest.approx(2, rel=1e-3)


def test_the_way_the_windows_arrive_does_not_matter():
    windows = [RNG.gamma(2, i + 1, (3, n)) for i, n in enumerate((1, 300, 64, 17, 500))]
    one, other = shape(*windows), shape(*windows[::-1])
    for name in one._fields:
        assert np.allclose(getattr(one, name), getattr(other, name), rtol=1e-10)
    together = np.concatenate(windows, 1)
    deviation = together - together.mean(1, keepdims=True)
    assert np.allclose(one.kurtosis, (deviation**4).mean(1) / (deviation**2).mean(1) ** 2, rtol=1e-10)
    shares = np.linalg.eigvalsh(np.cov(together))[::-1]
    assert np.allclose(one.eigenvalues, shares / shares.sum(), rtol=1e-10)
    # Two windows are no neighbours.
    steps = np.concatenate([np.diff(window) for window in windows], 1)
    assert np.allclose(one.smoothness, (steps**2).mean(1) / (2 * together.var(1)), rtol=1e-10)


def test_scale_and_offset_change_nothing():
    values = RNG.normal(size=(3, 1000)).cumsum(1)
    one, other = shape(values), shape(-1e-3 * values + 7)
    for name in one._fields:
        assert np.allclose(getattr(one, name), getattr(other, name), rtol=1e-6)


def test_what_is_too_short_has_no_spectrum():
    found = shape(RNG.normal(size=(2, SEGMENT - 1)), RNG.normal(size=(2, 1)))
    assert np.isnan(found.spectrum).all() and found.effective_rank > 1 and found.overall_smoothness > 0
    assert np.isnan(shape(RNG.normal(size=(2, 1))).overall_smoothness)
    assert np.isnan(shape(np.zeros((2, 0))).effective_rank)
