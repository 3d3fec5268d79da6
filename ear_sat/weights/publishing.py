"""Uploads the folder of a model to the Hugging Face hub, as one commit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from .card import NAME
from .hub import WEIGHTS, HubName, quiet_hub, reason_of

CARD = "README.md"
_SUFFIXES = (".ckpt", ".json", ".md", ".onnx", ".safetensors")
_MODELS = (*WEIGHTS, "diffusion_pytorch_model.safetensors", "encoder.onnx")


@dataclass(frozen=True)
class Upload:
    """What is sent. ``files`` lie in one folder; ``private``: a new repository is."""

    name: HubName
    files: list[Path]
    private: bool = False


def plan_upload(folder: Path, name: HubName, private: bool = False) -> Upload:
    """The files of a model in ``folder``.

    Raises:
        UserError: no such folder, or no weights or card in it.
    """
    if not folder.is_dir():
        raise UserError(f"no such folder: {folder}; make one with ear-sat export … --format hub")
    files = sorted(
        path for path in folder.iterdir() if path.suffix in _SUFFIXES and path.name[0] != "." and path.is_file()
    )
    names = {path.name for path in files}
    if not names & set(_MODELS):
        raise UserError(f"{folder} holds none of {', '.join(_MODELS)}; make it with ear-sat export … --format hub")
    if CARD not in names:
        raise UserError(f"{folder} has no {CARD}, the model's card; ear-sat export … --format hub writes one")
    return Upload(name, files, private)


def content(upload: Upload, path: Path) -> Path | bytes:
    """What is sent of a file: itself; of the card, with the model's name in it."""
    if path.name != CARD:
        return path
    return path.read_text(encoding="utf-8").replace(NAME, upload.name.repository).encode()


def push(upload: Upload) -> str:
    """Uploads; returns the address of the commit.

    Raises:
        UserError: no token, no right to write there, or no connection.
    """
    from huggingface_hub import CommitOperationAdd, HfApi, get_token

    if get_token() is None:
        raise UserError("uploading needs a token of huggingface.co that can write; run hf auth login, or set HF_TOKEN")
    operations = [CommitOperationAdd(path.name, content(upload, path)) for path in upload.files]
    api, repository, revision = HfApi(), upload.name.repository, upload.name.revision
    try:
        with quiet_hub():
            api.create_repo(repository, private=upload.private, exist_ok=True)
            if revision is not None:
                api.create_branch(repository, branch=revision, exist_ok=True)
            done = api.create_commit(
                repository, operations, commit_message="Model and card, by ear-sat push", revision=revision
            )
    except Exception as error:  # many types, depending on where the connection or the right fails
        raise UserError(
            f"cannot upload to huggingface.co/{upload.name} ({reason_of(error)}); nothing of it is to be seen there; "
            "check the connection, and that the token can write there, and run the command again"
        ) from error
    return str(done.commit_url)
