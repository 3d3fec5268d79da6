"""``ear-sat evaluate`` from folders to files: values, notes, failures, exit codes, and what a second run does."""

import csv
import json
import math

import numpy as np
import pytest
import soundfile

from ear_sat.cli.main import main
from ear_sat.evaluate import measure as measure_module
from ear_sat.metrics import ADDITIONAL, FROZEN, METRICS

TOLERANCES = {"si_sdr_db": 1e-2, "stft_distance": 1e-3, "mel_distance": 1e-3, "icpc": 1e-3, "ccpc": 1e-3}


def results(out):
    return json.loads((out / "results.json").read_text(encoding="utf-8"))


def rows(out):
    with (out / "results.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def measured(monkeypatch):
    """The pairs that were measured rather than read from the cache: (file, system)."""
    done = []
    original = measure_module.evaluate_pair

    def counted(*arguments):
        done.append(1)
        return original(*arguments)

    monkeypatch.setattr(measure_module, "evaluate_pair", counted)
    return done


def test_golden_figures(tmp_path, golden_audio, expected, write, evaluate_command, capsys):
    estimate, reference = golden_audio
    write(tmp_path / "ref" / "pair.wav", reference)
    write(tmp_path / "codec" / "pair.wav", estimate)
    out = tmp_path / "out"
    assert (
        evaluate_command("--reference", tmp_path / "ref", "--estimate", f"codec={tmp_path / 'codec'}", "--out", out)
        == 0
    )
    golden = expected["synthetic"]
    data = results(out)
    for name, tolerance in TOLERANCES.items():
        assert data["files"][0]["values"][name] == pytest.approx(golden[name], abs=tolerance)
        assert data["summaries"][name]["codec"]["mean"] == pytest.approx(golden[name], abs=tolerance)
        assert float(rows(out)[0][name]) == pytest.approx(golden[name], abs=tolerance)
    printed = capsys.readouterr().out
    markdown = (out / "results.md").read_text(encoding="utf-8")
    for text in (f"{golden['si_sdr_db']:.2f}", f"{golden['icpc']:.4f}"):
        assert text in printed and text in markdown
    assert list(data["metrics"]) == list(METRICS) == list(rows(out)[0])[2 : 2 + len(METRICS)]
    assert [name for name, metric in data["metrics"].items() if metric["frozen"]] == list(FROZEN)
    assert data["settings"]["sample_rate"] == 44100 and data["versions"]["auraloss"] == "0.4.0"


def test_two_files(tmp_path, golden_audio, expected, write, evaluate_command):
    estimate, reference = golden_audio
    target, preds = write(tmp_path / "a.wav", reference), write(tmp_path / "b.wav", estimate)
    assert evaluate_command("--reference", target, "--estimate", preds, "--out", tmp_path / "out") == 0
    file = results(tmp_path / "out")["files"][0]
    assert (file["file"], file["system"]) == ("a", "b")
    assert file["values"]["si_sdr_db"] == pytest.approx(expected["synthetic"]["si_sdr_db"], abs=1e-2)


def test_bad_files_are_rows_and_the_rest_goes_on(tmp_path, noise, write, evaluate_command, capsys):
    music = noise(0, 1.0)
    broken = {"broken": b"RIFF nonsense", "empty": b""}
    for name in ("good", "silent", "short", "nan", "mono", *broken):
        write(tmp_path / "ref" / f"{name}.wav", music)
    write(tmp_path / "ref" / "alone.wav", music)
    codec = tmp_path / "codec"
    write(codec / "good.wav", 0.9 * music)
    write(codec / "silent.wav", 0 * music)
    write(codec / "short.wav", music[:1])
    write(codec / "mono.wav", music[:, :1])
    write(codec / "nan.wav", np.where(np.arange(len(music))[:, None] == 9, np.nan, music))
    write(codec / "stray.wav", music)
    for name, content in broken.items():
        (codec / f"{name}.wav").write_bytes(content)
    out = tmp_path / "out"
    code = evaluate_command(
        "--reference", tmp_path / "ref", "--estimate", f"codec={codec}", "--out", out, "--audio", "none"
    )
    assert code == 1
    data = results(out)
    files = {file["file"]: file for file in data["files"]}
    assert set(files) == {"good", "silent", "short", "nan", "mono", "broken", "empty"}
    failed = {name for name, file in files.items() if file["error"]}
    assert failed == {"nan", "broken", "empty"}
    assert "1 of its samples" not in files["nan"]["error"] and "NaN" in files["nan"]["error"]  # both channels: 2
    assert all(not files[name]["values"] for name in failed)
    assert files["good"]["values"]["snr_db"] == pytest.approx(20, abs=1e-3)
    assert files["silent"]["notes"] == ["the estimate is silent"]
    assert files["silent"]["values"]["loudness_diff_lu"] is None
    assert files["short"]["values"]["stft_distance"] is None
    assert any("mono copied" in note for note in files["mono"]["notes"])
    summary = data["summaries"]["loudness_diff_lu"]["codec"]
    assert (summary["files"], summary["undefined"]) == (2, 2)  # good, mono; silent, short
    assert {(entry["side"], entry["path"].rpartition("/")[2]) for entry in data["unmatched"]} == {
        ("reference", "alone.wav"),
        ("estimate", "stray.wav"),
    }
    printed = capsys.readouterr().out
    for text in ("failed: broken, codec: estimate broken.wav: not readable", "alone.wav (codec) has no estimate"):
        assert text in printed
    table = rows(out)
    assert len(table) == 9 and sum(row["error"].startswith("unmatched") for row in table) == 2
    assert next(row for row in table if row["file"] == "silent")["loudness_diff_lu"] == ""
    page = (out / "report.html").read_text(encoding="utf-8")
    for text in ("broken.wav: not readable", "has no estimate", "the estimate is silent", "n/a"):
        assert text in page
    assert "<audio controls" not in page and "<img" in page


def test_identity_is_infinite_and_strict_json(tmp_path, noise, write, evaluate_command):
    write(tmp_path / "a.wav", noise(0))
    out = tmp_path / "out"
    assert (
        evaluate_command("--reference", tmp_path / "a.wav", "--estimate", f"x={tmp_path / 'a.wav'}", "--out", out) == 0
    )

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    data = json.loads((out / "results.json").read_text(encoding="utf-8"), parse_constant=refuse)
    assert data["files"][0]["values"]["snr_db"] == "inf" and data["summaries"]["snr_db"]["x"]["mean"] == "inf"
    assert math.isinf(float(rows(out)[0]["snr_db"]))


def test_several_systems_are_ranked_on_shared_files(tmp_path, noise, write, evaluate_command, capsys):
    for index in range(3):
        music = noise(index, 0.6)
        write(tmp_path / "ref" / f"{index}.wav", music)
        write(tmp_path / "fine" / f"{index}.wav", music + 0.01 * noise(100 + index, 0.6))
        write(tmp_path / "mid" / f"{index}.wav", music + 0.03 * noise(100 + index, 0.6))
        if index < 2:  # it lacks one file: the others' means leave that one out as well
            write(tmp_path / "poor" / f"{index}.wav", music + 0.1 * noise(100 + index, 0.6))
    out = tmp_path / "out"
    systems = [text for name in ("fine", "mid", "poor") for text in ("--estimate", f"{name}={tmp_path / name}")]
    assert evaluate_command("--reference", tmp_path / "ref", *systems, "--out", out, "--paper-table") == 0
    data = results(out)
    assert data["shared_files"] == ["0", "1"]
    ratios = data["summaries"]["snr_db"]
    assert [ratios[name]["rank"] for name in ("fine", "mid", "poor")] == [1, 2, 3]
    assert [ratios[name]["files"] for name in ratios] == [2, 2, 2]
    assert [data["own_summaries"]["snr_db"][name]["files"] for name in ratios] == [3, 3, 2]
    assert ratios["fine"]["mean"] - ratios["mid"]["mean"] == pytest.approx(20 * math.log10(3), abs=1e-3)
    line = next(line for line in (out / "results.md").read_text(encoding="utf-8").splitlines() if "`snr_db`" in line)
    cells = [cell.strip() for cell in line.split("|")[3:6]]
    assert cells[0].startswith("**") and cells[1].startswith("*") and not cells[1].startswith("**")
    assert not cells[2].startswith("*")
    assert "means over the 2 file(s) that all systems have" in (out / "results.md").read_text(encoding="utf-8")
    printed = capsys.readouterr().out
    assert "do not compare strictly" in printed and "9.99" in printed and "12.4 " in printed
    rows = data["references"]["rows"]
    assert [row["system"] for row in rows[:3]] == ["fine", "mid", "poor"] and len(rows) == 3 + 15
    assert rows[0]["measured_by"] == "this run" and rows[0]["files"] == 2


def test_align(tmp_path, noise, write, evaluate_command):
    music = noise(0, 1.5)
    target, late = write(tmp_path / "a.wav", music[500:]), write(tmp_path / "b.wav", music[:-500])
    arguments = ("--reference", target, "--estimate", f"late={late}")
    assert evaluate_command(*arguments, "--out", tmp_path / "plain") == 0
    assert evaluate_command(*arguments, "--out", tmp_path / "aligned", "--align") == 0
    plain, aligned = (results(tmp_path / name)["files"][0] for name in ("plain", "aligned"))
    assert plain["offset"] == aligned["offset"] == 500
    assert plain["values"]["si_sdr_db"] < 0 and aligned["values"]["si_sdr_db"] > 60
    assert "--align" in (tmp_path / "plain" / "report.html").read_text(encoding="utf-8")


def test_second_run_measures_only_what_is_missing(tmp_path, noise, write, evaluate_command, measured):
    for name in ("a", "b", "c"):
        write(tmp_path / "ref" / f"{name}.wav", noise(0, 0.3))
        write(tmp_path / "codec" / f"{name}.wav", noise(1, 0.3))
    (tmp_path / "codec" / "c.wav").write_bytes(b"not yet")
    arguments = ("--reference", tmp_path / "ref", "--estimate", f"x={tmp_path / 'codec'}", "--out", tmp_path / "out")
    assert evaluate_command(*arguments, "--audio", 0) == 1
    first = results(tmp_path / "out")
    assert len(measured) == 2
    write(tmp_path / "codec" / "c.wav", noise(1, 0.3))  # a failure is tried again
    assert evaluate_command(*arguments, "--audio", 0) == 0
    assert len(measured) == 3
    write(tmp_path / "codec" / "b.wav", noise(2, 0.4))  # another file of that name is measured again
    assert evaluate_command(*arguments, "--audio", 0) == 0
    assert len(measured) == 4
    assert evaluate_command(*arguments, "--audio", 0) == 0
    assert len(measured) == 4
    assert evaluate_command(*arguments, "--audio", 0, "--align") == 0  # other settings are other results
    assert len(measured) == 7
    assert results(tmp_path / "out")["files"][0]["values"].keys() == first["files"][0]["values"].keys()


def test_a_damaged_log_is_measured_again(tmp_path, noise, write, evaluate_command, measured):
    target = write(tmp_path / "a.wav", noise(0, 0.3))
    arguments = ("--reference", target, "--estimate", f"x={target}", "--out", tmp_path / "out", "--audio", 0)
    evaluate_command(*arguments)
    (log,) = (tmp_path / "out" / "rows").iterdir()
    run, row = log.read_bytes().splitlines()
    for damage in (b"", row[:50], b"[]", row.replace(b'"values": {', b'"unknown": {')):
        log.write_bytes(run + b"\n" + damage)
        assert evaluate_command(*arguments) == 0
        assert log.read_bytes().splitlines()[-1][:200] == row[:200]
    assert len(measured) == 5


def test_a_bug_in_one_pair_does_not_end_the_batch(tmp_path, noise, write, evaluate_command, monkeypatch):
    for name in ("a", "b"):
        write(tmp_path / "ref" / f"{name}.wav", noise(0, 0.3 if name == "a" else 0.4))
    original = measure_module.evaluate_pair

    def fails_once(preds, target, rate, names):
        if preds.shape[-1] == int(0.3 * 44100):
            raise RuntimeError("no such luck")
        return original(preds, target, rate, names)

    monkeypatch.setattr(measure_module, "evaluate_pair", fails_once)
    arguments = ("--reference", tmp_path / "ref", "--estimate", f"x={tmp_path / 'ref'}", "--out", tmp_path / "out")
    assert evaluate_command(*arguments) == 1
    files = {file["file"]: file["error"] for file in results(tmp_path / "out")["files"]}
    assert files == {"a": "RuntimeError: no such luck", "b": None}
    monkeypatch.undo()
    assert evaluate_command(*arguments) == 0  # what failed is tried again


def test_all_pairs_failed(tmp_path, write, noise, evaluate_command):
    write(tmp_path / "ref" / "a.wav", noise(0, 0.3))
    write(tmp_path / "codec" / "a.wav", noise(0, 0.3)).write_bytes(b"")
    arguments = ("--reference", tmp_path / "ref", "--estimate", f"x={tmp_path / 'codec'}", "--out", tmp_path / "out")
    assert evaluate_command(*arguments) == 1
    assert results(tmp_path / "out")["summaries"]["icpc"]["x"]["mean"] is None
    assert "the file is empty" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--reference", "REF"], "nothing to evaluate"),
        (["--estimate", "x=REF"], "give --reference and --estimate or --codec, or --weights"),
        (["--reference", "REF", "--estimate", "x="], "--estimate takes NAME=FOLDER"),
        (["--reference", "REF", "--estimate", "x=REF", "--estimate", "x=REF"], "names x twice"),
        (["--reference", "REF", "--estimate", "reference=REF"], "cannot name a system"),
        (["--reference", "REF", "--estimate", "x=REF", "--audio", "some"], "--audio takes"),
        (
            ["--reference", "REF", "--estimate", "x=REF", "--processes", "0"],
            "--processes must be a whole",
        ),
        (["--reference", "REF", "--weights", "w.ckpt"], "--weights needs music"),
        (["--data", "REF"], "give --weights or --codec as well"),
        (["--reference", "REF", "--estimate", "x=REF", "--test-tones"], "give --weights as well"),
        (["--weights", "w", "--data", "REF", "--reference", "REF"], "give one of them"),
        (["--weights", "absent.ckpt", "--test-tones"], "no such file: absent.ckpt"),
        (["--weights", "absent.ckpt", "--data", "REF"], "no such file: absent.ckpt"),
        (["--reference", "absent", "--estimate", "x=REF"], "no such file or folder: absent"),
        (["--weights", "REF/a.wav", "--test-tones", "--reference", "REF"], "nothing to evaluate"),
        (["--weights", "REF/a.wav", "--test-tones", "--data", "absent"], "no such file or folder: absent"),
        (["--weights", "REF", "--test-tones"], "is a folder without model.safetensors"),
    ],
)
def test_user_errors_are_one_line(tmp_path, noise, write, capsys, arguments, message):
    write(tmp_path / "ref" / "a.wav", noise(0, 0.1))
    filled = [text.replace("REF", str(tmp_path / "ref")) for text in arguments]
    assert main(["evaluate", *filled, "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_out_is_a_file(tmp_path, noise, write, evaluate_command, capsys):
    target = write(tmp_path / "a.wav", noise(0, 0.1))
    assert evaluate_command("--reference", target, "--estimate", f"x={target}", "--out", target) == 1
    assert "is a file; give a folder" in capsys.readouterr().err
    assert soundfile.info(target).frames == 4410


def test_out_below_a_file(tmp_path, noise, write, evaluate_command, capsys):
    target = write(tmp_path / "a.wav", noise(0, 0.1))
    assert evaluate_command("--reference", target, "--estimate", f"x={target}", "--out", target / "out") == 1
    assert "cannot make the folder" in capsys.readouterr().err


def test_additional_metrics_see_what_the_frozen_ones_do_not(tmp_path, noise, write, evaluate_command):
    music = noise(0, 1.0)
    target, flipped = write(tmp_path / "a.wav", music), write(tmp_path / "b.wav", -music)
    evaluate_command("--reference", target, "--estimate", f"x={flipped}", "--out", tmp_path / "out")
    summaries = results(tmp_path / "out")["summaries"]
    assert summaries["icpc"]["x"]["mean"] == pytest.approx(1) and summaries["stft_distance"]["x"]["mean"] == 0
    assert summaries["polarity_left"]["x"]["mean"] == pytest.approx(-1) and "polarity_left" in ADDITIONAL
    assert summaries["snr_db"]["x"]["mean"] == pytest.approx(-6.02, abs=0.01)
