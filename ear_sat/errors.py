"""The one exception a user is meant to read, and what other people's are in words."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


class UserError(ValueError):
    """Input that the user can mend: one sentence that says what is wrong and what to do.

    Command lines print it after ``error:`` and exit with code 1; everything else is a bug and keeps its traceback.
    """


#: How a UserError stands in the text of a traceback.
MARK = f"{UserError.__module__}.{UserError.__name__}: "


def causes(error: BaseException) -> Iterator[BaseException]:
    """The error itself, then what it came from, and so on."""
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or link.__context__


def sentence_of(error: BaseException) -> str | None:
    """The sentence of the UserError that ``error`` is, that caused it, or of which it tells; None for a bug.

    Lightning wraps errors in others, and data workers hand over the text of theirs: a traceback that ends with it.
    """
    for told in (cause for cause in causes(error) if isinstance(cause, UserError)):
        return str(told).rpartition(MARK)[2].strip()
    return str(error).rpartition(MARK)[2].strip() if MARK in str(error) else None


#: What constructors and networks of other people raise at settings that they cannot use.
REFUSALS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    NameError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
)


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its type's name where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def in_words(error: BaseException) -> str:
    """The first line of an error; what a KeyError lacks, and which module is missing."""
    if isinstance(error, KeyError):
        return f'it lacks the key "{error.args[0]}"'
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"it needs the Python module {error.name}, which is not installed"
    return first_line(error)


@contextlib.contextmanager
def refusing(what: str) -> Iterator[None]:
    """While open, what other people's code raises at settings becomes a sentence that begins with ``what``."""
    try:
        yield
    except UserError:
        raise
    except REFUSALS as error:
        raise UserError(f"{what}: {in_words(error)}") from error


class AssumptionWarning(UserWarning):
    """A value that could not be read was assumed; command lines print it after ``note:``."""
