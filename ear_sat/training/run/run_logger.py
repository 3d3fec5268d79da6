"""Lightning logger that writes the run folder's ``metrics.csv``."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.utilities import rank_zero_only

from .folder import RunFolder
from .metrics_csv import MetricsCsv


class RunLogger(Logger):
    """One row per call; the step is the round.

    Attributes:
        rounds: tells the round where the caller does not know it: what Lightning logs by itself carries a number that
            is one behind and comes twice after a resume.
    """

    def __init__(self, run: RunFolder) -> None:
        super().__init__()
        self.rounds: Callable[[], int] | None = None
        self._run = run
        self._csv: MetricsCsv | None = None

    @property
    def name(self) -> str:
        return self._run.root.name

    @property
    def version(self) -> str:
        return ""

    @property
    def save_dir(self) -> str:
        return str(self._run.root)

    @property
    def csv(self) -> MetricsCsv:
        """The open file; made on first use, on rank 0 only."""
        if self._csv is None:
            self._csv = MetricsCsv(self._run.metrics_csv)
        return self._csv

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        step = self.rounds() if self.rounds is not None else int(step or 0)
        self.csv.append({"step": step, **{k: float(v) for k, v in metrics.items() if k != "epoch"}})

    @rank_zero_only
    def log_hyperparams(self, params: object, *args: object, **kwargs: object) -> None:
        """The configs lie in the run folder."""
