"""Shares of several sources, and random changes to crops."""

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from data_test_audio import RATE, music

from ear_sat.data import FolderDataset, create_dataloader
from ear_sat.data.augment import Augmentation
from ear_sat.data.shares import Shares
from ear_sat.errors import UserError

SIZE = 2048


def two_sources(tmp_path, write, counts=(2, 6)):
    for folder, count in zip("ab", counts, strict=True):
        for number in range(count):
            write(f"{folder}/{number}.wav", music(1.0, seed=ord(folder) + number))
    return [{"id": folder, "path": str(tmp_path / "music" / folder)} for folder in "ab"]


def drawn(data):
    return Counter(Path(info["path"]).parent.name for _, info in data)


def test_weights_are_shares_of_crops(tmp_path, write):
    entries = two_sources(tmp_path, write)
    assert drawn(FolderDataset(entries, SIZE, RATE, crops_per_file=5)) == {"a": 10, "b": 30}
    entries[0]["weight"] = 3
    weighted = FolderDataset(entries, SIZE, RATE, crops_per_file=5)
    assert drawn(weighted) == {"a": 30, "b": 10}, "the other has weight 1"
    entries[1]["weight"] = 0.5
    assert drawn(FolderDataset(entries, SIZE, RATE, crops_per_file=7)) == {"a": 48, "b": 8}


def test_weighted_crops_are_reproducible_and_reach_every_file(tmp_path, write):
    entries = two_sources(tmp_path, write, (1, 9))
    entries[0]["weight"] = 4
    one, two = (FolderDataset(entries, SIZE, RATE, seed=2) for _ in range(2))
    seen = set()
    for epoch in range(6):
        one.set_epoch(epoch)
        two.set_epoch(epoch)
        for index in reversed(range(len(one))):
            assert torch.equal(one[index][0], two[index][0])
        seen |= {info["path"] for _, info in one}
    assert len(one) == 10 and len(seen) == 10, "the 2 crops of each epoch go round the 9 files"
    shuffled = create_dataloader({"dataset_type": "ear_audio", "datasets": entries}, 5, SIZE, RATE, num_workers=0)
    assert sum(Path(info["path"]).parent.name == "a" for _, infos in shuffled for info in infos) == 8


def test_a_bad_file_is_replaced_from_its_own_source(tmp_path, write):
    entries = two_sources(tmp_path, write, (3, 3))
    entries[0]["weight"] = 1
    data = FolderDataset(entries, SIZE, RATE, crops_per_file=4)
    Path(data.files[0].path).unlink()
    assert drawn(data) == {"a": 12, "b": 12} and len(data.left_out) == 1
    for number in (1, 2):
        Path(data.files[number].path).unlink()
    assert drawn(data) == {"b": 24}


def test_shares_of_many_items():
    rng = np.random.default_rng(0)
    source_of = np.sort(rng.integers(0, 4, 1000))
    shares = Shares(source_of, [1, None, 2.5, 0.1], crops_per_file=3)
    files = [shares.file_and_turn(item, epoch=2)[0] for item in range(len(shares))]
    counts = np.bincount(source_of[files])
    assert len(shares) == 3000 and np.abs(counts / 3000 - np.array([1, 1, 2.5, 0.1]) / 4.6).max() < 1 / 3000
    plain = Shares(source_of, [None] * 4, crops_per_file=3)
    assert [plain.file_and_turn(item, 5)[0] for item in range(3000)] == [item % 1000 for item in range(3000)]
    repeated = {shares.file_and_turn(item, 0) for item in range(3 * len(shares))}
    assert len(repeated) == 3 * len(shares), "a repeated set has other turns"


def test_a_source_without_files_in_the_split_has_no_share():
    assert len(Shares(np.array([1, 1]), [5.0, 1.0], 2)) == 4


@pytest.mark.parametrize("weight", [0, -1, "2", True, math.inf, math.nan])
def test_wrong_weights(tmp_path, write, weight):
    entries = two_sources(tmp_path, write, (1, 1))
    entries[1]["weight"] = weight
    with pytest.raises(UserError, match=r"datasets\[1\].*weight must be a number"):
        FolderDataset(entries, SIZE, RATE)


def test_the_smallest_weight_is_one_crop(tmp_path, write):
    entries = two_sources(tmp_path, write, (1, 3))
    entries[0]["weight"] = 1e-9
    assert drawn(FolderDataset(entries, SIZE, RATE)) == {"a": 1, "b": 4}
    assert drawn(FolderDataset(entries, SIZE, RATE, crops_per_file=20)) == {"a": 1, "b": 80}


# Augmentation.


def applied(audio, draws=400, **options):
    augmentation, rng = Augmentation(**options), np.random.default_rng(1)
    return [augmentation(audio, rng) for _ in range(draws)]


def test_augmentation_is_off_by_default(tmp_path, write):
    write("a.wav", music(1.0))
    entry = [{"path": str(tmp_path / "music")}]
    plain, off = FolderDataset(entry, SIZE, RATE), FolderDataset(entry, SIZE, RATE, gain_db=[0, 0])
    assert torch.equal(plain[0][0], off[0][0])
    crop = music(0.1).T
    assert all(np.array_equal(crop, out) for out in applied(crop, 5))


def test_gain_is_uniform_in_db_and_never_clips():
    crop = (0.2 * music(0.1)).T
    gains = [20 * np.log10(np.abs(out).max() / np.abs(crop).max()) for out in applied(crop, gain_db=[-12, 4])]
    assert min(gains) >= -12.001 and max(gains) <= 4.001
    assert np.histogram(gains, 4, (-12, 4))[0].min() > 70, "of 400"
    loud = applied(crop, gain_db=[30, 30])[0]
    assert np.abs(loud).max() == pytest.approx(1.0, abs=1e-6) and np.allclose(loud / loud[0, 0], crop / crop[0, 0])
    over = np.full((2, 4), 3.0, np.float32)  # a float file beyond full scale is not attenuated because of it
    assert np.array_equal(applied(over, 1, gain_db=[2, 2])[0], over)
    assert np.allclose(applied(over, 1, gain_db=[-20, -20])[0], 0.3)
    assert not applied(np.zeros((2, 4), np.float32), 1, gain_db=[3, 3])[0].any()


def test_polarity_and_channels_change_half_of_the_time_and_independently():
    crop = music(0.01).T
    both = applied(crop, flip_polarity=True, swap_channels=True)
    kinds = Counter((out.sum() * crop.sum() < 0, np.array_equal(np.abs(out), np.abs(crop[::-1]))) for out in both)
    assert len(kinds) == 4 and min(kinds.values()) > 70
    flipped = [np.array_equal(out, -crop) for out in applied(crop, flip_polarity=True)]
    assert flipped == [out.sum() * crop.sum() < 0 for out in both], "what one option draws does not move the other"


def test_augmented_items_are_reproducible_and_reach_the_metadata(tmp_path, write):
    write("a.wav", music(1.0))
    module = tmp_path / "metadata.py"
    module.write_text("def get_custom_metadata(info, audio): return {'peak': float(audio.abs().max())}\n")
    entry = [{"path": str(tmp_path / "music"), "custom_metadata_module": str(module)}]
    keys = {"crops_per_file": 6, "gain_db": [-30, -20], "flip_polarity": True, "swap_channels": True}
    one, two = (FolderDataset(entry, SIZE, RATE, **keys) for _ in range(2))
    plain = FolderDataset(entry, SIZE, RATE, crops_per_file=6)
    changed = set()
    for index in (5, 0, 3, 1, 2, 4):
        (audio, info), (other, _) = one[index], plain[index]
        assert torch.equal(audio, two[index][0])
        assert info["peak"] == float(audio.abs().max()) and 0.03 <= info["peak"] / float(other.abs().max()) <= 0.1001
        changed.add((bool(torch.sign(audio[0, 0]) != torch.sign(other[0, 0])), index))
    one.set_epoch(1)
    assert not torch.equal(one[0][0], two[0][0])


@pytest.mark.parametrize(
    "wrong",
    [
        {"gain_db": 3},
        {"gain_db": [3]},
        {"gain_db": [3, -3]},
        {"gain_db": ["a", "b"]},
        {"gain_db": [0, math.nan]},
        {"flip_polarity": 1},
        {"swap_channels": "yes"},
    ],
)
def test_wrong_augmentations_are_named(tmp_path, write, wrong):
    write("a.wav")
    with pytest.raises(UserError, match=next(iter(wrong))):
        FolderDataset([{"path": str(tmp_path / "music")}], SIZE, RATE, **wrong)
