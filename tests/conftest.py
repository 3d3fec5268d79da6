"""Shared by all tests."""

import getpass
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import soundfile
from skip_list import pytest_sessionfinish, pytest_terminal_summary  # noqa: F401  # hooks

# No modules with doctests; pytest's own --ignore-glob holds in the folder where it is started only.
collect_ignore_glob = ["*conftest.py"]
# The host prepares torch.compile on import, which starts idle compiler processes; two test workers share two cores.
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
# What is compiled under a capped capability overflows its buffers under another one, and torch's cache mixes them up.
if capped := os.environ.get("ATEN_CPU_CAPABILITY"):
    folder = f"torchinductor-{getpass.getuser()}-{capped}"
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(Path(tempfile.gettempdir(), folder)))
# No test waits for a network; huggingface_hub reads this on import, here and in the processes that tests start.
os.environ["HF_HUB_OFFLINE"] = "1"


class Ebur128(NamedTuple):
    """ffmpeg's measurement."""

    heard: Path  # the file, or where ffmpeg before 5 resampled it for its meter, a wav of that
    loudness_lufs: float
    range_lu: float
    true_peak: float  # 1 at full scale

    def check(self, loudness_lufs: float, range_lu: float, true_peak_dbtp: float) -> None:
        """Asserts that another meter's results agree."""
        # ffmpeg sorts blocks into classes of 0.01 LU, rounded down; the range is a difference of two.
        assert loudness_lufs == pytest.approx(self.loudness_lufs, abs=0.02)
        assert range_lu == pytest.approx(self.range_lu, abs=0.02)
        # It prints three decimals of the peak; BS.1770 leaves the interpolation filter open, 1 % is 0.09 dB.
        assert 10 ** (true_peak_dbtp / 20) == pytest.approx(self.true_peak, abs=0.0005 + 0.01 * self.true_peak)


@pytest.fixture
def ebur128(tmp_path: Path) -> Callable[[Path], Ebur128]:
    """Measures a file by ffmpeg, 4.4 or later."""
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        pytest.skip("needs ffmpeg, which nothing else does")

    def measure(path: Path) -> Ebur128:
        # The summary has one decimal; the metadata of the last frame have three. Version 4.4 has each channel's peak
        # only. The meter passes its audio on: before version 5 at 48 kHz, whatever the file's rate.
        heard = tmp_path / "heard.wav"
        meter = "ebur128=peak=true:metadata=1,ametadata=print:file=-"
        command = [ffmpeg, "-nostdin", "-v", "error", "-i", path, "-af", meter, "-c:a", "pcm_f32le", "-y", heard]
        report = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        values = {key: float(value) for key, value in re.findall(r"lavfi\.r128\.(\w+)=(\S+)", report)}  # the last ones
        peak = max(value for key, value in values.items() if key.startswith("true_peaks_ch"))
        same_rate = soundfile.info(heard).samplerate == soundfile.info(path).samplerate
        return Ebur128(path if same_rate else heard, values["I"], values["LRA"], peak)

    return measure
