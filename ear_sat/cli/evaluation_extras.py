"""Options of ``ear-sat evaluate`` beyond measuring and showing: optional metrics, other scores, merging."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..checks import path_argument
from ..errors import UserError
from ..evaluate import Evaluation
from ..evaluate.embeddings import MODELS
from ..evaluate.references import NAME, Reference, beside, paper_references, read_references
from ..evaluate.tables import FRECHET_COLUMNS, frechet_rows, print_references
from ..report.tables import print_table
from .sharing import rank_line


def add_extras(parser: argparse.ArgumentParser) -> None:
    """The options."""
    optional = parser.add_argument_group("metrics that need further packages and time; see docs/metrics.md")
    optional.add_argument(
        "--visqol", action="store_true", help="ViSQOL in audio mode, predicted opinion of listeners (ear-sat[visqol])"
    )
    optional.add_argument(
        "--fad", choices=MODELS, metavar="MODEL", help=f"Fréchet audio distance by {', '.join(MODELS)} (ear-sat[fad])"
    )
    others = parser.add_argument_group("results of others, and of other machines")
    others.add_argument(
        "--compare-with",
        type=path_argument,
        metavar="CSV",
        help=f"show the systems among those of this table; {NAME} comes with ear_sat (docs/results.md)",
    )
    others.add_argument(
        "--paper-table", action="store_true", help="show them among what the authors of εar-VAE have published"
    )
    others.add_argument("--parquet", action="store_true", help="write results.parquet as well (ear-sat[parquet])")
    others.add_argument(
        "--merge",
        nargs="+",
        type=path_argument,
        metavar="DIR",
        help="measure nothing, but report what was measured in these folders, each --out of this command",
    )


def references_of(arguments: argparse.Namespace) -> list[Reference]:
    """The rows of both options, each once."""
    rows = paper_references() if arguments.paper_table else []
    if arguments.compare_with is not None:
        rows += [row for row in read_references(arguments.compare_with) if row not in rows]
    return rows


def optional_metrics(arguments: argparse.Namespace) -> list[str]:
    """Names of the optional pair metrics that were asked for."""
    return ["visqol_mos"] if arguments.visqol else []


def check_merge(arguments: argparse.Namespace) -> None:
    """Raises UserError where ``--merge`` stands beside what would have to be measured."""
    names = (
        "reference",
        "estimate",
        "data",
        "codec",
        "weights",
        "test_tones",
        "align",
        "visqol",
        "fad",
        "blind",
        "trials",
    )
    beside_it = [name for name in names if getattr(arguments, name)]
    if beside_it:
        raise UserError(f"--merge only reports what was measured; leave --{beside_it[0].replace('_', '-')} out")


def print_extras(evaluation: Evaluation, references: Sequence[Reference]) -> None:
    """What was asked for beyond the summary."""
    if evaluation.frechet:
        print_table("Fréchet audio distance", FRECHET_COLUMNS, frechet_rows(evaluation.frechet))
    if references:
        print_references(beside(evaluation, references))


def print_share(evaluation: Evaluation, out: Path) -> None:
    """What a rank has done, and how the report comes about."""
    measured, failed = len(evaluation.results) - len(evaluation.failures), len(evaluation.failures)
    print(
        f"{rank_line(evaluation.place)}: {measured} pair(s) measured, {failed} failed; when all ranks have ended, the "
        f"same command without {evaluation.place.launcher}, or ear-sat evaluate --merge {out} --out {out}, writes the "
        "report"
    )
