"""scripts/round_size.py, which computes what a round would need on a GPU."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    return importlib.import_module("round_size")


def test_a_product_costs_its_flops_and_a_sum_its_bytes(script):
    wide, tera = torch.ones(1000, 1000), {card: rate * 1e12 for card, (rate, _) in script.CARDS.items()}
    with script.Operations() as product:
        wide @ wide
    assert product.flops == 2 * 1000**3
    assert product.seconds == pytest.approx({card: 2 * 1000**3 / rate for card, rate in tera.items()})
    with script.Operations() as total:
        wide + wide  # one tensor is read, one is written
    assert total.flops == 0
    moved = {card: 2 * wide.nbytes / (giga * 1e9) for card, (_, giga) in script.CARDS.items()}
    assert total.seconds == pytest.approx(moved)


def test_writing_in_place_counts_both_ways_and_a_view_nothing(script):
    x = torch.ones(1000)
    with script.Operations() as counted:
        x.add_(1)
        x.view(10, 100)
    assert counted.seconds == pytest.approx(
        {card: 2 * x.nbytes / (giga * 1e9) for card, (_, giga) in script.CARDS.items()}
    )


def test_a_part_costs_its_own_bytes(script):
    x = torch.ones(8, 1000)
    with script.Operations() as whole:
        x + x
    with script.Operations() as parts:
        for part in x:
            part + part
    assert parts.seconds == pytest.approx(whole.seconds)


def test_the_line_goes_through_both_sizes(script):
    few, many = (script.Size(peak, flops, dict.fromkeys(script.CARDS, s)) for peak, flops, s in ((5, 2, 1), (9, 6, 3)))
    assert script.line((4, few), (8, many), 4) == few and script.line((4, few), (8, many), 8) == many
    assert script.line((4, few), (8, many), 16) == script.Size(17, 14, dict.fromkeys(script.CARDS, 7))


def test_a_round_counts_every_loss_and_no_checkpointing_that_is_not_asked_for(script):
    config = script.load_config("ear_vae_mini", script.MODEL)
    config["model"]["encoder"]["config"]["gradient_checkpointing"] = True
    plain = script.for_a_round(config)
    assert "phases" not in plain["training"] and "phases" in config["training"]
    assert plain["model"]["encoder"]["config"]["gradient_checkpointing"] is True
    assert plain["model"]["decoder"]["config"]["gradient_checkpointing"] is False


def test_memory_grows_with_the_batch_and_holds_the_weights(script):
    config = script.for_a_round(script.load_config("ear_vae_mini", script.MODEL))
    one, three = (script.measure(config, clips) for clips in (1, 3))
    weights = sum(p.nbytes for p in script.create(config, "cpu").parameters())
    assert one.peak > 3 * weights  # with gradients, or the graph, and the moments
    assert 2 < three.flops / one.flops < 3.1 and three.peak - one.peak > 2**20


def test_one_probe_is_refused():
    command = [sys.executable, SCRIPTS / "round_size.py", "--probes", "4", "4"]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    assert done.returncode == 1 and "two different numbers" in done.stderr and not done.stdout
