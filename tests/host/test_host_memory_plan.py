"""``"gradient_checkpointing": "auto"``: what a round keeps is measured well, and the decision changes no number."""

from __future__ import annotations

import math
import weakref
from unittest import mock

import pytest
import torch
from host_test_configs import SIZE, Recorder, audio, batches, changed, fit, make_wrapper, model_config, same
from torch import nn

from ear_sat.models.layers import WNConv2d
from ear_sat.training import memory_plan
from ear_sat.training import round as training_round
from ear_sat.training import wrapper as host_wrapper
from ear_sat.training.memory_plan import Ledger, graph_bytes

PARTS = ("encoder", "decoder")


def config_with(value, sample="training"):
    config = model_config(sample=sample)
    for part in PARTS:
        config = changed(config, f"model.{part}.config.gradient_checkpointing", value)
    return config


def chosen(wrapper):
    return [getattr(wrapper.autoencoder, part).gradient_checkpointing for part in PARTS]


def estimate(wrapper, reals, phase=None):
    return graph_bytes(wrapper, phase or wrapper.schedule.phases[0], *reals.shape)


def kept_in_a_round(wrapper, reals):
    """Bytes that autograd saves at once in a round of training on the whole batch.

    All storages count that are ever saved, so the graph over the real audio stands for its features, which stay.
    """
    ledger, steps = Ledger([*wrapper.parameters(), *wrapper.buffers()]), []
    one_batch, one_pass = host_wrapper.add_gradients, training_round.adversarial_pass

    def counted(*args, **kwargs):
        with ledger.open():
            return one_batch(*args, **kwargs)

    def judged(*args, **kwargs):
        steps.append(ledger.bytes)
        return one_pass(*args, **kwargs)

    wrapper._planned = True
    wrapper.autoencoder.decoder.register_forward_hook(lambda *_: steps.append(ledger.bytes))
    with (
        mock.patch.object(host_wrapper, "add_gradients", counted),
        mock.patch.object(training_round, "adversarial_pass", judged),
    ):
        fit(wrapper, [(reals, ())])
    generator, losses = steps
    return generator + max(losses - generator, ledger.bytes - losses)


@pytest.mark.parametrize(("batch", "size"), [(1, SIZE), (3, SIZE), (2, 24 * 1024)])
def test_estimate_is_what_the_whole_batch_keeps(batch, size):
    wrapper = make_wrapper(config_with("auto"))
    reals = audio(batch, size=size)
    # Frames at the ends of the short clips count too often: on the safe side.
    assert 0.99 < estimate(wrapper, reals) / kept_in_a_round(wrapper, reals) < 1.05


def test_a_frozen_part_keeps_nothing():
    whole, reals = make_wrapper(config_with("auto")), audio(2)
    frozen = make_wrapper(changed(config_with("auto"), "model.encoder.requires_grad", False))
    needs = [estimate(wrapper, reals) for wrapper in (whole, frozen)]
    assert needs[1] == pytest.approx(kept_in_a_round(frozen, reals), rel=0.05) and needs[1] < 0.9 * needs[0]


def test_a_phase_without_the_generator_keeps_the_discriminators_graph_only():
    config = config_with("auto")
    config["training"]["phases"] = [
        {"generator": False, "losses": ["discriminator"], "steps": 1},
        {"adversarial": False, "losses": ["time"]},
    ]
    wrapper, reals = make_wrapper(config), audio(2)
    alone, together = (estimate(wrapper, reals, phase) for phase in wrapper.schedule.phases)
    assert alone > 0 and together > 0
    for module in wrapper.autoencoder.parameters():
        module.requires_grad_(False)
    assert estimate(wrapper, reals, wrapper.schedule.phases[0]) == alone
    assert estimate(wrapper, reals, wrapper.schedule.phases[1]) < 0.1 * together
    # The plan is for the hungriest phase that is still to come.
    assert memory_plan._phases_ahead(wrapper) == list(wrapper.schedule.phases)
    wrapper.rounds = 1
    assert memory_plan._phases_ahead(wrapper) == [wrapper.schedule.phases[1]]


def test_half_precision_keeps_about_half_of_what_it_rounds():
    config = config_with("auto")
    config["training"]["phases"] = [{"adversarial": False, "losses": ["time"]}]  # next to nothing but the generator
    wrapper, reals = make_wrapper(config), audio(4, size=24 * 1024)
    plain = estimate(wrapper, reals)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        spared = estimate(wrapper, reals)
        wrapper.autoencoder.decoder.unrounded_layers = 0
        half = estimate(wrapper, reals)
    assert half == pytest.approx(plain / 2, rel=0.2)
    # The decoder's last block, of two at most, is kept in float32.
    assert half < spared < 0.75 * plain


def run(config, monkeypatch, room=math.inf, data=None, **options):
    """[state, rows of the log] of three rounds with ``room`` bytes free."""
    monkeypatch.setattr(memory_plan, "free_memory", lambda device, sharing: room)
    wrapper, log = make_wrapper(config), Recorder()
    torch.manual_seed(3)
    fit(wrapper, data or batches(3), logger=log, **options)
    return wrapper, {key: value.clone() for key, value in wrapper.state_dict().items()}, log.rows


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_auto_changes_no_bit(precision, monkeypatch, capsys):
    """Neither where it stays off, nor where it turns on; the bottleneck draws noise."""
    _, state, rows = run(config_with(False), monkeypatch, precision=precision)
    assert "checkpointing" not in capsys.readouterr().out
    for room, expected in ((math.inf, [False, False]), (0.0, [True, True])):
        wrapper, other, other_rows = run(config_with("auto"), monkeypatch, room, precision=precision)
        assert chosen(wrapper) == expected
        assert same(state, other) and same(rows, other_rows)
        assert capsys.readouterr().out.count("gradient checkpointing o") == 1


def test_memory_decides(monkeypatch, capsys):
    config, data = config_with("auto"), batches(1)
    need = []
    monkeypatch.setattr(memory_plan, "describe", lambda *given: need.append(given[0]) or "")
    run(config, monkeypatch, data=data)
    monkeypatch.undo()
    for room, expected, line in (
        (need[0] / memory_plan.USABLE + 1, False, "off: a round needs about "),
        (need[0] / memory_plan.USABLE - 1, True, "on: a round would need about "),
    ):
        capsys.readouterr()
        wrapper, *_ = run(config, monkeypatch, room, data)
        assert chosen(wrapper) == [expected, expected]
        said = capsys.readouterr().out
        assert line in said and ("use a smaller --batch-size" in said) == expected
    # What a config says for itself stays.
    mixed = changed(config, "model.encoder.config.gradient_checkpointing", False)
    assert chosen(run(mixed, monkeypatch, 0.0, data)[0]) == [False, True]


def test_need_counts_gradients_and_moments(monkeypatch):
    wrapper, *_ = run(config_with(False), monkeypatch, data=batches(1))
    parameters = sum(p.nbytes for player in (wrapper.autoencoder, wrapper.discriminator) for p in player.parameters())
    # After a round Adam's moments exist and the gradients are gone.
    assert memory_plan._gradients_and_moments(wrapper) == parameters
    for optimizer in wrapper.trainer.optimizers:
        optimizer.state.clear()
    assert memory_plan._gradients_and_moments(wrapper) == 3 * parameters


class Counting(nn.Module):
    """A part whose state changes with every forward pass in training, as batch normalisation's does."""

    def __init__(self, part):
        super().__init__()
        self.part = part
        self.register_buffer("passes", torch.zeros(()))

    def forward(self, z):
        self.passes += 1
        return self.part(z)


def test_measuring_leaves_no_trace():
    wrapper = make_wrapper(config_with("auto"))
    wrapper.autoencoder.decoder = Counting(wrapper.autoencoder.decoder)
    phases = changed(config_with("auto"), "training.phases", [{"generator": False}])
    phase = make_wrapper(phases).schedule.phases[0]
    before = {key: value.clone() for key, value in wrapper.state_dict().items()}
    modes = [module.training for module in wrapper.modules()]
    random = torch.get_rng_state()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for kind in (wrapper.schedule.phases[0], phase):
            graph_bytes(wrapper, kind, 2, 2, SIZE)
        assert torch.equal(torch.get_rng_state(), random)
        assert all(p.grad is None for p in wrapper.parameters())
        # Autocast holds no copies of weights that were made without gradient.
        wrapper.autoencoder.encode(audio(2)).sum().backward()
    assert all(p.grad is not None for p in wrapper.autoencoder.encoder.parameters())
    assert same(before, dict(wrapper.state_dict()))
    assert modes == [module.training for module in wrapper.modules()]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in wrapper.modules())


def test_measuring_frees_its_memory():
    """An operation that keeps its own output must not hold itself."""
    wrapper = make_wrapper(config_with("auto"))
    alive = []

    def watch(_, inputs, output):
        alive.append(weakref.ref(output.untyped_storage()))

    for module in wrapper.modules():
        if isinstance(module, WNConv2d):  # followed by an activation in place, which saves its output
            module.register_forward_hook(watch)
    estimate(wrapper, audio(1))
    assert alive and all(reference() is None for reference in alive)
