"""Memory does not grow with the number of files; decoding is stubbed."""

import subprocess
import sys
from pathlib import Path

import pytest

FEW, MANY = 5_000, 100_000
#: Rows that are kept in memory would take more than 2 kB each, 190 MB in all; this is a tenth of that.
ALLOWED_MEGABYTES = 20

#: Prints the peak memory in MB, of Python and of the libraries together, and the number of rows in the manifest.
PREPARE = """
import hashlib, resource, sys
from pathlib import Path
from ear_sat.prepare import Rules, prepare_data, run

def stub(path):
    return {
        "path": path, "sha256": hashlib.sha256(path.encode()).hexdigest(), "error": None, "bytes": 1,
        "container": "FLAC", "encoding": "PCM_16", "sample_rate": 44100, "channels": 2, "frames": 44100 * 200,
        "duration": 200.0, "clipped_runs": 0, "dual_mono": False, "loudness_lufs": -12.345678,
        "loudness_range_lu": 5.678901, "true_peak_dbtp": -0.123456, "sample_peak_dbfs": -0.234567,
        "silence_share": 0.0, "dc": 0.000123, "mid_side_ratio_db": 12.345678, "bandwidth_hz": 20123.456,
    }

run.measure_track = stub
music, out = map(Path, sys.argv[1:])
result = prepare_data([music], out, Rules(no_duplicates=True), processes=1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, result.statistics.total.tracks, result.measured)
"""


def peak_megabytes(music: Path, out: Path, tracks: int) -> float:
    """Of a process of its own, when it has finished."""
    done = subprocess.run([sys.executable, "-c", PREPARE, music, out], capture_output=True, text=True, check=True)
    megabytes, rows, measured = done.stdout.split()
    assert int(rows) == int(measured) == tracks
    return float(megabytes)


def make_files(folder: Path, count: int) -> Path:
    folder.mkdir()
    for index in range(count):
        if index % 1000 == 0:
            (folder / f"album {index // 1000:04d}").mkdir()
        (folder / f"album {index // 1000:04d}" / f"{index:09d} a name of usual length for a song.flac").touch()
    return folder


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="measures memory with the module resource")
def test_peak_memory(tmp_path):
    pytest.importorskip("pyarrow")
    few, many = (make_files(tmp_path / f"{count}", count) for count in (FEW, MANY))
    least = peak_megabytes(few, tmp_path / "few", FEW)
    assert peak_megabytes(many, tmp_path / "many", MANY) < least + ALLOWED_MEGABYTES
