"""Shards: samples bit for bit, what the host makes of them, and what happens when tracks come and go."""

import io
import json
import math
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from prepare_test_signals import noise, tone, with_inter_sample_peak

from ear_sat import UserError
from ear_sat.data import mix_channels
from ear_sat.prepare import Rules, ShardSettings, run
from ear_sat.prepare.shards import INFO, encode_track, plan_shards

NATIVE = ShardSettings(sample_rate=None)


def shards(out: Path) -> list[Path]:
    return sorted((out / "shards").glob("*/*.tar"))


def tracks(out: Path) -> dict[str, tuple[bytes, dict]]:
    """Name of the source → (FLAC, JSON), of all shards."""
    found = {}
    for path in shards(out):
        with tarfile.open(path) as shard:
            content = {entry.name: shard.extractfile(entry).read() for entry in shard}
        for name in content:
            if name.endswith(".json"):
                info = json.loads(content[name])
                found[Path(info["path"].replace("::", "/")).name] = (content[name.replace(".json", ".flac")], info)
    return found


def decoded(data: bytes | Path, dtype: str = "float32") -> np.ndarray:
    return soundfile.read(io.BytesIO(data) if isinstance(data, bytes) else data, dtype=dtype, always_2d=True)[0]


def pack(shard: Path, source: Path, text: str) -> None:
    """Makes a shard of one track, with a caption."""
    shard.parent.mkdir(exist_ok=True)
    sidecar = json.dumps({"text": text, "path": "elsewhere"}).encode()
    with tarfile.open(shard, "w") as tar:
        tar.add(source, "x.flac")
        entry = tarfile.TarInfo("x.json")
        entry.size = len(sidecar)
        tar.addfile(entry, io.BytesIO(sidecar))


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24"])
def test_whole_numbers_are_bit_equal(subtype, prepare, write, tmp_path):
    """Every step of the scale, both ends of it included."""
    signal = noise(3, 44100)
    signal[:4] = [[-1, 1], [1, -1], [-1, -1], [0, 0]]
    path = write(tmp_path / "music" / "a.wav", signal, subtype=subtype)
    prepare(tmp_path / "music", shards=ShardSettings(), rules=Rules(max_true_peak=99))
    flac, info = tracks(tmp_path / "out")["a.wav"]
    assert np.array_equal(decoded(flac, "int32"), decoded(path, "int32"))
    assert np.array_equal(decoded(flac), decoded(path))
    bits = "PCM_24" if subtype == "PCM_24" else "PCM_16"
    assert soundfile.info(io.BytesIO(flac)).subtype == bits and info["sample_rate"] == 44100


@pytest.mark.parametrize("name", ["a.mp3", "a.ogg", "a.wav"])
def test_others_are_rounded_to_24_bits(name, write, tmp_path):
    options = {"subtype": "FLOAT"} if name == "a.wav" else {}
    path = write(tmp_path / name, 3 * noise(1, 44100), **options)
    source, copy = decoded(path), decoded(encode_track(str(path), None)[0])
    assert np.abs(source).max() > 1  # FLAC ends at full scale, as the crops of the data sets do
    assert np.abs(np.clip(source, -1, 1) - copy).max() <= 2**-23
    assert copy.max() == 1 - 2**-23 and copy.min() == -1


def test_mono_and_surround_become_stereo(write, tmp_path):
    path = write(tmp_path / "mono.wav", noise(1, 44100)[:, :1], subtype="PCM_16")
    copy = decoded(encode_track(str(path), None)[0], "int16")
    assert np.array_equal(copy, np.repeat(decoded(path, "int16"), 2, axis=1))
    path = write(tmp_path / "surround.wav", np.hstack([noise(1, 44100, seed) for seed in range(3)]))
    copy = decoded(encode_track(str(path), None)[0])
    assert np.abs(copy - mix_channels(decoded(path).T, 2).T).max() <= 2**-24


@pytest.mark.parametrize(("native", "rate"), [(48000, 44100), (96000, 44100), (22050, 44100), (44100, 48000)])
def test_resampling(native, rate, write, tmp_path):
    path = write(tmp_path / "a.wav", tone(-14, 2.0, native), native, subtype="PCM_16")
    data, written = encode_track(str(path), rate)
    copy = decoded(data)
    whole = soxr.resample(decoded(path), native, rate)
    assert written == rate and soundfile.info(io.BytesIO(data)).subtype == "PCM_24"
    assert copy.shape == whole.shape and np.abs(copy - whole).max() < 10 ** (-100 / 20)


def test_native_rates(prepare, write, tmp_path):
    path = write(tmp_path / "music" / "a.flac", tone(-14, rate=96000), 96000)
    prepare(tmp_path / "music", shards=NATIVE)
    flac, info = tracks(tmp_path / "out")["a.flac"]
    assert info["sample_rate"] == 96000 and np.array_equal(decoded(flac), decoded(path))


@pytest.mark.parametrize(("native", "rate"), [(705600, 352800), (768000, 384000), (1411200, 470400), (88201, 44100)])
def test_native_rates_that_flac_does_not_take(native, rate, prepare, write, tmp_path):
    path = write(tmp_path / "music" / "a.wav", tone(-14, rate=native, seconds=1.0), native)
    prepare(tmp_path / "music", shards=NATIVE)
    flac, info = tracks(tmp_path / "out")["a.wav"]
    assert info["sample_rate"] == soundfile.info(io.BytesIO(flac)).samplerate == rate
    assert len(decoded(flac)) == pytest.approx(len(decoded(path)) * rate / native, abs=1)


def test_a_track_that_flac_does_not_take(prepare, write, tmp_path, monkeypatch):
    """What else there may be: the others are written, and the message names it."""
    write(tmp_path / "music" / "odd.wav", tone(-14, rate=65537), 65537)
    write(tmp_path / "music" / "a.wav", tone(-15))
    monkeypatch.setattr("ear_sat.prepare.shards.flac_rate", lambda rate: rate)
    words = r"odd\.wav: it cannot be written as FLAC of 65537 Hz \(.*\); use another --shard-rate, or leave it out"
    for _ in range(2):
        with pytest.raises(UserError, match=words):
            prepare(tmp_path / "music", shards=ShardSettings(None, megabytes=1))
    assert list(tracks(tmp_path / "out")) == ["a.wav"]


def test_what_is_written_where(prepare, manifest, write, tmp_path):
    write(tmp_path / "music" / "good.wav", tone(-14))
    write(tmp_path / "music" / "over.wav", with_inter_sample_peak(tone(-20), 44100, 2.0))
    write(tmp_path / "music" / "quiet.wav", tone(-40))
    result = prepare(tmp_path / "music", shards=ShardSettings())
    assert [path.parent.name for path in shards(tmp_path / "out")] == ["keep", "stage1"] and result.shards == 2
    found = tracks(tmp_path / "out")
    assert sorted(found) == ["good.wav", "over.wav"] and found["over.wav"][1]["decision"] == "stage1"
    row = manifest()["good.wav"]
    info = found["good.wav"][1]
    assert all(info[name] == row[name] for name in info if name != "sample_rate") and info["loudness_lufs"] is not None
    configs = {path.name: json.loads(path.read_text(encoding="utf-8")) for path in result.configs}
    folders = {name: str(tmp_path / "out" / "shards" / name) for name in ("keep", "stage1")}
    datasets = {
        name: [entry["path"] for entry in config["datasets"]] for name, config in configs.items() if "shards" in name
    }
    assert datasets == {
        "stage1_shards.json": [folders["keep"], folders["stage1"]],
        "stage2_shards.json": [folders["keep"]],
    }


def test_shards_from_shards_keep_their_texts(prepare, write, tmp_path):
    source = write(tmp_path / "a.flac", tone(-14))
    pack(tmp_path / "in" / "0.tar", source, "a tone")
    result = prepare(tmp_path / "in", shards=ShardSettings())
    flac, info = tracks(tmp_path / "out")["x.flac"]
    assert info["text"] == "a tone" and info["path"] == f"{tmp_path}/in/0.tar::x.flac"
    assert np.array_equal(decoded(flac), decoded(source))
    assert [path.name for path in result.configs] == ["stage1_shards.json", "stage2_shards.json"]
    assert "which ear_audio cannot read" in result.notes[-1]


def test_a_corrected_text_reaches_the_shards(prepare, write, tmp_path):
    source = write(tmp_path / "a.flac", tone(-14))
    for text in ("a town", "a tone"):
        pack(tmp_path / "in" / "0.tar", source, text)
        result = prepare(tmp_path / "in", shards=ShardSettings())
        assert result.shards_written == 1 and tracks(tmp_path / "out")["x.flac"][1]["text"] == text
    assert len(shards(tmp_path / "out")) == 1


def test_other_measurements_reach_the_shards(prepare, write, tmp_path, monkeypatch):
    write(tmp_path / "music" / "a.flac", tone(-14))
    prepare(tmp_path / "music", shards=ShardSettings())
    original = run.measure_track
    monkeypatch.setattr(run, "measure_track", lambda path: original(path) | {"loudness_lufs": -15.5})
    monkeypatch.setattr("ear_sat.prepare.database.measuring_code", lambda: "other")
    assert prepare(tmp_path / "music", shards=ShardSettings()).shards_written == 1
    assert tracks(tmp_path / "out")["a.flac"][1]["loudness_lufs"] == -15.5


def test_a_text_that_changes_meanwhile(prepare, write, tmp_path, monkeypatch):
    """A shard's name vouches for it as well."""
    source = write(tmp_path / "a.flac", tone(-14))
    pack(tmp_path / "in" / "0.tar", source, "a town")
    original = run.write_manifest

    def write_and_change(*arguments):
        original(*arguments)
        pack(tmp_path / "in" / "0.tar", source, "a tone")

    monkeypatch.setattr(run, "write_manifest", write_and_change)
    with pytest.raises(UserError, match="has changed since it was measured"):
        prepare(tmp_path / "in", shards=ShardSettings())
    assert not shards(tmp_path / "out")


def planned(tmp_path: Path, seconds: list[float], decisions: str = "k", size: int = 1000) -> dict[str, list[list[int]]]:
    """The numbers of the tracks in each shard of each folder, of 16-bit tracks with these decisions in turn."""
    names = {"k": "keep", "s": "stage1"}
    known = dict.fromkeys(INFO) | {"sample_rate": 44100, "encoding": "PCM_16", "sidecar": ""}
    rows = [
        known | {"path": str(number), "duration": length, "decision": names[decisions[number % len(decisions)]]}
        for number, length in enumerate(seconds)
    ]
    found: dict[str, list[list[int]]] = {}
    for shard in plan_shards(lambda: iter(rows), tmp_path, ShardSettings(megabytes=size)):
        found.setdefault(shard.path.parent.name, []).append([int(row["path"]) for row in shard.rows])
    return found


def test_the_last_shard_is_no_smaller_than_others(tmp_path):
    """42.3 MB each, so that 23 fit into a shard."""
    assert [len(shard) for shard in planned(tmp_path, [240.0] * 48)["keep"]] == [16, 16, 16]
    both = planned(tmp_path, [240.0] * 72, "kks")
    assert {name: [len(shard) for shard in found] for name, found in both.items()} == {
        "keep": [16, 16, 16],
        "stage1": [12, 12],
    }
    lengths = np.random.default_rng(0).uniform(60, 600, 1000).tolist()
    found = planned(tmp_path, lengths)["keep"]
    assert [number for shard in found for number in shard] == list(range(1000))
    sizes = [sum(lengths[number] for number in shard) for shard in found]
    assert len(found) == math.ceil(sum(lengths) * 44100 * 4 / 1e9) and max(sizes) - min(sizes) < 2 * 600


def test_configs_of_what_ear_audio_can_read(prepare, write, tmp_path):
    """Tracks in shards do not count: neither for a config nor for a split; one of an earlier run goes."""
    source = write(tmp_path / "music" / "a.flac", tone(-14))
    write(tmp_path / "music" / "over.flac", with_inter_sample_peak(tone(-20), 44100, 2.0))
    pack(tmp_path / "in" / "0.tar", source, "a tone")
    out = tmp_path / "out"

    def splits(*folders: str) -> dict[str, str]:
        prepare(*(tmp_path / name for name in folders))
        return {file.name: json.loads(file.read_text(encoding="utf-8"))["split"] for file in out.glob("*.json")}

    assert splits("music", "in") == {"stage1.json": "train", "stage2.json": "all"}
    source.unlink()
    assert splits("music", "in") == {"stage1.json": "all"}
    assert splits("in") == {}


def test_sizes(prepare, write, tmp_path):
    """Five tracks of 1.06 MB; one that is larger than a shard has one of its own."""
    for index in range(5):
        write(tmp_path / "music" / f"{index}.wav", tone(-10 - index, 4.0))
    prepare(tmp_path / "music", shards=ShardSettings(megabytes=1), out=tmp_path / "small")
    prepare(tmp_path / "music", shards=ShardSettings(megabytes=2), out=tmp_path / "middle")
    prepare(tmp_path / "music", shards=ShardSettings(), out=tmp_path / "large")
    assert [len(shards(tmp_path / name)) for name in ("small", "middle", "large")] == [5, 3, 1]
    assert all(len(tracks(tmp_path / name)) == 5 for name in ("small", "middle", "large"))
    assert planned(tmp_path, [10.0, 1000.0, 10.0], size=2)["keep"] == [[0], [1], [2]]


def test_equal_files_share_a_shard(prepare, write, tmp_path):
    for name in ("a.wav", "b.wav"):
        write(tmp_path / "music" / name, tone(-14))
    prepare(tmp_path / "music", shards=ShardSettings())
    assert sorted(tracks(tmp_path / "out")) == ["a.wav", "b.wav"]
    result = prepare(tmp_path / "music", shards=ShardSettings(), rules=Rules(no_duplicates=True))
    assert list(tracks(tmp_path / "out")) == ["a.wav"] and result.shards_written == 1


def test_a_second_run_writes_only_what_is_missing(prepare, write, tmp_path):
    for index in range(3):
        write(tmp_path / "music" / f"{index}.wav", tone(-10 - index, 4.0))
    assert prepare(tmp_path / "music", shards=ShardSettings(megabytes=1)).shards_written == 3
    assert prepare(tmp_path / "music", shards=ShardSettings(megabytes=1)).shards_written == 0
    first = shards(tmp_path / "out")[1]
    content = first.read_bytes()
    first.unlink()
    assert prepare(tmp_path / "music", shards=ShardSettings(megabytes=1)).shards_written == 1
    assert first.read_bytes() == content


def test_outdated_shards_are_removed_and_others_left_alone(prepare, write, tmp_path):
    write(tmp_path / "music" / "a.wav", tone(-14))
    prepare(tmp_path / "music", shards=ShardSettings())
    (tmp_path / "out" / "shards" / "keep" / "mine.tar").touch()
    write(tmp_path / "music" / "b.wav", tone(-15))
    result = prepare(tmp_path / "music", shards=ShardSettings())
    assert len(shards(tmp_path / "out")) == 2 and "1 shard(s) of an earlier run" in result.notes[0]
    assert (tmp_path / "out" / "shards" / "keep" / "mine.tar").exists()


def test_a_file_that_vanishes_meanwhile(prepare, write, tmp_path, monkeypatch):
    for index in range(2):
        write(tmp_path / "music" / f"{index}.wav", tone(-10 - index, 4.0))
    original = run.write_manifest

    def write_and_lose(*arguments):
        original(*arguments)
        (tmp_path / "music" / "0.wav").unlink()

    monkeypatch.setattr(run, "write_manifest", write_and_lose)
    with pytest.raises(UserError, match=r"1 track\(s\) have changed.*run the same command again.*0\.wav: not readable"):
        prepare(tmp_path / "music", shards=ShardSettings(megabytes=1))
    assert list(tracks(tmp_path / "out")) == ["1.wav"]
    assert all(file.suffix == ".tar" for file in (tmp_path / "out" / "shards" / "keep").iterdir())


def test_settings_that_cannot_be():
    with pytest.raises(UserError, match="at least 1"):
        ShardSettings(megabytes=0)
    for rate in (0, 7999, 65537, 655360, 700000):
        with pytest.raises(UserError, match=f"FLAC takes 8000 to 655350 Hz.*not {rate}"):
            ShardSettings(sample_rate=rate)
    assert [ShardSettings(sample_rate=rate).sample_rate for rate in (8000, 65535, 655350)] == [8000, 65535, 655350]


def test_the_host_trains_from_them(prepare, write, tmp_path):
    """Its loader gives crops of the very samples, up to the polarity, which it draws."""
    dataset = pytest.importorskip("stable_audio_tools.data.dataset")
    path = write(tmp_path / "music" / "a.wav", noise(1, 44100), subtype="PCM_16")
    write(tmp_path / "music" / "b.wav", noise(1, 44100, seed=1))
    result = prepare(tmp_path / "music", shards=ShardSettings())
    config = json.loads((result.configs[-1]).read_text(encoding="utf-8")) | {"random_crop": False, "epoch_steps": 2}
    assert result.configs[-1].name == "stage2_shards.json"
    loader = dataset.create_dataloader_from_config(
        config, batch_size=2, sample_size=32768, sample_rate=44100, audio_channels=2, num_workers=1
    )
    audio, infos = next(iter(loader))  # each batch comes as a batch of one batch; its training steps take that off
    assert audio.shape == (1, 2, 2, 32768)
    assert {Path(info["path"][0]).name for info in infos} <= {"a.wav", "b.wav"}
    assert all(info["seconds_total"] == 1 and "loudness_lufs" in info for info in infos)
    for crop, info in zip(audio[0], infos, strict=True):
        if Path(info["path"][0]) == path:
            source = decoded(path)[:32768].T
            assert np.array_equal(crop.numpy(), source) or np.array_equal(crop.numpy(), -source)


def test_a_file_that_changes_meanwhile(prepare, write, tmp_path, monkeypatch):
    """A shard's name vouches for what it holds."""
    write(tmp_path / "music" / "a.wav", tone(-14))
    original = run.write_manifest

    def write_and_change(*arguments):
        original(*arguments)
        write(tmp_path / "music" / "a.wav", tone(-15))

    monkeypatch.setattr(run, "write_manifest", write_and_change)
    with pytest.raises(UserError, match="has changed since it was measured"):
        prepare(tmp_path / "music", shards=ShardSettings())
    assert not shards(tmp_path / "out")


def test_files_that_change_unnoticed_are_measured_again(prepare, manifest, write, tmp_path):
    """Of the same size and time as before; all of a shard at once, and the message keeps its promise."""
    for name, level in (("a", -14), ("b", -15), ("c", -16), ("bad", -17)):
        write(tmp_path / "music" / f"{name}.wav", tone(level))
    prepare(tmp_path / "music")
    for name in ("a", "b", "bad"):
        path = tmp_path / "music" / f"{name}.wav"
        state = path.stat()
        write(path, tone(-18))
        if name == "bad":
            path.write_bytes(bytes(state.st_size))
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    with pytest.raises(UserError, match=r"3 track\(s\) have changed"):
        prepare(tmp_path / "music", shards=ShardSettings())
    result = prepare(tmp_path / "music", shards=ShardSettings())
    assert result.measured == 3 and sorted(tracks(tmp_path / "out")) == ["a.wav", "b.wav", "c.wav"]
    assert manifest()["bad.wav"]["decision"] == "error" and manifest()["a.wav"]["loudness_lufs"] < -17.5
