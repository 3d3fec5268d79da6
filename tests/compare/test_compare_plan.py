"""What a plan says, and what is wrong with one."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ear_sat import UserError
from ear_sat.cli.main import main
from ear_sat.compare import load_plan
from ear_sat.compare.training import Run, check_unchanged, runs_of, settings_of
from ear_sat.named_configs import load_config
from ear_sat.training.section import check_model_config

PLANS = sorted((Path(__file__).parents[2] / "plans").glob("*.json"))
SIZES = ("cpu", "one-gpu", "paper")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
def test_the_plans_that_come_with_ear_sat(path: Path, size: str, tmp_path: Path) -> None:
    plan = load_plan(path, size, train=tmp_path, tracks=dict.fromkeys(json_of(path).get("tracks", ["a"]), tmp_path))
    assert plan.size == size and plan.title and plan.about and all(v.about for v in plan.variants)
    for variant in plan.variants:
        check_model_config(variant.config)
    configs = [json.dumps(variant.config) + str(variant.settings) for variant in plan.variants]
    assert len(set(configs)) == len(configs), "two variants are the same"


def json_of(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def test_later_settings_win_and_changes_add_up(write_plan: Callable[..., Path]) -> None:
    sizes = {
        "short": {"rounds": 5, "set": {"training.clip_grad_norm": 1.0}},
        "long": {"minutes": 2, "base": "ear_vae", "seeds": [7]},
    }
    variants = [
        {"name": "a"},
        {
            "name": "b",
            "rounds": 9,
            "set": {"training.clip_grad_norm": 2.0},
            "sizes": {"long": {"set": {"sample_rate": 48000}}},
        },
        {"name": "c", "config": "ear_vae_demo", "flags": []},
        {"name": "d", "like": "b", "set": {"sample_size": 64}},
        {"name": "e", "like": "c", "batch_size": 3},
    ]
    path = write_plan(sizes=sizes, variants=variants)
    short, long = load_plan(path), load_plan(path, "long")
    assert [v.settings.rounds for v in short.variants] == [5, 9, 5, 9, 5]
    assert [v.config["training"]["clip_grad_norm"] for v in short.variants] == [1.0, 2.0, 10.0, 2.0, 10.0]
    assert short.variants[0].settings.flags == ("--num-workers", "0", "--accelerator", "cpu")
    assert short.variants[2].config == load_config("ear_vae_demo") and short.variants[2].settings.flags == ()
    assert long.variants[0].settings.minutes == 2 and long.variants[0].settings.seeds == (7,)
    assert [v.config["sample_rate"] for v in long.variants] == [44100, 48000, 44100, 48000, 44100]
    assert {**short.variants[3].config, "sample_size": 4096} == short.variants[1].config
    assert short.variants[4].config == short.variants[2].config and short.variants[4].settings.flags == ()
    assert [v.settings.batch_size for v in short.variants] == [2, 2, 2, 2, 3]
    assert long.variants[0].config["model"]["bottleneck"] == load_config("ear_vae")["model"]["bottleneck"]


def test_settings_of_the_command_line_win(write_plan: Callable[..., Path], music: dict[str, Path]) -> None:
    overrides = {"rounds": None, "minutes": 1.5, "seeds": [3]}
    plan = load_plan(write_plan(), overrides=overrides, train=music["test"], tracks={"test": music["train"]})
    assert {(v.settings.rounds, v.settings.minutes, v.settings.seeds) for v in plan.variants} == {(None, 1.5, (3,))}
    assert plan.train["datasets"][0]["path"] == str(music["test"])
    assert plan.tracks == {"development": music["development"], "test": music["train"]}


def test_runs_of_one_seed_come_first(write_plan: Callable[..., Path], tmp_path: Path) -> None:
    plan = load_plan(write_plan())
    assert [run.name for run in runs_of(plan, tmp_path)] == ["base-seed1", "plain-seed1", "base-seed2", "plain-seed2"]
    assert [run.name for run in runs_of(plan, tmp_path, ["plain"])] == ["plain-seed1", "plain-seed2"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"varients": []}, "did you mean 'variants'"),
        ({"variants": []}, "lacks the key variants"),
        ({"rounds": 0}, "rounds"),
        ({"rounds": None}, "neither rounds nor minutes"),
        ({"variants": [{"name": "a b"}]}, "names a folder, and not reference; got 'a b'"),
        ({"variants": [{}]}, "got None"),
        ({"variants": [{"name": "reference"}]}, "got 'reference'"),
        ({"variants": [{"name": "a"}, {"name": "a"}]}, "two variants are called a"),
        ({"variants": [{"name": "a", "set": {"training.nothing.here": 1}}]}, r"variants\[0\]: training.nothing.here"),
        ({"variants": [{"name": "a", "unset": ["training.losses"]}]}, "did you mean 'loss_configs'"),
        ({"variants": [{"name": "a", "sizes": {"x": {"round": 3}}}], "sizes": {"x": {}}}, "did you mean 'rounds'"),
        ({"variants": [{"name": "a", "like": "b"}, {"name": "b"}]}, r"unknown earlier variant in .*like 'b'"),
        ({"variants": [{"name": "a"}, {"name": "b", "like": "a", "config": "ear_vae"}]}, "give one of the two"),
        ({"seeds": [1, 1]}, "seeds must be different"),
        ({"seeds": []}, "at least one"),
        ({"tracks": {}}, "give --tracks NAME=FOLDER"),
        ({"tracks": {"development": "nowhere"}}, "no such folder: nowhere"),
        ({"tracks": {"../out": "."}}, "names a folder"),
        ({"train": None}, "give --train"),
        ({"base": "ear_vea"}, "did you mean 'ear_vae"),
    ],
)
def test_what_is_wrong_is_said(write_plan: Callable[..., Path], changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        load_plan(write_plan(**changes))


def test_an_unknown_size_or_variant_is_named(write_plan: Callable[..., Path]) -> None:
    with pytest.raises(UserError, match=re.escape("did you mean 'short'? Valid: short")):
        load_plan(write_plan(sizes={"short": {}}), "shrt")
    with pytest.raises(UserError, match="did you mean 'plain'"):
        load_plan(write_plan()).variant("plan")


def test_a_set_is_named_once_and_has_audio(
    write_plan: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["compare", str(write_plan()), "--out", str(tmp_path / "out"), "--tracks", f"development={tmp_path}"]
    assert main([*command, "--tracks", "development=elsewhere"]) == 1
    assert "--tracks names development twice; give each set a name of its own" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert main([*command[:-1], f"development={tmp_path / 'empty'}"]) == 1
    assert f"there is no audio in {tmp_path / 'empty'}; give a folder of music" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_changed_variant_is_not_mixed_with_earlier_runs(write_plan: Callable[..., Path], tmp_path: Path) -> None:
    plan = load_plan(write_plan())
    run, settings = Run("base", 1, tmp_path), settings_of(plan, plan.base)
    check_unchanged(run, settings)
    run.inputs.mkdir(parents=True)
    run.settings.write_text(json.dumps(settings), encoding="utf-8")
    check_unchanged(run, settings)
    other = load_plan(write_plan(batch_size=3, rounds=4))
    with pytest.raises(UserError, match=r"other settings \(rounds, batch_size\); choose another --out"):
        check_unchanged(run, settings_of(other, other.base))
    run.settings.write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match="cannot read"):
        check_unchanged(run, settings)
