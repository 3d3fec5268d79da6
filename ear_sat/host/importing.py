"""What the host prints and warns of while it is imported."""

from __future__ import annotations

import contextlib
import io
import sys
import warnings
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """While open, remarks on the host's texts and on torch's age are out of sight, and its own are not in the output.

    It says which kinds of attention it lacks. They are for GPUs: where there is one, that goes to standard error.
    """
    remarks = sys.stderr if torch.cuda.is_available() else io.StringIO()
    with contextlib.redirect_stdout(remarks), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", SyntaxWarning)  # a newer Python's, of the host's and its packages' texts
        yield
