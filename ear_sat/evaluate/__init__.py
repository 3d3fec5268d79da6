"""Evaluation of codecs on pairs of files: pairing, measuring, statistics, and the report."""

from .engine import Evaluation
from .measure import PairResult
from .merging import merge
from .pairing import Pair, Pairing, pair_files
from .report import Report
from .run import evaluate
from .summary import Summary, summarise

__all__ = [
    "Evaluation",
    "Pair",
    "PairResult",
    "Pairing",
    "Report",
    "Summary",
    "evaluate",
    "merge",
    "pair_files",
    "summarise",
]
