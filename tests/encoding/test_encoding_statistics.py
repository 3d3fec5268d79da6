"""Statistics equal numpy's over all frames, however they arrive."""

import numpy as np
import pytest
import torch
from encoding_test_model import HOP, LATENT, RATE, SIZE, noise
from torch import nn

import ear_sat
from ear_sat.data import UnusableFileError
from ear_sat.data.windows import Source, Window, WindowSet, open_windows
from ear_sat.encoding import Moments, kl_per_channel, latent_stats, measure_latents
from ear_sat.encoding.model_file import read_model
from ear_sat.encoding.stream import READERS
from ear_sat.errors import UserError
from ear_sat.models import kl_divergence


def accumulate(values, sizes):
    moments = Moments(values.shape[0])
    for chunk in torch.split(values, sizes, dim=1):
        moments.update(chunk)
    return moments


def test_moments_are_numpys_for_any_cut_and_order():
    values = torch.from_numpy(np.random.default_rng(0).normal(3, 2, (5, 1000)))
    whole = accumulate(values, [1000])
    assert np.allclose(whole.mean, values.mean(1), rtol=1e-14)
    assert np.allclose(whole.variance, values.var(1, correction=0), rtol=1e-13)
    assert whole.overall() == pytest.approx((values.mean().item(), values.std(correction=0).item()), rel=1e-13)
    for other in (accumulate(values, [1, 0, 3, 700, 296]), accumulate(values[:, torch.randperm(1000)], [250] * 4)):
        assert other.count == 1000
        assert np.allclose(other.mean, whole.mean, rtol=1e-12) and np.allclose(
            other.variance, whole.variance, rtol=1e-12
        )


def test_a_large_offset_costs_no_accuracy():
    values = torch.from_numpy(1e6 + np.random.default_rng(0).normal(0, 1e-2, (1, 100_000)))
    # The mean of squares minus the square of the mean has an error of about 1e12 · 2^-53 = 1e-4 here: as large as this.
    assert accumulate(values, [1000] * 100).variance[0] == pytest.approx(np.var(values.numpy()), rel=1e-6)


def test_nothing_merges_to_nothing():
    empty = Moments(2)
    empty.merge(Moments(2))
    empty.update(torch.zeros(2, 0))
    assert empty.count == 0 and np.isnan(empty.variance).all()


def test_kl_of_the_channels_sums_to_the_models():
    mean, std = torch.randn(8, 50), torch.rand(8, 50) + 0.01
    assert kl_per_channel(mean, std).sum(0).mean().item() == pytest.approx(kl_divergence(mean[None], std[None]).item())
    # The standard normal costs nothing: (1 + 1e-6) − ln(1 + 1e-6) − 1 ≈ 5e-13
    assert kl_per_channel(torch.zeros(1, 1), torch.ones(1, 1)).item() == pytest.approx(0, abs=1e-12)


@pytest.fixture
def direct(weights, music):
    """Posterior means, deviations and masks of all windows, encoded one by one."""
    model = ear_sat.load_autoencoder(weights)
    windows = open_windows(music, SIZE, RATE)
    found = []
    with torch.no_grad():
        for window in windows.windows:
            audio, info = windows.read(window)
            _, posterior = model.encode(audio[None], return_info=True)
            inside = info["padding_mask"][::HOP].bool()
            found.append((posterior["mean"][0][:, inside], posterior["std"][0][:, inside]))
    return [torch.cat(parts, dim=1).double() for parts in zip(*found, strict=True)]


@pytest.mark.parametrize("batch_size", [1, 3])
def test_figures_are_those_of_the_frames_inside_the_files(weights, music, direct, batch_size):
    stats, record = latent_stats(weights, music, sample_size=SIZE, device="cpu", batch_size=batch_size, progress=False)
    means, stds = direct
    assert stats.frames == means.shape[1] == (5 * SIZE // 2 + SIZE) // HOP + -(-(SIZE // 10) // HOP)
    assert stats.windows == 5 and stats.seconds == pytest.approx((3.5 * SIZE + SIZE // 10) / RATE)
    assert np.allclose(stats.mean, means.mean(1), atol=1e-6)
    assert np.allclose(stats.std, means.std(1, correction=0), rtol=1e-4)
    assert np.allclose(stats.posterior_std, stds.mean(1), rtol=1e-4)
    assert stats.kl.sum() == pytest.approx(kl_divergence(means[None], stds[None]).item(), rel=1e-4)
    assert stats.overall_mean == pytest.approx(means.mean().item(), rel=1e-4)
    # What the scale is for: divided by it, the latents have the standard deviation 1.
    assert (means / stats.scale).std(correction=0).item() == pytest.approx(1, rel=1e-4)
    assert record["scale"] == record["std"] == stats.scale and len(record["channels"]) == LATENT
    assert record["weights"]["file"] == weights.name and record["sample_size"] == SIZE


def test_padding_does_not_count(weights, write, tmp_path):
    write("a.wav", noise(SIZE, seed=1))
    write("b.wav", noise(10 * HOP, seed=2))
    config = {"dataset_type": "ear_audio", "datasets": [{"path": str(tmp_path / "music")}]}
    narrow = latent_stats(weights, config, sample_size=2 * SIZE, device="cpu", progress=False)[0]
    wide = latent_stats(weights, config, sample_size=16 * SIZE, device="cpu", progress=False)[0]
    assert narrow.frames == wide.frames == SIZE // HOP + 10
    assert np.allclose(narrow.mean, wide.mean, atol=1e-6) and np.allclose(narrow.kl, wide.kl, atol=1e-5)


class Posterior(nn.Module):
    """Channel 0 is a loud signal, channel 1 constant, channel 2 varies by just less and channel 3 by more than 0.01."""

    latent_dim, downsampling_ratio = 4, HOP

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def encode(self, audio, return_info):
        signs = 1 - 2 * (torch.arange(audio.shape[-1] // HOP) % 2)
        mean = torch.stack([5.0 * signs, 0 * signs + 2, 0.0999 * signs, 0.1001 * signs])
        mean = mean.expand(len(audio), -1, -1)
        return mean, {"mean": mean, "std": torch.full_like(mean, 0.5)}


def test_constant_channels_are_dead(music):
    windows = open_windows({**music, "split": "all"}, SIZE, RATE)
    windows = windows.select(windows.windows[:2])  # whole ones, so every sign occurs as often
    stats = measure_latents(Posterior(), windows)
    assert stats.dead.tolist() == [False, True, True, False] and stats.std[1] == 0
    assert stats.to_json()["dead_share"] == 0.5
    assert measure_latents(Posterior(), windows, dead_below=30).dead.all()
    # Channel 1 has no deviation of its own, but lies apart from the others.
    values = np.array([5, -5, 2, 2, 0.0999, -0.0999, 0.1001, -0.1001])
    assert stats.scale == pytest.approx(values.std(), rel=1e-6)


def test_a_limit_is_a_seeded_choice(weights, music):
    def means(**keys):
        return latent_stats(weights, music, sample_size=HOP, device="cpu", progress=False, **keys)[0]

    some = means(limit=20)
    assert some.windows == 20 and np.array_equal(some.mean, means(limit=20).mean)
    assert not np.array_equal(some.mean, means(limit=20, seed=1).mean)
    assert means(limit=10**6).windows == -(-5 * SIZE // 2 // HOP) + SIZE // HOP + 13


def test_bad_windows_are_listed_and_none_is_an_error(weights, write, music):
    audio = noise(SIZE)
    audio[5] = np.inf
    path = str(write("z.wav", audio))
    stats, record = latent_stats(weights, music, sample_size=SIZE, device="cpu", progress=False)
    assert stats.windows == 5 and list(stats.bad_files) == [path] and record["bad_files"] == stats.bad_files
    for key, value in (("limit", 0), ("batch_size", 0), ("seed", -1), ("dead_below", float("nan")), ("sample_rate", 0)):
        with pytest.raises(UserError, match="at least"):
            latent_stats(weights, music, sample_size=SIZE, device="cpu", **{key: value})


@pytest.mark.parametrize("batch_size", [1, 3])
def test_after_its_first_failure_a_file_is_left_alone(weights, batch_size):
    """A search through a damaged file may cost as much for each window as decoding all of it."""
    tried = []

    def read(start, size):
        tried.append(start // size)
        if start // size == 2:  # the other windows could be read
            raise UnusableFileError("damaged")
        return noise(size).T

    bad = Source("x", "bad.mp3", "bad.mp3", 200 * SIZE, read)
    good = Source("x", "good.mp3", "good.mp3", 2 * SIZE, lambda start, size: noise(size).T)
    windows = [*(Window(bad, number) for number in range(200)), Window(good, 0), Window(good, 1)]
    model = read_model(weights)[1].eval()
    stats = measure_latents(model, WindowSet(windows, SIZE, RATE), batch_size=batch_size)
    assert stats.windows == 2 + 2 and stats.bad_files == {"bad.mp3": "damaged"}
    assert len(tried) <= 3 + READERS + batch_size, "no more than had been asked for when it was found out"
