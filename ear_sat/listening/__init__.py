"""Blind listening tests of an evaluation's systems: the page for listeners, and what their answers say."""

from .answers import Answers, merge_answers, read_answers
from .methods import METHODS, Method
from .page import ListeningTest, write_test
from .results import Results, evaluate_answers

__all__ = [
    "METHODS",
    "Answers",
    "ListeningTest",
    "Method",
    "Results",
    "evaluate_answers",
    "merge_answers",
    "read_answers",
    "write_test",
]
