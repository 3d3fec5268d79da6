"""The GPU check runs in miniature on a CPU; its choices for CUDA are tried with mocks."""

from __future__ import annotations

import doctest
import importlib
import json
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import torch

from ear_sat.cli import errors

pytest.importorskip("pytorch_lightning")
pytest.importorskip("ema_pytorch")

REPOSITORY = Path(__file__).parents[1]
SCRIPTS = REPOSITORY / "scripts"
SECTIONS = ["machine", "equality", "rounds", "resume", "memory", "benchmarks", "profile", "synchronisations"]


def check(out: Path, *arguments: object, scripts: Path = SCRIPTS) -> tuple[subprocess.CompletedProcess[str], dict]:
    command = [sys.executable, str(scripts / "gpu_check.py"), "--out", str(out), "--mini", "--device", "cpu"]
    done = subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True, check=False)
    file = out / "gpu_check.json"
    return done, json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


@pytest.fixture
def module(monkeypatch):
    """Imports a script as a module."""
    monkeypatch.syspath_prepend(SCRIPTS)
    return importlib.import_module


@pytest.fixture
def patched_scripts(tmp_path):
    """A copy of the scripts with other sections, by name and text."""

    def patch(**sections: str) -> Path:
        shutil.copytree(SCRIPTS, tmp_path / "scripts")
        (tmp_path / "ear_sat").symlink_to(REPOSITORY / "ear_sat")
        (tmp_path / "model_configs").symlink_to(REPOSITORY / "model_configs")
        for name, body in sections.items():
            text = f"import time\nfrom gpu_section import SkippedError\n\ndef run(section, setting):\n    {body}\n"
            (tmp_path / "scripts" / f"gpu_{name}.py").write_text(text, encoding="utf-8")
        return tmp_path / "scripts"

    return patch


@pytest.mark.slow
def test_every_section_runs_in_miniature(tmp_path):
    # More time than by default: what is asserted is that nothing is left out, not that the machine is quick.
    done, results = check(tmp_path, "--seconds", 1200)
    assert done.returncode == 0, done.stdout + done.stderr
    sections = results["sections"]
    assert list(sections) == SECTIONS
    for name, section in sections.items():
        assert section["status"] == "ok", (name, section["reason"], section.get("traceback"))
        assert f"{name}: ok" in done.stdout

    for table in ("SnakeBeta: value and gradients", "Autoencoder in training", "Inference modes", "Discriminator"):
        rows = sections["equality"]["tables"][table]
        assert all(row["ok"] and row["reason"] and row["bound"] for row in rows)
        assert {"32" in row["what"] for row in rows} == {True, False}
    cosines = {
        row["what"]: row["value"] for row in sections["equality"]["tables"]["Losses: gradient at the decoded audio"]
    }
    # What low precision does to the loss is seen: it turns the log magnitude's gradient, and less so with more bits.
    assert cosines["magnitude/log, bf16-mixed"] < cosines["magnitude/log, 16-mixed"] < cosines["magnitude/log, 32"]

    rows = sections["rounds"]["tables"]["Rounds"]
    assert [row["precision"] for row in rows] == ["32", "bf16-mixed"] and all(row["rounds"] > 1 for row in rows)
    curves = sections["rounds"]["curves"]
    assert {"loss/total", "loss/discriminator", "raw/magnitude/log", "raw/bottleneck/kl"} <= set(curves)
    assert list(curves["loss/total"]) == ["32", "bf16-mixed"]
    # The same weights, music and noise: the two precisions begin alike.
    assert curves["loss/total"]["32"][0] == pytest.approx(curves["loss/total"]["bf16-mixed"][0], rel=0.05)

    (resume,) = sections["resume"]["tables"].values()
    assert [row["value"] for row in resume] == [0, 0]
    on, off = sections["memory"]["tables"]["The plan"]
    assert 0 < on["measured_MiB"] < off["measured_MiB"] and on["planned_MiB"] is None and off["planned_MiB"] > 0
    benchmarks = {row["row"] for row in sections["benchmarks"]["tables"]["Medians"]}
    assert {"step", "step, discriminator in bf16", "losses", "encode + decode, float32"} <= benchmarks
    parts = {row["part"]: row["per_cent"] for row in sections["profile"]["tables"]["Parts, by the clock"]}
    assert "generator backward" in parts and 50 < sum(parts.values()) <= 100
    sites = sections["synchronisations"]["tables"]["Where a round waits"]
    assert any(row["site"].startswith("ear_sat/training/faults.py:") for row in sites)

    page = (tmp_path / "gpu_check.html").read_text(encoding="utf-8")
    assert all(f'id="{name}"' in page for name in SECTIONS)
    assert "src=" not in page and 'href="http' not in page and "polyline" in page  # one file
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gpu_check.html", "gpu_check.json"]


@pytest.mark.slow
def test_a_failing_section_is_recorded_and_the_others_still_run(tmp_path, patched_scripts):
    scripts = patched_scripts(
        machine='raise ValueError("no such luck\\nmore words")',
        equality='section.check("t", "half", 0.5, 1.0, "it must be whole", "", least=True)',
        rounds='__import__("os")._exit(9)',
        resume='raise SkippedError("no compiler")',
        memory='section.row("t", what="kept", value=float("nan"))',
    )
    only = ",".join(SECTIONS[:5])
    done, results = check(tmp_path / "out", "--only", only, scripts=scripts)
    sections = results["sections"]
    status = {name: (section["status"], section["reason"]) for name, section in sections.items()}
    assert status["machine"] == ("failed", "ValueError: no such luck")
    assert "no such luck" in sections["machine"]["traceback"]
    assert status["equality"] == ("out of bound", "out of its bound: half")
    assert status["rounds"][0] == "failed" and "ended with code 9" in status["rounds"][1]
    assert status["resume"] == ("skipped", "no compiler") and status["memory"][0] == "ok"
    assert sections["memory"]["tables"]["t"] == [{"what": "kept", "value": None}]
    assert done.returncode == 1 and "not right: machine, equality, rounds" in done.stdout
    page = (tmp_path / "out" / "gpu_check.html").read_text(encoding="utf-8")
    assert "ValueError: no such luck" in page and "skipped" in page


@pytest.mark.slow
def test_a_cap_is_respected_and_what_was_measured_is_kept(tmp_path, patched_scripts):
    loop = 'for i in section.within_cap(range(9999)): section.row("t", i=i); time.sleep(0.2)'
    hang = (
        'for i in section.within_cap(["first", "hangs"]): section.row("t", i=i); time.sleep(0 if i == "first" else 999)'
    )
    began = time.monotonic()
    done, results = check(
        tmp_path / "out",
        "--seconds",
        15,
        "--only",
        "profile,memory",
        scripts=patched_scripts(profile=loop, memory=hang),
    )
    loop_result, hang_result = (results["sections"][name] for name in ("profile", "memory"))
    assert done.returncode == 0 and time.monotonic() - began < 100
    assert loop_result["status"] == "capped" and "not measured: " in loop_result["reason"]
    assert 0 < len(loop_result["tables"]["t"]) < 9999
    assert hang_result["status"] == "capped" and "in: hangs" in hang_result["reason"]
    assert hang_result["tables"]["t"][0] == {"i": "first"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--only", "profil"), "did you mean 'profile'"),
        (("--seconds", 0), "--seconds must be a number above 0"),
        (("--device", "cuda"), "sees no GPU"),
    ],
)
def test_a_wrong_argument_is_one_line_that_says_what_to_do(arguments, words, module, tmp_path, monkeypatch, capsys):
    if "cuda" in arguments and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    monkeypatch.setattr(sys, "argv", ["gpu_check.py", "--out", str(tmp_path), "--mini", *map(str, arguments)])
    assert errors.run(module("gpu_check").main) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and words in line and not list(tmp_path.iterdir())


def test_the_caps_are_eight_minutes_in_all(module):
    gpu_check = module("gpu_check")
    assert (gpu_check.SECONDS, gpu_check.MINI_SECONDS) == (480, 60)
    assert list(gpu_check.SECTIONS) == SECTIONS


@pytest.mark.slow
def test_compiled_paths_are_compared_as_well(module, monkeypatch):
    from ear_sat.compiling import can_compile
    from ear_sat.models import optimized

    section, setting = (
        module("gpu_section").Section(600, lambda result: None),
        module("gpu_setting").Setting("cpu", True),
    )
    networks = module("gpu_networks")
    compiled = []
    monkeypatch.setattr(optimized, "can_compile", lambda device: True)
    monkeypatch.setattr(optimized, "_compiled", lambda run: compiled.append(run) or run)
    networks.compare_inference(section, setting, networks.create_reference(setting), compiled=True)
    assert len(compiled) == 2 * 3  # both networks in every precision
    if can_compile("cpu"):
        module("gpu_snake").compare_snake(section, setting, compiled=True)
        assert len(section.result["tables"]["SnakeBeta: value and gradients"]) == 3 * 4
    rows = [row for table in section.result["tables"].values() for row in table]
    assert all(row["ok"] and "compiled" in row["what"] for row in rows)


def test_precisions_of_a_gpu_and_of_a_cpu(module, monkeypatch):
    precision = module("gpu_precision")
    assert [p.name for p in precision.precisions("cuda")] == ["32", "32, TF32", "bf16-mixed", "16-mixed"]
    assert [p.name for p in precision.precisions("cpu")] == ["32", "bf16-mixed", "16-mixed"]
    assert precision.trained_in("cuda") == ["32", "bf16-mixed", "16-mixed"]
    before = torch.backends.cudnn.allow_tf32
    for p in precision.precisions("cuda"):
        with p.open("cpu"):
            assert torch.backends.cudnn.allow_tf32 is p.tf32
            assert torch.is_autocast_enabled("cpu") is (p.dtype is not None)
    assert torch.backends.cudnn.allow_tf32 is before
    settings = module("gpu_training").settings("cuda", "16-mixed")
    assert settings["accelerator"] == "gpu" and settings["precision"] == "16-mixed" and settings["devices"] == 1


def test_where_memory_is_short_the_batch_is_halved_and_the_page_says_so(module, monkeypatch):
    training, section = module("gpu_training"), module("gpu_section").Section(60, lambda result: None)
    monkeypatch.setattr(training, "free", lambda device: None)
    tried = []

    def attempt(batch):
        tried.append(batch)
        if batch > 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    assert training.fitting_batch(section, 8, attempt) == 2 and tried == [8, 4, 2]
    assert len(section.result["notes"]) == 2 and "a batch of 4 was taken" in section.result["notes"][0]

    def never(batch):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.cuda.OutOfMemoryError):
        training.fitting_batch(section, 2, never)


def test_a_gpu_counts_its_own_warnings(module, monkeypatch):
    import warnings

    synchronisations, modes = module("gpu_synchronisations"), []
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)
    sites: Counter[str] = Counter()
    with synchronisations.count(sites, "cuda"):
        for _ in range(3):
            warnings.warn("called a synchronizing CUDA operation", stacklevel=1)
        warnings.warn("something else", stacklevel=1)
    assert modes == ["warn", "default"] and list(sites.values()) == [3]
    assert "test_gpu_check.py" in next(iter(sites))


def test_peak_memory_of_a_gpu_is_what_its_allocator_says(module, monkeypatch):
    peak = module("bench_memory").PeakMemory("cuda")
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: None)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda: 2 << 20)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 9 << 20)
    peak.start()
    peak.stop()
    assert peak.mib == 7


def test_peak_memory_of_a_cpu_is_what_was_allocated_at_once(module):
    peak = module("bench_memory").PeakMemory("cpu")
    peak.start()
    x = torch.zeros(3 << 18)  # 3 MiB
    y = x + 1
    del x
    z = torch.zeros(1 << 18)
    peak.stop()
    assert peak.mib == pytest.approx(6, abs=0.1) and len(y) + len(z) == 1 << 20


def test_the_bound_of_a_resumed_run(module):
    resume = module("gpu_resume")
    assert resume.bound_of_resume(0.0)[0] == 0 and resume.bound_of_resume(1e-7)[0] == pytest.approx(1e-6)
    one = {"a": torch.zeros(3), "b": torch.ones(2)}
    assert resume.difference(one, {"a": torch.zeros(3), "b": torch.tensor([1.0, 1.5])}) == 0.5
    assert resume.difference(one, {"a": torch.zeros(3)}) == float("inf")
    assert resume.difference(one, {**one, "b": torch.tensor([1.0, float("nan")])}) == float("inf")


def test_the_host_is_measured_by_bench_where_it_is_installed(module, monkeypatch):
    benchmarks, setting = module("gpu_benchmarks"), module("gpu_setting").Setting
    assert "miniature" in benchmarks.why_no_host(setting("cpu", True))
    monkeypatch.setattr(benchmarks.util, "find_spec", lambda name: None)
    assert "not installed" in benchmarks.why_no_host(setting("cuda", False))
    assert benchmarks.arguments(setting("cuda", False))[-4:] == ["--device", "cuda", "--precision", "bf16-mixed"]
    monkeypatch.setattr(benchmarks.util, "find_spec", lambda name: name)
    assert benchmarks.why_no_host(setting("cuda", False)) is None
    calls = []

    def spawn(child, argv):
        calls.append(child)
        side = {"seconds": [2.0, 4.0], "peak_memory_mib": 7.0}
        return {"losses": {"host": {"seconds": [1.0]}}} if child == "losses" else side

    monkeypatch.setattr(benchmarks.bench, "spawn", spawn)
    section = module("gpu_section").Section(60, lambda result: None)
    benchmarks.measure_host(section, ["--repeats", "1"])
    assert calls == ["step:host", "losses", "inference:host"]
    rows = section.result["tables"]["Medians"]
    assert [(row["side"], row["s"], row["peak_MiB"]) for row in rows] == [
        ("host", 3, 7),
        ("host", 1, None),
        ("host", 3, 7),
    ]


def test_examples(module):
    for name in ("gpu_page", "gpu_resume", "gpu_setting"):
        result = doctest.testmod(module(name))
        assert result.attempted and not result.failed
