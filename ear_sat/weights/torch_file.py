"""Reads files of ``torch.save`` and safetensors without ever running code from them; says in words what is wrong."""

from __future__ import annotations

import codecs
import contextlib
import errno
import pickle
import pickletools
import re
import struct
import warnings
import zipfile
from pathlib import Path
from typing import IO, Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import UserError, first_line

_ZIP_START, _PICKLE_START = b"PK\x03\x04", b"\x80"
_HEADER = 512  # bytes that tell what a file is
#: First bytes of files that are mistaken for checkpoints → what they are.
_OTHER_FORMATS = {
    b"version https://git-lfs": "a Git LFS pointer, not the file it stands for",
    b"RIFF": "an audio file",
    b"fLaC": "an audio file",
    b"OggS": "an audio file",
    b"ID3": "an audio file",
    b"\x1f\x8b": "a gzip archive",
    b"<": "a web page (an error message saved in place of the file?)",
}


class _NumpyValue:
    """Takes the place of a numpy scalar, such as a score, of which no tensor depends; numpy's code is not called."""

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


def _in_place_of(module: str, name: str) -> type:
    return type(name, (_NumpyValue,), {"__module__": module})  # torch compares these names with a file's


#: numpy before and since 2.
_NUMPY = [_in_place_of(f"numpy.{core}.multiarray", "scalar") for core in ("core", "_core")]
_NUMPY.append(_in_place_of("numpy", "dtype"))


def read_file(path: str | Path) -> tuple[Any, dict[str, str], bool]:
    """Content of a torch or safetensors file, told apart by its first bytes, not by its name.

    Returns:
        what ``torch.load`` gives, or the tensors of a safetensors file; its metadata (safetensors only); whether it is
        a safetensors file.

    Raises:
        UserError: missing, empty, truncated, not such a file, or it wants to run code.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise UserError(f"{path} is a folder; give the path of a checkpoint")
        if not path.is_file():
            raise UserError(f"no such file: {path}; give the path of a checkpoint, or 44k or 48k for a released one")
        with path.open("rb") as file:
            head = file.read(_HEADER)
        if not head:
            raise UserError(f"{path} is empty (0 bytes); get it again")
        # First, as its first byte can be any: the header's length in eight bytes, low byte first, then a JSON object.
        if head[5:9] == b"\0\0\0{":
            return *_load_safetensors(path), True
        if head.startswith(_ZIP_START):
            check_zip(path)
            return _load(path, "wants"), {}, False
        if head.startswith(_PICKLE_START):  # of torch before 1.6, and without checksums
            return _load(path, "is damaged or wants"), {}, False
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    raise UserError(f"{path} is {_description(head)}; give the path of a checkpoint, or get it again")


def _description(head: bytes) -> str:
    if len(head) < 9:
        return f"too short for one ({len(head)} bytes)"
    start = head.removeprefix(codecs.BOM_UTF8).lstrip()
    for magic, description in _OTHER_FORMATS.items():
        if start.startswith(magic):
            return description
    try:
        text = codecs.utf_8_decode(head, "strict", False)[0]  # the last character may be cut
    except UnicodeDecodeError:
        text = "\0"
    return "of an unknown format, or truncated" if "\0" in text else "a text file"


def check_zip(path: Path) -> None:
    """Refuses what torch would unpack to more than the file's size, or read although it is damaged.

    The directory of a zip file is at its end, so every truncation shows. torch itself does not look at the checksums.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            wrong = _wrong_archive(entries, path.stat().st_size)
            for entry in entries:
                if entry.CRC and not wrong:  # torch can be told to write no checksums
                    with archive.open(entry) as content:
                        while content.read(1 << 20):
                            pass
    except (zipfile.BadZipFile, ValueError, NotImplementedError, RuntimeError, EOFError, struct.error):
        raise UserError(f"{path} is truncated or damaged; get it again") from None
    except OSError as error:
        if error.errno != errno.EINVAL:  # of seeking before the file's start
            raise
        raise UserError(f"{path} is truncated or damaged; get it again") from None
    if wrong:
        raise UserError(f"{path} is {wrong}")


def _wrong_archive(entries: list[zipfile.ZipInfo], size: int) -> str:
    names = {entry.filename.rsplit("/", 1)[-1] for entry in entries}
    if "constants.pkl" in names:
        return "a TorchScript program, not a checkpoint; give the weights that it was made from"
    packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
    if packed or sum(entry.file_size for entry in entries) > size:
        return "a compressed archive, which torch never writes; unpack it if there is a checkpoint inside"
    return "" if "data.pkl" in names else "a zip archive, not a checkpoint; unpack it and give the file inside"


def _load(path: Path, wants: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickle protocols; what cannot be read is an error here
            with torch.serialization.safe_globals([*_NUMPY]):
                return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(_refusal(path, wants, str(error))) from None
    except OSError:
        raise
    except Exception as error:  # a damaged file can make torch raise anything
        first = first_line(error)
        if isinstance(error, MemoryError) or "allocate memory" in first:
            raise UserError(f"{path} needs more memory than there is, or is damaged") from None
        raise UserError(f"{path} is truncated or damaged ({first[:200]}); get it again") from None


def _refusal(path: Path, wants: str, message: str) -> str:
    """torch's own message runs over many lines and advises to load the file anyway."""
    found = re.search(r"GLOBAL (\S+)", message) or re.search(r"unrecognized function (.{1,80})", message)
    later_protocol = "Unsupported operand" in message
    wanted = found[1] if found else _foreign_name(path) if later_protocol else None
    if wanted:
        return (
            f"{path} {wants} to run code when it is loaded ({wanted}) and is refused; "
            "get a file that holds only tensors, such as a .safetensors"
        )
    if later_protocol:
        return (
            f"{path} is damaged, or of a pickle protocol that cannot be checked for code and so is refused; "
            "save its tensors with torch.save's defaults or as .safetensors"
        )
    return f"{path} is damaged or holds more than tensors and plain values, and is refused; get it again"


def _foreign_name(path: Path) -> str | None:
    """The first name outside torch that a pickle refers to, of a protocol that torch cannot check."""
    with contextlib.suppress(Exception), path.open("rb") as file:  # a damaged file can make zipfile raise anything
        if not zipfile.is_zipfile(file):
            file.seek(0)
            return _scan(file)
        with zipfile.ZipFile(file) as archive:
            name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
            with archive.open(name) as entry:
                return _scan(entry)
    return None


def _scan(stream: IO[bytes]) -> str | None:
    strings: list[str] = []
    with contextlib.suppress(Exception):  # ValueError at the end of the last pickle; anything where it is damaged
        while True:
            for opcode, argument, _ in pickletools.genops(stream):
                if opcode.name == "GLOBAL":
                    strings += str(argument).split(" ", 1)
                elif isinstance(argument, str):
                    strings.append(argument)
                module, *name = strings[-2:] or [""]
                if opcode.name.endswith("GLOBAL") and module.split(".")[0] not in ("torch", "collections"):
                    return ".".join([module, *name])
    return None


def _load_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(str(path), framework="pt") as file:
            # Copied out of the mapped file: it may be replaced while the model is in use.
            tensors = {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118
            metadata = dict(file.metadata() or {})
    except SafetensorError as error:
        raise UserError(f"{path} is not a readable safetensors file ({error}); get it again") from None
    metadata.pop("format", None)  # "pt": the library's own
    return tensors, metadata
