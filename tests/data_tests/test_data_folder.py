"""Bad files give a clear message at once or are left out with a reason; they never stop a run."""

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from data_test_audio import RATE, music

from ear_sat.data import FolderDataset
from ear_sat.data.windows import data_config, open_windows
from ear_sat.errors import UserError

SIZE = 4096


@pytest.fixture
def folder(tmp_path):
    """Makes the data set of ``tmp_path/music``."""

    def make(size=SIZE, rate=RATE, channels=2, module=None, **keys):
        entry = {"id": "music", "path": str(tmp_path / "music")}
        return FolderDataset(
            [entry | ({"custom_metadata_module": module} if module else {})], size, rate, channels, **keys
        )

    return make


def message(make, **keys):
    with pytest.raises(UserError) as raised:
        make(**keys)
    text = str(raised.value)
    assert "\n" not in text
    return text


def test_a_file_has_its_seconds_and_the_part_of_one(folder, write):
    """The host's: where the crop begins is rounded down, the length of the whole up."""
    write("a.wav", music(2.25))
    for _, info in folder(crops_per_file=8):
        start = round(info["timestamps"][0] * 2.25 * RATE)
        assert (info["seconds_start"], info["seconds_total"]) == (start // RATE, 3)


def test_every_place_of_a_file_is_drawn(folder, write):
    write("a.wav", music()[: SIZE + 1])
    dataset = folder(crops_per_file=40)
    starts = {round(dataset[i][1]["timestamps"][0] * (SIZE + 1)) for i in range(len(dataset))}
    assert starts == {0, 1}


# Folders that cannot be used: one clear sentence.


def test_missing_and_empty_folder(folder, tmp_path):
    assert "no such folder" in message(folder) and "music" in message(folder)
    (tmp_path / "music").mkdir()
    (tmp_path / "music" / "readme.txt").write_text("hello")
    assert "no audio files in" in message(folder) and ".flac" in message(folder)


def test_folder_of_unreadable_files_names_the_first_reason(folder, tmp_path, write):
    write("z.wav", music(0))
    (tmp_path / "music" / "a.wav").write_text("text, renamed\n" * 100)
    (tmp_path / "music" / "b.mp3").touch()
    text = message(folder)
    assert "none of its 3 audio files is usable" in text and "a.wav: not readable as audio" in text


def test_all_silent_and_all_nan(folder, write):
    write("a.wav", np.zeros((RATE, 2)))
    write("b.wav", np.full((RATE, 2), 1e-4))
    assert "every audio file is silent" in message(folder)
    assert len(folder(silence_threshold_db=None)) == len(folder(silence_threshold_db=-90)) == 2
    for name in ("a.wav", "b.wav"):
        write(name, np.full((RATE, 2), np.nan))
    assert "NaN" in message(folder)


@pytest.mark.parametrize(
    "wrong",
    [{"seed": -1}, {"crops_per_file": 0}, {"max_redraws": "8"}, {"random_crop": 1}, {"silence_threshold_db": "low"}],
)
def test_wrong_values_are_named(folder, write, wrong):
    write("a.wav")
    assert next(iter(wrong)) in message(folder, **wrong)


@pytest.mark.parametrize("datasets", [[], "music", {"path": "music"}, ["music"], [{"id": "a"}]])
def test_wrong_datasets(datasets):
    with pytest.raises(UserError, match="datasets"):
        FolderDataset(datasets, SIZE, RATE)


def test_unknown_key_in_an_entry(tmp_path):
    with pytest.raises(UserError, match="did you mean 'custom_metadata_module'"):
        FolderDataset([{"path": str(tmp_path), "custom_metadata": "x.py"}], SIZE, RATE)


# Samples.


def test_sample_layout(folder, write):
    path, audio = write("sub/a.wav", music(3.0)), music(3.0)
    crop, info = folder()[0]
    start = round(info["timestamps"][0] * 3 * RATE)
    assert torch.equal(crop, torch.from_numpy(audio[start : start + SIZE].T)) and crop.dtype == torch.float32
    assert info["path"] == str(path) and info["relpath"] == "sub/a.wav" and info["sample_rate"] == RATE
    assert info["timestamps"][1] == pytest.approx((start + SIZE) / (3 * RATE))
    assert info["seconds_start"] == start // RATE and info["seconds_total"] == 3
    assert info["padding_mask"].shape == (SIZE,) and info["padding_mask"].all()
    assert info["left_out"] == [] and info["load_time"] > 0


def test_items_depend_on_seed_epoch_and_index_only(folder, write):
    for name in "abc":
        write(f"{name}.wav", music(2.0, seed=ord(name)))
    one, two = folder(crops_per_file=3), folder(crops_per_file=3)
    assert len(one) == 9
    for index in (8, 1, 4, 1):
        assert torch.equal(one[index][0], two[index][0])
        two[0]
    first = one[4][0]
    assert not torch.equal(one[1][0], first) and one[1][1]["path"] == one[4][1]["path"]
    one.set_epoch(1)
    assert not torch.equal(one[4][0], first)
    one.set_epoch(0)
    assert torch.equal(one[4][0], first)
    assert not torch.equal(folder(crops_per_file=3, seed=1)[4][0], first)
    one.repeat(2)
    assert len(one) == 18 and torch.equal(one[4][0], first) and not torch.equal(one[13][0], first)
    with pytest.raises(IndexError):
        one[18]


def test_fixed_crops_are_evenly_spaced(folder, write):
    write("a.wav", music(3.0))
    starts = [info["timestamps"][0] * 3 * RATE for _, info in folder(random_crop=False, crops_per_file=3)]
    assert starts == pytest.approx([0, round((3 * RATE - SIZE) / 2), 3 * RATE - SIZE])
    assert folder(random_crop=False)[0][1]["timestamps"][0] == 0


@pytest.mark.parametrize("channels", [1, 2])
def test_mono_stereo_and_surround(folder, write, channels):
    for count in (1, 2, 6):
        write(f"{count}.wav", 0.3 * music(0.5, channels=count))
    shapes = {info["relpath"]: audio for audio, info in folder(channels=channels)}
    assert {audio.shape for audio in shapes.values()} == {(channels, SIZE)} and len(shapes) == 3
    if channels == 2:
        assert torch.equal(shapes["1.wav"][0], shapes["1.wav"][1])
        assert not torch.equal(shapes["2.wav"][0], shapes["2.wav"][1])


def test_another_rate(folder, write):
    t = np.arange(8000 * 2) / 8000
    write("a.wav", np.stack([np.sin(2 * np.pi * 1000 * t)] * 2, axis=1) * 0.5, rate=8000)
    audio, info = folder(size=44100, rate=44100)[0]
    spectrum = np.abs(np.fft.rfft(audio[0].numpy() * np.hanning(44100)))
    assert spectrum.argmax() == 1000 and audio.abs().max() == pytest.approx(0.5, abs=0.01)
    assert info["seconds_total"] == 2 and info["padding_mask"].all()


def test_too_short_files_are_padded(folder, write):
    write("a.wav", music(0.1))
    audio, info = folder()[0]
    assert info["padding_mask"].sum() == 1600 and info["padding_mask"][:1600].all()
    assert audio[:, :1600].any() and not audio[:, 1600:].any() and info["timestamps"] == (0.0, 1.0)


def test_clipped_and_float_files_are_clamped(folder, write):
    loud = 5 * music(0.5)
    write("a.wav", loud)
    write("b.wav", np.clip(loud, -1, 1), subtype="PCM_16")
    for audio, _ in folder():
        assert audio.abs().max() == pytest.approx(1.0, abs=1e-4) and (audio.abs() > 0.999).float().mean() > 0.3


# Bad files among good ones.


def test_bad_headers_are_left_out(folder, tmp_path, write):
    write("good.wav")
    write("eight.wav", music(channels=8))
    write("none.wav", music(0))
    (tmp_path / "music" / "empty.flac").touch()
    (tmp_path / "music" / "text.wav").write_text("text\n" * 100)
    mixed = folder()
    assert {Path(path).name for path in mixed.left_out} == {"eight.wav", "none.wav", "empty.flac", "text.wav"}
    assert len(mixed) == 1 and mixed[0][1]["relpath"] == "good.wav"
    assert mixed[0][1]["left_out"] == [], "the main process knows already"


@pytest.mark.parametrize("damage", ["delete", "truncate", "text", "rate"])
def test_a_file_that_turns_bad_is_left_out_once(folder, write, damage):
    good, bad = write("a.flac", subtype="PCM_16"), write("b.flac", music(2.0), subtype="PCM_16")
    both = folder(crops_per_file=4)
    if damage == "delete":
        bad.unlink()
    elif damage == "truncate":
        bad.write_bytes(bad.read_bytes()[:300])
    elif damage == "text":
        bad.write_text("text\n" * 100)
    else:
        write("b.flac", music(2.0), rate=8000, subtype="PCM_16")
    infos = [info for _, info in both]
    assert {info["path"] for info in infos} == {str(good)} and len(infos) == 8
    reports = [line for info in infos for line in info["left_out"]]
    assert len(reports) == 1 and reports[0].startswith(f"{bad}: ")
    assert list(both.left_out) == [str(bad)]


def test_substitutes_do_not_depend_on_what_was_read_before(folder, write):
    for name in "acd":
        write(f"{name}.wav", music(2.0, seed=ord(name)))
    bad = write("b.wav")
    one, two = folder(), folder()
    bad.unlink()
    direct = one[1][0]
    two[0], two[1], two[2]
    assert str(bad) in two.left_out and torch.equal(two[1][0], direct)


def test_nothing_left_is_a_clear_error(folder, write):
    paths = [write("a.wav"), write("b.wav")]
    both = folder()
    for path in paths:
        path.unlink()
    with pytest.raises(UserError, match=r"none of the 2 audio files is usable any more; .*a\.wav: .*No such file"):
        both[0]


def test_nan_and_infinite_samples(folder, write):
    audio = music(2.0)
    audio[1000:3000] = np.nan  # a crop elsewhere is fine
    write("a.wav", audio)
    write("b.wav", np.full((RATE, 2), np.inf))
    write("c.wav")
    mixed = folder(crops_per_file=10)
    infos = [info for audio, info in mixed if torch.isfinite(audio).all()]
    assert len(infos) == 30 and {info["relpath"] for info in infos} == {"a.wav", "c.wav"}
    assert "NaN or infinite" in mixed.left_out[mixed.files[1].path]
    assert torch.isfinite(folder(rate=22050)[1][0]).all()


def test_silent_parts_are_redrawn_and_silent_files_replaced(folder, write):
    half = music(4.0)
    half[: 3 * RATE] = 0
    write("half.wav", half)
    write("silent.wav", np.zeros((RATE, 2)))
    mixed = folder(crops_per_file=10)
    samples = list(mixed)
    assert len(samples) == 20 and all(audio.abs().max() > 1e-3 for audio, _ in samples)
    assert {info["relpath"] for _, info in samples} == {"half.wav"} and not mixed.left_out


def test_a_short_sound_in_long_silence_is_found(folder, write):
    audio = np.zeros((30 * RATE, 2), np.float32)
    audio[20 * RATE : 20 * RATE + 100] = 0.5
    write("a.wav", audio)
    for random_crop in (True, False):
        crop, _ = folder(random_crop=random_crop, max_redraws=0)[0]
        assert crop.abs().max() == 0.5


# The host's custom metadata modules.


@pytest.mark.parametrize("key", ["path", "manifest", "custom_metadata_module"])
def test_an_empty_path_is_not_the_current_folder(key, tmp_path, write, monkeypatch):
    write("a.wav", music())
    monkeypatch.chdir(tmp_path / "music")
    assert len(FolderDataset([{"path": "."}], SIZE, RATE)) == 1  # which is how it is called
    entry = {key: ""} if key != "custom_metadata_module" else {"path": ".", key: ""}
    with pytest.raises(UserError, match=rf"""datasets\[0\]\.{key} must be a path, not ''; the working folder is"""):
        FolderDataset([entry], SIZE, RATE)
    if key == "path":
        with pytest.raises(UserError, match=rf"datasets\[0\]\.{key} must be a path"):
            (tmp_path / "data.json").write_text('{"dataset_type": "ear_audio", "datasets": [{"path": ""}]}')
            open_windows(data_config(dataset_config=tmp_path / "data.json"), SIZE, RATE)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("a.wav", "it is a file; give the path of a folder"),
        ("nowhere", "there is no such folder"),
        ("a.csv", 'is a table; give it as "manifest"'),
        ("a.jsonl", 'is a table; give it as "manifest"'),
        ("a.m3u8", "it is a list: give the files that it names"),
        ("a.tar", r"it is an archive: unpack it \(tar -xf a\.tar\)"),
        ("a.zip", r"it is an archive: unpack it \(unzip a\.zip\)"),
    ],
)
def test_a_path_that_is_no_folder(name, reason, tmp_path):
    if name != "nowhere":
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=rf"datasets\[0\]: .*{name}:? {reason}"):
        FolderDataset([{"path": str(tmp_path / name)}], SIZE, RATE)


def test_custom_metadata(folder, tmp_path, write, monkeypatch):
    module = tmp_path / "metadata.py"
    module.write_text(
        "def get_custom_metadata(info, audio):\n"
        "    return {'prompt': info['relpath'], 'peak': float(audio.max()), '__reject__': info['relpath'] == 'b.wav'}\n"
    )
    for name in "abc":
        write(f"{name}.wav")
    data = pickle.loads(pickle.dumps(folder(module=str(module))))
    infos = [info for _, info in data]
    assert all(info["prompt"] == info["relpath"] != "b.wav" and info["peak"] > 0 for info in infos)
    assert not data.left_out and "__reject__" not in infos[0]
    monkeypatch.setenv("HOME" if os.name != "nt" else "USERPROFILE", str(tmp_path))
    assert folder(module="~/metadata.py")[0][1]["prompt"] in ("a.wav", "c.wav")
    json.dumps({key: value for key, value in infos[0].items() if key != "padding_mask"})


def test_custom_metadata_that_accepts_little(folder, tmp_path, write):
    """One file of 150: more than are tried in place of one that gives nothing."""
    module = tmp_path / "metadata.py"
    module.write_text(
        "def get_custom_metadata(info, audio):\n    return {'__reject__': info['relpath'] != 'only.wav'}\n"
    )
    for name in ["only", *range(149)]:
        write(f"{name}.wav")
    dataset = folder(module=str(module))
    assert {dataset[i][1]["relpath"] for i in range(0, len(dataset), len(dataset) // 6)} == {"only.wav"}


def test_a_file_stays_on_its_side_of_the_split(folder, write):
    """Whatever other files there are: what one stage of a training holds out, the next does not train on."""
    for n in range(60):
        write(f"{n}.wav")
    whole = {split: {Path(file.path).name for file in folder(split=split).files} for split in ("train", "held_out")}
    assert len(whole["train"] | whole["held_out"]) == 60 and not whole["train"] & whole["held_out"]
    assert 2 <= len(whole["held_out"]) <= 12
    for n in range(0, 60, 2):
        (Path(folder().files[0].path).parent / f"{n}.wav").unlink()
    for split, names in whole.items():
        assert {Path(file.path).name for file in folder(split=split).files} < names


@pytest.mark.parametrize(
    "source, reason",
    [
        ("def get_custom_metadata(info, audio): return {'__reject__': True}", "rejects every crop"),
        ("def get_custom_metadata(info, audio): return 1 / 0", "ZeroDivisionError"),
        ("def get_custom_metadata(info, audio): return None", "must return a dict"),
        ("def other(): pass", "has no function get_custom_metadata"),
        ("import nowhere_to_be_found", "does not import"),
        (None, "no such file"),
    ],
)
def test_custom_metadata_that_fails(folder, tmp_path, write, source, reason):
    write("a.wav")
    module = tmp_path / "metadata.py"
    if source is not None:
        module.write_text(source)
    with pytest.raises(UserError, match=reason):
        folder(module=str(module), max_redraws=1)[0]
