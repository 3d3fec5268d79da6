"""``NAME=FOLDER``, given several times."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import UserError
from ..files import expanded


def named_folders(flag: str, what: str, given: Sequence[str], *, bare: bool = False) -> dict[str, Path]:
    """Name → folder, in their order.

    Args:
        flag: for messages.
        what: has the name.
        given: the flag's values.
        bare: a folder without a name is named after itself.

    Raises:
        UserError: a value of another form, or a name that is given twice.

    >>> named_folders("--tracks", "set", ["a=music", "b=more/music"])["b"].name
    'music'
    """
    folders: dict[str, Path] = {}
    for text in given:
        name, separator, path = text.partition("=")
        if bare and not separator:
            name, path = Path(text).resolve().stem, text
        if not name or not path:
            raise UserError(f"{flag} takes NAME=FOLDER, not {text}")
        if name in folders:
            raise UserError(f"{flag} names {name} twice; give each {what} a name of its own")
        folders[name] = expanded(path)  # which a shell does at the beginning of a word only
    return folders
