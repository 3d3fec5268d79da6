"""Means, differences and intervals over tracks and seeds."""

import math

import numpy as np
import pytest

from ear_sat.compare.statistics import Values, summarise


def table(values: np.ndarray) -> Values:
    """seed → track → value, of (seeds, tracks)."""
    return {seed: {f"t{track}": float(v) for track, v in enumerate(row)} for seed, row in enumerate(values)}


def test_means_and_differences() -> None:
    a, b = np.array([[1.0, 2.0, 3.0], [3.0, 4.0, 5.0]]), np.array([[2.0, 2.0, 5.0], [5.0, 4.0, 6.0]])
    rows = summarise({"a": table(a), "b": table(b)}, "a")
    assert rows["a"].value.mean == a.mean() and rows["a"].difference is None
    assert rows["b"].difference is not None and rows["b"].difference.mean == pytest.approx((b - a).mean())
    assert (rows["b"].tracks, rows["b"].seeds) == (3, 2)
    assert (rows["b"].above, rows["b"].pairs) == (4, 6)


def test_a_constant_lead_is_beyond_chance_however_much_tracks_differ() -> None:
    a = np.array([[-30.0, 0.0, 12.0, 3.0, 8.0, -4.0], [-28.0, 1.0, 15.0, 4.0, 7.0, 0.0]])
    rows = summarise({"a": table(a), "b": table(a + 0.1)}, "a")
    difference = rows["b"].difference
    assert difference is not None and rows["b"].beyond_chance
    assert (difference.low, difference.high) == (pytest.approx(0.1), pytest.approx(0.1))
    assert rows["b"].value.high - rows["b"].value.low > 20
    few = summarise({"a": table(a[:, :5]), "b": table(a[:, :5] + 0.1)}, "a")
    assert not few["b"].beyond_chance, "five tracks lead by chance in one case of sixteen"


def test_the_interval_is_that_of_tracks_with_seeds_within() -> None:
    """Variance of the mean: of the tracks' means over tracks, and what the seeds add within each."""
    rng = np.random.default_rng(3)
    tracks, seeds = 40, 4
    values = rng.normal(0, 1, (1, tracks)) + rng.normal(0, 4, (seeds, tracks))
    (row,) = summarise({"a": table(values)}, "a").values()
    between = values.mean(0).var() / tracks
    within = values.var(0).mean() / (tracks * seeds)
    width = 2 * 1.96 * math.sqrt(between + within)
    assert row.value.high - row.value.low == pytest.approx(width, rel=0.08)


def test_one_track_has_no_interval() -> None:
    rows = summarise({"a": table(np.array([[1.0], [3.0]]))}, "a")
    assert rows["a"].value.mean == 2 and math.isnan(rows["a"].value.low)


def test_what_is_undefined_or_missing_is_left_out() -> None:
    rows = summarise({"a": {1: {"x": 1.0, "y": math.nan, "z": 2.0}}, "b": {2: {"x": 5.0}}, "c": {1: {"x": 4.0}}}, "a")
    assert (rows["a"].value.mean, rows["a"].tracks) == (1.5, 2)
    assert rows["b"].difference is not None and math.isnan(rows["b"].difference.mean)  # no seed in common
    assert rows["c"].difference is not None and rows["c"].difference.mean == 3
    assert not rows["b"].beyond_chance and not rows["c"].beyond_chance


def test_infinite_values_have_a_mean_and_no_interval() -> None:
    rows = summarise({"a": table(np.array([[math.inf, 1.0]]))}, "a")
    assert math.isinf(rows["a"].value.mean) and math.isnan(rows["a"].value.low)


def test_a_missing_base_leaves_no_differences() -> None:
    assert summarise({"b": table(np.ones((1, 2)))}, "a")["b"].difference is None


def test_the_same_seed_gives_the_same_interval() -> None:
    values = {"a": table(np.random.default_rng(0).normal(size=(2, 5)))}
    assert summarise(values, "a", 1) == summarise(values, "a", 1) != summarise(values, "a", 2)
