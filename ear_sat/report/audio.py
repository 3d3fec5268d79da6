"""Audio files for people to listen to."""

from __future__ import annotations

from pathlib import Path

import soundfile
import torch

from ..files import atomic_path, unwritten


def save_audio(path: str | Path, waveform: torch.Tensor, sample_rate: int) -> int:
    """Writes a 24-bit PCM wav file, whatever the suffix of ``path``; makes its folder.

    Args:
        path: the file, replaced atomically.
        waveform: samples of shape (channels, time), full scale ±1; any float type, any device.
        sample_rate: in Hz.

    Returns:
        how many samples were outside [−1, 1] and were clipped, plus those that were NaN and are written as 0.

    Raises:
        ValueError: the waveform has another shape.
        OSError: the file cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_audio(Path(folder, "a.wav"), torch.tensor([[0.5, -1.0, 1.5, float("nan")]]), 44100)
    2
    """
    if waveform.ndim != 2 or waveform.shape[0] == 0:
        raise ValueError(f"waveform must have the shape (channels, time), not {tuple(waveform.shape)}")
    samples = waveform.detach().to("cpu", torch.float32)
    clipped = int((~(samples.abs() <= 1)).sum())  # NaN compares as False
    samples = samples.nan_to_num(nan=0.0).clamp(-1, 1)  # infinities become huge first, then ±1
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        try:
            soundfile.write(temporary, samples.T.contiguous().numpy(), sample_rate, subtype="PCM_24", format="WAV")
        except (soundfile.SoundFileError, AssertionError) as error:  # it asserts that all was written
            raise unwritten(path, str(error) or "not all of it was written") from error
        if soundfile.info(temporary).frames != samples.shape[1]:  # libsndfile does not always notice a full disk
            raise unwritten(path, "not all of it was written")
    return clipped
