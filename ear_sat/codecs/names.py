"""What a user may call a codec: a name from the list, a model on the hub, or a folder here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from ..files import expanded
from ..weights.hub import HubName, downloaded, downloaded_if_there, hub_name
from .codec import KINDS, Codec, kind_of


@dataclass(frozen=True)
class Published:
    """A codec on the Hugging Face hub."""

    repository: str
    kind: str


CODECS = {
    "encodec_24khz": Published("facebook/encodec_24khz", "encodec"),
    "encodec_48khz": Published("facebook/encodec_48khz", "encodec"),
    "dac_16khz": Published("descript/dac_16khz", "dac"),
    "dac_24khz": Published("descript/dac_24khz", "dac"),
    "dac_44khz": Published("descript/dac_44khz", "dac"),
    "agc": Published("Audiogen/agc-continuous", "agc"),
    "agc_discrete": Published("Audiogen/agc-discrete", "agc"),
}
_BANDWIDTH = re.compile(r"(.+):(\d+(?:\.\d+)?)")


def find_codec(text: str) -> tuple[str, Codec | Path]:
    """The name for the results and the codec that ``text`` stands for; a path for weights of an autoencoder.

    Args:
        text: ``encodec_48khz``, ``encodec_48khz:6`` (kbit/s), ``USER/NAME``, or a path; ``NAME=`` before it gives
            another name for the results.

    Raises:
        UserError: nothing of that name, or it cannot be downloaded.
    """
    given, separator, what = text.partition("=")
    if not separator:
        given, what = "", text
    match = _BANDWIDTH.fullmatch(what)
    what, bandwidth = (match[1], float(match[2])) if match else (what, None)
    if not what or (separator and not given):
        raise UserError(f"--codec takes a name, a folder, or NAME=FOLDER, not '{text}'")
    name, found = _found(what)
    given = given or (name if bandwidth is None else f"{name}_{bandwidth:g}kbps")
    if isinstance(found, tuple):
        return given, Codec(*found, bandwidth)
    if bandwidth is not None:
        raise UserError(f"{what} is an autoencoder and has one bandwidth; leave :{bandwidth:g} out")
    return given, found


def _found(what: str) -> tuple[str, tuple[Path, str] | Path]:
    """Name, and folder and kind of a codec, or the path of weights."""
    path = expanded(what)
    if what in CODECS and not path.exists():
        codec = CODECS[what]
        return what, (_folder(HubName(codec.repository)), codec.kind)
    name = hub_name(what)
    if name is not None:
        if downloaded_if_there(name, "model_config.json"):
            return name.name, Path(what)
        folder = _folder(name)
        return name.name, (folder, _known(folder, str(name)))
    if not path.exists():
        raise UserError(
            f"no such codec, file or folder: {what}; --codec takes {', '.join(CODECS)}, a model on the hub as "
            "USER/NAME, or the folder of a model"
        )
    if not path.is_dir() or (path / "model_config.json").is_file() or kind_of(path) is None:
        return path.resolve().stem, path
    return path.resolve().name, (path, _known(path, what))


def _folder(name: HubName) -> Path:
    config = downloaded(name, "config.json")
    downloaded(name, "model.safetensors")
    return config.parent


def _known(folder: Path, what: str) -> str:
    kind = kind_of(folder)
    if kind not in KINDS:
        raise UserError(f"{what} is a model of type {kind}; a codec here is one of {', '.join(KINDS)}")
    return kind
