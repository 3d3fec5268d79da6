"""Reading JSON configs as editors write them."""

from __future__ import annotations

import codecs
import json
from pathlib import Path
from typing import Any

from .errors import UserError


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    config = dict(pairs)
    if len(config) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise UserError(f'the key "{twice}" stands twice in one object, and only the last would count; drop one')
    return config


def _refuse_constant(name: str) -> float:
    raise UserError(f"{name} is not a number that JSON has; give a finite one")


def load_json(path: str | Path) -> dict[str, Any]:
    """Reads a JSON object from ``path``, in UTF-8 or, as some editors save it, with a byte order mark or in UTF-16.

    Raises:
        UserError: the file is missing, is not JSON (with line and column), or is not an object; a key stands twice in
            one object, or a number is NaN or infinite.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
        encoding = "utf-16" if data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"
        config = json.loads(
            data.decode(encoding), object_pairs_hook=_without_duplicates, parse_constant=_refuse_constant
        )
    except FileNotFoundError:
        raise UserError(
            f"no such file: {path}; give the path of a JSON config, or a name that `ear-sat config --list` shows"
        ) from None
    except json.JSONDecodeError as error:
        raise UserError(f"{path} is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not text in UTF-8; save it as UTF-8") from None
    except (OSError, RecursionError) as error:
        raise UserError(f"cannot read {path}: {error}") from None
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    if not isinstance(config, dict):
        raise UserError(f"{path} must hold a JSON object, not a {type(config).__name__}")
    return config
