"""Loaders: JSON to batches, the order of epochs, ranks, workers, reports of left-out files."""

import copy
import json
import logging
from pathlib import Path

import pytest
import torch
from data_test_audio import RATE, music

from ear_sat.config import check_keys, parameter_names
from ear_sat.data import DATASET_TYPES, DemoDataset, EpochSampler, collect_left_out, create_dataloader, held_out_config
from ear_sat.errors import UserError

DEMO = {"dataset_type": "ear_demo", "tracks": 2, "seconds": 1.0, "crops_per_track": 4}
CONFIGS = Path(__file__).parents[2] / "dataset_configs"


def loader(config=DEMO, batch_size=2, num_workers=0, **keys):
    return create_dataloader(config, batch_size, 2048, RATE, num_workers=num_workers, **keys)


def batches(one_pass):
    return [audio for audio, _ in one_pass]


def test_batches_are_those_of_the_host(write, tmp_path):
    config = copy.deepcopy(DEMO)
    audio, infos = next(iter(loader(config)))
    assert config == DEMO, "the config is not written to"
    assert audio.shape == (2, 2, 2048) and audio.dtype == torch.float32
    assert isinstance(infos, tuple) and len(infos) == 2 and infos[0]["padding_mask"].shape == (2048,)
    assert next(iter(loader(audio_channels=1)))[0].shape == (2, 1, 2048)


def test_epochs_differ_and_are_reproducible():
    one, two = loader(), loader()
    first, second = batches(one), batches(one)
    assert len(first) == len(one) == 4
    assert not any(torch.equal(a, b) for a in first for b in second)
    assert all(torch.equal(a, b) for a, b in zip(first + second, batches(two) + batches(two), strict=True))
    resumed = loader()
    resumed.sampler.set_epoch(1)
    assert all(torch.equal(a, b) for a, b in zip(second, batches(resumed), strict=True))
    assert resumed.sampler.state_dict() == {"epoch": 2, "used": 0, "items": 8, "world_size": 1}


def test_without_shuffle_every_pass_is_the_same():
    fixed = loader(shuffle=False)
    assert all(torch.equal(a, b) for a, b in zip(batches(fixed), batches(fixed), strict=True))
    assert [info["relpath"] for _, infos in fixed for info in infos] == ["train/0", "train/1"] * 4


def test_running_workers_follow_the_epoch():
    """Persistent workers got their copy of the data set in epoch 0; the epoch reaches them in shared memory."""
    alone, workers = loader(), loader(num_workers=2)
    assert workers.persistent_workers and not alone.persistent_workers
    for _ in range(3):
        assert all(torch.equal(a, b) for a, b in zip(batches(alone), batches(workers), strict=True))


def test_workers_report_left_out_files(write, tmp_path):
    for name in "abcd":
        write(f"{name}.wav", music(1.0, seed=ord(name)))
    bad = write("e.wav")
    config = {"dataset_type": "ear_audio", "datasets": [{"path": str(tmp_path / "music")}], "crops_per_file": 4}
    data = loader(config, num_workers=2)
    bad.unlink()
    reports = []
    for _ in range(2):
        for audio, infos in data:
            assert torch.isfinite(audio).all() and str(bad) not in [info["path"] for info in infos]
            reports += collect_left_out(infos)
    assert 1 <= len(reports) <= 2, "at most once per worker"
    assert set(reports) == {f"{bad}: read error (No such file or directory)"}


def test_an_error_in_a_worker_says_what_to_do(write, tmp_path):
    path = write("a.wav")
    data = loader({"dataset_type": "ear_audio", "datasets": [{"path": str(tmp_path / "music")}]}, num_workers=1)
    path.unlink()
    with pytest.raises(UserError, match="none of the 1 audio files is usable any more"):
        next(iter(data))


def test_a_small_set_still_fills_a_batch(caplog):
    with caplog.at_level(logging.WARNING):
        small = loader({**DEMO, "tracks": 1, "crops_per_track": 3}, batch_size=8)
    assert "3 items, fewer than a batch of 8" in caplog.text
    (audio,) = batches(small)
    assert len(audio) == 8 and len({crop.numpy().tobytes() for crop in audio}) == 8, "with other crops"
    partial = loader({**DEMO, "tracks": 1, "crops_per_track": 3, "drop_last": False}, batch_size=8)
    assert [len(audio) for audio in batches(partial)] == [3]


def test_ranks_are_disjoint_and_of_equal_length():
    for epoch in (0, 1):
        ranks = [EpochSampler(range(23), seed=5, rank=rank, world_size=2) for rank in (0, 1)]
        for rank in ranks:
            rank.set_epoch(epoch)
        assert len(ranks[0]) == len(ranks[1]) == 11
        first, second = (list(rank) for rank in ranks)
        assert len(first) == len(second) == 11 and len({*first, *second}) == 22
    orders = [list(EpochSampler(range(50), seed=seed)) for seed in (0, 1)]
    assert orders[0] != orders[1] and sorted(orders[0]) == list(range(50))
    few = [list(EpochSampler(range(3), rank=rank, world_size=2, batch_size=4)) for rank in (0, 1)]
    assert [len(items) for items in few] == [4, 4] and {*few[0], *few[1]} == {0, 1, 2}


def test_ranks_come_from_torch_distributed(monkeypatch):
    sampler = EpochSampler(range(10), shuffle=False)
    assert len(sampler) == 10
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    assert len(sampler) == 5 and list(sampler) == [1, 3, 5, 7, 9]


def test_sampler_refuses_impossible_ranks():
    for wrong in ({"rank": 0}, {"rank": 2, "world_size": 2}):
        with pytest.raises(ValueError, match="rank"):
            EpochSampler(range(4), **wrong)
    with pytest.raises(ValueError, match="at least one item"):
        EpochSampler([])
    with pytest.raises(ValueError, match="batch_size"):
        EpochSampler(range(4), batch_size=0)


@pytest.mark.parametrize(
    "change, hint",
    [
        ({"dataset_type": "ear_dem"}, "did you mean 'ear_demo'"),
        ({"track": 3}, "did you mean 'tracks'"),
        ({"drop_lst": True}, "did you mean 'drop_last'"),
        ({"drop_last": "yes"}, "drop_last must be true or false"),
        ({"sample_rate": 44100}, "sample_rate"),
    ],
)
def test_wrong_configs_name_the_close_match(change, hint):
    with pytest.raises(UserError, match=hint):
        loader({**DEMO, **change})


def test_other_wrong_calls():
    for batch_size in (0, -1):
        with pytest.raises(UserError, match="batch_size"):
            loader(batch_size=batch_size)
    with pytest.raises(UserError, match="num_workers"):
        loader(num_workers=-1)
    with pytest.raises(UserError, match="audio_channels"):
        loader(audio_channels=3)
    with pytest.raises(UserError, match="dataset_type"):
        loader({})
    with pytest.raises(UserError, match="needs the key datasets"):
        loader({"dataset_type": "ear_audio"})


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.json")), ids=lambda path: path.name)
def test_shipped_configs_have_valid_keys(path):
    config = json.loads(path.read_text(encoding="utf-8"))
    if config["dataset_type"] in DATASET_TYPES:
        names = parameter_names(DATASET_TYPES[config["dataset_type"]])
        check_keys(path.name, config, ["dataset_type", "drop_last", *names])
    else:
        assert config["dataset_type"] == "wds" and all(set(entry) == {"id", "path"} for entry in config["datasets"])


def test_what_is_held_out_is_measured_as_it_is():
    entries = [{"id": "a", "path": "music", "weight": 3}]
    config = {"dataset_type": "ear_audio", "datasets": entries, "split": "train", "gain_db": [-6, 0], "seed": 4}
    before = copy.deepcopy(config)
    assert held_out_config(config) == {
        "dataset_type": "ear_audio",
        "datasets": [{"id": "a", "path": "music"}],
        "split": "held_out",
        "drop_last": False,
        "seed": 4,
    }
    assert config == before


def test_shipped_demo_configs_do_not_overlap():
    train, held_out = (
        json.loads((CONFIGS / f"{name}.json").read_text(encoding="utf-8")) for name in ("demo", "demo_held_out")
    )
    assert (train["split"], held_out["split"]) == ("train", "held_out") and train["seed"] == held_out["seed"]
    assert isinstance(create_dataloader(held_out, 4, 2048, RATE, num_workers=0).dataset, DemoDataset)
