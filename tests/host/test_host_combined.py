"""Several discriminators as one: a round has their summed gradients, member by member, and checks its entry."""

from __future__ import annotations

import pytest
import torch
from host_test_configs import (
    DISCRIMINATOR,
    Gradients,
    Recorder,
    audio,
    batches,
    changed,
    fit,
    make_wrapper,
    model_config,
    same,
    sgd,
)

from ear_sat import UserError
from ear_sat.training.combined import members_of
from ear_sat.training.memory_plan import graph_bytes

ENTRY = "training.loss_configs.discriminator"
ENCODEC = {"filters": 4, "n_ffts": [128], "hop_lengths": [32], "win_lengths": [128]}
OURS = {"type": "ear_mrstft", "config": {**DISCRIMINATOR, "loss": "hinge"}, "weight": 0.5}
MEMBERS = [
    OURS,
    {"type": "encodec", "config": ENCODEC, "weight": 2.0},
    {**OURS, "config": DISCRIMINATOR, "weight": 1.0},
]
WEIGHTS = {"adversarial": 0.1, "feature_matching": 5.0}


def combined(members=None, **keys):
    entry = {"type": "combined", "config": {"discriminators": MEMBERS if members is None else members, **keys}}
    config = changed(model_config(sample="never"), ENTRY, {**entry, "weights": WEIGHTS})
    return changed(config, "training.optimizer_configs", {"autoencoder": sgd(), "discriminator": sgd()})


def vector(gradients):
    return torch.cat([gradients[name].flatten() for name in sorted(gradients)])


def assert_near(got, expected):
    assert got.keys() == expected.keys()
    assert (vector(got) - vector(expected)).norm() <= 1e-4 * vector(expected).norm()


def test_a_round_has_the_gradients_of_the_weighted_sum():
    wrapper, log, gradients = make_wrapper(combined()), Recorder(), Gradients()
    twin, data = make_wrapper(combined()), batches(1)
    model, judge = twin.autoencoder, twin.discriminator
    reals = data[0][0]
    latents, info = model.encode(reals, return_info=True)
    decoded = model.decode(latents)
    sums = judge.loss(reals=reals, fakes=decoded.detach())
    parts = [member.discriminator.loss(reals=reals, fakes=decoded.detach()) for member in judge.members]
    for i, total in enumerate(sums):
        assert total.item() == pytest.approx(
            sum(m["weight"] * p[i].item() for m, p in zip(MEMBERS, parts, strict=True))
        )
    sums.discriminator.backward()
    of_discriminator = {n: p.grad.clone() for n, p in judge.named_parameters() if p.grad is not None}
    _, adversarial, matching = judge.loss(reals=reals, fakes=decoded)
    (wrapper.bundle(decoded, reals).total + 0.1 * adversarial + 5 * matching + 1e-3 * info["kl"]).backward()
    fit(wrapper, data, gradients, logger=log)
    assert_near(gradients.discriminator[0], of_discriminator)
    assert_near(gradients.generator[0], {n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    (row,) = (row for _, row in log.rows)
    assert row["train/loss/discriminator"] == pytest.approx(sums.discriminator.item(), rel=1e-5)
    for name, member, part in zip(("ear_mrstft", "encodec", "ear_mrstft_2"), MEMBERS, parts, strict=True):
        assert row[f"train/loss/discriminator/{name}"] == pytest.approx(part[0].item(), rel=1e-5)
        raw = row[f"train/raw/discriminator/{name}/feature_matching"]
        assert raw == pytest.approx(part[2].item(), rel=1e-4)
        weighted = row[f"train/weighted/discriminator/{name}/feature_matching"]
        assert weighted == pytest.approx(5 * member["weight"] * raw)


def test_one_member_is_the_discriminator_by_itself():
    single = changed(combined(), ENTRY, {"type": "ear_mrstft", "config": DISCRIMINATOR, "weights": WEIGHTS})
    runs = []
    for config in (single, combined([{"type": "ear_mrstft", "config": DISCRIMINATOR}])):
        wrapper, gradients = make_wrapper(config), Gradients()
        fit(wrapper, batches(2), gradients)
        runs.append((gradients.generator, [vector(g) for g in gradients.discriminator]))
    assert same(*runs)


def test_only_one_members_graphs_live_at_a_time():
    one, three = (make_wrapper(combined([OURS] * n)) for n in (1, 3))
    alive, peaks = 0, []

    class Saved:
        def __init__(self, tensor):
            nonlocal alive
            self.tensor = tensor
            alive += tensor.nbytes
            peaks[-1] = max(peaks[-1], alive)

        def __del__(self):
            nonlocal alive
            alive -= self.tensor.nbytes

    for wrapper in (one, three):
        peaks.append(0)
        with torch.autograd.graph.saved_tensors_hooks(Saved, lambda item: item.tensor):
            fit(wrapper, batches(1))
    assert peaks[1] < 1.02 * peaks[0]
    # And that is what the plan for gradient checkpointing counts.
    plans = [graph_bytes(wrapper, wrapper.schedule.phases[0], 2, 2, 4096) for wrapper in (one, three)]
    assert plans[1] == pytest.approx(plans[0], rel=0.02)


def test_its_weights_go_through_a_checkpoint():
    wrapper, other = (make_wrapper(combined([OURS, OURS]), seed) for seed in (0, 1))
    state = dict(wrapper.state_dict())
    assert not same(dict(other.state_dict()), state)
    other.load_state_dict(state)
    assert same(dict(other.state_dict()), state)
    losses = [w.discriminator.loss(reals=audio(1), fakes=audio(1, seed=1)) for w in (wrapper, other)]
    assert same(*losses)
    assert [member.name for member in members_of(other.discriminator)] == ["ear_mrstft/", "ear_mrstft_2/"]


@pytest.mark.slow
def test_it_trains_in_the_hosts_own_wrapper():
    config = combined()
    losses = config["training"]["loss_configs"]
    sizes = {"fft_sizes": [64], "hop_sizes": [16], "win_lengths": [64]}
    spectral = {"type": "mrstft", "config": sizes, "weights": {"mrstft": 1.0}}  # 0.0.19 cannot do without these two
    time = {"type": "l1", "config": {}, "weights": {"l1": 1.0}}
    terms = {"spectral": spectral, "time": time, "magnitude": losses["magnitude"]}
    config["training"] = {"loss_configs": {"discriminator": losses["discriminator"], **terms}, "learning_rate": 1e-4}
    log = Recorder()
    wrapper = make_wrapper(config)
    assert type(wrapper.discriminator).__name__ == "CombinedDiscriminator"
    fit(wrapper, batches(2), logger=log, log_every_n_steps=1)
    assert log.series("train/discriminator_loss")[0] > 0


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ([], "must list the members"),
        ([{"type": "ear_mrstfd"}], r"discriminators\[0\] 'ear_mrstfd'; did you mean 'ear_mrstft'"),
        ([OURS, {"type": "dacc"}], r"discriminators\[1\] 'dacc'; did you mean 'dac'"),
        ([{"type": "ear_mrstft", "wieght": 1}], r"discriminators\[0\] 'wieght'; did you mean 'weight'"),
        ([{"type": "ear_mrstft", "config": {"filter": 1}}], r"discriminators\[0\]\.config 'filter'; did you mean"),
        ([{"type": "ear_mrstft", "weight": 0}], r"discriminators\[0\]\.weight must be a number above 0"),
        ([{"type": "combined", "config": {}}], "list its members beside the others"),
        ([3], "discriminators"),
        ({"type": "dac"}, "discriminators"),
    ],
)
def test_mistakes_are_named(members, words):
    with pytest.raises(UserError, match=words):
        make_wrapper(combined(members))


def test_misspelt_keys_beside_the_list_are_named():
    with pytest.raises(UserError, match="'discriminator'; did you mean 'discriminators'"):
        make_wrapper(changed(combined(), f"{ENTRY}.config", {"discriminator": MEMBERS}))
    with pytest.raises(UserError, match="unknown discriminator type 'combind'; did you mean 'combined'"):
        make_wrapper(changed(combined(), f"{ENTRY}.type", "combind"))
