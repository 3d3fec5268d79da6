"""Shards with faults: what can be used is used, what is left out is named, and nothing goes on for ever."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import stat
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from host_test_configs import RATE, SIZE, model_config

from ear_sat import UserError, register
from ear_sat.data import collect_left_out
from ear_sat.host.compat import shard_rejects
from ear_sat.host.compat.shard_names import group
from ear_sat.host.jobs import HostBuilders
from ear_sat.training.run.job import Crops

ROOT = Path(__file__).parents[2]
TRIES = 20  # in place of a thousand


@pytest.fixture(autouse=True)
def few_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    register()
    monkeypatch.setattr(shard_rejects, "MAX_IN_A_ROW", TRIES)
    vars(shard_rejects.REJECTS).update(vars(shard_rejects.Rejects()))


def flac(seed: int = 0, level: float = 0.1) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, level * np.random.default_rng(seed).standard_normal((SIZE, 2)), RATE, format="FLAC")
    return file.getvalue()


def shard(path: Path, members: Mapping[str, bytes | dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            data = json.dumps(content).encode() if isinstance(content, dict) else content
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return path


def open_loader(path: Path | str, workers: int = 0, batch_size: int = 1, **entry: Any) -> Any:
    config = {"dataset_type": "wds", "datasets": [{"id": "music", "path": str(path), **entry}], "epoch_steps": 30}
    return HostBuilders().loader(config, Crops(SIZE, RATE, 2), batch_size, workers)


def infos(loader: Any) -> list[dict[str, Any]]:
    return [info for _, batch in loader for info in batch]


def prompts(loaded: list[dict[str, Any]]) -> set[str]:
    return {info["prompt"][0] for info in loaded}  # of the batch of one that WebLoader makes of a batch


def test_names_with_dots_keep_their_json(tmp_path: Path) -> None:
    members = {
        "01. Intro (v1.2).flac": flac(1),
        "01. Intro (v1.2).json": {"prompt": "intro"},
        "01. Outro.FLAC": flac(2),
        "01. Outro.json": {"prompt": "outro"},
        "a.b/02.mix.flac": flac(3),  # WebDataset's own rule: what follows the first dot is the suffix
        "a.b/02.json": {"prompt": "mix"},
        "._02.flac": b"macOS",
    }
    assert prompts(infos(open_loader(shard(tmp_path / "0.tar", members)))) == {"intro", "outro", "mix"}


def test_the_dotted_shard_of_the_bug_report(tmp_path: Path) -> None:
    """One track has a prompt, the other no JSON."""
    audio = flac()
    path = shard(
        tmp_path / "dots.tar",
        {"01. Intro (v1.2).flac": audio, "01. Intro (v1.2).json": {"prompt": "x"}, "02. B.flac": audio},
    )
    loaded = infos(open_loader(path))
    assert prompts(loaded) == {"x"} and len(loaded) == 30
    lines = collect_left_out(loaded)
    assert lines == [f"{path}::02: it has no .json of the same name; add one, {{}} at least"]


def test_samples_come_one_by_one_whatever_their_names_have_in_common() -> None:
    """Not a shard's worth of memory at a time, where all names begin with "J. S. Bach"."""
    read = []

    def files() -> Any:
        for name in ("J. S. Bach 1", "J. S. Bach 2", "J. S. Bach 3"):
            for suffix in ("flac", "json"):
                read.append(name)
                yield {"fname": f"{name}.{suffix}", "data": b"", "__url__": "u"}

    seen = [(sample["__key__"], len(read)) for sample in group(files())]
    assert seen == [("J. S. Bach 1", 3), ("J. S. Bach 2", 5), ("J. S. Bach 3", 6)]


def test_what_webdataset_makes_of_plain_names_stays() -> None:
    names = ["x/1.flac", "x/1.json", "x/2.left.flac", "x/2.right.flac", "x/2.json", "x/2.features.json"]
    files = [{"fname": name, "data": name.encode(), "__url__": "u"} for name in names]
    samples = [{k: v for k, v in sample.items() if k != "__url__"} for sample in group([*files, {}])]
    assert samples == [
        {"__key__": "x/1", "flac": b"x/1.flac", "json": b"x/1.json"},
        {
            "__key__": "x/2",
            "left.flac": b"x/2.left.flac",
            "right.flac": b"x/2.right.flac",
            "json": b"x/2.json",
            "features.json": b"x/2.features.json",
        },
    ]


GOOD = {"1.flac": flac(), "1.json": {"prompt": "x"}}
BAD = {
    "no json": ({"0.flac": flac()}, "0.tar::0: it has no .json of the same name"),
    "no audio": ({"0.json": {}, "0.txt": b""}, "0.tar::0: its .json has no file of the same name: flac, wav"),
    "latents": ({"0.json": {}, "0.npy": b""}, "0.tar::0"),
    "damaged": ({"0.flac": flac()[:40] + b"x" * 4000, "0.json": {}}, r"0.tar::0: "),
    "no audio at all": ({"0.flac": b"", "0.json": {}}, r"0.tar::0: "),
    "bad json": ({"0.flac": flac(), "0.json": b"{"}, r"0.tar::0: "),
    "another json": ({"0.flac": flac(), "0.json": b"[]"}, "0.tar::0: "),
    "silent": ({"0.flac": flac(level=0.0), "0.json": {}}, "0.tar::0: it is silent"),
    "rejected": ({"0.flac": flac(), "0.json": {"__reject__": True}}, "0.tar::0: it is rejected"),
    "something else": ({"readme.md": b"x"}, "0.tar: it holds no audio file with a .json"),
    "nothing": ({}, "0.tar: it holds no audio file with a .json"),
}


@pytest.mark.parametrize("fault", BAD)
def test_nothing_to_use_ends_with_the_last_reason(fault: str, tmp_path: Path) -> None:
    members, reason = BAD[fault]
    shard(tmp_path / "0.tar", members)
    with pytest.raises(UserError, match=f"no sample .* used {TRIES} times in a row; the last was .*{reason}"):
        infos(open_loader(tmp_path))


@pytest.mark.parametrize(
    "fault", [fault for fault in BAD if fault not in ("silent", "rejected", "something else", "nothing")]
)
def test_one_fault_among_good_ones_is_named_once(fault: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    members, reason = BAD[fault]
    shard(tmp_path / "0.tar", {**members, **GOOD})
    loaded = infos(open_loader(tmp_path))
    assert len(loaded) == 30 and prompts(loaded) == {"x"}
    (line,) = collect_left_out(loaded)
    assert re.search(reason, line)
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [
        f"left out: {line}"
    ]


@pytest.mark.parametrize(
    ("end", "line"),
    [
        (b"2.json", "0.tar::2: it has no .json of the same name; add one, {} at least"),
        (b"2.flac", "0.tar: it cannot be read to its end (unexpected end of data)"),
    ],
)
def test_a_truncated_shard_gives_what_it_has(end: bytes, line: str, tmp_path: Path) -> None:
    whole = shard(tmp_path / "0.tar", {**GOOD, "2.flac": flac(2), "2.json": {"prompt": "y"}}).read_bytes()
    place = whole.index(end)
    (tmp_path / "0.tar").write_bytes(whole[: place if end == b"2.json" else place + 2000])
    loaded = infos(open_loader(tmp_path))
    assert prompts(loaded) == {"x"} and collect_left_out(loaded) == [f"{tmp_path}/{line}"]


@pytest.mark.parametrize("content", [b"", b"no shard", flac()])
def test_a_shard_that_is_none(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "0.tar").write_bytes(content)
    with pytest.raises(UserError, match=r"0\.tar: it cannot be read to its end \("):
        infos(open_loader(tmp_path))


@pytest.mark.slow  # workers take their time to end
@pytest.mark.parametrize("workers", [1, 3])
def test_a_worker_says_the_same(workers: int, tmp_path: Path) -> None:
    shard(tmp_path / "0.tar", {"0.flac": flac()})
    with pytest.raises(UserError, match=r"(?s)DataLoader worker.*the last was .*0\.tar::0: it has no \.json"):
        infos(open_loader(tmp_path, workers))


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("def get_custom_metadata(info, audio): return 1 / 0", "0.tar::0: division by zero"),
        ("def get_custom_metadata(info, audio): return {'__reject__': True}", "0.tar::0: it is rejected"),
        ("def other(): pass", "has no function get_custom_metadata"),
        ("import nothing_of_this_name", "does not import: ModuleNotFoundError"),
    ],
)
def test_a_metadata_module_that_fails(source: str, reason: str, tmp_path: Path) -> None:
    shard(tmp_path / "0.tar", {"0.flac": flac(), "0.json": {}})
    (tmp_path / "m.py").write_text(source)
    with pytest.raises(UserError, match=reason):
        infos(open_loader(tmp_path, custom_metadata_module=str(tmp_path / "m.py")))


def test_a_shard_may_be_the_path(tmp_path: Path) -> None:
    shard(tmp_path / "other.tar", {"0.flac": flac(), "0.json": {"prompt": "y"}})
    assert prompts(infos(open_loader(shard(tmp_path / "0.tar", GOOD)))) == {"x"}


def test_a_path_without_shards(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    packed = tmp_path / "packed" / "0.tar.gz"
    packed.parent.mkdir()
    packed.touch()
    for path, reason in {
        tmp_path / "nowhere": "there is no such folder",
        tmp_path / "empty": "there is no .tar in it, nor in its subfolders; give",
        packed.parent: r"there is no .tar in it.*0\.tar\.gz, it is an archive: unpack it \(tar -xf 0\.tar\.gz\)",
        packed: "it is an archive: unpack it",
    }.items():
        with pytest.raises(UserError, match=f"dataset music: no WebDataset shards at {path}: {reason}"):
            open_loader(path)


@pytest.mark.parametrize("kind", ["wds", "s3", "audio_dir", "pre_encoded"])
@pytest.mark.parametrize("entry", [{}, {"path": ""}, {"path": None}, {"path": 1}, {"custom_metadata_module": ""}])
def test_an_entry_without_a_path_is_refused(kind: str, entry: dict[str, Any], tmp_path: Path) -> None:
    """The host reads the current folder, or leaves out the entry without a word."""
    shard(tmp_path / "0.tar", GOOD)
    entry = {"path": str(tmp_path), **entry} if "custom_metadata_module" in entry else entry
    good = {"id": "b", "path": str(tmp_path)}
    config = {"dataset_type": kind, "datasets": [good, {"id": "a", **entry}]}
    key = next(iter(sorted(entry)), "path")
    with pytest.raises(UserError, match=rf"datasets\[1\]\.{key} must be a path, not"):
        HostBuilders().loader(config, Crops(SIZE, RATE, 2), 1, 0)


@pytest.mark.parametrize("kind", ["audio_dir", "pre_encoded"])
def test_a_missing_folder_beside_a_good_one_is_refused(kind: str, tmp_path: Path) -> None:
    config = {"dataset_type": kind, "datasets": [{"id": "a", "path": str(tmp_path)}, {"id": "b", "path": "/nowhere"}]}
    with pytest.raises(UserError, match=r"datasets\[1\]\.path: /nowhere: there is no such folder"):
        HostBuilders().loader(config, Crops(SIZE, RATE, 2), 1, 0)


@pytest.mark.parametrize("entries", [None, [], {}, ["music"]])
def test_entries_that_are_none(entries: Any) -> None:
    with pytest.raises(UserError, match='"datasets" of the dataset config must be a list of at least one'):
        HostBuilders().loader({"dataset_type": "wds", "datasets": entries}, Crops(SIZE, RATE, 2), 1, 0)


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script in place of aws")
def test_s3_that_cannot_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def listed() -> Any:
        config = {"dataset_type": "s3", "datasets": [{"id": "far", "s3_path": "s3://bucket/music/"}], "epoch_steps": 30}
        return HostBuilders().loader(config, Crops(SIZE, RATE, 2), 1, 0)

    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="dataset far: S3 needs the command aws, which is not installed"):
        listed()
    aws = tmp_path / "aws"
    for script, reason in {
        "echo 'Unable to locate credentials' >&2; exit 253": "aws s3 ls fails: Unable to locate credentials",
        "exit 1": "nothing lies there",
        "echo '2024-01-01 00:00:00 1 music/a.wav'": "nothing there has .tar in its name",
    }.items():
        aws.write_text(f"#!/bin/sh\n{script}\n")
        aws.chmod(aws.stat().st_mode | stat.S_IXUSR)
        with pytest.raises(UserError, match=f"dataset far: no WebDataset shards at s3://bucket/music/: {reason}"):
            listed()


def run_train(folder: Path, path: str, workers: int, name: str) -> subprocess.CompletedProcess[str]:
    config = {"dataset_type": "wds", "datasets": [{"id": "music", "path": path}], "epoch_steps": 30}
    (folder / "data.json").write_text(json.dumps(config))
    (folder / "model.json").write_text(json.dumps(model_config()))
    command = [sys.executable, str(ROOT / "scripts" / "train.py"), "--model-config", "model.json", "--name", name]
    command += ["--dataset-config", "data.json", "--batch-size", "1", "--num-workers", str(workers)]
    command += ["--max-steps", "2", "--accelerator", "cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1, 3])
def test_a_training_stops_with_one_sentence(workers: int, tmp_path: Path) -> None:
    shard(tmp_path / "shards" / "0.tar", {"0.flac": flac()})
    done = run_train(tmp_path, "shards", workers, "run")
    assert done.returncode == 1 and "Traceback" not in done.stderr + done.stdout
    errors = [line for line in done.stderr.splitlines() if "error: " in line]
    assert len(errors) == 1 and errors[0].endswith("0.tar::0: it has no .json of the same name; add one, {} at least")


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1, 3])
def test_a_training_names_what_it_left_out(workers: int, tmp_path: Path) -> None:
    shard(tmp_path / "shards" / "0.tar", {"0.flac": flac(), **GOOD})
    done = run_train(tmp_path, "shards/0.tar", workers, "run")
    assert done.returncode == 0, done.stderr
    assert "0.tar::0: it has no .json" in done.stdout + done.stderr


@pytest.mark.slow
def test_no_shards_and_no_run_folder(tmp_path: Path) -> None:
    done = run_train(tmp_path, "nowhere", 1, "run")
    assert done.returncode == 1 and "Traceback" not in done.stderr and not (tmp_path / "runs").exists()
