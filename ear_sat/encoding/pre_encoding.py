"""Whole data sets to latents, in the format that the host's ``"dataset_type": "pre_encoded"`` reads."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from tqdm import tqdm

from ..checks import require_whole
from ..compute import PRECISIONS, choose_device
from ..config import check_choice
from ..data.windows import WindowSet, open_windows
from ..errors import UserError
from ..files import expanded, make_folder
from ..models import Autoencoder
from ..processes import workers
from ..ranks import Place, find_place
from ..versions import versions
from ..weights import Source, as_source
from .details import PACKAGES, agree
from .latent_files import finished_windows, remove_remnants, write_file
from .model_file import ModelFile, read_model
from .posterior import check_sample_size
from .worker import Event, Share, encode_share

CONFIG_NAME = "dataset_config.json"


@dataclass
class PreEncodeResult:
    """What a run did; counts are of this process and those it started.

    Attributes:
        out: the folder of latents.
        sample_size, frames: length of a window in samples and in latent frames.
        windows: in the data set, after ``limit``.
        place: this process among those of a launcher.
        written, present, rejected: windows encoded now, found from an earlier run, refused by custom metadata.
        seconds: of audio written, without padding.
        elapsed: seconds that encoding took.
        bad_files: path → reason.
    """

    out: Path
    sample_size: int
    frames: int
    windows: int
    place: Place
    written: int = 0
    present: int = 0
    rejected: int = 0
    seconds: float = 0.0
    elapsed: float = 0.0
    bad_files: dict[str, str] = field(default_factory=dict)

    def dataset_config(self) -> dict[str, Any]:
        """The host's dataset config for these latents."""
        path = self.out.absolute()
        return {"dataset_type": "pre_encoded", "datasets": [{"id": path.name, "path": str(path)}]}


def pre_encode(
    weights: str | Path | Source,
    dataset_config: Mapping[str, Any],
    out: str | Path,
    *,
    sample_size: int | None = None,
    batch_size: int = 1,
    processes: int = 1,
    device: str = "auto",
    precision: str = "32",
    compiled: bool = False,
    sample: bool = False,
    seed: int = 0,
    limit: int | None = None,
    sample_rate: int | None = None,
    progress: bool = True,
) -> PreEncodeResult:
    """Encodes every window of a data set to ``<out>/<rank>/<name>.npy`` and ``.json``.

    Windows that exist are left alone, so a run that was stopped in any way continues with the same call. Under torchrun
    or SLURM each process takes its share of the files.

    Args:
        weights: any file of weights.
        dataset_config: see :func:`ear_sat.data.windows.open_windows`; a folder's is made by ``data_config``.
        out: folder of latents; made.
        sample_size: samples per window, whole latent frames; None is about 30 s.
        batch_size: windows at a time and process. Beyond 1, a window's last bits may depend on its company.
        processes: number of processes that share the files.
        device: "auto", "cpu", "cuda" or "cuda:N".
        precision, compiled: see :func:`ear_sat.models.optimize_for_inference`.
        sample: draw from the posterior instead of taking its mean.
        seed: of the draw; the noise of a window depends on it and on the window's name alone.
        limit: encode the first ``limit`` windows only.
        sample_rate: of the weights, in Hz, where the file does not say it.
        progress: show a bar on a terminal.

    Raises:
        UserError: settings that cannot be or that differ from those of the latents in ``out``, no usable audio, a full
            disk, too little memory.
    """
    out, source = expanded(out), as_source(weights)
    require_whole("--batch-size", batch_size, at_least=1)
    require_whole("--processes", processes, at_least=1)
    require_whole("--seed", seed, at_least=0)
    if limit is not None:
        require_whole("--limit", limit, at_least=1)
    check_choice("precision", precision, PRECISIONS)
    choose_device(device)
    place = find_place()
    file, model = read_model(source, sample_rate)
    sample_size = check_sample_size(sample_size, file.sample_rate, file.hop)
    every = open_windows(dataset_config, sample_size, file.sample_rate, file.channels)
    windows = every.select(every.windows[:limit])
    _check_name(out)
    make_folder(out)
    agree(out, _details(file, dataset_config, sample_size, sample, seed, precision))
    ranks = range(place.rank * processes, (place.rank + 1) * processes)
    remove_remnants(out, ranks if place.size > 1 else None)

    result = PreEncodeResult(out, sample_size, sample_size // file.hop, len(windows), place)
    result.bad_files.update(windows.left_out)
    done = finished_windows(out)
    shares = []
    for turn, (rank, share) in enumerate(zip(ranks, _shares(windows, ranks, place.size * processes), strict=True)):
        waiting = share.select(window for window in share.windows if window.name not in done)
        result.present += len(share) - len(waiting)
        if waiting.windows:
            local = place.local_rank * processes + turn
            chosen = seed if sample else None
            work = (precision, compiled, batch_size, chosen)
            shares.append(Share(source, sample_rate, waiting, out / str(rank), device, local, *work))
    only_model = model if len(shares) == 1 else None
    del model  # spawned processes read their own
    _run(shares, only_model, result, progress)
    if result.written + result.present == 0 and place.size == 1:
        raise _nothing_encoded(result)
    write_file(out / CONFIG_NAME, (json.dumps(result.dataset_config(), indent=2) + "\n").encode())
    return result


def _details(
    file: ModelFile, dataset_config: Mapping[str, Any], sample_size: int, sample: bool, seed: int, precision: str
) -> dict[str, Any]:
    return {
        "sample_size": sample_size,
        "sample_rate": file.sample_rate,
        "hop_length": file.hop,
        "latent_dim": file.latent_dim,
        "latents": "sample" if sample else "mean",
        "seed": seed if sample else None,
        "precision": precision,
        "weights": file.to_json(),
        "dataset_config": dict(dataset_config),
        "model_config": file.config,
        "versions": versions(*PACKAGES),
    }


def _check_name(out: Path) -> None:
    if ".npy" in str(out.absolute()):
        raise UserError(
            f"{out.absolute()} contains '.npy', which the host would take for a file's ending; choose another --out"
        )


def _shares(windows: WindowSet, ranks: range, size: int) -> list[WindowSet]:
    """What each of ``ranks``, of ``size`` in all, encodes: whole sources, dealt in turn."""
    sources = list(dict.fromkeys(id(window.source) for window in windows.windows))
    shares = [set(Place(rank, size).share(sources)) for rank in ranks]
    return [windows.select(window for window in windows.windows if id(window.source) in share) for share in shares]


def _run(shares: list[Share], model: Autoencoder | None, result: PreEncodeResult, progress: bool) -> None:
    """Encodes and counts."""
    for share in shares:
        make_folder(share.folder)
    began = time.perf_counter()
    total = result.present + sum(len(share.windows) for share in shares)
    hidden = None if progress else True  # None: hidden where there is no terminal
    with tqdm(total=total, initial=result.present, unit="window", disable=hidden) as bar:
        for event in _events(shares, model):
            bar.update()
            if event.written:
                result.written += 1
                result.seconds += event.written
            elif event.reason:
                result.bad_files.setdefault(event.path, event.reason)
            elif event.rejected:
                result.rejected += 1
    result.elapsed = time.perf_counter() - began


def _events(shares: list[Share], model: Autoencoder | None) -> Iterator[Event]:
    if len(shares) == 1:
        yield from encode_share(shares[0], model)
        return
    with workers(max(1, len(shares))) as run:
        for _, event in run(encode_share, [(share,) for share in shares]):
            yield cast(Event, event)  # one of the generator's values


def _nothing_encoded(result: PreEncodeResult) -> UserError:
    if result.bad_files:
        path, reason = next(iter(result.bad_files.items()))
        return UserError(f"nothing could be encoded; the first of {len(result.bad_files)} bad files: {path}: {reason}")
    return UserError(f"get_custom_metadata rejects all of the {result.rejected} windows")
