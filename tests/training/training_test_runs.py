"""A small training as a command."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
#: Flags of a run of the configs in the fixture ``folder``.
NEW_RUN = ["--model-config", "model.json", "--dataset-config", "data.json", "--seed", "3", "--batch-size", "2"]
NEW_RUN += ["--accelerator", "cpu"]
