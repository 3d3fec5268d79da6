"""The folder of one training run: where everything lies, and how it is made and found again."""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ...errors import UserError
from ...files import stale_files, write_text
from ...versions import versions
from .earlier_runs import MEANINGS
from .options import KEPT

PACKAGES = (
    "torch",
    "torchaudio",
    "pytorch_lightning",
    "stable-audio-tools",
    "ear-sat",
    "numpy",
    "soundfile",
)


@dataclass(frozen=True)
class RunFolder:
    """Paths of a run. The constructor touches no file; see :meth:`create` and :meth:`resume`.

    With several processes, call those two on the first one only and give the others ``RunFolder(root)``.

    >>> RunFolder(Path("runs/ear")).metrics_csv.as_posix()
    'runs/ear/metrics.csv'
    """

    root: Path

    @property
    def checkpoints(self) -> Path:
        """Folder of ``last.ckpt``, ``best.ckpt`` and ``step-N.ckpt``."""
        return self.root / "checkpoints"

    @property
    def demos(self) -> Path:
        """Folder of reconstructions and spectrograms."""
        return self.root / "demos"

    @property
    def export(self) -> Path:
        """Folder of unwrapped models."""
        return self.root / "export"

    @property
    def listening_page(self) -> Path:
        """The held-out clip and its reconstruction, to listen to."""
        return self.root / "listen.html"

    @property
    def metrics_csv(self) -> Path:
        """Every logged number."""
        return self.root / "metrics.csv"

    @property
    def model_config(self) -> Path:
        """Copy of the model config."""
        return self.root / "model_config.json"

    @property
    def dataset_config(self) -> Path:
        """Copy of the dataset config."""
        return self.root / "dataset_config.json"

    @property
    def versions(self) -> Path:
        """Software and hardware the run was started with."""
        return self.root / "versions.json"

    @classmethod
    def create(
        cls,
        save_dir: str | Path | None,
        name: str,
        model_config: Mapping[str, Any],
        dataset_config: Mapping[str, Any],
        noted: Mapping[str, Any] | None = None,
    ) -> RunFolder:
        """Makes ``{save_dir or runs}/{name}/`` with its sub-folders, both configs, and ``versions.json``.

        Args:
            noted: what else ``versions.json`` is to hold, such as seed and flags.

        Raises:
            UserError: the name is not a folder name, the folder is in use, or it cannot be written.
        """
        if not name.strip() or name.strip() in (".", "..") or set(name) & {"/", "\\", "\0"}:
            raise UserError(f"--name {name!r} cannot name a folder; use letters, digits, '-' and '_', without '/'")
        run = cls(Path(save_dir or "runs") / name)
        try:
            if run.root.is_dir() and any(run.root.iterdir()):
                raise UserError(
                    f"{run.root} exists already; pick another --name or continue it with --resume {run.root}"
                )
            run.checkpoints.mkdir(parents=True)  # of two processes with the same name, one fails here
            run._fill(model_config, dataset_config, noted or {})
        except OSError as error:
            raise UserError(
                f"cannot write the run folder {run.root}: {error.strerror or error}; "
                "make that place writable or choose another with --save-dir"
            ) from error
        return run

    def _fill(
        self, model_config: Mapping[str, Any], dataset_config: Mapping[str, Any], noted: Mapping[str, Any]
    ) -> None:
        try:
            self.demos.mkdir()
            self.export.mkdir()
            write_text(self.model_config, _json(model_config))
            write_text(self.dataset_config, _json(dataset_config))
            write_text(self.versions, _json({**_software_and_hardware(), **noted}))
        except BaseException:
            shutil.rmtree(self.root, ignore_errors=True)  # so that the same command works once its cause is mended
            raise

    @classmethod
    def find(cls, path: str | Path) -> RunFolder:
        """The run folder at ``path``.

        Raises:
            UserError: ``path`` is not a run folder.
        """
        run = cls(Path(path))
        if not run.root.exists():
            raise UserError(f"no such run folder: {run.root}; --resume takes the folder of an earlier run")
        if not (run.root.is_dir() and run.model_config.is_file() and run.checkpoints.is_dir()):
            hint = next((f" (did you mean {p}?)" for p in run.root.parents if (p / "model_config.json").is_file()), "")
            raise UserError(
                f"{run.root} is not a run folder{hint}; --resume takes the folder of an earlier run, "
                "with model_config.json and checkpoints/ in it"
            )
        return run

    @classmethod
    def resume(cls, path: str | Path) -> RunFolder:
        """Opens the run folder at ``path`` and removes the temporary files a killed run left in it.

        Raises:
            UserError: ``path`` is not a run folder, or cannot be written.
        """
        run = cls.find(path)
        try:
            demos = [folder for folder in run.demos.glob("step-*") if folder.is_dir()]
            for folder in (run.root, run.checkpoints, run.demos, *demos, run.export):
                for file in stale_files(folder):
                    file.unlink(missing_ok=True)
        except OSError as error:
            raise UserError(
                f"cannot clean up the run folder {run.root}: {error.strerror or error}; make it writable"
            ) from error
        return run

    def keep_configs(
        self,
        rounds: int,
        model_config: Mapping[str, Any],
        dataset_config: Mapping[str, Any],
        noted: Mapping[str, Any] | None = None,
    ) -> None:
        """Makes the run's copies those that it goes on with; an earlier one stays as ``NAME.until-ROUNDS.json``.

        What they mean is settled with that: ``versions.json`` gets :data:`.earlier_runs.MEANINGS` and ``noted``.

        Raises:
            UserError: the folder cannot be written.
        """
        try:
            for path, config in ((self.model_config, model_config), (self.dataset_config, dataset_config)):
                before = path.read_text(encoding="utf-8") if path.exists() else None
                if before == _json(config):
                    continue
                earlier = path.with_suffix(f".until-{rounds}.json")
                # Where it exists, no round has been trained with what is replaced now.
                if before is not None and not earlier.exists():
                    write_text(earlier, before)
                write_text(path, _json(config))
            found = self.read_versions()
            settled = {**found, **MEANINGS, **(noted or {})}
            if found != settled:
                write_text(self.versions, _json(settled))
        except OSError as error:
            raise UserError(
                f"cannot write the run folder {self.root}: {error.strerror or error}; make it writable"
            ) from error

    def read_flags(self) -> list[str]:
        """The flags of the training that the run has: ``--batch-size=2`` and such; none where it does not say them."""
        flags = self.read_versions().get("flags")
        known = {name: flags[name] for name in KEPT if name in flags} if isinstance(flags, dict) else {}
        return [f"--{name.replace('_', '-')}={value}" for name, value in known.items()]

    def read_versions(self) -> dict[str, Any]:
        """What ``versions.json`` holds; nothing where it is missing or damaged."""
        try:
            content = json.loads(self.versions.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}


def _software_and_hardware() -> dict[str, Any]:
    gpu_count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return {
        **versions(*PACKAGES),
        **MEANINGS,
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "gpus": [torch.cuda.get_device_name(index) for index in range(gpu_count)],
    }


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
