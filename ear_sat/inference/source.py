"""Reads audio files block by block: by libsndfile, whatever the suffix says, else by way of ffmpeg."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..data import AudioFile, UnusableFileError, mix_channels, open_header
from ..data.finding import why_no_audio
from ..data.layouts import Layout
from ..data.reading import require_mixable
from ..data.stream import Stream


def read_header(path: Path) -> AudioFile:
    """What the header of a file says that libsndfile reads; see :func:`ear_sat.data.open_header`."""
    return open_header(str(path), mixed=False)


@contextlib.contextmanager
def readable(path: Path, scratch: Path) -> Iterator[tuple[AudioFile, bool]]:
    """The file, or a wav file that ffmpeg has decoded from it where libsndfile cannot read it; and whether it is that.

    The decoded file lies in the folder ``scratch`` and is removed on leaving.

    Raises:
        UnusableFileError: neither can read it.
    """
    if why := why_no_audio(path):  # ffmpeg would play a list
        raise UnusableFileError(why)
    try:
        header = read_header(path)
    except UnusableFileError as error:
        if error.__cause__ is None:  # libsndfile could read it, but there is nothing in it
            raise
        reason = str(error)
    else:
        yield header, False
        return
    if shutil.which("ffmpeg") is None:
        raise UnusableFileError(f"{reason}; where it is in another format, install ffmpeg or convert it to wav")
    with tempfile.TemporaryDirectory(prefix=".ear-sat-", dir=scratch) as folder:
        decoded = Path(folder, "decoded.wav")
        try:
            _decode(path, decoded)
            header = read_header(decoded)
        except UnusableFileError as error:
            raise UnusableFileError(f"{reason}; ffmpeg: {error}") from None
        yield header, True


def _decode(path: Path, target: Path) -> None:
    """The first audio stream of ``path`` as a float wav file, of any size, at its own rate and layout."""
    # "file:" keeps names with a colon or a leading dash from being read as protocols or options.
    command = ["ffmpeg", "-nostdin", "-v", "error", "-protocol_whitelist", "file", "-i", f"file:{path}"]
    command += ["-map", "0:a:0", "-c:a", "pcm_f32le", "-rf64", "auto", "-f", "wav", f"file:{target}"]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or [f"exit code {done.returncode}"]
        raise UnusableFileError(lines[-1].replace(f"file:{path}", "").strip(" :"))


def read_blocks(file: AudioFile) -> Iterator[np.ndarray]:
    """The whole file, float32 (channels, frames), a second at a time.

    Raises:
        UnusableFileError: a read error, samples that are not finite, or the file ends before its header says.
    """
    done = 0
    with Stream(file.path) as stream:
        for block in stream.blocks(file.sample_rate):
            finite = np.isfinite(block).all(axis=1)
            if not finite.all():
                where = (done + int(np.argmin(finite))) / file.sample_rate
                raise UnusableFileError(f"it holds NaN or infinite samples, the first at {where:.3f} s; repair it")
            done += len(block)
            yield block.T


def chosen_channels(file: AudioFile, choice: str) -> int:
    """How many channels the output has, by the choice of :class:`ear_sat.inference.Settings`.

    Raises:
        UnusableFileError: more than two channels, and no choice for them.
    """
    if file.channels <= 2 or choice == "each":
        return file.channels
    if choice == "error":
        raise UnusableFileError(
            f"it has {file.channels} channels; choose --channels first, each, or downmix (surround to stereo)"
        )
    if choice == "downmix":
        require_mixable(file.channels, file.layout)
    return 2


def choose_channels(block: np.ndarray, choice: str, layout: Layout) -> np.ndarray:
    """A block with the channels that :func:`chosen_channels` has counted; ``layout`` is that of the file."""
    if block.shape[0] <= 2 or choice == "each":
        return block
    return mix_channels(block, 2, layout) if choice == "downmix" else block[:2]
