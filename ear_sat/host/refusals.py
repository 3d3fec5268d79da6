"""What the host's factories raise at a config, in words."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from ..errors import REFUSALS, UserError, causes, in_words

#: Of errors while something is fetched from a hub: packages that raise them, and what their texts name.
_HUB_PACKAGES = ("huggingface_hub", "httpx", "httpcore", "requests", "urllib3")
_HUB_NAMES = ("huggingface.co", "Hugging Face")


@contextlib.contextmanager
def in_host_words(what: str, *, ours_too: bool = False) -> Iterator[None]:
    """:func:`ear_sat.errors.refusing`, which knows the errors of a model hub and of files, too.

    Args:
        what: the beginning of the sentence.
        ours_too: put it before sentences of ours as well, which do not know of which file they tell.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, UserError) and not ours_too:
            raise
        hub = _from_hub(error)
        if hub is None and not isinstance(error, (OSError, *REFUSALS)):
            raise
        raise UserError(f"{what}: {hub or in_words(error)}") from error


def _from_hub(error: Exception) -> str | None:
    """The words for what is wanted of a model hub and cannot be got; None for any other error."""
    for cause in causes(error):
        if type(cause).__module__.split(".")[0] in _HUB_PACKAGES or any(name in str(cause) for name in _HUB_NAMES):
            return (
                "a part of it, such as a text encoder, is not in the Hugging Face cache and cannot be downloaded "
                f"({in_words(error):.200}); run once where the hub can be reached, or set HF_HOME to a full cache"
            )
    return None
