"""Loudness, loudness range and true peak against ffmpeg's ebur128, where ffmpeg is installed."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from scipy.signal import butter, sosfilt
from torch import Tensor

from ear_sat.metrics import integrated_loudness_lufs, loudness_range_lu, true_peak_dbtp

#: The fixture: a file's measurements by ffmpeg.
Meter = Callable[[Path], Any]
AUDIO = Path(__file__).parents[2].parent / "shared" / "audio"


@pytest.fixture
def check(tmp_path: Path, ebur128: Meter) -> Callable[[Tensor, int], None]:
    def check_signal(signal: Tensor, rate: int) -> None:
        path = tmp_path / "signal.wav"
        soundfile.write(path, signal.T.numpy(), rate, subtype="FLOAT")
        theirs = ebur128(path)
        samples, rate = soundfile.read(theirs.heard, dtype="float32")
        signal = torch.from_numpy(samples.T.copy())
        theirs.check(
            integrated_loudness_lufs(signal, rate), loudness_range_lu(signal, rate), true_peak_dbtp(signal, rate)
        )

    return check_signal


@pytest.mark.parametrize("rate", [8000, 22050, 32000, 44100, 48000, 96000])
@pytest.mark.parametrize("seed", range(2))
def test_synthetic(rate: int, seed: int, check: Callable[[Tensor, int], None]) -> None:
    """Half-correlated stereo noise without a top octave, in sections of many levels, faded at both ends."""
    rng = torch.Generator().manual_seed(seed)
    noise = torch.randn(2, 20 * rate, generator=rng)
    noise[1] = (noise[0] + noise[1]) / 2
    low_pass = butter(4, 0.2 * rate, fs=rate, output="sos")
    levels = 10 ** (-torch.rand(20, generator=rng)).repeat_interleave(rate)  # 20 dB
    fade = torch.ones(20 * rate)
    ramp = torch.linspace(0, 1, rate // 10)
    fade[: rate // 10], fade[-(rate // 10) :] = ramp, ramp.flip(0)
    check(0.2 * torch.from_numpy(sosfilt(low_pass, noise.numpy())).float() * levels * fade, rate)


@pytest.mark.parametrize("seconds", [4, 8])
def test_short(seconds: int, check: Callable[[Tensor, int], None]) -> None:
    """Few blocks: silence appended by the meter would read as range."""
    time = torch.arange(seconds * 44100, dtype=torch.float64) / 44100
    tone = 0.2 * torch.sin(2 * torch.pi * 440 * time) * (1 + 0.5 * torch.sin(2 * torch.pi * 0.2 * time))
    check(tone.float().expand(2, -1).clone(), 44100)


@pytest.mark.parametrize("name", ["pairs/rock.reference.mp3", "pairs/case2_73149.reference.mp3", "train/zh_128.mp3"])
def test_music(name: str, check: Callable[[Tensor, int], None]) -> None:
    if not (AUDIO / name).is_file():
        pytest.skip(f"needs {name}, real music that is not part of the repository")
    samples, rate = soundfile.read(AUDIO / name, frames=20 * 44100, dtype="float32")
    check(torch.from_numpy(samples.T.copy()), rate)


def true_peak_of_excerpt(samples: Tensor, rate: int, path: Path, ebur128: Meter) -> tuple[float, float]:
    soundfile.write(path, samples.T.numpy(), rate, subtype="FLOAT")
    theirs = ebur128(path)
    heard, heard_rate = soundfile.read(theirs.heard, dtype="float32")
    return true_peak_dbtp(torch.from_numpy(heard.T.copy()), heard_rate), 20 * math.log10(theirs.true_peak)


@pytest.mark.parametrize("rate", [22050, 44100, 48000, 96000])
def test_true_peak_of_excerpts(rate: int, tmp_path: Path, ebur128: Meter) -> None:
    """Cut in the middle of sound, and at its loudest samples: overshoot of the cut itself does not count."""
    noise = torch.randn(2, 2 * rate, generator=torch.Generator().manual_seed(rate))
    low_pass = butter(4, 0.1 * rate, fs=rate, output="sos")
    sound = 0.2 * torch.from_numpy(sosfilt(low_pass, noise.numpy())).float()
    length, loudest = rate // 10 * 3, int(sound[:, rate // 2 : rate].abs().amax(0).argmax()) + rate // 2
    for start in (0, rate // 3, loudest, loudest - length + 1):
        ours, theirs = true_peak_of_excerpt(sound[:, start : start + length], rate, tmp_path / "cut.wav", ebur128)
        assert ours == pytest.approx(theirs, abs=0.2)


PAIRS = [f"{song}.{version}.mp3" for song in ("case1_1067070", "case2_73149") for version in ("reference", "ear_vae2")]


@pytest.mark.parametrize("name", [*PAIRS, "rock.reference.mp3", "rock.ear_vae.mp3"])
def test_true_peak_of_pairs(name: str, tmp_path: Path, ebur128: Meter) -> None:
    """Whole clips, some of which end in a click, and excerpts that start or end at their loudest sample."""
    if not (AUDIO / "pairs" / name).is_file():
        pytest.skip(f"needs {name}, real music that is not part of the repository")
    samples, rate = soundfile.read(AUDIO / "pairs" / name, frames=30 * 48000, dtype="float32")
    sound = torch.from_numpy(samples.T.copy())
    loudest = int(sound[:, 5 * rate : 6 * rate].abs().amax(0).argmax()) + 5 * rate
    for start, length in ((0, sound.shape[1]), (7 * rate + 11, rate), (loudest, rate), (loudest - rate + 1, rate)):
        ours, theirs = true_peak_of_excerpt(sound[:, start : start + length], rate, tmp_path / "cut.wav", ebur128)
        assert ours == pytest.approx(theirs, abs=0.2)
