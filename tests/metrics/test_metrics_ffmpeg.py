"""Loudness, loudness range and true peak against ffmpeg's ebur128, where ffmpeg is installed."""

import math
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import soundfile
import torch
from scipy.signal import butter, sosfilt
from torch import Tensor

from ear_sat.metrics import integrated_loudness_lufs, loudness_range_lu, true_peak_dbtp

FFMPEG = shutil.which("ffmpeg")
AUDIO = Path(__file__).parents[2].parent / "shared" / "audio"

pytestmark = pytest.mark.skipif(FFMPEG is None, reason="needs ffmpeg, which nothing else does")


def measured_by_ffmpeg(signal: Tensor, rate: int, folder: Path) -> tuple[float, float, float]:
    """Integrated loudness in LUFS, loudness range in LU, true peak in dBTP."""
    path = folder / "signal.wav"
    soundfile.write(path, signal.T.numpy(), rate, subtype="FLOAT")
    # The summary has one decimal; the metadata of the last frame have three.
    meter = "ebur128=peak=true:metadata=1:framelog=quiet,ametadata=print"
    command = [str(FFMPEG), "-hide_banner", "-nostats", "-i", str(path), "-af", meter, "-f", "null", "-"]
    report = subprocess.run(command, capture_output=True, text=True, check=True).stderr

    def last(key: str) -> float:
        return float(re.findall(rf"lavfi\.r128\.{key}=(\S+)", report)[-1])

    return last("I"), last("LRA"), 20 * math.log10(last("true_peak"))


def check(signal: Tensor, rate: int, folder: Path) -> None:
    loudness, loudness_range, peak = measured_by_ffmpeg(signal, rate, folder)
    assert integrated_loudness_lufs(signal, rate) == pytest.approx(loudness, abs=0.1)
    assert loudness_range_lu(signal, rate) == pytest.approx(loudness_range, abs=0.1)
    assert true_peak_dbtp(signal, rate) == pytest.approx(peak, abs=0.2)


@pytest.mark.parametrize("rate", [8000, 22050, 32000, 44100, 48000, 96000])
@pytest.mark.parametrize("seed", range(2))
def test_synthetic(rate: int, seed: int, tmp_path: Path) -> None:
    """Half-correlated stereo noise without a top octave, in sections of many levels, faded at both ends."""
    rng = torch.Generator().manual_seed(seed)
    noise = torch.randn(2, 20 * rate, generator=rng)
    noise[1] = (noise[0] + noise[1]) / 2
    low_pass = butter(4, 0.2 * rate, fs=rate, output="sos")
    levels = 10 ** (-torch.rand(20, generator=rng)).repeat_interleave(rate)  # 20 dB
    fade = torch.ones(20 * rate)
    ramp = torch.linspace(0, 1, rate // 10)
    fade[: rate // 10], fade[-(rate // 10) :] = ramp, ramp.flip(0)
    check(0.2 * torch.from_numpy(sosfilt(low_pass, noise.numpy())).float() * levels * fade, rate, tmp_path)


@pytest.mark.parametrize("seconds", [4, 8])
def test_short(seconds: int, tmp_path: Path) -> None:
    """Few blocks: silence appended by the meter would read as range."""
    time = torch.arange(seconds * 44100, dtype=torch.float64) / 44100
    tone = 0.2 * torch.sin(2 * torch.pi * 440 * time) * (1 + 0.5 * torch.sin(2 * torch.pi * 0.2 * time))
    check(tone.float().expand(2, -1).clone(), 44100, tmp_path)


@pytest.mark.parametrize("name", ["pairs/rock.reference.mp3", "pairs/case2_73149.reference.mp3", "train/zh_128.mp3"])
def test_music(name: str, tmp_path: Path) -> None:
    if not (AUDIO / name).is_file():
        pytest.skip(f"needs {name}, real music that is not part of the repository")
    samples, rate = soundfile.read(AUDIO / name, frames=20 * 44100, dtype="float32")
    check(torch.from_numpy(samples.T.copy()), rate, tmp_path)
