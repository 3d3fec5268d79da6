"""Signals, spectra and bundles shared by the loss tests."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from ear_sat.losses import LOSS_TYPES, LossBundle

Noise = Callable[..., Tensor]


# --doctest-modules would collect this file as a module named "conftest", of which there is one per folder.
collect_ignore = ["conftest.py"]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def noise() -> Noise:
    """White noise (batch, channels, time), −20 dBFS RMS unless said: all bins far above the floor of −100 dBFS."""

    def make(batch: int = 2, channels: int = 2, time: int = 3000, level: float = 0.1) -> Tensor:
        return level * torch.randn(batch, channels, time)

    return make


@pytest.fixture
def every_term() -> dict[str, Any]:
    """Each of our types in each form and the host's time terms, all parts on, different weights."""
    windows = {"windows": [512, 128, 32]}
    return {
        "spectral": {
            "type": "ear_magnitude",
            "config": {**windows},
            "weights": {"log": 1.0, "convergence": 0.5, "contrast": 0.6, "linear": 2.0},
        },
        "correlation": {
            "type": "ear_correlation",
            "config": {**windows},
            "weights": {"correlation": 0.7, "complex": 0.8},
        },
        "derivative": {"type": "ear_phase_derivative", "config": {**windows}, "weights": {"if": 0.3, "gd": 0.4}},
        "adaptive": {
            "type": "ear_magnitude",
            "config": {**windows, "log_form": "adaptive"},
            "weights": {"log": 0.9},
        },
        "phasor": {
            "type": "ear_phase_derivative",
            "config": {**windows, "form": "phasor"},
            "weights": {"if": 0.2, "gd": 0.1},
        },
        "l1": {"type": "l1", "weights": {"l1": 10.0}},
        "l2": {"type": "l2", "weights": {"l2": 3.0}},
        # Entries of the same dict that are not reconstruction terms.
        "discriminator": {"type": "ear_mrstft", "weights": {"adversarial": 1.0}},
        "bottleneck": {"type": "kl", "weights": {"kl": 1e-6}},
    }


@pytest.fixture
def bundle(every_term: dict[str, Any]) -> LossBundle:
    return LossBundle.from_config(every_term, 44100)


@pytest.fixture
def single() -> Callable[..., LossBundle]:
    """A bundle of one entry named ``term``."""

    def make(kind: str, parts: str | list[str], sample_rate: int = 44100, **config: Any) -> LossBundle:
        weights = dict.fromkeys([parts] if isinstance(parts, str) else parts, 1.0)
        return LossBundle.from_config({"term": {"type": kind, "config": config, "weights": weights}}, sample_rate)

    return make


@pytest.fixture
def restored_types() -> Iterator[dict[str, Any]]:
    """The table of loss types, put back after the test."""
    before = dict(LOSS_TYPES)
    yield LOSS_TYPES
    LOSS_TYPES.clear()
    LOSS_TYPES.update(before)
