"""Values per clip, bands as functions, and the metrics as torchmetrics has them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

import ear_sat.metrics as metrics
from ear_sat import UserError
from ear_sat.metrics import METRICS, OCTAVES, evaluate_clips, evaluate_pair

RATE = 44100


@pytest.fixture(scope="module")
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Estimates and targets (4, 2, time); the last target is silent."""
    generator = torch.Generator().manual_seed(0)
    target = 0.1 * torch.randn(4, 2, RATE // 2, generator=generator)
    preds = target + 0.02 * torch.arange(1, 5)[:, None, None] * torch.randn(target.shape, generator=generator)
    target[3] = 0
    return preds, target


def test_each_clip_has_its_own_value(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    preds, target = batch
    values = evaluate_clips(preds, target, RATE)
    assert list(values) == list(METRICS)
    for index in range(4):
        alone = evaluate_pair(preds[index], target[index], RATE)
        for name, value in alone.items():
            assert values[name][index].item() == pytest.approx(value, nan_ok=True), name
    assert values["si_sdr_db"].isnan().tolist() == [False, False, False, True]
    means = evaluate_pair(preds, target, RATE)
    for name, row in values.items():
        assert means[name] == pytest.approx(row.nanmean().item(), nan_ok=True), name
    with pytest.raises(ValueError, match="batch, channels, time"):
        evaluate_clips(preds[0], target[0], RATE)
    with pytest.raises(UserError, match="did you mean 'icpc'"):
        evaluate_clips(preds, target, RATE, ["icp"])


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_is_a_function_of_its_name(name: str, batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    function = getattr(metrics, name)
    assert function.__name__ == name and name in metrics.__all__ and function.__doc__
    preds, target = (x[:2] for x in batch)
    assert function(preds, target, RATE) == pytest.approx(METRICS[name](preds, target, RATE), nan_ok=True)


def test_the_bands_are_ten() -> None:
    assert len(OCTAVES) == 10 and set(OCTAVES) <= set(metrics.__all__)


def test_batches_add_up(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    twins = pytest.importorskip("ear_sat.metrics.twins", reason="needs torchmetrics")
    preds, target = batch
    collection = twins.pair_metrics(["si_sdr_db", "mel_distance"], sample_rate=RATE, prefix="val/")
    for part in (slice(0, 1), slice(1, 4)):
        collection.update(preds[part], target[part])
    expected = evaluate_pair(preds, target, RATE, ["si_sdr_db", "mel_distance"])
    assert {k: v.item() for k, v in collection.compute().items()} == {
        f"val/{name}": pytest.approx(value) for name, value in expected.items()
    }
    collection.reset()
    collection.update(preds[3:], target[3:])
    assert all(math.isnan(value) for value in collection.compute().values())
    assert (
        twins.PairMetric("icpc", RATE).higher_is_better and not twins.PairMetric("mel_distance", RATE).higher_is_better
    )
    with pytest.raises(UserError, match="did you mean 'snr_db'"):
        twins.PairMetric("snr", RATE)


def rank_mean(rank: int, folder: str) -> None:
    """One of two ranks: the mean over both."""
    import torch.distributed as distributed

    from ear_sat.metrics.twins import PairMetric

    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    target = torch.randn(3, 1, 8192, generator=torch.Generator().manual_seed(1))
    preds = target * torch.tensor([0.9, 0.5, 0.1])[:, None, None]
    metric = PairMetric("snr_db", RATE)
    metric.update(*((x[:1], x[1:])[rank] for x in (preds, target)))
    Path(folder, str(rank)).write_text(repr(metric.compute().item()))
    distributed.destroy_process_group()


def test_ranks_add_up(tmp_path: Path) -> None:
    pytest.importorskip("torchmetrics", reason="needs torchmetrics")
    torch.multiprocessing.spawn(rank_mean, (str(tmp_path),), nprocs=2)
    values = [float((tmp_path / str(rank)).read_text()) for rank in range(2)]
    expected = sum(-20 * math.log10(1 - gain) for gain in (0.9, 0.5, 0.1)) / 3
    assert values == pytest.approx([expected] * 2, rel=1e-4)
