"""torchaudio's resampler: all that is needed of it, so that one that does not load harms nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from .errors import UserError

if TYPE_CHECKING:
    from torchaudio.transforms import Resample


def resampler(source_rate: int, target_rate: int) -> Resample:
    """The resampler from one rate to another, in Hz, with torchaudio's defaults, as the release and the host use it.

    Raises:
        UserError: torchaudio does not load.
    """
    try:
        from torchaudio.transforms import Resample
    except (ImportError, OSError, RuntimeError) as error:  # OSError: a library of another torch or CUDA
        version = torch.__version__.split("+")[0]
        raise UserError(
            f"resampling {source_rate} Hz to {target_rate} Hz needs torchaudio, which does not load "
            f"({' '.join(str(error).split())}); install the one that belongs to torch {version}: "
            f"pip install torchaudio=={version}"
        ) from error
    with torch.device("cpu"):  # torch's default device may be one without numbers
        return Resample(source_rate, target_rate)
