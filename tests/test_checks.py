"""Every number and switch that a user gives is refused in one sentence: the key, what is expected, what came."""

from __future__ import annotations

import argparse
import math

import pytest

from ear_sat.checks import number, require_flag, require_number, require_whole, whole
from ear_sat.errors import UserError


@pytest.mark.parametrize("bad", [True, "1", None, [1], math.nan, math.inf, -math.inf, 10**400, -1, 0, 2, 3])
def test_a_number_outside_its_bounds(bad):
    with pytest.raises(UserError) as refused:
        require_number("training.share", bad, above=0, below=2, unit="dB")
    assert str(refused.value) == f"training.share must be a number of dB above 0 and below 2, not {bad!r:.80}"


def test_bounds_include_what_they_say():
    assert [require_number("x", v, at_least=0, at_most=1) for v in (0, 0.5, 1)] == [0, 0.5, 1]
    assert require_number("x", 1e-300, above=0) == 1e-300 and require_number("x", -7) == -7
    for low, high in (({"at_least": 0}, {"at_most": 0}),):
        with pytest.raises(UserError, match=r"x must be a number of at least 0, not -1e-09$"):
            require_number("x", -1e-9, **low)
        with pytest.raises(UserError, match=r"x must be a number at most 0, not 1e-09$"):
            require_number("x", 1e-9, **high)


@pytest.mark.parametrize("bad", [True, 1.0, "1", None, math.nan, 0, 9])
def test_a_whole_number_outside_its_bounds(bad):
    assert require_whole("steps", 1, 1, at_most=8) == 1 and require_whole("steps", 8, 1, at_most=8) == 8
    with pytest.raises(UserError) as refused:
        require_whole("steps", bad, 1, at_most=8, unit="rounds")
    assert str(refused.value) == f"steps must be a whole number of rounds of at least 1 and at most 8, not {bad!r}"


def test_a_flag_is_true_or_false():
    assert require_flag("x", True) is True and require_flag("x", False) is False
    with pytest.raises(UserError, match="x must be true or false, not 1"):
        require_flag("x", 1)


def test_on_the_command_line(capsys):
    parser = argparse.ArgumentParser(prog="p")
    parser.add_argument("--steps", type=whole(1))
    parser.add_argument("--rate", type=number(at_least=0))
    given = parser.parse_args(["--steps", "3", "--rate", "1e-4"])
    assert (given.steps, given.rate) == (3, 1e-4)
    for arguments, sentence in (
        (["--steps", "0"], "--steps: must be a whole number of at least 1, not '0'"),
        (["--steps", "1.5"], "--steps: must be a whole number of at least 1, not '1.5'"),
        (["--rate", "nan"], "--rate: must be a number of at least 0, not 'nan'"),
        (["--rate=-1"], "--rate: must be a number of at least 0, not '-1'"),
    ):
        with pytest.raises(SystemExit):
            parser.parse_args(arguments)
        assert sentence in capsys.readouterr().err
