"""The benchmark of the metrics runs end to end; no time is asserted."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ear_sat.metrics import METRICS, OCTAVES

SCRIPT = Path(__file__).parents[1] / "scripts" / "bench_metrics.py"


@pytest.mark.slow
def test_every_function_is_timed(tmp_path):
    command = [sys.executable, str(SCRIPT), "--seconds", "3", "--json", str(tmp_path / "metrics.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    costs = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    assert set(costs) == set(METRICS) - set(OCTAVES) | {"si_sdr_octaves_db"} and min(costs.values()) > 0
