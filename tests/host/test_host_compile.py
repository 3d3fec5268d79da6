"""``--compile`` trains: whatever is differentiated twice, and whatever was compiled before."""

from __future__ import annotations

import functools
import json

import pytest
import torch
import torch._functorch.config as functorch_config
from host_test_configs import batches, changed, fit, make_wrapper, model_config, same, sgd

from ear_sat.host.jobs import HostBuilders
from ear_sat.training.run import job
from ear_sat.training.run.options import TrainOptions


@pytest.fixture
def compiled(monkeypatch):
    """Builds a wrapper as ``--compile`` does; its graphs are captured and differentiated, not made machine code."""
    monkeypatch.setattr(job, "can_compile", lambda _: True)
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))

    def build(config, accumulate):
        torch.manual_seed(0)
        options = TrainOptions(accelerator="cpu", compile=True, accum_batches=accumulate)
        return HostBuilders().job(json.loads(json.dumps(config)), options).wrapper

    default = {"donated_buffer": True} if hasattr(functorch_config, "donated_buffer") else {}
    with functorch_config.patch(default):  # to be found, and restored
        yield build
    torch.compiler.reset()


@pytest.mark.slow
@pytest.mark.parametrize(("update", "accumulate"), [("both", 1), ("alternate", 1), ("alternate", 2)])
def test_compiled_training_is_the_plain_one(compiled, update, accumulate):
    """The first round measures gradients, and which players are differentiated changes from round to round."""
    config = changed(model_config(sample="never"), "training.update", update)
    config = changed(config, "training.gradient_log_every", 2)
    config = changed(config, "training.optimizer_configs", {"autoencoder": sgd(1e-3), "discriminator": sgd(1e-2)})
    one, other = compiled(config, accumulate), make_wrapper(config)
    other.accumulate = accumulate
    start = {key: value.clone() for key, value in other.state_dict().items()}
    assert same(one.state_dict(), start)
    data = [(audio.double(), info) for audio, info in batches(3 * accumulate)]
    for wrapper in (one, other):
        fit(wrapper, data, precision="64-true")
        assert wrapper.rounds == 3
    # All is float64 but spectra and losses. Samples changed by parts of 2**-24, float32's rounding, moved the gradients
    # by up to 0.3 %, and the weights by up to 0.3 % of their way.
    assert one.last_output_gradients == pytest.approx(other.last_output_gradients, rel=0.02)
    state = other.state_dict()
    for key, value in one.state_dict().items():
        assert (value - state[key]).norm() <= 0.02 * (state[key] - start[key]).norm() + 1e-6, key
