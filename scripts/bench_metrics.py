"""Times every metric on one core: processor seconds per minute of stereo audio at 44.1 kHz.

    python scripts/bench_metrics.py [--seconds 30] [--visqol] [--fad MODEL] [--json metrics.json]

One thread; what counts is the processor time, so that other work on the machine disturbs little.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NUMBA_NUM_THREADS", "1")

import soundfile
import torch
from bench_data import SAMPLE_RATE, synthesise

from ear_sat.checks import whole
from ear_sat.cli import errors
from ear_sat.evaluate.frechet import MODELS, embed
from ear_sat.metrics import METRICS, OPTIONAL
from ear_sat.report.tables import print_table


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--seconds", type=whole(3), default=30, help="of audio (default: %(default)s)")
    add("--visqol", action="store_true", help="ViSQOL as well")
    add("--fad", choices=MODELS, help="an embedding as well")
    add("--json", type=Path, help="write the figures to this file")
    return parser


def processor_seconds(call: Callable[[], object]) -> float:
    """Of a second call: the first one builds filters and compiles."""
    call()
    begin = time.process_time()
    call()
    return time.process_time() - begin


def main() -> int:
    args = get_parser().parse_args()
    torch.set_num_threads(1)
    audio = synthesise(0, args.seconds)
    target = torch.from_numpy(audio.T).float()
    preds = target + 0.01 * torch.randn(target.shape, generator=torch.Generator().manual_seed(0))
    metrics = [*METRICS.values(), *(OPTIONAL.values() if args.visqol else ())]
    functions = dict.fromkeys(metric.function for metric in metrics)
    costs = {
        function.__name__: processor_seconds(lambda function=function: function(preds, target, SAMPLE_RATE))
        for function in functions
    }
    if args.fad:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "a.wav")
            soundfile.write(path, audio, SAMPLE_RATE)
            costs[f"embedding {args.fad}"] = processor_seconds(lambda: embed(path, args.fad))
    costs = {name: 60 * seconds / args.seconds for name, seconds in costs.items()}
    print_table("one core", ["", "processor s per minute of audio"], [[name, cost] for name, cost in costs.items()])
    if args.json is not None:
        args.json.write_text(json.dumps(costs, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(errors.run(main))
