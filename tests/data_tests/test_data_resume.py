"""A run that was killed and resumed reads what the uninterrupted run reads, in the same order."""

import logging

import pytest
import torch
from torch.utils.data import DataLoader

from ear_sat.data import EpochSampler, create_dataloader

DEMO = {"dataset_type": "ear_demo", "tracks": 3, "seconds": 0.5, "crops_per_track": 5, "seed": 3}
BATCH = 2  # 15 items: 7 batches per epoch


def loader(num_workers=0, place=None, batch_size=BATCH, config=DEMO):
    made = create_dataloader(config, batch_size, 256, 8000, num_workers=num_workers)
    made.sampler._place = place
    return made


def identity(batch):
    """What tells a batch from every other one: its samples."""
    return tuple(crop.numpy().tobytes() for crop in batch[0])


def train(data, batches):
    """Reads as a training does: a new iter() when an epoch ends, and a count of what was used."""
    data.sampler.count_used(0)
    seen = []
    while len(seen) < batches:
        for batch in data:
            seen.append(identity(batch))
            data.sampler.count_used(len(batch[0]))
            if len(seen) == batches:
                break
    return seen


@pytest.mark.parametrize("place", [None, (0, 2), (1, 2)], ids=["alone", "rank 0 of 2", "rank 1 of 2"])
@pytest.mark.parametrize("num_workers", [0, 2])
def test_resumed_order_is_the_uninterrupted_one(num_workers, place):
    expected = train(loader(place=place), 24)
    assert len(set(expected)) == 24
    for stop in (0, 1, 5, 7, 13) if num_workers == 0 else (3, 7):
        first = loader(num_workers, place)
        seen = train(first, stop)
        again = loader(num_workers, place)
        again.sampler.load_state_dict(first.sampler.state_dict())
        assert seen + train(again, 24 - stop) == expected, f"stopped after {stop} batches"


def test_two_ranks_read_disjoint_items_before_and_after():
    read = []
    for rank in (0, 1):
        first, again = (EpochSampler(range(23), batch_size=2, rank=rank, world_size=2) for _ in range(2))
        order = list(first)
        first = EpochSampler(range(23), batch_size=2, rank=rank, world_size=2)
        first.count_used(4)
        again.load_state_dict(first.state_dict())
        assert list(again) == order[4:] and len(order) == 10
        read += order
    assert len(set(read)) == 20


def test_what_workers_fetch_ahead_does_not_count():
    data = loader(num_workers=2)
    data.sampler.count_used(0)
    batches = iter(data)
    next(batches)
    data.sampler.count_used(BATCH)  # by now the workers have been sent four more batches
    assert data.sampler.state_dict() == {"epoch": 0, "used": 2, "items": 15, "world_size": 1}


def test_an_epoch_ends_with_its_last_full_batch():
    sampler = EpochSampler(range(7), batch_size=3)
    assert len(sampler) == 6 and len(DataLoader(range(7), 3, sampler=sampler, drop_last=True)) == 2
    sampler.count_used(3)
    sampler.count_used(3)
    assert sampler.state_dict() == {"epoch": 1, "used": 0, "items": 7, "world_size": 1}
    assert len(list(sampler)) == len(list(sampler)) == 6


def test_repeated_iter_is_no_progress_and_lightnings_epoch_does_not_matter():
    """Lightning calls iter() twice before the first batch, and counts a stopped epoch as done."""
    sampler = EpochSampler(range(10), batch_size=2)
    sampler.count_used(4)
    rest = list(sampler)
    sampler.set_epoch(3)
    assert list(sampler) == rest and len(rest) == 6


def test_another_data_set_begins_the_next_epoch(caplog):
    sampler = EpochSampler(range(10), batch_size=2)
    sampler.count_used(4)
    other = EpochSampler(range(12), batch_size=2)
    with caplog.at_level(logging.WARNING):
        other.load_state_dict(sampler.state_dict())
    assert "has 12 items and had 10" in caplog.text
    assert (other.epoch, other.used) == (1, 0)


def test_another_number_of_ranks_says_so_and_goes_on_at_the_same_place(caplog):
    two = EpochSampler(range(40), batch_size=2, rank=0, world_size=2)
    order = list(EpochSampler(range(40), batch_size=2))
    two.count_used(8)
    one = EpochSampler(range(40), batch_size=2, rank=0, world_size=1)
    with caplog.at_level(logging.WARNING):
        one.load_state_dict(two.state_dict())
    assert "1 processes read the data and were 2 before" in caplog.text
    assert list(one) == order[16:]


def test_another_batch_size_goes_on_at_the_same_item():
    first = loader(batch_size=2)
    train(first, 3)
    order = list(EpochSampler(range(15), seed=3, batch_size=2))
    again = loader(batch_size=4)
    again.sampler.load_state_dict(first.sampler.state_dict())
    assert list(again.sampler) == order[6:12]
    again.sampler.count_used(4)
    assert (again.sampler.epoch, again.sampler.used) == (1, 0), "two items are no batch of four"


# The same through Lightning, whose own counters go other ways.

pl = pytest.importorskip("pytorch_lightning")


class KilledError(Exception):
    pass


class Recorder(pl.LightningModule):
    """Finishes a round every ``accumulate`` batches and writes down what it gets; raises when ``kill`` are seen."""

    def __init__(self, accumulate=1, kill=None):
        super().__init__()
        self.automatic_optimization = False
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.accumulate, self.kill = accumulate, kill
        self.rounds, self.batches, self.seen = 0, 0, []

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def training_step(self, batch, batch_idx):
        if len(self.seen) == self.kill:
            raise KilledError
        self.seen.append(identity(batch))
        self.batches += 1
        if self.batches % self.accumulate == 0:
            self.optimizers().step()
            self.rounds += 1

    def validation_step(self, batch, batch_idx):
        pass

    def on_save_checkpoint(self, checkpoint):
        checkpoint["rounds"] = self.rounds

    def on_load_checkpoint(self, checkpoint):
        self.rounds = checkpoint["rounds"]


class Save(pl.Callback):
    """Saves as a run does, every three rounds and at the end, and stops after ``stop`` rounds."""

    def __init__(self, path, stop):
        self.path, self.stop, self.saved = path, stop, 0

    def on_train_batch_end(self, trainer, pl_module, *_):
        if pl_module.rounds % 3 == 0 and pl_module.rounds != self.saved:
            self.save(trainer, pl_module)
        trainer.should_stop = pl_module.rounds >= self.stop

    def on_train_end(self, trainer, pl_module):
        self.save(trainer, pl_module)

    def save(self, trainer, pl_module):
        self.saved = pl_module.rounds
        trainer.save_checkpoint(self.path)


def fit(path, stop, num_workers, accumulate=1, kill=None, resume=False, validate=False):
    from ear_sat.training.run.data_order import DataOrder

    data, module = loader(num_workers), Recorder(accumulate, kill)
    options = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=-1,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        callbacks=[DataOrder(data), Save(path, stop)],
        check_val_every_n_epoch=None,
        val_check_interval=2 * accumulate,
        **options,
    )
    trainer.fit(module, data, loader() if validate else None, ckpt_path=str(path) if resume else None)
    return module.seen


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_lightning_run_killed_and_resumed(tmp_path, num_workers, accumulate):
    """7 batches per epoch. Saved every 3 rounds, killed later, in the middle of an epoch or of a round."""
    path, rounds = tmp_path / "a.ckpt", 12
    expected = train(loader(), rounds * accumulate)
    assert fit(path, rounds, num_workers=0, accumulate=accumulate) == expected
    for kill in (5 * accumulate, 7 * accumulate + 1) if num_workers == 0 else (8 * accumulate + 1,):
        with pytest.raises(KilledError):
            fit(path, rounds, num_workers, accumulate, kill=kill, validate=True)
        saved = torch.load(path, weights_only=True)["rounds"]
        assert 0 < saved < rounds
        rest = fit(path, rounds, num_workers, accumulate, resume=True, validate=True)
        assert expected[: saved * accumulate] + rest == expected


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("stop", [2, 6, 7, 9])
def test_lightning_run_stopped_and_resumed_twice(tmp_path, stop):
    """A stop is no end of an epoch, though Lightning counts it as one."""
    path = tmp_path / "a.ckpt"
    expected = train(loader(), 20)
    seen = fit(path, stop, num_workers=0)
    seen += fit(path, stop + 4, num_workers=0, resume=True)
    seen += fit(path, 20, num_workers=0, resume=True)
    assert seen == expected
