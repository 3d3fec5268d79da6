"""One seed and one config give the same numbers under every host, Python and Lightning."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from host_test_configs import Recorder, batches, fit, make_wrapper, model_config

#: Written with stable-audio-tools 0.0.20, Python 3.13, Lightning 2.6.6 and torch 2.8.0; 0.0.19 on Python 3.11 with
#: Lightning 2.1 gives every digit of it.
GOLDEN = Path(__file__).parents[1] / "data" / "tiny_losses.json"


def test_four_rounds_give_the_known_losses():
    """Processors round differently: losses by 1e-6, norms of gradients by 4e-5, and later rounds build upon that."""
    torch.manual_seed(0)
    log = Recorder()
    fit(make_wrapper(model_config()), batches(4), logger=log)
    for key, values in json.loads(GOLDEN.read_text(encoding="utf-8")).items():
        for number, (got, expected) in enumerate(zip(log.series(key), values, strict=True)):
            tolerance = 1e-5 if number == 0 and "norm" not in key else 1e-3
            assert got == pytest.approx(expected, rel=tolerance, abs=1e-7), (key, number)
