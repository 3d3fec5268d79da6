"""ear-sat listening-results: merges the answers of listeners to a blind test into tables.

Takes the JSON files that the page of ``ear-sat evaluate --blind`` saves, one for each listener. MUSHRA: mean, 95 %
interval and median of every version after the post-screening of BS.1534-3. ABX: right answers and their binomial p.
"""

from __future__ import annotations

import argparse

from ..checks import path_argument


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("files", type=path_argument, nargs="+", metavar="FILE", help="a listener's answers (JSON)")
    parser.add_argument(
        "--out", type=path_argument, metavar="DIR", help="folder for listening.json, listening.csv and listening.md"
    )


def main(arguments: argparse.Namespace) -> int:
    """Prints the tables and, with ``--out``, writes them."""
    from ..listening import evaluate_answers, read_answers

    results = evaluate_answers([read_answers(path) for path in arguments.files])
    if arguments.out is not None:
        results.write(arguments.out)
    results.print()
    if arguments.out is not None:
        print(f"results: {arguments.out / 'listening.md'}")
    return 0
