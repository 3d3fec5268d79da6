"""The authors' published weights: where they are, what their checksums are, and how to get them."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from ..caches import cache_folder
from ..config import check_choice
from ..errors import UserError
from ..files import expanded
from .hub import fetch, reason_of

#: Hugging Face repository of the authors, Apache-2.0, at the revision that was examined.
REPOSITORY = "earlab/EAR_VAE"
REVISION = "5950873f1bca6d105fb873af8b68f43b05380093"


@dataclass(frozen=True)
class Release:
    """A published file. ``filename`` is its path in the repository, ``sample_rate`` in Hz."""

    filename: str
    sha256: str
    sample_rate: int


RELEASES = {
    "44k": Release(
        "pretrained_weight/ear_vae_44k.pyt", "0362dc7e96566869747dbe079b0a6d71c090b0a3a5d5077779e7be17c096d9d5", 44100
    ),
    "48k": Release(
        "pretrained_weight/ear_vae_v2_48k.pyt",
        "cc53f3f043aaae01307ffe1439b3a1c9d9e019652e6c13e089cd18d6037c2d3f",
        48000,
    ),
}


def sha256(path: str | Path) -> str:
    """Checksum of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def folder() -> Path:
    """Where a file that was fetched by other means is looked for: ``$EAR_SAT_WEIGHTS``, or the user's cache.

    Raises:
        UserError: the user has no home, and so no cache.
    """
    chosen = os.environ.get("EAR_SAT_WEIGHTS")
    if chosen:
        return expanded(chosen)
    cache = cache_folder()
    if cache is None:
        raise UserError(
            "this user has no home folder for the released weights; set HOME or XDG_CACHE_HOME to a folder that can be "
            "written"
        )
    return cache / "ear_sat"


def download(name: str) -> Path:
    """The path of a published file, downloaded unless it is here already; its checksum is verified every time.

    huggingface_hub keeps it in its cache (``HF_HOME``) and resumes interrupted downloads. A file put into
    :func:`folder` by hand is used instead.

    Args:
        name: "44k" or "48k".

    Raises:
        UserError: unknown name, no connection, or a wrong checksum.
    """
    release = RELEASES[check_choice("release", name, RELEASES)]
    by_hand = folder() / Path(release.filename).name
    path = by_hand if by_hand.is_file() else _from_hub(release, by_hand)
    found = sha256(path)
    if found != release.sha256:
        # Not the link that the hub's cache gives: it would link the same file again.
        raise UserError(
            f"{path.resolve()} is not the published file: its SHA-256 is {found}, not {release.sha256}; "
            "delete it and try again"
        )
    return path


def _from_hub(release: Release, by_hand: Path) -> Path:
    try:
        return fetch(REPOSITORY, release.filename, REVISION)
    except Exception as error:  # many types, depending on where the connection fails
        raise UserError(
            f"cannot download {release.filename} of huggingface.co/{REPOSITORY} ({reason_of(error)}); "
            f"get it by other means and put it at {by_hand}"
        ) from error
