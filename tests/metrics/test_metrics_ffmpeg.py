"""Loudness, loudness range and true peak against ffmpeg's ebur128, where ffmpeg is installed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from scipy.signal import butter, sosfilt
from torch import Tensor

from ear_sat.metrics import integrated_loudness_lufs, loudness_range_lu, true_peak_dbtp

AUDIO = Path(__file__).parents[2].parent / "shared" / "audio"


@pytest.fixture
def check(tmp_path: Path, ebur128: Callable[[Path], Any]) -> Callable[[Tensor, int], None]:
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
