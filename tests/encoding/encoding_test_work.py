"""What the tests let spawned processes do."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

from ear_sat.errors import UserError


def work(job: str) -> Iterator[int]:
    yield os.getpid()
    if job == "user":
        raise UserError("the disk is full; free some space")
    if job == "bug":
        raise ZeroDivisionError("a number\nof lines")
    if job == "killed":
        time.sleep(1)
        os.kill(os.getpid(), signal.SIGKILL)
    if job == "slow":
        time.sleep(600)
