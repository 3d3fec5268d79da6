"""The balancer's arithmetic by hand, and what it refuses."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from ear_sat.errors import UserError
from ear_sat.losses import LossBundle
from ear_sat.training.balance import DECAY, GradientBalance, active_entries
from ear_sat.training.phases import Phase, Schedule

SHARES = {"a": 0.5, "b": 0.3, "c": 0.2}
ALL = ["a", "b", "c"]


def balance(every: int = 10, norms: Any = None) -> GradientBalance:
    made = GradientBalance(SHARES, every)
    if norms:
        made.add(norms, 0)
    return made


def test_norms_get_their_shares_of_the_sum_that_was() -> None:
    norms = {"a": 8.0, "b": 1.0, "c": 1.0}
    factors = balance(norms=norms).factors([*ALL, "other"])
    assert factors == pytest.approx({"a": 5 / 8, "b": 3.0, "c": 2.0})
    assert sum(factors[name] * norms[name] for name in ALL) == pytest.approx(10)


def test_shares_count_among_the_active_entries() -> None:
    made = balance(norms={"a": 8.0, "b": 1.0, "c": 1.0})
    # 9 in the ratio 5 : 3, whatever "c" would have had.
    assert made.factors(["a", "b"]) == pytest.approx({"a": 9 * 5 / 8 / 8, "b": 9 * 3 / 8})
    assert made.factors(["c"]) == {"c": 1.0}
    assert made.factors(["other"]) == {}


def test_the_average_forgets_by_the_round() -> None:
    made = balance(every=50, norms={"a": 2.0, "b": 1.0})
    made.add({"a": 6.0, "b": 1.0}, 50)
    old = DECAY**50
    mean = (old * 2 + 6) / (old + 1)
    factors = made.factors(["a", "b"])
    assert factors == pytest.approx({"a": (mean + 1) * 5 / 8 / mean, "b": (mean + 1) * 3 / 8})


@pytest.mark.parametrize("norm", [0.0, float("nan"), float("inf")])
def test_an_entry_without_a_pull_is_left_alone(norm: float) -> None:
    factors = balance(norms={"a": 8.0, "b": 1.0, "c": norm}).factors(ALL)
    assert factors == balance(norms={"a": 8.0, "b": 1.0}).factors(ALL) and "c" not in factors


def test_it_measures_every_so_many_rounds_and_what_is_new() -> None:
    made = balance(every=10)
    assert made.due(0, ["a", "b", "other"]) == ["a", "b"]
    made.add({"a": 1.0, "b": 1.0}, 0)
    assert [made.due(n, ["a", "b"]) for n in (1, 9)] == [[], []] and made.due(10, ["a", "b"])
    assert made.due(3, ALL) == ALL  # a phase with "c" has begun
    made.add({"a": float("nan"), "b": float("nan")}, 10)
    assert made.due(11, ["a", "b"])  # the measurement was none


def test_the_state_goes_on_bit_for_bit() -> None:
    one = balance(norms={"a": 0.1, "b": 0.7, "c": 1 / 3})
    other = balance()
    other.load_state_dict(copy.deepcopy(one.state_dict()))
    for made in (one, other):
        made.add({"a": 0.3, "b": 0.1, "c": 0.2}, 10)
    assert one.factors(ALL) == other.factors(ALL) and one.state_dict() == other.state_dict()
    assert other.due(19, ALL) == [] and other.due(20, ALL) == ALL
    other.load_state_dict({})  # a checkpoint of a run without balance
    assert other.factors(ALL) == {} and other.due(20, ALL) == ALL


LOSSES = {
    "time": {"type": "l1", "weights": {"l1": 1.0}},
    "square": {"type": "l2", "weights": {"l2": 1.0}, "start_step": 3},
    "off": {"type": "l2", "weights": {"l2": 0.0}},
    "discriminator": {},
    "bottleneck": {},
}
ADVERSARY = {"adversarial": 0.1, "feature_matching": 5.0}
PHASES: list[dict[str, Any]] = [{"name": "warm-up", "steps": 2, "losses": ["time", "square"]}, {"name": "main"}]


def parsed(config: Any, adversary: Any = None, phases: Any = None) -> GradientBalance | None:
    bundle = LossBundle.from_config(LOSSES, 8000)
    schedule = Schedule.from_config(PHASES if phases is None else phases, list(LOSSES))
    return GradientBalance.from_config(config, bundle, ADVERSARY if adversary is None else adversary, schedule)


def section(**changes: Any) -> dict[str, Any]:
    return {"type": "gradient", "every": 5, "shares": {"time": 0.5, "discriminator": 0.5}, **changes}


def test_the_section_is_read() -> None:
    made = parsed(section())
    assert made is not None and (made.every, made.shares) == (5, {"time": 0.5, "discriminator": 0.5})
    assert parsed(None) is None


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (3, "must be an object"),
        (section(evry=1), "'evry'; did you mean 'every'"),
        (section(type="gradeint"), "'gradeint'; did you mean 'gradient'"),
        ({"shares": {"time": 1}}, "gradient"),
        (section(every=0), r"training\.balance\.every must be a whole number of at least 1"),
        (section(every="5"), r"training\.balance\.every"),
        (section(shares={"time": 0, "square": 1}), r"shares\.time must be a number above 0"),
        (section(shares={"time": -1, "square": 1}), r"shares\.time must be a number above 0"),
        (section(shares={"time": 1, "sqaure": 1}), "'sqaure'; did you mean 'square'"),
        (section(shares={"time": 1, "off": 1}), r"all weights of loss_configs\.off are 0"),
        (section(shares={"time": 1, "bottleneck": 1}), "keeps its weight; drop it"),
        (section(shares={"time": 1}), "balances nothing"),
        (section(shares={}), "balances nothing"),
        ({"type": "gradient"}, "balances nothing"),
    ],
)
def test_what_cannot_work_is_refused(config: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        parsed(config)


def test_a_share_of_an_adversary_that_does_not_pull_is_refused() -> None:
    with pytest.raises(UserError, match=r"all weights of loss_configs\.discriminator are 0"):
        parsed(section(), adversary={"adversarial": 0.0})
    with pytest.raises(UserError, match="balances nothing"):
        parsed(section(), phases=[{"losses": ["time", "square"], "steps": 1}, {"losses": ["square", "discriminator"]}])


def test_active_entries_have_started_and_belong_to_the_phase() -> None:
    bundle = LossBundle.from_config(LOSSES, 8000)
    warm_up, main = Schedule.from_config(PHASES, list(LOSSES)).phases
    assert active_entries(bundle, warm_up, 0, True) == ["time"]
    assert active_entries(bundle, warm_up, 3, True) == ["time", "square"]
    assert active_entries(bundle, main, 3, True) == ["time", "square", "discriminator"]
    assert active_entries(bundle, main, 3, False) == ["time", "square"]
    assert active_entries(bundle, Phase("adversary", generator=False), 3, True) == []
