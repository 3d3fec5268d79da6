"""Laws every pair metric obeys: identity, invariances, blind spots, undefined input, wrong shapes."""

import math

import pytest
import torch
from torch import Tensor

from ear_sat.errors import UserError
from ear_sat.metrics import HIGHER_IS_BETTER, METRICS, ccpc, evaluate_pair, icpc, si_sdr_db, snr_db, stft_distance
from ear_sat.metrics.fir import fir_filter

Pair = tuple[Tensor, Tensor]
POLARITY_BLIND = ("si_sdr_db", "stft_distance", "mel_distance", "icpc", "ccpc")
SPECTRAL = ("stft_distance", "mel_distance", "icpc", "ccpc")


def test_registry_names_functions() -> None:
    assert all(metric.__name__ == name for name, metric in METRICS.items())
    assert set(METRICS) > HIGHER_IS_BETTER


@pytest.mark.parametrize("name", METRICS)
def test_identity_is_best(name: str, music_like: Pair) -> None:
    preds, target = music_like
    metric = METRICS[name]
    best, value = metric(target, target, 44100), metric(preds, target, 44100)
    assert best > value if name in HIGHER_IS_BETTER else best < value
    if name in ("icpc", "ccpc"):
        assert best == pytest.approx(1, abs=1e-5)
    elif name == "snr_db":
        assert best == math.inf
    elif name == "si_sdr_db":
        assert 100 < best < math.inf
    else:
        assert best == 0


@pytest.mark.parametrize("name", sorted(set(METRICS) - {"loudness_range_diff_lu"}))  # its 3 s blocks lose the start
def test_delay_of_both_changes_nothing(name: str, music_like: Pair) -> None:
    """A delay into the silence at the end, by whole hops of the longest window or whole gating steps of 0.1 s."""
    preds, target = music_like
    shift = 4 * 4410 if name == "loudness_diff_lu" else 17 * 1024
    delayed = METRICS[name](preds.roll(shift, -1), target.roll(shift, -1), 44100)
    assert delayed == pytest.approx(METRICS[name](preds, target, 44100), abs=2e-3)


@pytest.mark.parametrize("name", METRICS)
def test_gain_on_both_changes_nothing(name: str, music_like: Pair) -> None:
    """Exact for ratios and differences in dB; the log-magnitude floor of the distances moves them a little."""
    preds, target = music_like
    tolerance = 0.02 if name in ("stft_distance", "mel_distance") else 1e-3
    louder = METRICS[name](2 * preds, 2 * target, 44100)
    assert louder == pytest.approx(METRICS[name](preds, target, 44100), abs=tolerance)


@pytest.mark.parametrize("name", POLARITY_BLIND)
def test_polarity_flip_is_not_seen(name: str, music_like: Pair) -> None:
    preds, target = music_like
    assert METRICS[name](-preds, target, 44100) == pytest.approx(METRICS[name](preds, target, 44100), abs=1e-4)


def test_polarity_flip_is_caught_by_snr(music_like: Pair) -> None:
    preds, target = music_like
    assert snr_db(preds, target) > 10
    assert snr_db(-preds, target) < -5  # error 2y: −6 dB


def test_swapped_channels() -> None:
    noise = 0.1 * torch.randn(2, 44100, generator=torch.Generator().manual_seed(0))
    assert ccpc(noise.flip(0), noise) < 0.2
    panned_mono = torch.stack((noise[0], 0.3 * noise[0]))
    assert ccpc(panned_mono.flip(0), panned_mono) == pytest.approx(1, abs=1e-4)  # the known blind spot


def test_flip_of_one_channel() -> None:
    """Turns every inter-channel phase by π: coherent, so CCPC stays 1; the waveform ratio of that channel sees it."""
    noise = 0.1 * torch.randn(2, 44100, generator=torch.Generator().manual_seed(0))
    flipped = noise * torch.tensor([[1.0], [-1.0]])
    assert ccpc(flipped, noise) == pytest.approx(1, abs=1e-4)
    assert snr_db(flipped, noise) < 0


def test_known_ratio() -> None:
    """Orthogonal error of power 1/100 on each channel: 20 dB both ways."""
    time = torch.arange(44100) / 44100
    target = torch.sin(2 * torch.pi * 440 * time).expand(2, -1)
    preds = target + 0.1 * torch.cos(2 * torch.pi * 440 * time)
    assert snr_db(preds, target) == pytest.approx(20, abs=1e-3)
    assert si_sdr_db(preds, target) == pytest.approx(20, abs=1e-3)
    assert si_sdr_db(3 * preds + 0.5, target) == pytest.approx(20, abs=1e-3)  # gain and offset do not count


def test_constant_phase_shift_is_coherent() -> None:
    """ICPC measures dispersion of the phase error, not its value."""
    rng = torch.Generator().manual_seed(0)
    spectrum = torch.fft.rfft(torch.randn(1, 65536, generator=rng))
    target, turned = torch.fft.irfft(spectrum), torch.fft.irfft(spectrum * 1j)
    assert icpc(turned, target) == pytest.approx(1, abs=0.02)  # frames cut the shifted signal a little differently
    assert icpc(torch.randn(1, 65536, generator=rng), target) < 0.1


@pytest.mark.parametrize("name", METRICS)
def test_mono(name: str, music_like: Pair) -> None:
    preds, target = (signal[:1] for signal in music_like)
    value = METRICS[name](preds, target, 44100)
    assert math.isnan(value) if name == "ccpc" else math.isfinite(value)


@pytest.mark.parametrize("name", METRICS)
def test_batch_is_the_mean_over_defined_clips(name: str, music_like: Pair) -> None:
    preds, target = music_like
    other = 0.7 * preds.flip(-1)
    clips = [METRICS[name](p, target, 44100) for p in (preds, other)]
    batch = METRICS[name](
        torch.stack((preds, other, preds)), torch.stack((target, target, torch.zeros_like(target))), 44100
    )
    assert batch == pytest.approx(sum(clips) / 2)


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("kind", ["silent", "silent target", "nan", "infinite target", "empty", "no clip"])
def test_undefined_is_nan(name: str, kind: str, music_like: Pair) -> None:
    preds, target = (signal.clone() for signal in music_like)
    if kind == "silent":
        preds, target = torch.zeros_like(preds), torch.zeros_like(target)
    elif kind == "silent target":
        target = torch.zeros_like(target)
    elif kind == "nan":
        preds[0, 1000] = math.nan
    elif kind == "infinite target":
        target[1, 1000] = -math.inf
    elif kind == "empty":
        preds, target = preds[:, :0], target[:, :0]
    else:
        preds, target = preds[None][:0], target[None][:0]
    assert math.isnan(METRICS[name](preds, target, 44100))


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("length", [1, 100, 2048, 2049, 17639])
def test_short_clips_never_raise(name: str, length: int, golden_pair: Pair) -> None:
    preds, target = (signal[:, 20000 : 20000 + length] for signal in golden_pair)
    value = METRICS[name](preds, target, 44100)
    undefined = "loudness" in name or (name in SPECTRAL and length <= 2048) or (name == "si_sdr_db" and length == 1)
    assert math.isnan(value) == undefined


def test_silent_estimate_counts_where_the_formula_does(music_like: Pair) -> None:
    """A codec that falls silent must not vanish from the means of the ratios and distances."""
    _, target = music_like
    silence = torch.zeros_like(target)
    assert snr_db(silence, target) == 0
    assert si_sdr_db(silence, target) == pytest.approx(-80, abs=1e-3)
    assert stft_distance(silence, target) > 1
    assert math.isnan(icpc(silence, target))


def test_silent_channel_is_left_out(music_like: Pair) -> None:
    preds, target = music_like
    one_sided = target * torch.tensor([[1.0], [0.0]])
    for name in ("si_sdr_db", "icpc"):
        assert METRICS[name](preds, one_sided, 44100) == pytest.approx(METRICS[name](preds[:1], target[:1], 44100))
    assert math.isnan(ccpc(preds, one_sided))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_types_are_computed_in_float32(dtype: torch.dtype, golden_pair: Pair) -> None:
    preds, target = (signal[:, :30000].to(dtype) for signal in golden_pair)
    for metric in METRICS.values():
        assert metric(preds, target, 44100) == pytest.approx(metric(preds.float(), target.float(), 44100), nan_ok=True)


def test_autocast_and_gradients_do_not_enter(golden_pair: Pair) -> None:
    preds, target = golden_pair
    preds = preds.clone().requires_grad_()
    plain = evaluate_pair(preds, target)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert evaluate_pair(preds, target) == pytest.approx(plain, nan_ok=True)
    with torch.inference_mode():
        assert evaluate_pair(preds.detach(), target, 32000).keys() == plain.keys()
    evaluate_pair(preds, target, 32000)  # modules cached under inference mode serve outside it


@pytest.mark.parametrize("name", METRICS)
def test_wrong_arguments_raise(name: str) -> None:
    metric = METRICS[name]
    good = torch.zeros(2, 100)
    with pytest.raises(ValueError, match=r"same shape, not \(2, 100\) and \(2, 99\); trim both"):
        metric(good, good[:, :99], 44100)
    with pytest.raises(ValueError, match=r"preds must have the shape \(channels, time\) or .* not \(100,\)"):
        metric(good[0], good[0], 44100)
    with pytest.raises(ValueError, match=r"not \(1, 1, 2, 100\)"):
        metric(good[None, None], good[None, None], 44100)
    with pytest.raises(ValueError, match=r"target must hold floating-point samples, full scale 1, not torch\.int16"):
        metric(good, good.to(torch.int16), 44100)
    with pytest.raises(ValueError, match=r"preds must be a torch\.Tensor, not ndarray"):
        metric(good.numpy(), good, 44100)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="sample_rate must be a positive number of Hz, not 0"):
        metric(good, good, 0)


def test_evaluate_pair_selects_in_order(golden_pair: Pair) -> None:
    values = evaluate_pair(*golden_pair, 44100, ["icpc", "snr_db"])
    assert list(values) == ["icpc", "snr_db"]
    assert values["snr_db"] == snr_db(*golden_pair)
    assert list(evaluate_pair(*golden_pair)) == list(METRICS)
    with pytest.raises(UserError, match="unknown metric 'si_sdr'; did you mean 'si_sdr_db'"):
        evaluate_pair(*golden_pair, 44100, ["si_sdr"])


@pytest.mark.parametrize("length", [1, 50, 3996, 3997, 10000])
def test_block_filter_equals_convolution(length: int) -> None:
    rng = torch.Generator().manual_seed(0)
    signal, taps = torch.randn(2, length, generator=rng), torch.randn(101, generator=rng)
    direct = torch.nn.functional.conv1d(signal[:, None], taps.flip(0)[None, None], padding=50)[:, 0]
    torch.testing.assert_close(fir_filter(signal, taps), direct, atol=1e-4, rtol=0)
