"""SI-SDR by octave: the bands are a partition, and an error shows up in its own band."""

import math

import pytest
import torch
from torch import Tensor

from ear_sat.metrics import OCTAVES, evaluate_pair, si_sdr_db, si_sdr_octaves_db
from ear_sat.metrics.octaves import octave_spectra

LENGTH = 1 << 16  # needs no zero padding: a bin of the clip is a bin of the split
NOMINAL = (31.5, 63, 125, 250, 500, 1000, 2000, 4000, 8000, 16000)


def noise(length: int = LENGTH, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(2, length, generator=torch.Generator().manual_seed(seed))


def band_noise(low: float, high: float, seed: int = 1) -> Tensor:
    """Noise at 44.1 kHz from ``low`` to ``high`` Hz, nothing elsewhere."""
    spectrum = torch.fft.rfft(noise(seed=seed))
    hertz = torch.fft.rfftfreq(LENGTH, 1 / 44100)
    return torch.fft.irfft(spectrum * ((hertz >= low) & (hertz < high)), LENGTH)


def edges(name: str) -> tuple[float, float]:
    return OCTAVES[name] * 10**-0.15, min(OCTAVES[name] * 10**0.15, 22050)


def test_names_are_the_nominal_frequencies() -> None:
    assert list(OCTAVES.values()) == pytest.approx(NOMINAL, rel=0.013)  # IEC 61260-1 rounds 15.85 kHz to 16
    for name, hertz in zip(OCTAVES, NOMINAL, strict=True):
        digits = name.split("_")[2]
        assert digits == (f"{int(hertz)}hz" if hertz < 1000 else f"{int(hertz) // 1000}khz")


@pytest.mark.parametrize("length", [1, 2, 3, 100, 44101, LENGTH])
@pytest.mark.parametrize("rate", [8000, 44100, 96000])
def test_bands_sum_to_the_whole(length: int, rate: int) -> None:
    """By samples, and by powers and inner products of two signals."""
    first, second = (signal.double() - signal.mean() for signal in noise(length))
    bands = [octave_spectra(signal, rate) for signal in (first, second)]
    whole = [torch.cat(list(signal.values())) for signal in bands]
    padded = 2 * (len(whole[0]) - 1)
    for signal, spectrum in zip((first, second), whole, strict=True):
        spectrum = spectrum * math.sqrt(padded / 2)
        spectrum[[0, -1]] *= math.sqrt(2)
        restored = torch.fft.irfft(spectrum, padded)[:length]
        torch.testing.assert_close(restored, signal - signal.mean(), atol=1e-12, rtol=0)
    for a, b in ((0, 0), (0, 1)):
        products = sum((bands[a][name] * bands[b][name].conj()).real.sum() for name in OCTAVES)
        signals = ((first, second)[a] - (first, second)[a].mean()) * ((first, second)[b] - (first, second)[b].mean())
        torch.testing.assert_close(products, signals.sum(), atol=1e-12, rtol=1e-9)


@pytest.mark.parametrize("name", OCTAVES)
def test_error_shows_up_in_its_band_only(name: str) -> None:
    target = noise()
    target -= target.mean(-1, keepdim=True)
    values = si_sdr_octaves_db(target + 0.1 * band_noise(*edges(name)), target, 44100)
    assert 17 < values.pop(name) < 23  # 20 dB below noise of the same density
    assert min(values.values()) > 95  # float32 rounding of the sum


def test_one_band_is_si_sdr() -> None:
    """All energy in one band: the band's value is the clip's."""
    low, high = edges("si_sdr_1khz_db")
    target, error = band_noise(low, high, 1), 0.3 * band_noise(low, high, 2)
    values = si_sdr_octaves_db(target + error, target, 44100)
    assert values["si_sdr_1khz_db"] == pytest.approx(si_sdr_db(target + error, target), abs=1e-3)


def test_bands_without_energy_have_no_value() -> None:
    low, high = edges("si_sdr_250hz_db")
    target = band_noise(low, high)
    values = si_sdr_octaves_db(target + noise(), target, 44100)
    assert [name for name, value in values.items() if math.isfinite(value)] == ["si_sdr_250hz_db"]


@pytest.mark.parametrize(("rate", "bands"), [(8000, 8), (16000, 9), (22050, 9), (44100, 10), (96000, 10)])
def test_bands_end_at_nyquist(rate: int, bands: int) -> None:
    target = noise()
    values = list(si_sdr_octaves_db(target + 0.1 * noise(seed=1), target, rate).values())
    assert all(math.isfinite(value) for value in values[:bands])
    assert all(math.isnan(value) for value in values[bands:])


def test_any_length() -> None:
    """Zero padding and cut edges leak a little from band to band, far below any codec's error."""
    length = 44100 + 13
    target, error = noise(length), torch.sin(2 * torch.pi * 1000 * torch.arange(length) / 44100)
    values = si_sdr_octaves_db(target + 0.01 * error, target, 44100)
    assert values.pop("si_sdr_1khz_db") < 20
    assert min(values.values()) > 40


def test_gain_of_a_band_is_no_error() -> None:
    target = noise()
    values = si_sdr_octaves_db(target - 0.5 * band_noise(*edges("si_sdr_4khz_db"), seed=0), target, 44100)
    assert values["si_sdr_4khz_db"] > 60


def test_limits() -> None:
    target = noise()
    assert set(si_sdr_octaves_db(target, target, 44100).values()) == {100}
    assert set(si_sdr_octaves_db(0 * target, target, 44100).values()) == {-80}
    assert set(si_sdr_octaves_db(-0.1 * target, target, 44100).values()) == {100}
    quiet = 1e-4 * target  # −100 dBFS RMS: no guard caps a quiet clip
    assert si_sdr_octaves_db(quiet + 0.01 * quiet.flip(0), quiet, 44100)["si_sdr_8khz_db"] == pytest.approx(40, abs=1)


def test_silent_channel_is_left_out() -> None:
    target, preds = noise(), noise() + 0.1 * noise(seed=1)
    one_sided = target * torch.tensor([[1.0], [0.0]])
    assert si_sdr_octaves_db(preds, one_sided, 44100) == si_sdr_octaves_db(preds[:1], target[:1], 44100)


def test_evaluate_pair_picks_bands() -> None:
    target, preds = noise(), noise() + 0.1 * noise(seed=1)
    names = ["si_sdr_8khz_db", "snr_db", "si_sdr_31hz_db"]
    values = evaluate_pair(preds, target, 44100, names)
    octaves = si_sdr_octaves_db(preds, target, 44100)
    assert list(values) == names
    assert values["si_sdr_8khz_db"] == octaves["si_sdr_8khz_db"]
    batch = si_sdr_octaves_db(torch.stack((preds, target)), torch.stack((target, target)), 44100)
    assert batch["si_sdr_8khz_db"] == pytest.approx((octaves["si_sdr_8khz_db"] + 100) / 2)
