"""Windows cover whole files and equal training crops."""

import pickle
import shutil

import numpy as np
import pytest
import torch
from encoding_test_model import RATE, SIZE, noise

from ear_sat.data import FolderDataset, UnusableFileError
from ear_sat.data import windows as windows_module
from ear_sat.data.windows import Source, Window, WindowSet, data_config, open_windows
from ear_sat.errors import UserError


@pytest.fixture
def opened(tmp_path):
    """Opens ``tmp_path/music``."""

    def make(channels=2, size=SIZE, **keys):
        entry = {"id": "music", "path": str(tmp_path / "music")}
        return open_windows({"dataset_type": "ear_audio", "datasets": [entry], **keys}, size, RATE, channels)

    return make


def test_windows_cover_a_file_and_the_last_one_is_padded(opened, write):
    audio = noise(5 * SIZE // 2 + 7)
    write("a.wav", audio)
    dataset = opened()
    samples = [dataset.read(window) for window in dataset.windows]
    assert [window.number for window in dataset.windows] == [0, 1, 2]
    masks = torch.cat([info["padding_mask"] for _, info in samples])
    joined = torch.cat([clip for clip, _ in samples], dim=-1)
    assert masks.sum() == len(audio) and masks[: len(audio)].all()
    assert torch.equal(joined[:, : len(audio)], torch.from_numpy(audio.T))
    assert not joined[:, len(audio) :].any()
    assert sum(dataset.seconds(window) for window in dataset.windows) == pytest.approx(len(audio) / RATE)


@pytest.mark.parametrize("rate", [RATE, 48000, 11025])
@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("to", [1, 2])
def test_a_window_is_the_training_crop_at_its_place(opened, write, tmp_path, rate, channels, to):
    write("a.wav", 8 * noise(round(3.3 * SIZE * rate / RATE), channels), rate)  # louder than full scale
    crops = FolderDataset([{"path": str(tmp_path / "music")}], SIZE, RATE, to, crops_per_file=1, random_crop=False)
    dataset = opened(channels=to)
    assert len(dataset) == 4
    for window in dataset.windows[:3]:
        crops._draws = lambda *_, start=window.number * SIZE: [start]
        expected, theirs = crops[0]
        audio, info = dataset.read(window)
        assert torch.equal(audio, expected) and audio.abs().max() == 1
        assert torch.equal(info.pop("padding_mask"), theirs.pop("padding_mask"))
        assert {**info, "load_time": 0} == {**theirs, "load_time": 0}


def test_info_is_that_of_the_host(opened, write):
    path = write("sub/a.wav", noise(5 * SIZE // 2))
    audio, info = opened().read(opened().windows[2])
    assert info["path"] == str(path) and info["relpath"] == "sub/a.wav"
    assert info["seconds_start"] == 2 * SIZE // RATE and info["seconds_total"] == -(-5 * SIZE // 2 // RATE)
    assert info["timestamps"] == pytest.approx((0.8, 1.0)) and info["sample_rate"] == RATE
    assert audio.shape == (2, SIZE) and info["padding_mask"].sum() == SIZE // 2


def test_silence_is_data_and_so_is_a_single_sample(opened, write):
    write("silent.wav", np.zeros((SIZE, 2), np.float32))
    write("short.wav", noise(1))
    short, silent = (opened().read(window) for window in opened().windows)
    assert not silent[0].any() and silent[1]["padding_mask"].all()
    assert short[1]["padding_mask"].sum() == 1


def test_unusable_files_have_reasons(opened, write, tmp_path):
    write("good.wav")
    write("empty.wav", np.zeros((0, 2), np.float32))
    write("three.wav", noise(SIZE, 3))
    (tmp_path / "music" / "text.mp3").write_text("not audio\n" * 99)
    (tmp_path / "music" / "zero.flac").touch()
    write("tiny.wav", noise(1), 96000)
    dataset = opened()
    assert {window.source.relpath for window in dataset.windows} == {"good.wav"}
    reasons = {path.rsplit("/", 1)[-1]: reason for path, reason in dataset.left_out.items()}
    assert reasons["empty.wav"] == "it holds no samples" and "3 channels" in reasons["three.wav"]
    assert "not readable" in reasons["text.mp3"] and "0 bytes" in reasons["zero.flac"]
    assert "shorter than one sample" in reasons["tiny.wav"]


def test_bad_places_raise_where_they_are(opened, write):
    audio = noise(3 * SIZE)
    audio[SIZE + 5] = np.nan
    write("nan.wav", audio)
    path = write("cut.wav", noise(3 * SIZE))
    dataset = opened()
    path.write_bytes(path.read_bytes()[: SIZE * 8 + 500])
    for window in dataset.windows:
        bad = window.number == 1 if window.source.relpath == "nan.wav" else window.number > 0
        if bad:
            with pytest.raises(UnusableFileError, match=r"NaN or infinite samples in window 1|truncated"):
                dataset.read(window)
        elif window.source.relpath == "nan.wav":
            assert dataset.read(window)[0].any()


def test_an_estimated_length_gives_no_window_and_no_error():
    def read(start, size):
        if start:
            raise UnusableFileError("truncated")
        return noise(size).T

    source = Source("x", "a.mp3", "a.mp3", SIZE + RATE // 20, read)
    dataset = WindowSet([Window(source, 0), Window(source, 1)], SIZE, RATE)
    assert dataset.read(dataset.windows[0]) is not None and dataset.read(dataset.windows[1]) is None
    longer = Source("x", "a.mp3", "a.mp3", SIZE + RATE // 5, read)
    with pytest.raises(UnusableFileError):
        dataset.read(Window(longer, 1))
    short = WindowSet([Window(longer, 1)], RATE // 20, RATE)  # many of them before the file's end
    with pytest.raises(UnusableFileError):
        short.read(short.windows[0])


def test_names_depend_on_id_and_place_in_the_folder_only(opened, write, tmp_path):
    write("sub/a.wav")
    before = [window.name for window in opened().windows]
    # sha256("music\0sub/a.wav")[:16]: names of latents on people's disks, so they must never change
    assert before == ["43f4f80ca9b57b9d_00000", "43f4f80ca9b57b9d_00001"]
    shutil.move(tmp_path / "music", tmp_path / "elsewhere")
    entry = {"id": "music", "path": str(tmp_path / "elsewhere")}
    moved = open_windows({"dataset_type": "ear_audio", "datasets": [entry]}, SIZE, RATE)
    assert [window.name for window in moved.windows] == before
    other = open_windows({"dataset_type": "ear_audio", "datasets": [{**entry, "id": "other"}]}, SIZE, RATE)
    assert not {window.name for window in other.windows} & set(before)


def test_two_folders_of_one_id_must_not_share_a_name(write, tmp_path):
    write("x/a.wav")
    write("y/a.wav")
    entries = [{"id": "music", "path": str(tmp_path / "music" / name)} for name in "xy"]
    with pytest.raises(UserError, match=r"two data sets with the id 'music' hold a\.wav.*own id"):
        open_windows({"dataset_type": "ear_audio", "datasets": entries}, SIZE, RATE)
    for entry in entries:
        del entry["id"]
    assert len(open_windows({"dataset_type": "ear_audio", "datasets": entries}, SIZE, RATE)) == 4


def test_splits_are_those_of_training(opened, write, tmp_path):
    for number in range(5):
        write(f"{number}.wav", noise(100, seed=number))
    parts = {}
    for split in ("train", "held_out", "all"):
        dataset = opened(split=split, held_out_share=0.4, crops_per_file=3, seed=7, drop_last=True)
        parts[split] = {window.source.path for window in dataset.windows}
        folder = {"path": str(tmp_path / "music")}
        assert parts[split] == {
            file.path for file in FolderDataset([folder], SIZE, RATE, split=split, held_out_share=0.4).files
        }
    assert parts["train"] | parts["held_out"] == parts["all"] and not parts["train"] & parts["held_out"]


def test_the_hosts_audio_dir_and_the_demo_set(write, tmp_path):
    write("a.wav")
    entry = {"id": "music", "path": str(tmp_path / "music"), "custom_metadata_module": None, "note": "ignored"}
    host = open_windows({"dataset_type": "audio_dir", "datasets": [entry], "random_crop": True}, SIZE, RATE)
    assert [window.number for window in host.windows] == [0, 1]
    demo = open_windows({"dataset_type": "ear_demo", "tracks": 2, "seconds": 1.0, "split": "held_out"}, SIZE, RATE)
    assert [window.source.relpath for window in demo.windows] == ["held_out/0"] * 2 + ["held_out/1"] * 2
    audio, info = demo.read(demo.windows[1])
    assert info["path"] == "ear_demo://held_out/0" and info["padding_mask"].sum() == RATE - SIZE and audio.any()


def test_a_set_survives_pickling(opened, write):
    write("a.wav")
    dataset = pickle.loads(pickle.dumps(opened()))
    assert torch.equal(dataset.read(dataset.windows[1])[0], opened()[1][0])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"dataset_type": "wds", "datasets": []}, "unpack them"),
        ({"dataset_type": "s3", "datasets": []}, "download and unpack"),
        ({"dataset_type": "pre_encoded", "datasets": []}, "holds latents already"),
        ({"dataset_type": "ear_audoi"}, "did you mean 'ear_audio'"),
        ({}, "unknown dataset_type 'None'"),
        ({"dataset_type": "ear_audio", "datasets": [], "splt": "all"}, "did you mean 'split'"),
        ({"dataset_type": "ear_audio"}, "needs the key datasets"),
        ({"dataset_type": "audio_dir"}, "datasets must be a list of objects, not None"),
        ({"dataset_type": "audio_dir", "datasets": ["music"]}, r"datasets\[0\] must be an object, not 'music'"),
    ],
)
def test_what_cannot_be_cut_says_what_to_do(config, message):
    with pytest.raises(UserError, match=message):
        open_windows(config, SIZE, RATE)


def test_folders_become_absolute(tmp_path, monkeypatch, write):
    path = write("a.wav")
    monkeypatch.chdir(tmp_path)
    config = data_config(path.parent.relative_to(tmp_path))
    assert config["datasets"] == [{"id": windows_module.FOLDER_ID, "path": str(path.parent)}]
    for wrong in ((None, None), (path, path)):
        with pytest.raises(UserError, match="either a folder"):
            data_config(*wrong)
