"""Laws every pair metric obeys: identity, invariances, blind spots, undefined input, wrong shapes."""

import math

import pytest
import torch
from torch import Tensor

from ear_sat.errors import UserError
from ear_sat.metrics import (
    ADDITIONAL,
    FROZEN,
    HIGHER_IS_BETTER,
    METRICS,
    OCTAVES,
    ccpc,
    evaluate_pair,
    icpc,
    polarity_left,
    polarity_right,
    si_sdr_db,
    snr_db,
    stft_distance,
)
from ear_sat.metrics.fir import fir_filter

Pair = tuple[Tensor, Tensor]
POLARITY_AWARE = {"snr_db", "polarity_left", "polarity_right"}
K_STFT = {name for name in METRICS if name.startswith("k_stft")}
SPECTRAL = {"stft_distance", "mel_distance", "icpc", "ccpc", "log1p_distance", *K_STFT}
IMAGE = {"icld_error_db", "icc_error", "stereo_width_error_db", "panning_error_deg"}
STEREO = {"ccpc", "polarity_right", *IMAGE, *K_STFT - {"k_stft_distance_mid"}}
GAIN_AWARE = {"log1p_distance"}
DELAY_AWARE = {"loudness_range_diff_lu"}  # its 3 s blocks lose the start
#: Function → its metrics: that of the octaves has ten.
FUNCTIONS: dict[str, list[str]] = {}
for metric in METRICS.values():
    FUNCTIONS.setdefault(metric.function.__name__, []).append(metric.name)
every_function = pytest.mark.parametrize("names", FUNCTIONS.values(), ids=FUNCTIONS)


def test_registry_is_complete() -> None:
    for name, metric in METRICS.items():
        assert metric.name == name
        assert metric.function.__name__ == name or name in OCTAVES
        assert metric.identity in (0, 1, math.inf)
        assert metric.higher_is_better == (name in HIGHER_IS_BETTER)
        ending = name.rsplit("_", 1)[-1]
        assert metric.unit == {"db": "dB", "lu": "LU", "deg": "°"}.get(ending, "")
        assert metric.description and "\n" not in metric.description
    assert (*FROZEN, *ADDITIONAL) == tuple(METRICS)
    assert len({metric.label for metric in METRICS.values()}) == len(METRICS)
    assert set(OCTAVES) < set(ADDITIONAL)


@every_function
def test_a_metric_is_one_of_its_functions_values(names: list[str], golden_pair: Pair) -> None:
    values = evaluate_pair(*golden_pair, 44100, names)
    assert [METRICS[name](*golden_pair, 44100) for name in names[-2:]] == [values[name] for name in names[-2:]]


@pytest.fixture(scope="module")
def plain(music_like: Pair) -> dict[str, float]:
    """Every metric of the pair as it is."""
    return evaluate_pair(*music_like, 44100)


@every_function
def test_identity_is_best(names: list[str], music_like: Pair, plain: dict[str, float]) -> None:
    _, target = music_like
    for name, best in evaluate_pair(target, target, 44100, names).items():
        assert best > plain[name] if name in HIGHER_IS_BETTER else best < plain[name]
        if METRICS[name].identity == math.inf:
            assert best == math.inf if name == "snr_db" else 100 <= best < math.inf
        else:
            assert best == pytest.approx(METRICS[name].identity, abs=1e-5 if name in HIGHER_IS_BETTER else 0)


@every_function
def test_delay_of_both_changes_nothing(names: list[str], music_like: Pair, plain: dict[str, float]) -> None:
    """A delay into the silence at the end, by whole hops of the longest window or whole gating steps of 0.1 s."""
    names = [name for name in names if name not in DELAY_AWARE]
    shift = 4 * 4410 if "loudness_diff_lu" in names else 17 * 1024
    for name, value in evaluate_pair(*(signal.roll(shift, -1) for signal in music_like), 44100, names).items():
        assert value == pytest.approx(plain[name], abs=2e-3)


@every_function
def test_gain_on_both_changes_nothing(names: list[str], music_like: Pair, plain: dict[str, float]) -> None:
    """Exact for ratios and differences in dB; the log-magnitude floor of the distances moves them a little."""
    for name, value in evaluate_pair(*(2 * signal for signal in music_like), 44100, names).items():
        if name not in GAIN_AWARE:
            assert value == pytest.approx(plain[name], abs=0.02 if name in SPECTRAL else 1e-3)


@every_function
def test_polarity_flip_is_not_seen(names: list[str], music_like: Pair, plain: dict[str, float]) -> None:
    """By no frozen metric, and by none of ours but those that are there to see it."""
    preds, target = music_like
    for name, value in evaluate_pair(-preds, target, 44100, names).items():
        if name not in POLARITY_AWARE:
            assert value == pytest.approx(plain[name], abs=1e-4)


def test_polarity_flip_is_caught(music_like: Pair) -> None:
    preds, target = music_like
    assert set(FROZEN).isdisjoint(POLARITY_AWARE)
    assert snr_db(preds, target) > 10
    assert snr_db(-preds, target) < -5  # error 2y: −6 dB
    for polarity in (polarity_left, polarity_right):
        assert polarity(preds, target) > 0.9
        assert polarity(-preds, target) == -polarity(preds, target)


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


def test_mono(music_like: Pair) -> None:
    for name, value in evaluate_pair(*(signal[:1] for signal in music_like), 44100).items():
        assert math.isnan(value) if name in STEREO else math.isfinite(value), name


def test_surround(music_like: Pair) -> None:
    """Three channels have no mid, side or image; polarity is that of the first two."""
    for name, value in evaluate_pair(*(torch.cat((signal, signal[:1])) for signal in music_like), 44100).items():
        assert math.isnan(value) == (name in {"ccpc", *IMAGE, *K_STFT}), name


@every_function
def test_batch_is_the_mean_over_defined_clips(names: list[str], music_like: Pair, plain: dict[str, float]) -> None:
    preds, target = music_like
    other = 0.7 * preds.flip(-1)
    reversed_ = evaluate_pair(other, target, 44100, names)
    targets = torch.stack((target, target, torch.zeros_like(target)))
    for name, value in evaluate_pair(torch.stack((preds, other, preds)), targets, 44100, names).items():
        assert value == pytest.approx((plain[name] + reversed_[name]) / 2), name


@pytest.mark.parametrize("kind", ["silent", "silent target", "nan", "infinite target", "empty", "no clip"])
def test_undefined_is_nan(kind: str, music_like: Pair) -> None:
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
    assert {name for name, value in evaluate_pair(preds, target, 44100).items() if not math.isnan(value)} == set()


@pytest.mark.parametrize("length", [1, 100, 1024, 1025, 2048, 2049, 17639])
def test_short_clips_never_raise(length: int, golden_pair: Pair) -> None:
    values = evaluate_pair(*(signal[:, 20000 : 20000 + length] for signal in golden_pair), 44100)
    least = {"panning_error_deg": 1025, "si_sdr_db": 2, "true_peak_diff_db": 16, **dict.fromkeys(SPECTRAL, 2049)}
    # A band needs a bin: at 44.1 kHz, 100 samples have multiples of 441 Hz.
    least |= {name: 101 if OCTAVES[name] < 441 / 2**0.5 else 2 for name in OCTAVES}
    for name, value in values.items():
        assert math.isnan(value) == (length < least.get(name, 1) or "loudness" in name), name


def test_silent_estimate_counts_where_the_formula_does(music_like: Pair) -> None:
    """A codec that falls silent must not vanish from the means of the ratios and distances."""
    _, target = music_like
    silence = torch.zeros_like(target)
    assert snr_db(silence, target) == 0
    assert si_sdr_db(silence, target) == pytest.approx(-80, abs=1e-3)
    assert stft_distance(silence, target, 44100) > 1
    assert math.isnan(icpc(silence, target))


def test_silent_channel_is_left_out(music_like: Pair) -> None:
    preds, target = music_like
    one_sided = target * torch.tensor([[1.0], [0.0]])
    for name in ("si_sdr_db", "icpc"):
        assert METRICS[name](preds, one_sided, 44100) == pytest.approx(METRICS[name](preds[:1], target[:1], 44100))
    assert math.isnan(ccpc(preds, one_sided))


def test_a_resolution_without_a_bin_counts_zero() -> None:
    """As in the release's evaluation. A tone of amplitude A reads A·window/4; squared, its bin must exceed 1e-6."""
    time = torch.arange(44100, dtype=torch.float64) / 44100
    tone = torch.sin(2 * torch.pi * 44100 / 16 * time).float().expand(2, -1)  # in the middle of a bin of every window
    # −110.5 dBFS: 9.4e-6, 2.4e-6, 5.9e-7 and 1.5e-7 in windows of 4096, 2048, 1024 and 512.
    for metric in (icpc, ccpc):
        assert metric(3e-6 * tone, 3e-6 * tone) == pytest.approx(2 / 4, abs=1e-4)
        assert metric(1e-5 * tone, 1e-5 * tone) == pytest.approx(1, abs=1e-4)
        assert math.isnan(metric(1.5e-8 * tone, 1.5e-6 * tone))
    # A channel that is silent in every resolution is left out, as before.
    left_only = tone * torch.tensor([[1.0], [0.0]])
    assert icpc(left_only, left_only) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("scales", [(1e25, 1), (1, 1e25), (1e25, 1e25)])
def test_huge_samples_never_raise(scales: tuple[float, float], golden_pair: Pair) -> None:
    """Squares overflow: a wrong file must not end an evaluation, nor put an infinity into a mean."""
    preds, target = (signal[:, :20000] * scale for signal, scale in zip(golden_pair, scales, strict=True))
    assert {name for name, value in evaluate_pair(preds, target, 44100).items() if math.isinf(value)} == set()


@pytest.mark.parametrize("rate", [100, 8000, 96000, 192000, 768000])
def test_any_sample_rate(rate: int, golden_pair: Pair) -> None:
    preds, target = (signal[:, :20000] for signal in golden_pair)
    values = evaluate_pair(preds, target, rate)
    best = evaluate_pair(target, target, rate)
    for name, value in values.items():
        if not math.isnan(value):
            assert best[name] >= value if name in HIGHER_IS_BETTER else best[name] <= value, name


def test_constant_signal() -> None:
    """DC only: nothing once the mean is removed, but a level and a polarity."""
    target = torch.full((2, 20000), 0.5)
    values = evaluate_pair(-0.5 * target, target, 44100)
    assert all(math.isnan(values[name]) for name in (*OCTAVES, "si_sdr_db"))
    assert values["polarity_left"] == pytest.approx(-1)
    assert values["icld_error_db"] == 0
    assert values["true_peak_diff_db"] == pytest.approx(6.02, abs=0.01)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_types_are_computed_in_float32(dtype: torch.dtype, golden_pair: Pair) -> None:
    preds, target = (signal[:, :30000].to(dtype) for signal in golden_pair)
    assert evaluate_pair(preds, target, 44100) == pytest.approx(
        evaluate_pair(preds.float(), target.float(), 44100), nan_ok=True
    )


def test_autocast_and_gradients_do_not_enter(golden_pair: Pair) -> None:
    preds, target = golden_pair
    preds = preds.clone().requires_grad_()
    plain = evaluate_pair(preds, target, 44100)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert evaluate_pair(preds, target, 44100) == pytest.approx(plain, nan_ok=True)
    with torch.inference_mode():
        assert evaluate_pair(preds.detach(), target, 32000).keys() == plain.keys()
    evaluate_pair(preds, target, 32000)  # modules cached under inference mode serve outside it


@every_function
def test_wrong_arguments_raise(names: list[str]) -> None:
    metric = METRICS[names[0]]
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
    assert list(evaluate_pair(*golden_pair, 44100)) == list(METRICS)
    with pytest.raises(UserError, match="unknown metric 'si_sdr'; did you mean 'si_sdr_db'"):
        evaluate_pair(*golden_pair, 44100, ["si_sdr"])


@pytest.mark.parametrize("length", [1, 50, 3996, 3997, 10000])
def test_block_filter_equals_convolution(length: int) -> None:
    rng = torch.Generator().manual_seed(0)
    signal, taps = torch.randn(2, length, generator=rng), torch.randn(101, generator=rng)
    direct = torch.nn.functional.conv1d(signal[:, None], taps.flip(0)[None, None], padding=50)[:, 0]
    torch.testing.assert_close(fir_filter(signal, taps), direct, atol=1e-4, rtol=0)
