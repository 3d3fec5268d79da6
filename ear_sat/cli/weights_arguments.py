"""The argument that goes with weights wherever a command takes some."""

from __future__ import annotations

import argparse

from ..checks import path_argument


def add_model_config(parser: argparse._ActionsContainer) -> None:
    """``--model-config``."""
    parser.add_argument(
        "--model-config",
        type=path_argument,
        metavar="CONFIG",
        help="of the weights, where they are of stable-audio-tools and no model_config.json is with or beside them",
    )
