"""Shared by all tests."""

import math
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

# The host prepares torch.compile on import, which starts idle compiler processes; two test workers share two cores.
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
# The host asks for tokenizers on import of some modules; without a network that waits for minutes.
os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture
def ebur128() -> Callable[[Path], tuple[float, float, float]]:
    """ffmpeg's measurement of a file: integrated loudness in LUFS, loudness range in LU, true peak in dBTP."""
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        pytest.skip("needs ffmpeg, which nothing else does")

    def measure(path: Path) -> tuple[float, float, float]:
        # The summary has one decimal; the metadata of the last frame have three.
        meter = "ebur128=peak=true:metadata=1:framelog=quiet,ametadata=print"
        command = [str(ffmpeg), "-hide_banner", "-nostats", "-i", str(path), "-af", meter, "-f", "null", "-"]
        report = subprocess.run(command, capture_output=True, text=True, check=True).stderr

        def last(key: str) -> float:
            return float(re.findall(rf"lavfi\.r128\.{key}=(\S+)", report)[-1])

        return last("I"), last("LRA"), 20 * math.log10(last("true_peak"))

    return measure
