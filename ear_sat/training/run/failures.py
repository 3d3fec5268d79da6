"""Why a training cannot go on, where the reason lies outside of this process."""

from __future__ import annotations

import shlex

import torch

from ...data.shared_memory import worker_death
from ...errors import UserError, in_words
from .folder import RunFolder


def failure(error: Exception, run: RunFolder, several: bool) -> UserError | None:
    """The sentence for an error that a dead data worker, or another process of the run, has brought; None for others.

    Args:
        error: what ``fit`` raised.
        run: the run folder.
        several: the run has more than one process.
    """
    saved = any(run.checkpoints.glob("*.ckpt"))
    go_on = f"; go on with: ear-sat train --resume {shlex.quote(str(run.root))}" if saved else ""
    if death := worker_death(error):
        return UserError(f"{death}{go_on}")
    if several and is_of_another_process(error):
        return UserError(
            f"another process of this run has ended, so this one cannot go on ({in_words(error)}); see what that one "
            f"printed{go_on}"
        )
    return None


def is_of_another_process(error: Exception) -> bool:
    """Whether an error comes from the exchange between processes: NCCL's has a type of its own, gloo's its name.

    >>> is_of_another_process(RuntimeError("[/gloo/transport/tcp/pair.cc:535] Connection reset by peer"))
    True
    """
    of_nccl = torch.distributed.is_available() and isinstance(error, torch.distributed.DistError)
    return of_nccl or "/gloo/" in str(error)
