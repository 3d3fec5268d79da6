"""Checkpoints that load with ``weights_only=True`` and that no crash or full disk can damage.

Lightning's own writer writes in place, so a run killed while saving loses the old checkpoint and the new one.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import pickle
import re
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO
from torch import nn

from ...errors import UserError, causes, first_line
from ...files import atomic_path
from ...weights import compare
from ...weights.torch_file import check_zip

_STEP_NAME = re.compile(r"step-(\d+)\.ckpt")
_SPACE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def plain(value: Any, where: str = "") -> Any:
    """Copies ``value`` with mappings as dicts and tuples as lists; the leaves are tensors, str, int, float, bool, None.

    Subclasses of str, int and float (enums, ``torch.__version__``) become their base type. Tensors are detached but
    not copied.

    Args:
        value: what a checkpoint is to hold.
        where: key path of ``value``, for the error message.

    Raises:
        TypeError: something else is in it (a path, a numpy array or scalar, a set, any other object).

    >>> plain({"optimizer": {"betas": (0.8, 0.99), 0: True}})
    {'optimizer': {'betas': [0.8, 0.99], 0: True}}
    >>> plain({"callbacks": {"RunCheckpoint": {"dir": Path("runs")}}})
    Traceback (most recent call last):
    TypeError: checkpoints hold only tensors, str, int, float, bool, None, list and dict;
    callbacks/RunCheckpoint/dir is a pathlib...
    """
    if type(value) in (torch.Tensor, torch.nn.Parameter):
        return value.detach()
    if value is None or isinstance(value, bool):
        return value
    if type(value).__module__.partition(".")[0] != "numpy":  # numpy.float64 is a float, numpy.str_ a str
        if isinstance(value, str):
            return str.__str__(value)  # str() of an enum would be its name
        if isinstance(value, int):
            return int.__int__(value)
        if isinstance(value, float):
            return float.__float__(value)
        if isinstance(value, Mapping):
            return {_plain_key(key, where): plain(item, f"{where}/{key}".lstrip("/")) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(item, f"{where}/{index}".lstrip("/")) for index, item in enumerate(value)]
    raise _refused(value, where or "the checkpoint itself")


def _plain_key(key: object, where: str) -> str | int:
    if not isinstance(key, (str, int)):
        raise _refused(key, f"the key {key!r} in {where or 'the checkpoint itself'}")
    copied: str | int = plain(key, f"the key {key!r} in {where or 'the checkpoint itself'}")
    return copied


def _refused(value: object, where: str) -> TypeError:
    kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
    return TypeError(
        f"checkpoints hold only tensors, str, int, float, bool, None, list and dict; {where} is a {kind}: {value!r:.80}"
    )


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning plugin that writes :func:`plain` checkpoints: temporary file, sync, rename. For local paths."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: object = None) -> None:
        """Writes ``checkpoint`` to ``path``; the file there stays intact until the new one is complete.

        Raises:
            TypeError: the checkpoint holds something :func:`plain` refuses, or ``storage_options`` are given.
            UserError: the file cannot be written, e.g. because the disk is full.
        """
        if storage_options is not None:
            raise TypeError("AtomicCheckpointIO writes local files and takes no storage_options")
        path = Path(path)
        content = plain(checkpoint)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(path) as temporary, temporary.open("wb") as file:
                torch.save(content, file)
        except (OSError, RuntimeError) as error:
            cause = _os_error(error)
            if cause is None:
                raise
            raise _cannot_write(path, cause) from error

    def load_checkpoint(
        self, path: str | Path, map_location: Any = "cpu", weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Reads a checkpoint, whatever is asked for with ``weights_only=True`` (an argument of later Lightnings).

        Raises:
            UserError: the file is missing, damaged, or holds arbitrary objects.
        """
        return _load(Path(path), "cpu" if map_location is None else map_location)


def _os_error(error: BaseException) -> OSError | None:
    """The OSError behind ``error``: torch.save hides a failing write behind a RuntimeError of its zip writer."""
    return next((cause for cause in causes(error) if isinstance(cause, OSError)), None)


def _cannot_write(path: Path, error: OSError) -> UserError:
    run = path.parent.parent if path.parent.name == "checkpoints" else "RUN_FOLDER"
    remedy = "free some space" if error.errno in _SPACE_ERRORS else "make that place writable"
    return UserError(
        f"cannot write the checkpoint {path}: {error.strerror or error}; {remedy} and resume with --resume {run}"
    )


def _load(path: Path, map_location: Any, mmap: bool = False) -> dict[str, Any]:
    if path.is_dir():
        raise UserError(f"{path} is a folder; give a .ckpt file in it, or a run's folder to --resume")
    if not path.is_file():
        raise UserError(f"no such checkpoint: {path}; give the path of a .ckpt file")
    try:
        # The list of a zip file's entries is at its end, so this finds every truncation without reading the tensors.
        with zipfile.ZipFile(path):
            pass
        checkpoint = torch.load(path, map_location=map_location, weights_only=True, mmap=mmap)
    except zipfile.BadZipFile:
        raise UserError(f"the checkpoint {path} is truncated or not a checkpoint; use an earlier one") from None
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL (\S+)", str(error))  # the rest of the message advises to load the file anyway
        kind = f"objects ({found[1]})" if found else "objects or is damaged"
        raise UserError(
            f"the checkpoint {path} holds {kind} and is not loaded; use one that holds only tensors and plain values"
        ) from error
    except (MemoryError, torch.cuda.OutOfMemoryError):
        raise
    except Exception as error:  # a damaged pickle can raise anything
        raise UserError(f"cannot read the checkpoint {path}: {first_line(error)}; use an earlier one") from error
    if not isinstance(checkpoint, dict):
        raise UserError(f"the checkpoint {path} holds a {type(checkpoint).__name__}, not a dict; use another file")
    return checkpoint


def map_checkpoint(path: str | Path) -> dict[str, Any]:
    """A checkpoint whose tensors are mapped, not read: quick for files of any size.

    Raises:
        UserError: the file is missing, damaged, or holds arbitrary objects.
    """
    return _load(Path(path), "cpu", mmap=True)


def check_intact(path: str | Path) -> None:
    """Reads a checkpoint to its end and compares its checksums, which torch does not look at.

    Raises:
        UserError: the file is missing, damaged, or holds arbitrary objects.
    """
    map_checkpoint(path)
    check_zip(Path(path))


def check_fits(wrapper: nn.Module, path: Path) -> int:
    """Checks that a training of ``wrapper`` can go on from the checkpoint at ``path``; returns its finished rounds.

    Raises:
        UserError: the file cannot be read, is not of a training, or is of another model.
    """
    checkpoint = map_checkpoint(path)
    if "optimizer_states" not in checkpoint:
        raise UserError(f"{path} holds no state of a training; start a new run from it with --pretrained-ckpt-path")
    mismatch = compare(wrapper, fit_counters(wrapper, checkpoint.get("state_dict", {})))
    if mismatch:
        raise UserError(
            f"the checkpoint {path} is of another model: {mismatch}; use the model config of its run, or start a new "
            "run from its weights with --pretrained-ckpt-path"
        )
    return finished_rounds(checkpoint)


def finished_rounds(checkpoint: Mapping[str, Any]) -> int:
    """Rounds of our wrapper; Lightning's steps of another."""
    return int(checkpoint.get("ear_sat", {}).get("rounds", checkpoint.get("global_step", 0)))


def fit_counters(wrapper: nn.Module, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """``state`` with single numbers in the shape that ``wrapper`` keeps them in.

    ema-pytorch kept its counters as one-element vectors until 0.2 and keeps them as scalars since.
    """
    own = wrapper.state_dict()
    counters = {name for name, value in own.items() if value.numel() == 1 and name in state}
    return {
        name: value.reshape(own[name].shape) if name in counters and value.numel() == 1 else value
        for name, value in state.items()
    }


def link_or_copy(src: str | Path, dst: str | Path) -> None:
    """Makes ``dst`` a hard link to ``src``, or a copy where there are no hard links; replaces ``dst`` atomically.

    Raises:
        UserError: neither can be written.
    """
    src, dst = Path(src), Path(dst)
    try:
        with atomic_path(dst) as temporary:
            try:
                os.link(src, temporary)
            except OSError:  # no hard links here (exFAT, some network file systems), or another file system
                shutil.copyfile(src, temporary)
    except OSError as error:
        raise _cannot_write(dst, error) from error


def newest_readable(folder: str | Path) -> tuple[Path, list[str]]:
    """The newest of ``last.ckpt`` and ``step-*.ckpt`` in ``folder`` that loads.

    The number of rounds in ``last.ckpt`` tells its place among them: a run can be killed between writing a
    ``step-*.ckpt`` and linking the other.

    Returns:
        its path, and one sentence per newer file that could not be used.

    Raises:
        UserError: there is no checkpoint, or none is readable.
    """
    folder = Path(folder)
    notes: list[str] = []
    for path in _newest_first(folder):
        try:
            check_intact(path)
        except UserError as error:
            notes.append(_damage(path, error))
            continue
        return path, [f"{note}: using {path.name}" for note in notes]
    if notes:
        raise UserError(
            f"no readable checkpoint in {folder} ({'; '.join(notes)}); copy one back or start under another --name"
        )
    raise UserError(f"no last.ckpt or step-*.ckpt in {folder}; the run saved none: start it under another --name")


def _newest_first(folder: Path) -> list[Path]:
    by_step = {int(m[1]): path for path in folder.glob("step-*.ckpt") if (m := _STEP_NAME.fullmatch(path.name))}
    ranks: dict[Path, float] = {path: step for step, path in by_step.items()}
    last = folder / "last.ckpt"
    if last.exists():
        ranks[last] = _rounds_in(last) + 0.5
    return sorted(ranks, key=lambda path: ranks[path], reverse=True)


def _rounds_in(path: Path) -> float:
    """The finished rounds of a checkpoint; infinite where it does not tell."""
    with contextlib.suppress(UserError):  # it is named where it is to be read
        return finished_rounds(map_checkpoint(path))
    return math.inf


def _damage(path: Path, error: UserError) -> str:
    if isinstance(error.__cause__, OSError):
        return f"{path.name} cannot be read ({error.__cause__.strerror})"
    return f"{path.name} is damaged" if zipfile.is_zipfile(path) else f"{path.name} is truncated"
