"""Means, intervals and ranks."""

import math

import numpy as np
import pytest

from ear_sat.evaluate.summary import LEAST_FOR_A_LEAD, Summary, summarise


def test_mean_leaves_the_undefined_out_and_counts_it():
    summary = summarise({"a": [1.0, math.nan, 3.0]}, higher_is_better=True)["a"]
    assert (summary.mean, summary.files, summary.undefined, summary.rank) == (2.0, 2, 1, None)


def test_nothing_defined():
    summary = summarise({"a": [math.nan], "b": [1.0]}, higher_is_better=True)
    assert math.isnan(summary["a"].mean) and summary["a"].rank is None
    assert summary["b"].rank is None  # the only one
    empty = summarise({"a": []}, higher_is_better=True)["a"]
    assert math.isnan(empty.mean) and empty.files == 0


def test_interval_of_a_known_distribution():
    """Against the normal interval of the mean, which the bootstrap approaches; one of 90 % is 16 % narrower."""
    values = np.random.default_rng(1).normal(10, 2, 200)
    half = 1.96 * values.std() / math.sqrt(len(values))
    summaries = [summarise({"a": list(values)}, True, seed=seed)["a"] for seed in range(8)]
    assert np.mean([s.low for s in summaries]) == pytest.approx(values.mean() - half, abs=0.05 * half)
    assert np.mean([s.high for s in summaries]) == pytest.approx(values.mean() + half, abs=0.05 * half)


def test_seed_decides():
    values = {"a": list(np.random.default_rng(1).normal(size=20))}
    assert summarise(values, True, seed=3) == summarise(values, True, seed=3)
    assert summarise(values, True, seed=3)["a"].low != summarise(values, True, seed=4)["a"].low


def test_one_value_has_no_interval():
    summary = summarise({"a": [5.0]}, higher_is_better=False)["a"]
    assert summary.mean == 5.0 and math.isnan(summary.low) and math.isnan(summary.high)


def test_ranks_follow_the_direction():
    values = {"a": [1.0] * 6, "b": [2.0] * 6, "c": [3.0] * 6, "d": [3.0] * 6}

    def ranks(higher: bool) -> list[int | None]:
        return [summary.rank for summary in summarise(values, higher).values()]

    assert ranks(True) == [4, 3, 1, 1]
    assert ranks(False) == [1, 2, 3, 3]
    assert [s.rank for s in summarise(values, True, ranked=False).values()] == [None] * 4


def test_tied_by_paired_differences():
    """A constant lead counts, however much the files differ among themselves; a mixed one does not."""
    hard = np.random.default_rng(0).normal(0, 10, 30)
    mixed = hard - 0.1 + np.random.default_rng(1).normal(0, 2, 30)
    summary = summarise({"best": list(hard), "behind": list(hard - 0.1), "mixed": list(mixed)}, True)
    assert summary["best"].low < summary["behind"].mean < summary["best"].high  # the intervals overlap
    assert (summary["behind"].tied, summary["mixed"].tied, summary["best"].tied) == (False, True, False)


def test_few_files_show_no_lead():
    for count in (1, 2, LEAST_FOR_A_LEAD - 1, LEAST_FOR_A_LEAD):
        summary = summarise({"a": [2.0] * count, "b": [1.0] * count}, True)
        assert summary["b"].tied == (count < LEAST_FOR_A_LEAD)


def test_infinity_is_a_mean_but_no_interval(recwarn):
    summary = summarise({"a": [math.inf, 1.0], "b": [math.inf, math.inf]}, higher_is_better=True)
    assert summary["a"].mean == math.inf and math.isnan(summary["a"].low)
    assert isinstance(summary["b"], Summary) and not len(recwarn)
