"""How the work of a command is shared out: options that several commands have."""

from __future__ import annotations

import argparse

from ..engines import ENGINES
from ..ranks import Place


def add_sharing(parser: argparse.ArgumentParser, default: str) -> None:
    """``--processes`` and ``--engine``; ``default`` says how many processes there are without the option."""
    group = parser.add_argument_group(
        "sharing the work",
        "torchrun and SLURM share it too: each rank does its part, and several may be on one machine",
    )
    group.add_argument("--processes", type=int, metavar="N", help=f"processes to use (default: {default})")
    group.add_argument("--engine", choices=ENGINES, default="local", help="this machine (default), or a Ray cluster")


def rank_line(place: Place) -> str:
    """Which share this was."""
    return f"rank {place.rank} of {place.size} ({place.launcher})"
