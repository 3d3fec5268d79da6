"""ear-sat inspect: says what a file of weights is: kind, architecture, parameters, rates, rounds, checksum."""

from __future__ import annotations

import argparse
import json

from ..checks import path_argument
from .weights_arguments import add_model_config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("file", type=path_argument, help="any file of weights, or a folder of an export or run")
    add_model_config(parser)
    parser.add_argument("--json", action="store_true", help="print JSON, with the model config")


def main(arguments: argparse.Namespace) -> int:
    """Inspects."""
    from ..host.opening import weights_source
    from ..report.tables import print_table
    from ..weights.inspection import inspect

    found = inspect(weights_source(arguments.file, arguments.model_config))
    if arguments.json:
        print(json.dumps(found.to_json(), indent=2))
    else:
        print_table("", ["file", found.path], found.rows())
    return 0
