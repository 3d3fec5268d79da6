"""``details.json``: the settings behind a folder of latents, which every further run into it must share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..json_file import load_json
from .latent_files import finished_windows, write_file

NAME = "details.json"
#: What takes part in encoding.
PACKAGES = ("ear_sat", "torch", "numpy", "soundfile", "soxr")
_RECORDED_ONLY = ("versions", "weights.file")  # may change from one run to the next


def agree(out: Path, details: Mapping[str, Any]) -> None:
    """Records ``details`` in ``out``, or checks them against what is recorded there.

    A data set may have moved: its path counts as the same when the old folder is gone.

    Raises:
        UserError: the settings differ, or ``out`` holds latents of unknown origin.
    """
    path, ours = out / NAME, json.loads(json.dumps(details))
    if not path.exists():
        if finished_windows(out):
            raise UserError(f"{out} holds latents but no {NAME} that says what made them; choose another --out")
        write_file(path, (json.dumps(ours, indent=2) + "\n").encode())
        return
    theirs = load_json(path)
    difference = _first_difference(theirs, ours)
    if difference is not None:
        key, old, new = difference
        raise UserError(
            f"{out} was made with other settings: {key} was {_show(old)}, now it is {_show(new)}; choose another "
            "--out, or repeat the old settings to continue"
        )


def _first_difference(old: Any, new: Any, path: str = "") -> tuple[str, Any, Any] | None:
    """Path and both values of the first difference that matters.

    >>> _first_difference({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}]})
    ('a[1].b', 2, 3)
    """
    if path in _RECORDED_ONLY or old == new:
        return None
    if isinstance(old, dict) and isinstance(new, dict):
        # In the order of a run's own details, so that the plainest setting is named.
        below = [(f"{path}.{key}" if path else key, old.get(key), new.get(key)) for key in [*new, *old]]
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        below = [(f"{path}[{index}]", *pair) for index, pair in enumerate(zip(old, new, strict=True))]
    elif _moved(path, old):
        return None
    else:
        return path, old, new
    return next((found for item in below if (found := _first_difference(item[1], item[2], item[0]))), None)


def _moved(path: str, old: Any) -> bool:
    is_folder = path.startswith("dataset_config.datasets[") and path.endswith("].path")
    return is_folder and isinstance(old, str) and not Path(old).exists()


def _show(value: Any) -> str:
    text = "none" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}…"
