"""One process, several, a Ray cluster: the same manifest and shards; a process that dies costs one track."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from prepare_test_signals import noise, tone

from ear_sat import UserError
from ear_sat.prepare import ShardSettings, run
from ear_sat.prepare.measurement import measure_track
from ear_sat.prepare.shards import Shard, write_shard
from ear_sat.ray_engine import ray_cluster


@pytest.fixture
def music(write, tmp_path) -> Path:
    for index in range(5):
        write(tmp_path / "music" / f"{index}.flac", tone(-10 - 4 * index, 3.5))
    write(tmp_path / "music" / "n.mp3", noise(3, 44100))
    (tmp_path / "music" / "bad.wav").write_text("no audio")
    return tmp_path / "music"


@pytest.fixture
def ray(monkeypatch) -> Iterator[object]:
    module = pytest.importorskip("ray", reason="needs Ray: pip install 'ear-sat[ray]'")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    # Its workers import this module.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))
    yield module
    module.shutdown()


def files(out: Path) -> dict[str, bytes]:
    """Everything that must not depend on how the work was done."""
    shards = {str(path.relative_to(out)): path.read_bytes() for path in (out / "shards").rglob("*.tar")}
    return shards | {name: (out / name).read_bytes() for name in ("manifest.csv", "manifest.parquet")}


def measure_or_die(path: str):
    """The file with the number 2 kills its process, as damaged data has killed decoders."""
    if path.endswith("2.flac"):
        os._exit(11)
    return measure_track(path)


def write_or_die(shard: Shard, sample_rate: int | None):
    """The first shard kills its process, as the system does where memory ends."""
    if shard.path.name.startswith("000000"):
        os._exit(11)
    return write_shard(shard, sample_rate)


def power(base: int, exponent: int) -> int:
    return base**exponent


@pytest.mark.slow
def test_two_processes(prepare, music, tmp_path):
    settings = ShardSettings(megabytes=1)
    prepare(music, shards=settings)
    result = prepare(music, shards=settings, out=tmp_path / "two", processes=2)
    assert (result.measured, result.shards_written) == (7, 5)
    assert files(tmp_path / "two") == files(tmp_path / "out")


@pytest.mark.slow
def test_a_track_that_kills_its_process(prepare, manifest, music, monkeypatch):
    monkeypatch.setattr(run, "measure_track", measure_or_die)
    result = prepare(music, processes=2)
    rows = manifest()
    assert result.measured == 7 and rows["2.flac"]["error"].startswith("the process that measured it died")
    assert [name for name, row in rows.items() if row["error"] is None] == [
        "0.flac",
        "1.flac",
        "3.flac",
        "4.flac",
        "n.mp3",
    ]


@pytest.mark.slow
def test_a_shard_that_kills_its_process(prepare, music, tmp_path, monkeypatch):
    """It is no fault of the tracks: none is measured again."""
    monkeypatch.setattr(run, "write_shard", write_or_die)
    with pytest.raises(
        UserError, match=r"could not be written for 1 reason.*000000-.*died.*fewer --processes"
    ) as raised:
        prepare(music, shards=ShardSettings(megabytes=1), processes=2)
    assert "have changed" not in str(raised.value)
    monkeypatch.undo()
    result = prepare(music, shards=ShardSettings(megabytes=1))
    assert (result.measured, result.shards, result.shards_written) == (0, 5, 1)


@pytest.mark.slow
def test_ray_gives_the_same(prepare, music, tmp_path, ray):
    """A local cluster of two workers, which ends with the run."""
    settings = ShardSettings(megabytes=1)
    prepare(music, shards=settings)
    result = prepare(music, shards=settings, out=tmp_path / "ray", engine="ray", processes=2)
    assert (result.measured, result.shards_written) == (7, 5) and not ray.is_initialized()
    assert files(tmp_path / "ray") == files(tmp_path / "out")


@pytest.mark.slow
def test_ray_and_a_track_that_kills_its_process(prepare, manifest, music, monkeypatch, ray):
    monkeypatch.setattr(run, "measure_track", measure_or_die)
    monkeypatch.setattr("ear_sat.ray_engine.RETRIES", 0)
    prepare(music, engine="ray", processes=2)
    assert [name for name, row in manifest().items() if row["error"]] == ["2.flac", "bad.wav"]


@pytest.mark.slow
def test_a_cluster_that_ends_blames_no_track(prepare, music, monkeypatch, ray):
    def ended(_: object) -> None:
        raise ray.exceptions.LocalRayletDiedError

    with monkeypatch.context() as patch:
        patch.setattr(ray, "get", ended)
        with pytest.raises(UserError, match=r"the Ray cluster failed \(LocalRayletDiedError\); run the same command"):
            prepare(music, engine="ray", processes=1)
    assert prepare(music).measured == 7


@pytest.mark.slow
def test_an_existing_cluster_is_used_and_left_running(prepare, music, tmp_path, ray):
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    prepare(music, engine="ray", processes=1)
    assert ray.is_initialized()
    prepare(music, out=tmp_path / "local")
    assert (tmp_path / "local" / "manifest.csv").read_bytes() == (tmp_path / "out" / "manifest.csv").read_bytes()


@pytest.mark.slow
def test_a_cluster_that_does_not_answer(prepare, music, monkeypatch, ray):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(UserError, match=r"no Ray cluster answers at RAY_ADDRESS=127\.0\.0\.1:1"):
        prepare(music, engine="ray")


@pytest.mark.slow
def test_ray_takes_any_number_of_jobs(ray):
    """They are taken as they are needed, not all at once."""
    taken = []

    def jobs():
        for index in range(300):
            taken.append(index)
            yield (index, 2)

    with ray_cluster(processes=2) as run_calls:
        results = run_calls(power, jobs())
        first = next(results)
        assert len(taken) <= 16
        assert sorted([first, *results]) == [(index, index**2) for index in range(300)]


def test_without_ray(prepare, music, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"pip install 'ear-sat\[ray\]'"):
        prepare(music, engine="ray")


def test_arguments(prepare, music):
    with pytest.raises(UserError, match="unknown engine 'rya'; did you mean 'ray'"):
        prepare(music, engine="rya")
    with pytest.raises(UserError, match="--processes must be a whole number of at least 1"):
        prepare(music, processes=0)


def test_prepare_works_without_the_host():
    code = "import sys; sys.modules['stable_audio_tools'] = None; import ear_sat.prepare, ear_sat.prepare.summary"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
