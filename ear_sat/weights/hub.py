"""Models on the Hugging Face hub, ``USER/NAME`` or ``USER/NAME@REVISION``: downloaded once, and kept in its cache."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError, first_line
from ..json_file import load_json
from .sharded import INDEX

#: Of files, which have no place in a name of the hub's.
_FILES = (".bin", ".ckpt", ".json", ".pt", ".pth", ".pyt", ".safetensors", ".wav")
_NAME = re.compile(r"(\w[\w.-]*/\w[\w.-]*)(?:@(\w[\w./-]*))?")
#: Files of weights that a folder may have: the first one counts. A run's checkpoints are on no hub.
WEIGHTS = ("model.safetensors", "model.ckpt", f"model.safetensors{INDEX}")


@dataclass(frozen=True)
class HubName:
    """A model on the hub. ``revision`` is a branch, a tag or a commit; None: the main branch."""

    repository: str
    revision: str | None = None

    def __str__(self) -> str:
        return self.repository if self.revision is None else f"{self.repository}@{self.revision}"

    @property
    def name(self) -> str:
        """Without its user."""
        return self.repository.split("/")[1]


def hub_name(path: str | Path) -> HubName | None:
    """The model on the hub that ``path`` names; None for a path.

    What exists here is a path, and so is what would lie in a folder that exists here.

    >>> hub_name("stabilityai/stable-audio-open-1.0@main")
    HubName(repository='stabilityai/stable-audio-open-1.0', revision='main')
    >>> hub_name("runs/model.ckpt")
    """
    text = path.as_posix() if isinstance(path, Path) else path
    name = None if text.lower().endswith(_FILES) else parse_hub_name(text)
    try:
        here = Path(text).exists() or Path(text.split("/")[0]).is_dir()
    except OSError:  # reading it will say why
        return None
    return None if here else name


def parse_hub_name(text: str) -> HubName | None:
    """``USER/NAME`` or ``USER/NAME@REVISION``, whatever exists here; None for anything else."""
    match = _NAME.fullmatch(text)
    return None if match is None else HubName(match[1], match[2])


def weights_folder(name: HubName) -> Path:
    """The folder with a model's weights, and its config where it has one, downloaded unless they are in the cache."""
    downloaded_if_there(name, "model_config.json")
    file = downloaded(name, *WEIGHTS)
    if file.name.endswith(INDEX):
        for part in sorted(set(load_json(file).get("weight_map", {}).values())):
            downloaded(name, part)
    return file.parent


def downloaded(name: HubName, *choices: str) -> Path:
    """The first of the files ``choices`` that the repository has.

    Raises:
        UserError: it has none, there is no such repository or revision, it is not open to this user, or there is no
            connection and none of the files is in the cache.
    """
    found = _first(name, choices)
    if isinstance(found, UserError):
        raise found
    return found


def downloaded_if_there(name: HubName, file: str) -> Path | None:
    """As :func:`downloaded`, but None where the repository has no such file, or there is no connection to ask it."""
    found = _first(name, [file])
    return None if isinstance(found, UserError) else found


def _first(name: HubName, choices: Sequence[str]) -> Path | UserError:
    """The first of ``choices`` that can be had, or why there is none; raises what would hold for any file."""
    from huggingface_hub.utils import EntryNotFoundError, LocalEntryNotFoundError

    away: UserError | None = None
    for choice in choices:
        try:
            return fetch(name.repository, choice, name.revision)
        except LocalEntryNotFoundError as error:  # no connection; the next one may be in the cache
            away = away or _refusal(name, choice, error)
            away.__cause__ = away.__cause__ or error
        except EntryNotFoundError:
            continue
        except Exception as error:  # many types, depending on where the connection fails
            raise _refusal(name, choice, error) from error
    nothing = f"huggingface.co/{name} has no {' or '.join(choices)}; give the name of a model that has one"
    return away or UserError(nothing)


def fetch(repository: str, filename: str, revision: str | None) -> Path:
    """``hf_hub_download``, which keeps the file in its cache (``HF_HOME``) and resumes, without its warnings."""
    from huggingface_hub import hf_hub_download

    with quiet_hub():
        return Path(hf_hub_download(repository, filename, revision=revision))


@contextlib.contextmanager
def quiet_hub() -> Iterator[None]:
    """While open, the hub does not warn of every retry; what fails in the end is said anyway."""
    from huggingface_hub.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


def reason_of(error: BaseException) -> str:
    """The first line of what began it: the hub's own message only advises to check the connection."""
    while error.__cause__ is not None:
        error = error.__cause__
    return first_line(error).split(". ")[0][:160]


def _refusal(name: HubName, filename: str, error: BaseException) -> UserError:
    from huggingface_hub.utils import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    if isinstance(error, GatedRepoError):
        return UserError(
            f"huggingface.co/{name} asks to accept its terms first; do so on its page, and log in with hf auth login"
        )
    if isinstance(error, RepositoryNotFoundError):
        return UserError(
            f"there is no {name} here nor on huggingface.co that this user can see; check the name or path, and log in "
            "with hf auth login where it is private"
        )
    if isinstance(error, RevisionNotFoundError):
        return UserError(f"huggingface.co/{name.repository} has no revision {name.revision}; check it on its page")
    return UserError(
        f"there is no {name} here, and {filename} of huggingface.co/{name} cannot be downloaded ({reason_of(error)}); "
        "try again with a connection, which puts it into the cache, or get the folder by other means and give its path"
    )
