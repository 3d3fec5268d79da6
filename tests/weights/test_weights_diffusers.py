"""Oobleck models in diffusers' layout are the same there; every other one is refused with the reason."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from weights_test_models import config_of, model_of

from ear_sat import UserError
from ear_sat.weights import config_metadata, write_weights
from ear_sat.weights.diffusers_layout import diffusers_layout


@pytest.mark.slow  # for importing diffusers
@pytest.mark.parametrize("channels", [1, 2])
@torch.no_grad()
def test_the_same_in_diffusers(channels: int, tmp_path: Path, command: Callable[..., Any]) -> None:
    diffusers = pytest.importorskip("diffusers", reason="needs diffusers, which only this does")
    config = config_of(
        strides=[2, 3, 4],
        c_mults=[1, 2, 2],
        channels=16,
        latent=8,
        in_channels=channels,
        out_channels=channels,
        sample_rate=48000,
    )
    model = model_of(config).eval()
    write_weights(model.state_dict(), tmp_path / "a.ckpt", metadata=config_metadata(config))
    assert command("export", tmp_path / "a.ckpt", tmp_path / "theirs", "--format", "diffusers").code == 0
    theirs = diffusers.AutoencoderOobleck.from_pretrained(tmp_path / "theirs", low_cpu_mem_usage=False)
    assert theirs.config.sampling_rate == 48000 and theirs.hop_length == 24
    audio = 0.3 * torch.randn(2, channels, 24 * 20)
    posterior = theirs.encode(audio).latent_dist
    latents, info = model.encode(audio, return_info=True)
    torch.testing.assert_close(posterior.mean, info["mean"], rtol=0, atol=1e-5)
    torch.testing.assert_close(posterior.std, info["std"] + 1e-4, rtol=0, atol=1e-5)
    torch.testing.assert_close(theirs.decode(latents).sample, model.decode(latents), rtol=0, atol=1e-5)


PLAIN: dict[str, Any] = {"channels": 64}
REFUSED = {
    "its decoder has a transformer": {"transformer": {"depth": 1}},
    "its activations are antialiased": {"decoder": {"antialias_activation": True}},
    "its activations are ELU": {"encoder": {"use_snake": False}},
    "final_tanh": {"decoder": {"final_tanh": True}},
    "soft_clip": {"soft_clip": True},
    "use_nearest_upsample": {"decoder": {"use_nearest_upsample": True}},
    "biases elsewhere": {"encoder": {"bias": False}},
    "which are 16 here, where 32 latent channels need 64": {"channels": 16},
    "1 audio channels in and 2 out": {"in_channels": 1},
    "differ in their c_mults or strides": {"decoder": {"strides": [4, 2]}},
}


@pytest.mark.parametrize("reason", REFUSED)
def test_the_reason_is_named(reason: str) -> None:
    config = config_of(**{**PLAIN, **REFUSED[reason]})
    with pytest.raises(
        UserError,
        match=f"^diffusers' AutoencoderOobleck cannot be this model: .*{re.escape(reason)}.*; choose another --format$",
    ):
        diffusers_layout(model_of(config))


def test_a_plain_one_is_not_refused_and_nothing_is_half_written(tmp_path: Path, command: Callable[..., Any]) -> None:
    layout, state = diffusers_layout(model_of(config_of(**PLAIN)))
    assert layout["downsampling_ratios"] == [2, 4] and layout["channel_multiples"] == [1, 2]
    assert state["encoder.block.0.res_unit1.snake1.alpha"].shape == (1, 64, 1)
    config = config_of(transformer={"depth": 1}, **PLAIN)
    write_weights(model_of(config).state_dict(), tmp_path / "a.ckpt", metadata=config_metadata(config))
    result = command("export", tmp_path / "a.ckpt", tmp_path / "theirs", "--format", "diffusers")
    assert result.code == 1 and "has a transformer" in result.err and not (tmp_path / "theirs").exists()
