"""Decisions and reasons: the paper's two stages, every bound, and files with every fault."""

import math

import numpy as np
import pytest
from prepare_test_signals import noise, stereo, tone, with_inter_sample_peak

from ear_sat import UserError
from ear_sat.prepare import Rules, decide
from ear_sat.prepare.rules import REASONS

GOOD = {
    "sample_rate": 44100,
    "channels": 2,
    "duration": 60.0,
    "loudness_lufs": -14.0,
    "true_peak_dbtp": -1.0,
    "dual_mono": False,
    "bandwidth_hz": 20000.0,
    "error": None,
}


def decided(rules: Rules | None = None, duplicate: bool = False, **changes: object) -> tuple[str, list[str]]:
    return decide(GOOD | changes, rules or Rules(), lambda: duplicate)


@pytest.mark.parametrize(
    ("changes", "decision", "reasons"),
    [
        ({}, "keep", []),
        ({"sample_rate": 44099}, "reject", ["sample_rate"]),
        ({"sample_rate": 96000}, "keep", []),
        ({"channels": 1, "dual_mono": None}, "reject", ["not_stereo"]),
        ({"channels": 6}, "reject", ["not_stereo"]),
        ({"loudness_lufs": -22.0}, "keep", []),
        ({"loudness_lufs": -22.01}, "reject", ["too_quiet"]),
        ({"loudness_lufs": -5.0}, "keep", []),
        ({"loudness_lufs": -4.99}, "reject", ["too_loud"]),
        ({"loudness_lufs": None, "true_peak_dbtp": None}, "reject", ["no_loudness"]),
        ({"true_peak_dbtp": 0.999}, "keep", []),
        ({"true_peak_dbtp": 1.0}, "stage1", ["true_peak"]),
        ({"true_peak_dbtp": 1.0, "channels": 1}, "reject", ["not_stereo", "true_peak"]),
        (
            {"sample_rate": 8000, "channels": 1, "loudness_lufs": -40.0},
            "reject",
            ["sample_rate", "not_stereo", "too_quiet"],
        ),
        ({"error": "truncated"}, "error", ["unreadable"]),
        ({"dual_mono": True, "duration": 0.5, "bandwidth_hz": 100.0}, "keep", []),
    ],
)
def test_the_papers_stages(changes, decision, reasons):
    assert decided(**changes) == (decision, reasons)


def test_equal_bytes_do_not_matter_unless_asked_for():
    assert decided(duplicate=True) == ("keep", [])
    assert decided(Rules(no_duplicates=True), duplicate=True) == ("reject", ["duplicate"])
    assert decided(Rules(no_duplicates=True)) == ("keep", [])


@pytest.mark.parametrize(
    ("rules", "changes", "reasons"),
    [
        ({"min_sample_rate": 48000}, {}, ["sample_rate"]),
        ({"min_sample_rate": 0}, {"sample_rate": 8000}, []),
        ({"require_stereo": False}, {"channels": 1, "dual_mono": None}, []),
        ({"min_loudness": -13}, {}, ["too_quiet"]),
        ({"max_loudness": -15}, {}, ["too_loud"]),
        ({"min_loudness": -math.inf}, {"loudness_lufs": -60.0}, []),
        ({"min_loudness": -math.inf}, {"loudness_lufs": None}, []),
        ({"max_loudness": math.inf}, {"loudness_lufs": 3.0}, []),
        ({"min_seconds": 60}, {}, []),
        ({"min_seconds": 60.1}, {}, ["too_short"]),
        ({"no_dual_mono": True}, {"dual_mono": True}, ["dual_mono"]),
        ({"no_dual_mono": True, "require_stereo": False}, {"dual_mono": None, "channels": 1}, []),
        ({"min_bandwidth": 20000}, {}, []),
        ({"min_bandwidth": 20001}, {}, ["bandwidth"]),
        ({"min_bandwidth": 16000}, {"bandwidth_hz": None}, ["bandwidth"]),
    ],
)
def test_every_bound_is_an_option(rules, changes, reasons):
    assert decided(Rules(**rules), **changes) == ("reject" if reasons else "keep", reasons)


def test_the_bound_of_stage_2():
    assert decided(Rules(max_true_peak=-1.5)) == ("stage1", ["true_peak"])
    assert decided(Rules(max_true_peak=math.inf), true_peak_dbtp=9.0) == ("keep", [])


def test_bounds_that_cannot_be():
    with pytest.raises(UserError, match="above the greatest"):
        Rules(min_loudness=-5, max_loudness=-22)
    with pytest.raises(UserError, match="max_true_peak must be a number"):
        Rules(max_true_peak=math.nan)


def test_files_of_every_kind(prepare, manifest, write, tmp_path):
    """Rates, layouts, loudness, peaks and faults together, from files to the manifest."""
    music = tmp_path / "music"
    expected: dict[str, tuple[str, str]] = {}

    def file(name: str, audio: np.ndarray, decision: str, reason: str = "", rate: int = 44100, **options: str) -> None:
        write(music / name, audio, rate, **options)
        expected[name] = (decision, reason)

    for lufs in (-30, -23, -21.5, -14, -5.5, -4, -2):
        reason = "too_quiet" if lufs < -22 else "too_loud" if lufs > -5 else ""
        file(f"level{lufs}.wav", tone(lufs), "reject" if reason else "keep", reason)
    for rate in (22050, 32000, 44100, 48000, 96000):
        low = rate < 44100
        file(f"rate{rate}.flac", tone(-14, rate=rate), "reject" if low else "keep", "sample_rate" if low else "", rate)
        over = with_inter_sample_peak(tone(-20, rate=rate), rate, 1.5)
        reason = "sample_rate;true_peak" if low else "true_peak"
        file(f"over{rate}.wav", over, "reject" if low else "stage1", reason, rate)
        under = with_inter_sample_peak(tone(-20, rate=rate), rate, 0.5)
        file(f"under{rate}.wav", under, "reject" if low else "keep", "sample_rate" if low else "", rate)
    for channels in (1, 6):
        file(f"channels{channels}.wav", tone(-14, channels=channels), "reject", "not_stereo")
    file("silence.wav", np.zeros((44100, 2)), "reject", "no_loudness")
    file("short.wav", tone(-14, 0.3), "reject", "no_loudness")
    file("dc.wav", tone(-14) + 0.3, "keep")
    file("dual.wav", stereo(noise(2, 44100)[:, 0]), "keep")
    file("clipped.wav", np.clip(20 * tone(-14), -1, 1), "reject", "too_loud")
    for name in ("truncated.wav", "truncated.flac", "truncated.mp3"):
        file(name, noise(4, 44100), "error", "unreadable")
        (music / name).write_bytes((music / name).read_bytes()[:-40000])
    (music / "page.mp3").write_text("<html>not found</html>")
    (music / "empty.ogg").touch()
    expected |= dict.fromkeys(("page.mp3", "empty.ogg"), ("error", "unreadable"))

    prepare(music)
    rows = manifest()
    assert {name: (row["decision"], row["reason"]) for name, row in rows.items()} == expected
    assert all((row["error"] is not None) == (row["decision"] == "error") for row in rows.values())
    assert rows["clipped.wav"]["clipped_runs"] > 1000 and rows["dual.wav"]["dual_mono"]
    assert {name for _, reason in expected.values() for name in reason.split(";") if name} <= set(REASONS)
