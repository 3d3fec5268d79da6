"""Devices whose every reading has a closed form: the test with tones must come out at it."""

import json
import math
from functools import cache

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from scipy.signal import lfilter

from ear_sat.report.tables import print_table
from ear_sat.tones.clicks import click, read_click
from ear_sat.tones.measurement import measure_tones
from ear_sat.tones.report import save_tone_report, tone_tables
from ear_sat.tones.steady import (
    ccir_gain,
    coherent_length,
    dbfs,
    in_band,
    log_cells,
    log_spectrum,
    notch_gain,
    power_spectrum,
    read_noise,
    read_tone,
    spectrum_size,
    tone,
)
from ear_sat.tones.sweeps import exponential_sweep, read_sweep, response_frequencies
from ear_sat.weighting import a_gain

RATE = 44100
NUMERIC_FLOOR_DB = -140.0  # float32 rounds a sine to about −150 dB
POLE = 0.7  # of the low-pass y[n] = 0.3 x[n] + 0.7 y[n − 1]
CUBIC, SQUARE = 0.3, 0.05
SIGMA = 1e-3  # of the noise
CLIP = 10 ** (-6 / 20)


def late_and_inverted(x):
    return -0.5 * torch.nn.functional.pad(x, (100, 0))[:, : x.shape[1]]


def low_pass(x):
    return torch.from_numpy(lfilter([1 - POLE], [1, -POLE], x.double().numpy())).float()


def mixer(x):
    return torch.tensor([[1.0, 10 ** (-50 / 20)], [10 ** (-40 / 20), 1.0]]) @ x


def noisy(x):
    return x + SIGMA * torch.randn(x.shape, generator=torch.Generator().manual_seed(x.shape[1]))


DEVICES = {
    "identity": lambda x: x,
    "late and inverted": late_and_inverted,
    "low pass": low_pass,
    "cubic": lambda x: x + CUBIC * x.double() ** 3,
    "mixer": mixer,
    "noisy": noisy,
    "clipper": lambda x: x.clamp(-CLIP, CLIP),
    "mute": torch.zeros_like,
    "broken": lambda x: x * math.nan,
    "left only": lambda x: x * torch.tensor([[1.0], [0.0]]),
}


@cache
def measured(name):
    return measure_tones(DEVICES[name], RATE)


def ratios(results, name, level):
    """One row of the grid, which must be the same in both channels."""
    both = getattr(results, name)[:, list(results.levels_dbfs).index(level)]
    np.testing.assert_array_equal(both[0], both[1])
    return both[0]


# Signals and filters


def test_full_scale_sine_is_0_dbfs():
    length = coherent_length(997, 48000, 0.5)
    signal = tone(997, 0.0, 48000, length + 9600)[4800:-4800]
    assert float(dbfs((signal**2).mean())) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 48000, 96000])
@pytest.mark.parametrize("frequency", [20, 50, 997, 2000])
def test_coherent_length_is_whole_and_short(rate, frequency):
    length = coherent_length(frequency, rate, 0.5)
    assert frequency * length % rate == 0
    assert 0.5 * rate <= length <= rate


@pytest.mark.parametrize("length", [1, 2, 7, 8])
def test_power_spectrum_sums_to_the_mean_square(length):
    signal = np.random.default_rng(0).standard_normal((3, length))
    np.testing.assert_allclose(power_spectrum(signal).sum(-1), (signal**2).mean(-1))


def test_notch_is_3_db_down_at_its_edges():
    q, centre = 2.0, 1000.0
    low, high = (centre * (math.sqrt(1 + 1 / (4 * q * q)) + side / (2 * q)) for side in (-1, 1))
    assert high - low == pytest.approx(centre / q)
    np.testing.assert_allclose(notch_gain(np.array([low, high]), centre, q), math.sqrt(0.5))


def test_ccir_weighting_follows_the_table_of_bs_468():
    """Within 0.3 dB from 31.5 Hz to 20 kHz; 0 dB at 2 kHz rather than 1 kHz: 5.6 dB lower."""
    table = {31.5: -29.9, 63: -23.9, 100: -19.8, 200: -13.8, 400: -7.8, 800: -1.9, 1000: 0, 2000: 5.6, 3150: 9.0}
    table |= {4000: 10.5, 5000: 11.7, 6300: 12.2, 7100: 12.0, 8000: 11.4, 9000: 10.1, 10000: 8.1, 12500: 0}
    table |= {14000: -5.3, 16000: -11.7, 20000: -22.2}
    gains = 20 * np.log10(ccir_gain(np.array(list(table), dtype=float)))
    np.testing.assert_allclose(gains, np.array(list(table.values())) - 5.6, atol=0.3)


def test_a_tone_that_does_not_fit_its_window_is_refused():
    with pytest.raises(ValueError, match="no whole number of periods"):
        read_tone(np.zeros(22050), 997, RATE)


def test_spectrum_shows_the_level_of_a_sine():
    signal = tone(1000, -30.0, RATE, RATE)
    spectrum = log_spectrum(signal, RATE)
    at = int(np.argmax(spectrum))
    assert spectrum[at] == pytest.approx(-30.0, abs=1.5)  # a Hann window reads up to 1.4 dB low between two bins
    assert log_cells(RATE)[0][at] == pytest.approx(1000, rel=0.015)


# Devices


def test_identity_is_perfect():
    results = measured("identity")
    assert results.thd_n_db.max() < NUMERIC_FLOOR_DB
    assert np.nanmax(results.thd_db) < NUMERIC_FLOOR_DB
    np.testing.assert_allclose(results.gain_db, 0, atol=1e-6)
    np.testing.assert_allclose(results.magnitude_db, 0, atol=1e-5)
    np.testing.assert_allclose(results.smoothed_db, 0, atol=1e-5)
    np.testing.assert_allclose(results.group_delay_samples, 0, atol=1e-3)
    assert np.all(results.crosstalk_db == -300)
    assert np.all(results.noise_dbfs == -300) and np.all(results.noise_peak_db == -300)
    assert results.dynamic_range_db.min() > 190
    assert np.all(results.delay_samples == 0) and np.all(results.polarity == 1)
    np.testing.assert_allclose(results.click_response[0], results.click_source, atol=1e-7)
    np.testing.assert_allclose(results.click_gain_db, 0, atol=1e-5)
    assert np.all(results.click_before_db == -300) and np.all(results.click_after_db == -300)
    assert not np.any(results.harmonics_db > -120)


def test_thd_is_undefined_where_no_harmonic_is_in_band():
    results = measured("identity")
    assert np.array_equal(np.isnan(results.thd_db[0, 0]), results.frequencies_hz > 10000)


def test_delay_gain_and_polarity_are_found():
    results = measured("late and inverted")
    assert np.all(results.delay_samples == 100) and np.all(results.click_delay_samples == 100)
    assert np.all(results.polarity == -1)
    np.testing.assert_allclose(results.group_delay_samples, 100, atol=1e-3)
    for gain in (results.gain_db, results.step_gain_db, results.smoothed_db, results.click_gain_db):
        np.testing.assert_allclose(gain, 20 * math.log10(0.5), atol=1e-5)
    assert results.thd_n_db.max() < NUMERIC_FLOOR_DB
    assert results.impulse_seconds[np.argmax(np.abs(results.impulse_response[0]))] == 0


def test_low_pass_has_its_closed_form():
    results = measured("low pass")
    omega = 2 * np.pi * results.response_hz / RATE
    magnitude = 20 * np.log10((1 - POLE) / np.abs(1 - POLE * np.exp(-1j * omega)))
    group_delay = (POLE * np.cos(omega) - POLE**2) / (1 - 2 * POLE * np.cos(omega) + POLE**2)
    np.testing.assert_allclose(results.magnitude_db[0], magnitude, atol=1e-4)
    np.testing.assert_allclose(results.smoothed_db[0], magnitude, atol=0.05)  # the mean over a bend
    np.testing.assert_allclose(results.group_delay_samples[0], group_delay, atol=0.05)
    omega = 2 * np.pi * results.frequencies_hz / RATE
    magnitude = 20 * np.log10((1 - POLE) / np.abs(1 - POLE * np.exp(-1j * omega)))
    np.testing.assert_allclose(results.gain_db[0, 0], magnitude, atol=1e-5)


@pytest.mark.parametrize("level", [-1.0, -20.0])
def test_cubic_distortion_has_its_closed_form(level):
    """(A sin φ) + a (A sin φ)³ = (A + 3aA³/4) sin φ − (aA³/4) sin 3φ."""
    results = measured("cubic")
    square = 10 ** (level / 10)
    gain, third = 1 + 0.75 * CUBIC * square, 0.25 * CUBIC * square
    np.testing.assert_allclose(ratios(results, "gain_db", level), 20 * math.log10(gain), atol=1e-5)
    hz = results.frequencies_hz
    folded = (hz * 3 > 20000) & (hz * 3 < RATE - 20000)  # falls between 20 kHz and its image
    below = hz * 3 <= 20000
    np.testing.assert_allclose(ratios(results, "thd_db", level)[below], 20 * math.log10(third / gain), atol=1e-4)
    notched = third * np.array([float(notch_gain(np.array(3 * f), f)) for f in hz])
    thd_n = 10 * np.log10(notched**2 / (gain**2 + third**2))
    np.testing.assert_allclose(ratios(results, "thd_n_db", level)[below], thd_n[below], atol=1e-4)
    assert np.all(ratios(results, "thd_n_db", level)[folded] < -120)


def test_sweep_tells_the_harmonics_apart():
    level = 10 ** (-20 / 20)
    sweep = exponential_sweep(RATE, -20.0, 0.25)
    frequencies = response_frequencies(RATE)
    inside = (frequencies > 30) & (frequencies < 6000)
    squared = read_sweep(sweep.signal + SQUARE * sweep.signal**2, sweep)
    cubed = read_sweep(sweep.signal + CUBIC * sweep.signal**3, sweep)
    second, third = 0.5 * SQUARE * level, 0.25 * CUBIC * level**2 / (1 + 0.75 * CUBIC * level**2)
    np.testing.assert_allclose(squared.harmonics_db[0, inside], 20 * math.log10(second), atol=0.1)
    np.testing.assert_allclose(cubed.harmonics_db[1, inside], 20 * math.log10(third), atol=0.1)
    for absent in (squared.harmonics_db[1:], cubed.harmonics_db[[0, 2, 3]]):
        assert not np.any(absent[:, inside] > -90)
    np.testing.assert_allclose(cubed.smoothed_db[inside], 20 * math.log10(1 + 0.75 * CUBIC * level**2), atol=1e-3)


def test_harmonics_end_where_the_band_does():
    results = measured("cubic")
    for row, order in zip(results.harmonics_db[0], results.harmonic_orders, strict=True):
        assert np.isnan(row[order * results.response_hz > 20000]).all()


def test_mixer_has_its_crosstalk():
    results = measured("mixer")
    np.testing.assert_allclose(results.crosstalk_db[0], -40, atol=1e-4)
    np.testing.assert_allclose(results.crosstalk_db[1], -50, atol=1e-4)


def test_noise_has_its_level_in_every_reading():
    results = measured("noisy")
    bins = np.arange(0, 22051.0)
    density = np.where(in_band(bins), 1, 0) / 22050
    expected = [
        20 * math.log10(SIGMA * math.sqrt(2)) + 10 * math.log10((density * gain**2).sum())
        for gain in (np.ones_like(bins), a_gain(bins), ccir_gain(bins))
    ]
    np.testing.assert_allclose(results.noise_dbfs, np.tile(expected, (2, 1)), atol=0.15)
    for index, gain in enumerate((np.ones_like(bins), a_gain(bins), ccir_gain(bins))):
        kept = (density * gain**2 * notch_gain(bins, 997) ** 2).sum()
        dynamic_range = -20 * math.log10(SIGMA * math.sqrt(2)) - 10 * math.log10(kept)
        np.testing.assert_allclose(results.dynamic_range_db[:, index], dynamic_range, atol=0.25)
    # At low frequencies a cell is one bin: σ² · 2 (dBFS of sines) · 1.5 (Hann) · bin width / (rate / 2).
    floor = 10 * math.log10(2 * SIGMA**2 * 1.5 * 2 / spectrum_size(RATE))
    cells = results.noise_spectrum_dbfs[:, results.spectrum_hz < 100]
    assert 10 * np.log10((10 ** (cells / 10)).mean()) == pytest.approx(floor, abs=1.0)


def test_thd_n_of_noise_follows_the_level():
    """At −60 dBFS the noise is as strong as the tone; 40 dB up it is 40 dB below."""
    results = measured("noisy")
    at = list(results.frequencies_hz).index(997)
    bins = np.arange(0, 22051.0)
    noise = np.where(in_band(bins), 1, 0) / 22050 * SIGMA**2
    for level, measured_db in zip(results.levels_dbfs, results.thd_n_db[0, :, at], strict=True):
        total = noise.sum() + 10 ** (level / 10) / 2
        expected = 10 * math.log10((noise * notch_gain(bins, 997) ** 2).sum() / total)
        assert measured_db == pytest.approx(expected, abs=0.2)


def test_clipper_has_its_closed_form():
    """Fourier series of a sine of amplitude A cut at c; 20 Hz, whose harmonics up to 20 kHz are all but all of them."""
    results = measured("clipper")
    amplitude = 10 ** (-1 / 20)
    angle = math.asin(CLIP / amplitude)
    inner = angle / 2 - math.sin(2 * angle) / 4
    fundamental = 4 / math.pi * (amplitude * inner + CLIP * math.cos(angle))
    mean_square = 2 / math.pi * (amplitude**2 * inner + CLIP**2 * (math.pi / 2 - angle))
    harmonics = mean_square - fundamental**2 / 2
    assert results.gain_db[0, 0, 0] == pytest.approx(20 * math.log10(fundamental / amplitude), abs=1e-3)
    assert results.thd_db[0, 0, 0] == pytest.approx(10 * math.log10(harmonics / (fundamental**2 / 2)), abs=1e-3)
    assert results.thd_n_db[0, 1:].max() < NUMERIC_FLOOR_DB  # at −20 dBFS nothing is cut
    assert results.step_thd_n_db[0, :-1].max() < NUMERIC_FLOOR_DB


def test_dc_is_no_noise_and_no_distortion():
    reading = read_noise(np.full(2 * RATE, -0.01), RATE)
    assert reading.dc_db == pytest.approx(-40) and reading.peak_db == pytest.approx(-40)
    assert reading.level_dbfs == (-300.0, -300.0, -300.0)
    signal = 0.01 + np.sin(2 * np.pi * 997 / RATE * np.arange(RATE))
    assert read_tone(signal, 997, RATE).thd_n_db < -200


def test_pre_echo_of_a_click():
    source = click(RATE, -6.0, 0.1)
    early, late = np.roll(source, -round(0.005 * RATE)), np.roll(source, round(0.005 * RATE))
    reading = read_click(source + 0.1 * early + 0.2 * late, source, RATE)
    total = 1 + 0.1**2 + 0.2**2
    assert reading.before_db == pytest.approx(10 * math.log10(0.1**2 / total), abs=1e-3)
    assert reading.after_db == pytest.approx(10 * math.log10(0.2**2 / total), abs=1e-3)
    assert reading.delay_samples == 0


def test_click_is_band_limited():
    source = click(RATE, -6.0, 0.1)
    power = power_spectrum(source)
    bins = np.fft.rfftfreq(len(source), 1 / RATE)
    flat = 10 * np.log10(power[(bins > 20) & (bins < 19000)] / power[1])
    np.testing.assert_allclose(flat, 0, atol=0.5)
    assert np.abs(source).max() == pytest.approx(10 ** (-6 / 20))


def test_edges_of_the_signal_are_left_out():
    """A device that is wrong in the first and last 0.2 s of whatever it is given, as a codec without context is."""

    def edgy(x):
        y = x.clone()
        y[:, : round(0.2 * RATE)] *= 0.3
        y[:, -round(0.2 * RATE) :] *= -1
        return y

    results = measure_tones(edgy, RATE)
    assert results.thd_n_db.max() < NUMERIC_FLOOR_DB
    np.testing.assert_allclose(results.gain_db, 0, atol=1e-6)
    np.testing.assert_allclose(results.magnitude_db, 0, atol=1e-5)


def test_sweep_in_noise_reports_nothing():
    sweep = exponential_sweep(RATE, -20.0, 0.25)
    reading = read_sweep(np.random.default_rng(0).standard_normal(len(sweep.signal)), sweep)
    for curve in (reading.magnitude_db, reading.smoothed_db, reading.group_delay_samples, reading.harmonics_db):
        assert np.isnan(curve).mean() > 0.98
    assert reading.magnitude_db.shape == response_frequencies(RATE).shape
    assert math.isnan(reading.delay_samples) and math.isnan(reading.polarity)


def test_impulse_is_found_through_noise():
    """Noise as strong as the sweep: the delay still shows, and gaps open in the response."""
    sweep = exponential_sweep(RATE, -20.0, 0.25)
    noise = 0.07 * np.random.default_rng(0).standard_normal(len(sweep.signal))
    reading = read_sweep(noise - np.roll(sweep.signal, 30), sweep)
    assert reading.delay_samples == 30 and reading.polarity == -1
    heard = reading.smoothed_db[np.isfinite(reading.smoothed_db)]
    assert 0.3 < len(heard) / len(reading.smoothed_db) <= 1
    np.testing.assert_allclose(heard, 0, atol=2.5)


# Devices that fail


@pytest.mark.parametrize("name", ["mute", "broken"])
def test_dead_device_reads_nothing(name):
    results = measured(name)
    readings = (
        *(results.thd_n_db, results.thd_db, results.gain_db, results.step_thd_n_db, results.dynamic_range_db),
        *(results.magnitude_db, results.smoothed_db, results.group_delay_samples, results.harmonics_db),
        *(results.delay_samples, results.polarity, results.click_gain_db, results.crosstalk_db),
    )
    for reading in readings:
        assert np.isnan(reading).all()
    if name == "mute":
        assert np.all(results.noise_dbfs == -300)
    else:
        assert np.isnan(results.noise_dbfs).all() and np.isnan(results.noise_spectrum_dbfs).all()


def test_dead_channel_is_not_hidden_by_the_other():
    results = measured("left only")
    assert results.thd_n_db[0].max() < NUMERIC_FLOOR_DB and np.isnan(results.thd_n_db[1]).all()
    assert np.all(results.crosstalk_db[0] == -300) and np.isnan(results.crosstalk_db[1]).all()
    assert np.isnan(results.smoothed_db[1]).all() and np.all(np.isfinite(results.smoothed_db[0]))
    tables = {table.title.split(",")[0]: table for table in tone_tables(results)}
    assert all(math.isnan(row[1]) for row in tables["THD+N against frequency and level"].rows)


def test_single_sample_that_is_not_finite():
    signal = np.zeros(48000)
    signal[100] = math.inf
    assert math.isnan(read_noise(signal, 48000).level_dbfs[0])
    assert math.isnan(read_tone(signal, 1000, 48000).thd_n_db)


@pytest.mark.parametrize("answer", [lambda x: x[:, :-1], lambda x: x[:1], lambda x: x[None], lambda x: x.numpy()])
def test_wrong_shape_is_an_error(answer):
    with pytest.raises(ValueError, match="process must return the shape that it is given"):
        measure_tones(answer, RATE)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sample_rate": 4000}, "sample_rate"),
        ({"channels": 0}, "channels"),
        ({"settle_seconds": 0.0}, "settle_seconds"),
    ],
)
def test_wrong_arguments_are_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        measure_tones(torch.clone, **({"sample_rate": RATE} | arguments))


# The run


def test_what_the_device_is_given():
    """Less than 90 s of float32 audio within full scale, and progress that ends at its total."""
    seen, steps = [], []

    def watch(x):
        assert x.dtype == torch.float32 and x.shape[0] == 2 and not x.requires_grad and not torch.is_grad_enabled()
        seen.append((x.shape[1], float(x.abs().max())))
        return x

    results = measure_tones(watch, RATE, progress=lambda done, total: steps.append((done, total)))
    assert sum(length for length, _ in seen) / RATE == pytest.approx(results.signal_seconds)
    assert results.signal_seconds < 90
    assert max(peak for _, peak in seen) <= 1
    assert steps == [(done, len(seen)) for done in range(1, len(seen) + 1)]


@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (11025, 2), (16000, 3), (48000, 1)])
def test_other_rates_and_channels(rate, channels, tmp_path):
    results = measure_tones(lambda x: 0.5 * x, rate, channels)
    assert results.frequencies_hz.max() <= 0.45 * rate
    assert results.thd_n_db.max() < NUMERIC_FLOOR_DB
    np.testing.assert_allclose(results.smoothed_db, 20 * math.log10(0.5), atol=1e-4)
    np.testing.assert_allclose(results.group_delay_samples, 0, atol=1e-2)
    assert np.isfinite(results.loud_spectrum_dbfs).all()
    assert results.loud_spectrum_dbfs.max() == pytest.approx(-1 + 20 * math.log10(0.5), abs=1.5)
    assert results.crosstalk_db.shape == (2, len(results.crosstalk_hz))
    assert len(results.crosstalk_hz) == (0 if channels != 2 else 6)
    if channels == 3:
        save_tone_report(results, tmp_path)


# The report


@pytest.mark.parametrize("name", ["broken", "left only"])
def test_report(name, tmp_path, capsys):
    results = measured(name)
    page = save_tone_report(results, tmp_path / "new" / "folder")
    names = sorted(file.name for file in page.parent.iterdir())
    pictures = [f"test_tones_{part}.png" for part in ("distortion", "impulse", "noise", "response")]
    assert names == sorted(["test_tones.json", "test_tones.md", *pictures])
    text = page.read_text(encoding="utf-8")
    assert all(f"({picture})" in text for picture in pictures)
    for picture in pictures:
        image = imread(page.parent / picture)
        assert image.shape[1] == 1400 and image[:5].mean() > 0.9
    for table in tone_tables(results):
        assert f"## {table.title}" in text
        print_table(*table)
    assert "nan" not in text.lower() and "Overview" in capsys.readouterr().out


def test_json_holds_the_numbers_and_replaces_the_file_before(tmp_path):
    (tmp_path / "test_tones.json").write_text("old")
    results = measured("noisy")
    save_tone_report(results, tmp_path)
    assert len(list(tmp_path.iterdir())) == 6  # no temporary file is left
    data = json.loads((tmp_path / "test_tones.json").read_text(encoding="utf-8"))
    assert data["sample_rate"] == RATE and data["channels"] == 2
    np.testing.assert_allclose(data["thd_n_db"], results.thd_n_db, rtol=1e-5)
    np.testing.assert_allclose(np.array(data["thd_db"], dtype=float), results.thd_db, rtol=1e-5)
    assert data["thd_db"][0][0][-1] is None  # 18 kHz has no harmonic in band
    assert data == json.loads(json.dumps(results.to_json(), allow_nan=False))


def test_overview_names_the_pass_band():
    rows = {row[0]: row[1:] for row in tone_tables(measured("low pass"))[0].rows}
    edge = math.acos((1 + POLE**2 - 2 * (1 - POLE) ** 2) / (2 * POLE)) * RATE / (2 * math.pi)  # 3.01 dB below DC
    low, high = rows["within 3 dB of 997 Hz from (Hz)"][0], rows["within 3 dB of 997 Hz to (Hz)"][0]
    assert low == pytest.approx(20, abs=1)
    assert edge < high < 1.2 * edge  # 997 Hz is itself below DC
