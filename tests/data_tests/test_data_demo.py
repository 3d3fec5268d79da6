"""The demo set is music-like, deterministic, and split without overlap."""

import numpy as np
import pytest
import torch

from ear_sat.data import DemoDataset, synthesise_track
from ear_sat.errors import UserError

RATE = 22050
SMALL = {"tracks": 3, "seconds": 3.0, "crops_per_track": 4}


def make(**changes):
    return DemoDataset(4096, RATE, **{**SMALL, **changes})


@pytest.fixture(scope="module")
def track():
    return synthesise_track(0, 12.0, RATE, seed=0)


def test_track_is_reproducible_and_others_differ(track):
    assert track.shape == (2, 12 * RATE) and track.dtype == np.float32
    assert np.array_equal(track, synthesise_track(0, 12.0, RATE, seed=0))
    assert not np.allclose(track, synthesise_track(1, 12.0, RATE, seed=0))
    assert not np.allclose(track, synthesise_track(0, 12.0, RATE, seed=1))


@pytest.mark.parametrize("index", range(4))
def test_level_silence_and_stereo(index):
    track = synthesise_track(index, 12.0, RATE, seed=3)
    assert np.isfinite(track).all() and 0.3 < np.abs(track).max() < 0.98
    sounding = np.abs(track).max(axis=0) > 0
    longest = max(np.diff(np.flatnonzero(np.concatenate([[True], sounding, [True]]))))
    assert longest > 0.4 * RATE, "a stretch of digital silence between sections"
    assert abs(20 * np.log10(np.sqrt(np.mean(track[:, sounding] ** 2))) + 14) < 1.5
    mid, side = track.mean(axis=0), (track[0] - track[1]) / 2
    assert -20 < 10 * np.log10(np.mean(side**2) / np.mean(mid**2)) < 0


def test_spectrum_falls_off_like_music(track):
    power = np.abs(np.fft.rfft(track.mean(axis=0))) ** 2
    hertz = np.fft.rfftfreq(track.shape[-1], 1 / RATE)
    low, middle, high = (10 * np.log10(power[(hertz >= a) & (hertz < 4 * a)].sum()) for a in (62.5, 500.0, 2500.0))
    assert low > middle > high > low - 40


@pytest.mark.parametrize("seconds, rate", [(0.01, 8000), (0.5, 44100), (2.0, 96000)])
def test_any_length_and_rate(seconds, rate):
    track = synthesise_track(5, seconds, rate, seed=0)
    assert track.shape == (2, round(seconds * rate)) and np.isfinite(track).all()


def test_items_depend_on_seed_epoch_and_index_only():
    one, two = make(), make()
    for index in (7, 2, 11, 2):
        assert torch.equal(one[index][0], two[index][0])
        two[0]
    first = one[5][0]
    one.set_epoch(1)
    assert not torch.equal(first, one[5][0])
    one.set_epoch(0)
    assert torch.equal(first, one[5][0]) and torch.equal(one[-1][0], one[len(one) - 1][0])
    assert not torch.equal(make(seed=1)[5][0], first)
    assert not torch.equal(one[5 - 3][0], first), "another crop of the same track"
    with pytest.raises(IndexError):
        one[len(one)]
    assert len(list(one)) == 12


def test_held_out_tracks_are_no_training_tracks():
    train, held_out = make(tracks=6), make(tracks=6, split="held_out")
    for theirs in range(6):
        for ours in range(6):
            assert not np.allclose(held_out.track(theirs), train.track(ours))


def test_info_shapes_and_channels():
    audio, info = make()[4]
    assert audio.shape == (2, 4096) and audio.dtype == torch.float32
    assert info["padding_mask"].tolist() == [1.0] * 4096 and info["relpath"] == "train/1"
    assert info["left_out"] == [] and info["seconds_total"] == 3 and info["sample_rate"] == RATE
    assert torch.allclose(make(channels=1)[4][0], audio.mean(dim=0, keepdim=True), atol=1e-6)
    audio, info = DemoDataset(4096, 8000, tracks=1, seconds=0.25)[0]
    assert info["padding_mask"].sum() == 2000 and not audio[:, 2000:].any() and audio[:, :2000].any()


def test_no_crop_is_only_silence():
    demo = make(seconds=12.0, crops_per_track=40)
    assert all(audio.abs().max() > 1e-3 for audio, _ in demo)


@pytest.mark.parametrize(
    "wrong",
    [{"tracks": 0}, {"seconds": 0}, {"seconds": "12"}, {"seed": -1}, {"crops_per_track": 1.5}, {"split": "test"}],
)
def test_wrong_values_are_named(wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        make(**wrong)
