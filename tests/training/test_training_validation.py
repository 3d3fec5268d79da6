"""The means of a validation: over its own clips, and over those where a metric is defined."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

pytest.importorskip("pytorch_lightning")

from ear_sat.metrics import snr_db
from ear_sat.training.validation import Validation

CPU = torch.device("cpu")


def clips(*errors: float) -> tuple[Tensor, Tensor]:
    """Estimates and targets of noise; the estimate of each clip is off by this much."""
    target = 0.1 * torch.randn(len(errors), 2, 4000, generator=torch.Generator().manual_seed(0))
    return target * (1 + torch.tensor(errors))[:, None, None], target


def test_every_clip_counts_once_whatever_its_batch() -> None:
    preds, target = clips(0.1, 0.01, 0.001)
    validation = Validation({"snr_db": {}}, 8000)
    validation.add(preds[:1], target[:1])
    validation.add(preds[1:], target[1:])
    assert validation.finish(CPU) == pytest.approx({"snr_db": (20 + 40 + 60) / 3}, abs=1e-3)


def test_the_estimate_is_the_estimate() -> None:
    preds, target = clips(1.0)
    validation = Validation({"snr_db": {}}, 8000)
    validation.add(preds, target)
    assert validation.finish(CPU)["snr_db"] == snr_db(preds, target, 8000) != snr_db(target, preds, 8000)


def test_a_clip_without_a_value_is_left_out() -> None:
    preds, target = clips(0.1, 0.1)
    target[1] = 0
    validation = Validation({"snr_db": {}, "icpc": {}}, 8000)
    validation.add(preds, target)
    assert validation.finish(CPU)["snr_db"] == pytest.approx(20, abs=1e-3)
    validation.add(preds[1:], target[1:])
    assert validation.finish(CPU) == {}


def test_each_validation_is_its_own() -> None:
    validation = Validation({"snr_db": {}}, 8000)
    for error, expected in ((0.1, 20), (0.01, 40)):
        validation.add(*clips(error))
        assert validation.finish(CPU) == pytest.approx({"snr_db": expected}, abs=1e-3)
