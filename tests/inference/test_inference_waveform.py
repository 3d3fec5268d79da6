"""Reconstruction of waveforms in memory: exact length, alignment, channels, draws, chunks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import soxr
import torch

from ear_sat.errors import UserError
from ear_sat.models import Autoencoder, Decoder, Encoder, VAEBottleneck, reconstruct_blocks

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same'")

LENGTHS = [1, 2, 3, 7, 8, 9, 100, 1001, 4410, 30_001]


def music(length: int, channels: int = 2, rate: int = 44100) -> torch.Tensor:
    """Sines between 50 Hz and 3 kHz, faded in and out, so that every resampler passes them."""
    time = np.arange(length) / rate
    fade = np.sin(np.pi * np.linspace(0, 1, length)) ** 2
    tones = [sum(np.sin(2 * np.pi * f * time + c) for f in (50, 440, 3000)) / 6 for c in range(channels)]
    return torch.from_numpy(np.stack(tones) * fade).float()


@pytest.mark.parametrize("length", LENGTHS)
def test_reconstruction_is_the_forward_pass(length: int, tiny_model: Autoencoder) -> None:
    audio = torch.randn(2, length)
    whole = tiny_model(audio[None])[0]
    bound = 1e-6 * max(1.0, whole.abs().max().item())
    for seconds in (None, 6.0, 0.01):
        result = tiny_model.reconstruct(audio, 44100, chunk_seconds=seconds)
        assert result.shape == (2, length)
        assert (result - whole).abs().max() <= bound


@pytest.mark.parametrize("strides", [(3, 5), (7,), (5, 1, 3)])
@pytest.mark.parametrize("nearest", [False, True])
def test_odd_strides_keep_the_length(strides: tuple[int, ...], nearest: bool) -> None:
    torch.manual_seed(0)
    mults, hop = [1] * len(strides), math.prod(strides)
    encoder = Encoder(2, 3, mults, strides, latent_dim=8)
    decoder = Decoder(2, 3, mults, strides, latent_dim=4, use_nearest_upsample=nearest)
    model = Autoencoder(encoder, decoder, VAEBottleneck(), 4, hop, 44100).eval()
    for length in (1, hop - 1, hop, hop + 1, 2 * hop, 10 * hop - 3, 1000):
        audio = torch.randn(2, length)
        whole = model.reconstruct(audio, 44100, chunk_seconds=None)
        assert whole.shape == (2, length)
        chunked = model.reconstruct(audio, 44100, chunk_seconds=7 * hop / 44100)
        assert (chunked - whole).abs().max() <= 1e-6 * max(1.0, whole.abs().max().item())
    # The forward pass does with a frame less, which shows in its last samples only.
    forward = model(audio[None])[0]
    assert (forward - whole[:, : forward.shape[-1]])[:, :200].abs().max() < 1e-6


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 32000, 44100, 44101, 48000, 96000, 192000])
@pytest.mark.parametrize("hop", [4, 1])
def test_every_rate_and_length_gives_as_many_samples(rate: int, hop: int, identity_model: Any) -> None:
    model = identity_model(hop=hop)
    for length in [*range(1, 40), 441, 480, 999, 12_345]:
        assert model.reconstruct(torch.randn(2, length), rate).shape == (2, length)


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 44101, 48000, 96000])
def test_a_model_that_changes_nothing_gives_back_the_input(rate: int, identity_model: Any) -> None:
    audio = music(rate // 2, rate=rate)
    result = identity_model().reconstruct(audio, rate, chunk_seconds=0.1)
    # Aligned far beyond a sample: a thousandth of one at 44.1 kHz would already cost 7e-5 at 3 kHz.
    assert (result - audio).abs().max() < (1e-7 if rate == 44100 else 5e-5)


def test_other_rates_are_resampled_there_and_back(tiny_model: Autoencoder) -> None:
    audio = music(24_001, rate=48000)
    there = soxr.resample(audio.T.numpy(), 48000, 44100, "VHQ")
    at_model_rate = tiny_model.reconstruct(torch.from_numpy(there).T, 44100)
    back = torch.from_numpy(soxr.resample(at_model_rate.T.numpy(), 44100, 48000, "VHQ")).T
    result = tiny_model.reconstruct(audio, 48000)
    # The last milliseconds differ: the reconstruction goes on past the end there.
    assert (result - back)[:, :-100].abs().max() < 1e-3
    assert (result - back)[:, :-2000].abs().max() < 1e-5


@pytest.mark.parametrize("sizes", [1, 777, 100_000])
@torch.no_grad()
def test_blocks_make_no_difference(sizes: int, tiny_model: Autoencoder) -> None:
    audio = torch.randn(1, 2, 3001)
    expected = tiny_model.reconstruct(audio, 48000)
    blocks = list(reconstruct_blocks(tiny_model, audio.split(sizes, -1), 48000, chunk_seconds=0.01, batch_size=3))
    assert (torch.cat(blocks, -1) - expected).abs().max() < 1e-6


def test_mono_stays_mono(tiny_model: Autoencoder) -> None:
    audio = torch.randn(1, 1000)
    stereo = tiny_model.reconstruct(audio.expand(2, -1), 44100)
    mono = tiny_model.reconstruct(audio, 44100)
    assert mono.shape == (1, 1000)
    torch.testing.assert_close(mono[0], stereo.mean(0))


def test_a_mono_model_takes_each_channel_by_itself(identity_model: Any) -> None:
    audio = music(2001)
    assert (identity_model(channels=1).reconstruct(audio, 44100) - audio).abs().max() < 1e-7


def test_batches(tiny_model: Autoencoder) -> None:
    audio = torch.randn(3, 2, 500)
    together = tiny_model.reconstruct(audio, 48000)
    assert together.shape == audio.shape
    for item, result in zip(audio, together, strict=True):
        torch.testing.assert_close(tiny_model.reconstruct(item, 48000), result, atol=1e-6, rtol=0)
    mono = tiny_model.reconstruct(audio[:, :1], 44100)
    torch.testing.assert_close(mono[1], tiny_model.reconstruct(audio[1, :1], 44100), atol=1e-6, rtol=0)


def test_draws_depend_on_the_seed_only(identity_model: Any) -> None:
    model, silence = identity_model(std=0.1), torch.zeros(2, 20_000)
    assert torch.equal(model.reconstruct(silence, 44100), silence)  # the mean
    draw = model.reconstruct(silence, 44100, sample=True, seed=3)
    assert draw.std().item() == pytest.approx(0.1, rel=0.02)
    for seconds in (None, 0.005, 0.1):
        assert torch.equal(model.reconstruct(silence, 44100, sample=True, seed=3, chunk_seconds=seconds), draw)
    other = model.reconstruct(silence, 44100, sample=True, seed=4)
    assert abs(np.corrcoef(draw.flatten(), other.flatten())[0, 1]) < 0.03
    torch.manual_seed(1)
    first = model.reconstruct(silence, 44100, sample=True)
    assert not torch.equal(model.reconstruct(silence, 44100, sample=True), first)


@pytest.mark.parametrize("mode", ["always", "training", "never"])
def test_the_bottlenecks_mode_does_not_matter(mode: str, identity_model: Any) -> None:
    model, audio = identity_model(std=0.1), music(1000)
    model.bottleneck.sample = mode
    assert torch.equal(model.reconstruct(audio, 44100), audio)
    assert not torch.equal(model.reconstruct(audio, 44100, sample=True, seed=0), audio)


def test_limited_attention_is_close_where_it_sees_enough(tiny_model: Autoencoder) -> None:
    audio = torch.randn(2, 4000)
    whole = tiny_model.reconstruct(audio, 44100)
    assert torch.equal(tiny_model.reconstruct(audio, 44100, attention_seconds=1), whole)
    limited = tiny_model.reconstruct(audio, 44100, attention_seconds=0.01)
    assert 0 < (limited - whole).abs().max() < whole.abs().max()


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64, torch.bfloat16])
def test_type_and_shape_come_back(dtype: torch.dtype, tiny_model: Autoencoder) -> None:
    audio = torch.randn(2, 100).to(dtype)
    result = tiny_model.reconstruct(audio, 48000)
    assert (result.dtype, result.shape) == (dtype, audio.shape)
    assert not result.requires_grad


def test_models_in_other_types(identity_model: Any) -> None:
    audio = music(1000)
    assert (identity_model().double().reconstruct(audio, 44100) - audio).abs().max() == 0
    assert (identity_model().bfloat16().reconstruct(audio, 44100) - audio).abs().max() < 2**-8


@pytest.mark.parametrize("shape", [(2, 0), (0, 2, 10), (1, 1, 0)])
def test_nothing_gives_nothing(shape: tuple[int, ...], tiny_model: Autoencoder) -> None:
    assert tiny_model.reconstruct(torch.zeros(shape), 44100).shape == shape


def test_no_blocks_are_an_error(tiny_model: Autoencoder) -> None:
    with pytest.raises(UserError, match="no audio to reconstruct"):
        next(reconstruct_blocks(tiny_model, [], 48000))


@pytest.mark.parametrize(
    ("waveform", "options", "message"),
    [
        (torch.zeros(100), {}, r"got \(100,\)"),
        (torch.zeros(1, 1, 2, 100), {}, "channels, time"),
        (torch.zeros(2, 100, dtype=torch.int16), {}, "torch.int16"),
        (torch.zeros(100, 3), {}, "not of 100 channels"),
        (torch.full((2, 10), torch.nan), {}, "NaN or infinite"),
        (torch.full((2, 10), torch.inf), {}, "NaN or infinite"),
        (torch.zeros(2, 10), {"chunk_seconds": 0}, "chunk_seconds must be a number of seconds above 0"),
        (torch.zeros(2, 10), {"chunk_seconds": float("nan")}, "chunk_seconds must be a number of seconds above 0"),
        (torch.zeros(2, 10), {"attention_seconds": -1}, "attention_seconds must be a number of seconds above 0"),
        (torch.zeros(2, 10), {"sample_rate": 0}, "sample_rate must be a number of Hz of at least 1"),
    ],
)
def test_errors_say_what_to_mend(waveform: Any, options: Any, message: str, tiny_model: Autoencoder) -> None:
    with pytest.raises(UserError, match=message):
        tiny_model.reconstruct(waveform, **{"sample_rate": 44100, **options})


def test_preparing_audio_is_the_hosts(tiny_model: Autoencoder) -> None:
    audio_list = [torch.randn(1, 1001), torch.randn(2, 700), torch.randn(5, 20), torch.randn(33), torch.randn(1, 2, 9)]
    batch = tiny_model.preprocess_audio_list_for_encoder(audio_list, 44100)
    assert batch.shape == (5, 2, 1008)
    assert torch.equal(batch[0, :, :1001], audio_list[0].expand(2, -1)) and not batch[0, :, 1001:].any()
    assert torch.equal(batch[2, :, :20], audio_list[2][:2])
    single = tiny_model.preprocess_audio_for_encoder(audio_list[1], 48000)
    assert single.shape == (1, 2, 648)  # ⌈700 · 44100 / 48000⌉ = 644, on to a multiple of 8
    with pytest.raises(UserError, match="a sample rate for each; got 5 and 2"):
        tiny_model.preprocess_audio_list_for_encoder(audio_list, [44100, 48000])
    with pytest.raises(UserError, match=r"not \(2, 1, 9\)"):
        tiny_model.preprocess_audio_for_encoder(torch.zeros(2, 1, 9), 44100)
