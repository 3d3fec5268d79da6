"""Balanced rounds: the entries' gradients have their shares, on every path of a run."""

from __future__ import annotations

import copy

import pytest
import torch
from host_test_configs import (
    ABSENT,
    Gradients,
    Recorder,
    Snapshots,
    audio,
    batches,
    changed,
    fit,
    make_wrapper,
    model_config,
    same,
    sgd,
)
from pytorch_lightning import plugins

from ear_sat import UserError
from ear_sat.training.round import OutputGradient

SHARES = {"time": 0.6, "correlation": 0.2, "discriminator": 0.2}
RESTING = {"autoencoder": sgd(1e-30), "discriminator": sgd(1e-30)}


def balanced(shares=None, every=1, **training):
    config = model_config(sample="never")
    section = {"type": "gradient", "every": every, "shares": SHARES if shares is None else shares}
    config["training"] |= {"balance": section, "optimizer_configs": RESTING, **training}
    return config


def entry_norms(row):
    """Norms of entries with one part."""
    norms = {key.removeprefix("train/output_gradient/"): value for key, value in row.items() if "output_grad" in key}
    return {key.split("/")[0]: value for key, value in norms.items() if key.split("/")[0] in ("time", "correlation")}


def rows_of(config, data):
    log = Recorder()
    fit(make_wrapper(config), data, logger=log)
    return [row for _, row in log.rows]


def test_the_next_round_has_the_shares_and_the_sum_that_was():
    shares = {"time": 0.75, "correlation": 0.25}
    before, after = rows_of(balanced(shares, gradient_log_every=1), batches(1) * 2)
    whole = sum(entry_norms(before).values())
    for name, share in shares.items():
        assert entry_norms(after)[name] == pytest.approx(share * whole, rel=1e-4)
        factor = after[f"train/balance/{name}"]
        assert factor == pytest.approx(entry_norms(after)[name] / entry_norms(before)[name], rel=1e-4)
        part = {"time": "l1"}.get(name, name)
        assert after[f"train/raw/{name}/{part}"] == pytest.approx(before[f"train/raw/{name}/{part}"])
        assert after[f"train/weighted/{name}/{part}"] == pytest.approx(factor * before[f"train/weighted/{name}/{part}"])
    assert not any("train/balance/" in key for key in before)
    # Entries without a share keep their weights.
    for key in ("magnitude/log", "discriminator/feature_matching", "bottleneck/kl"):
        assert after[f"train/weighted/{key}"] == pytest.approx(before[f"train/weighted/{key}"], rel=1e-5)


@pytest.mark.slow
def test_a_balanced_round_is_a_round_with_those_weights():
    config, data = balanced(every=100), batches(1) * 2
    rows = rows_of(config, data)
    losses = changed(config, "training.balance", ABSENT)["training"]["loss_configs"]
    for name in SHARES:
        factor = rows[1][f"train/balance/{name}"]
        losses[name]["weights"] = {key: factor * weight for key, weight in losses[name]["weights"].items()}
    runs = []
    for settings in (config, changed(changed(config, "training.balance", ABSENT), "training.loss_configs", losses)):
        gradients = Gradients()
        fit(make_wrapper(settings), data, gradients)
        runs.append((gradients.generator[1], gradients.discriminator[1]))
    for one, other in zip(*runs, strict=True):
        got, wanted = (torch.cat([player[name].flatten() for name in sorted(player)]) for player in (one, other))
        assert (got - wanted).norm() < 1e-4 * wanted.norm()


@pytest.mark.slow
def test_measuring_is_all_that_a_first_round_has_more():
    """Until there is a norm, the weights are the config's."""
    runs = []
    for config in (balanced(), changed(balanced(), "training.balance", ABSENT)):
        gradients = Gradients()
        fit(make_wrapper(config), batches(1), gradients)
        runs.append(torch.cat([g.flatten() for g in gradients.generator[0].values()]))
    assert (runs[0] - runs[1]).norm() < 1e-4 * runs[1].norm()


def test_a_resumed_run_goes_on_bit_for_bit():
    config = balanced(every=2, optimizer_configs={"autoencoder": sgd(1e-6), "discriminator": sgd(1e-4)})
    data, whole, rest = batches(5), Snapshots(), Snapshots()
    fit(make_wrapper(config), data, whole)
    assert whole.rounds == [0, 1, 2, 3, 4, 5] and whole.differs(3, 4, "autoencoder.")
    first = make_wrapper(config)
    fit(first, data[:3])
    checkpoint = {"state_dict": {key: value.clone() for key, value in first.state_dict().items()}}
    first.on_save_checkpoint(checkpoint)
    assert set(checkpoint["ear_sat"]["balance"]["sums"]) == set(SHARES)
    second = make_wrapper(config, seed=5)
    second.on_load_checkpoint(checkpoint)
    second.load_state_dict(checkpoint["state_dict"])
    fit(second, data[3:], rest)
    assert rest.rounds == [3, 4, 5] and same(rest.states[-1], whole.states[-1])


def test_phases_balance_the_entries_they_have():
    phases = [{"name": "a", "steps": 2, "losses": ["time", "correlation"]}, {"name": "b"}]
    rows = rows_of(balanced(every=100, phases=phases), batches(1) * 4)
    named = [{key.removeprefix("train/balance/") for key in row if "train/balance/" in key} for row in rows]
    # The discriminator's norm is measured in its first round.
    assert named == [set(), {"time", "correlation"}, {"time", "correlation"}, set(SHARES)]


@pytest.mark.slow
def test_alternating_rounds_balance_the_generators():
    rows = rows_of(balanced(every=1, update="alternate"), batches(4))
    assert ["train/balance/time" in row for row in rows] == [False, False, True, False]


def test_a_round_that_is_skipped_is_not_counted():
    wrapper, bad = make_wrapper(balanced()), batches(1)[0]
    bad[0][0, 0, 5] = float("nan")
    fit(wrapper, [bad])
    assert wrapper.balance.state_dict() == {"sums": {}, "last": None}


def test_norms_are_of_whole_entries():
    """Whether its parts come together or one after the other, as the members of a combined discriminator do."""
    output = torch.randn(2, 2, 64, requires_grad=True)
    terms = {"a/x": output.square().mean(), "a/y": (2 * output).abs().mean(), "b/z": output.sum()}
    (expected,) = torch.autograd.grad(terms["a/x"] + terms["a/y"], output, retain_graph=True)
    for groups in ([["a/x", "a/y", "b/z"]], [["a/x"], ["a/y", "b/z"]]):
        pull = OutputGradient(output, scale=8.0, factors={"a": 3.0}, weigh=["a"])
        for keys in groups:
            terms = {"a/x": output.square().mean(), "a/y": (2 * output).abs().mean(), "b/z": output.sum()}
            part = {key: terms[key] for key in keys}
            pull.add(part, part)
        assert pull.entry_norms() == pytest.approx({"a": expected.norm().item() * 128**0.5})
        torch.testing.assert_close(pull.total, 3 * expected + 1)


@pytest.mark.slow
def test_fp16_has_the_same_factors_whatever_its_scale():
    amp = getattr(plugins, "MixedPrecision", None) or plugins.MixedPrecisionPlugin  # its name before Lightning 2.2
    clips, found = [(audio(1, size=1024, seed=i), ()) for i in range(2)], []
    for scale in (1.0, 2.0**12):
        log = Recorder()
        plugin = amp("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=1000))
        fit(make_wrapper(balanced()), clips, logger=log, plugins=[plugin])
        found.append({key: value for key, value in log.rows[-1][1].items() if "train/balance/" in key})
    assert found[0].keys() == {f"train/balance/{name}" for name in SHARES}
    assert found[1] == pytest.approx(found[0], rel=0.02)


def test_it_belongs_to_our_own_wrapper():
    config = copy.deepcopy(balanced())
    del config["training"]["type"], config["training"]["gradient_log_every"], config["training"]["log_every"]
    with pytest.raises(UserError, match=r"training\.balance belongs to ear_sat's own wrapper"):
        make_wrapper(config)
