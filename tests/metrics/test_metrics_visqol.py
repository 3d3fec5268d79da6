"""ViSQOL by its package: the command's own figure, the right order, and what is undefined."""

import io
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from ear_sat.errors import UserError
from ear_sat.metrics import METRICS, OPTIONAL, evaluate_pair, visqol, visqol_mos

MUSIC = Path(__file__).parents[2].parent / "shared" / "audio" / "train" / "demo2.mp3"
RATE = 48000


@pytest.fixture(scope="module")
def music() -> Tensor:
    """Bursts of noise with the spectrum of music, 3 dB less per octave, (2, 1.2 s)."""
    length = int(1.2 * RATE)
    noise = torch.randn(2, length, generator=torch.Generator().manual_seed(0))
    frequency = torch.fft.rfftfreq(length, 1 / RATE).clamp(min=40)
    pink = torch.fft.irfft(torch.fft.rfft(noise) / frequency.sqrt(), length)
    return 0.5 * pink / pink.abs().max() * torch.exp(-6 * ((torch.arange(length) / RATE * 4) % 1))


def low_passed(signal: Tensor, edge: float, rate: int = RATE) -> Tensor:
    """Nothing left above ``edge`` Hz, by a filter of 255 taps without delay."""
    time = torch.arange(-127, 128, dtype=torch.float64)
    taps = 2 * edge / rate * torch.sinc(2 * edge / rate * time) * torch.hann_window(257, dtype=torch.float64)[1:-1]
    return torch.nn.functional.conv1d(signal.double()[:, None], taps[None, None], padding=127)[:, 0].float()


def test_order(music: Tensor) -> None:
    """More of the spectrum is better, noise is worse, identity is best; the mean of left and right is what is heard."""
    noise = torch.randn(music.shape, generator=torch.Generator().manual_seed(1))
    versions = (music, low_passed(music, 12000), low_passed(music, 4000), music + 0.05 * noise)
    best, wide, narrow, noisy = (visqol_mos(version, music, RATE) for version in versions)
    assert best == pytest.approx(OPTIONAL["visqol_mos"].identity, abs=1e-3)
    assert best > wide > narrow >= 1 and best > noisy >= 1
    side = torch.stack((noise[0], -noise[0]))
    assert visqol_mos(music + 0.1 * side, music, RATE) == pytest.approx(best, abs=1e-3)  # its blind spots
    assert visqol_mos(-0.25 * music, music, RATE) == pytest.approx(best, abs=1e-3)


def test_undefined(music: Tensor) -> None:
    silence = torch.zeros_like(music)
    assert math.isnan(visqol_mos(music, silence, RATE))
    assert math.isnan(visqol_mos(music, torch.stack((music[0], -music[0])), RATE))
    assert math.isnan(visqol_mos(music[:, :40000], music[:, :40000], RATE))
    assert visqol_mos(silence, music, RATE) == 1
    with pytest.raises(ValueError, match="same shape"):
        visqol_mos(music, music[:, 1:], RATE)
    batch = torch.stack((music, silence)), torch.stack((music, music))
    assert visqol_mos(*batch, RATE) == pytest.approx((visqol_mos(music, music, RATE) + 1) / 2)


def test_only_where_it_is_named(music: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "visqol_mos" not in METRICS and OPTIONAL["visqol_mos"].higher_is_better
    monkeypatch.setitem(sys.modules, "visqol.api", None)
    visqol._api.cache_clear()
    short = music[:, :9000]
    assert "visqol_mos" not in evaluate_pair(short, short, RATE)
    with pytest.raises(UserError, match=r"pip install 'ear-sat\[visqol\]'"):
        evaluate_pair(short, short, RATE, ["snr_db", "visqol_mos"])
    visqol._api.cache_clear()


def of_the_command(folder: Path, reference: np.ndarray, estimate: np.ndarray) -> float:
    """What ``python -m visqol`` prints for two files of (samples, channels)."""
    for name, samples in (("r", reference), ("d", estimate)):
        soundfile.write(folder / f"{name}.wav", samples, RATE, subtype="FLOAT")
    command = [sys.executable, "-m", "visqol", "--reference", folder / "r.wav", "--degraded", folder / "d.wav"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return float(printed.split("MOS-LQO:")[1].split()[0])


@pytest.mark.slow
def test_the_commands_own_figure(music: Tensor, tmp_path: Path) -> None:
    estimate = low_passed(music, 3000)
    expected = of_the_command(tmp_path, music.T.numpy(), estimate.T.numpy())
    assert visqol_mos(estimate, music, RATE) == pytest.approx(expected, abs=1e-6)  # it prints six decimals


@pytest.mark.slow
def test_a_song(tmp_path: Path) -> None:
    """Six seconds, coded as mp3 and as opus and low-passed: as the command has them, in the order of their quality."""
    if not MUSIC.is_file():
        pytest.skip(f"needs {MUSIC.name}, real music that is not part of the repository")
    samples, rate = soundfile.read(MUSIC, start=20 * 44100, frames=6 * 44100, dtype="float32", always_2d=True)
    target = torch.from_numpy(samples.T)
    original = target if rate == RATE else to_48k(target)
    coded = {
        "mp3, 160 kbit/s": through(samples, rate, 0.5, format="MP3", bitrate_mode="CONSTANT"),
        "mp3, 32 kbit/s": through(samples, rate, 0.99, format="MP3", bitrate_mode="CONSTANT"),
        "opus, 19 kbit/s": through(original.T.numpy(), RATE, 0.99, format="OGG", subtype="OPUS"),
    }
    versions = {
        "identical": original,
        **coded,
        "12 kHz": low_passed(original, 12000),
        "4 kHz": low_passed(original, 4000),
    }
    length = min(version.shape[-1] for version in versions.values())
    scores = {name: visqol_mos(v[:, :length], original[:, :length], RATE) for name, v in versions.items()}
    assert scores["identical"] > scores["mp3, 160 kbit/s"] > scores["opus, 19 kbit/s"] > scores["mp3, 32 kbit/s"]
    assert scores["identical"] > scores["12 kHz"] > scores["4 kHz"]
    mp3 = coded["mp3, 32 kbit/s"][:, :length]
    assert scores["mp3, 32 kbit/s"] == pytest.approx(
        of_the_command(tmp_path, original[:, :length].T.numpy(), mp3.T.numpy()), abs=1e-6
    )


def through(samples: np.ndarray, rate: int, compression_level: float, **options: str) -> Tensor:
    """Coded and decoded, (channels, time) at 48 kHz."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, compression_level=compression_level, **options)
    file.seek(0)
    decoded, decoded_rate = soundfile.read(file, dtype="float32", always_2d=True)
    signal = torch.from_numpy(decoded.T)
    return signal if decoded_rate == RATE else to_48k(signal)


def to_48k(signal: Tensor) -> Tensor:
    return visqol._resampler(44100, RATE)(signal)
