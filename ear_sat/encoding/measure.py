"""What an autoencoder's latents are like on a data set, and the ``scale`` that the host's pretransform needs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ..checks import require_number, require_whole
from ..compute import choose_device
from ..data.windows import WindowSet, open_windows
from ..errors import UserError
from ..models import Autoencoder, optimize_for_inference
from ..versions import versions
from ..weights import Source
from .details import PACKAGES
from .latent_noise import NoiseError, NoiseMeter
from .model_file import read_model
from .posterior import check_sample_size
from .statistics import Moments, kl_per_channel
from .stream import Encoded, encode_windows
from .structure import BAND_EDGES, LatentShape, ShapeMeter

MOST_SNR_DB = 120  # of noise on latents: beyond it float32 has no digits left for it
DEAD_BELOW = 0.01  # Burda, Grosse & Salakhutdinov, "Importance weighted autoencoders" (2016): active units


@dataclass
class LatentStats:
    """Statistics of the posterior over all frames that begin inside a file; arrays are (latent_dim).

    Attributes:
        mean, std: of the posterior mean.
        posterior_std: mean of the posterior's standard deviation.
        kl: as in training (without ½); their sum is the KL term; NaN where the latents are no draw.
        overall_mean, overall_std: of the posterior mean, over all channels.
        shape: their dimensions, spectrum over time, smoothness and kurtosis.
        frame_rate: latent frames per second.
        frames, windows, seconds: how much was looked at.
        dead_below: a channel whose posterior mean varies by no more than this (variance over frames) is dead.
        noise: what noise on the latents does to the audio.
        rejected: windows refused by custom metadata.
        bad_files: path → reason.
    """

    mean: np.ndarray
    std: np.ndarray
    posterior_std: np.ndarray
    kl: np.ndarray
    overall_mean: float
    overall_std: float
    shape: LatentShape
    frame_rate: float
    frames: int
    windows: int
    seconds: float
    dead_below: float = DEAD_BELOW
    noise: Sequence[NoiseError] = ()
    rejected: int = 0
    bad_files: dict[str, str] = field(default_factory=dict)

    @property
    def scale(self) -> float:
        """For the pretransform config. The host divides latents by it, which brings their standard deviation to 1."""
        return self.overall_std

    @property
    def band_edges(self) -> list[float]:
        """Hz, of the bands of the spectrum over time."""
        return [edge * self.frame_rate for edge in BAND_EDGES]

    @property
    def dead(self) -> np.ndarray:
        """Whether each channel is dead."""
        return np.square(self.std) <= self.dead_below

    def to_json(self) -> dict[str, Any]:
        """The figures with their names; "channels" is a list in the order of the latents."""
        shape = self.shape
        columns = {"mean": self.mean, "std": self.std, "posterior_std": self.posterior_std, "kl": self.kl}
        columns |= {"kurtosis": shape.kurtosis, "smoothness": shape.smoothness}
        channels = [
            {"channel": index, **{name: _json(values[index]) for name, values in columns.items()}, "dead": bool(dead)}
            for index, dead in enumerate(self.dead)
        ]
        return {
            "scale": self.scale,
            "mean": self.overall_mean,
            "std": self.overall_std,
            "kl": _json(self.kl.sum()),
            "effective_rank": _json(shape.effective_rank),
            "smoothness": _json(shape.overall_smoothness),
            "kurtosis": _json(shape.overall_kurtosis),
            "spectrum": [
                {"from_hz": low, "to_hz": high, "share": _json(share)}
                for low, high, share in zip(self.band_edges, self.band_edges[1:], shape.spectrum, strict=False)
            ],
            "eigenvalues": [_json(value) for value in shape.eigenvalues],
            "noise": [{key: _json(value) for key, value in error._asdict().items()} for error in self.noise],
            "dead_channels": int(self.dead.sum()),
            "dead_share": float(self.dead.mean()),
            "dead_below": self.dead_below,
            "frames": self.frames,
            "windows": self.windows,
            "hours": self.seconds / 3600,
            "windows_rejected": self.rejected,
            "bad_files": self.bad_files,
            "channels": channels,
        }


def _json(value: float) -> float | None:
    """JSON has no NaN."""
    return float(value) if math.isfinite(value) else None


def measure_latents(
    model: Autoencoder,
    windows: WindowSet,
    *,
    batch_size: int = 1,
    dead_below: float = DEAD_BELOW,
    noise_snrs_db: Sequence[float] = (),
    seed: int = 0,
    progress: bool = False,
) -> LatentStats:
    """Statistics of what ``model`` makes of ``windows``; with ``noise_snrs_db`` it decodes them too, noisy by ``seed``.

    Raises:
        UserError: no window could be encoded.
    """
    means, stds, kls = (Moments(model.latent_dim) for _ in range(3))
    shape = ShapeMeter(model.latent_dim)
    noise = NoiseMeter(model, noise_snrs_db, windows.sample_rate, seed)
    count, seconds, rejected, bad_files = 0, 0.0, 0, dict(windows.left_out)
    results = encode_windows(model, windows, batch_size)
    for result in tqdm(results, total=len(windows), unit="window", disable=None if progress else True):
        if isinstance(result, Encoded):
            inside = result.mask.bool()
            mean, std = result.mean[:, inside], result.std[:, inside]
            means.update(mean)
            stds.update(std)
            kls.update(kl_per_channel(mean, std))
            shape.update(mean.numpy())
            noise.update(result)
            count += 1
            seconds += windows.seconds(result.window)
        elif result.reason:
            bad_files.setdefault(result.window.source.path, result.reason)
        else:
            rejected += result.rejected
    if count == 0:
        path, reason = next(iter(bad_files.items()), ("all windows", "rejected by get_custom_metadata"))
        raise UserError(f"no window could be encoded: {path}: {reason}")
    return LatentStats(
        mean=means.mean,
        std=np.sqrt(means.variance),
        posterior_std=stds.mean,
        kl=kls.mean,
        overall_mean=means.overall()[0],
        overall_std=means.overall()[1],
        shape=shape.result(),
        frame_rate=windows.sample_rate / model.downsampling_ratio,
        frames=means.count,
        windows=count,
        seconds=seconds,
        dead_below=dead_below,
        noise=noise.results(),
        rejected=rejected,
        bad_files=bad_files,
    )


def latent_stats(
    weights: str | Path | Source,
    dataset_config: Mapping[str, Any],
    *,
    sample_size: int | None = None,
    batch_size: int = 1,
    limit: int | None = None,
    seed: int = 0,
    device: str = "auto",
    dead_below: float = DEAD_BELOW,
    noise_snrs_db: Sequence[float] = (),
    sample_rate: int | None = None,
    progress: bool = True,
) -> tuple[LatentStats, dict[str, Any]]:
    """Statistics of the latents of a data set.

    Args:
        weights: any file of weights.
        dataset_config: see :func:`ear_sat.data.windows.open_windows`.
        sample_size: samples per window, whole latent frames; None is about 30 s.
        batch_size: windows at a time.
        limit: look at this many windows, chosen at random.
        seed: of that choice, and of the noise.
        device: "auto", "cpu", "cuda" or "cuda:N".
        dead_below: see :class:`LatentStats`.
        noise_snrs_db: of the latents with which they are decoded as well; none for no decoding.
        sample_rate: of the weights, in Hz, where the file does not say it.
        progress: show a bar on a terminal.

    Returns:
        the statistics, and a JSON object with them and with what they were measured on.

    Raises:
        UserError: a value out of range, unusable weights, or no usable audio.
    """
    require_whole("--batch-size", batch_size, at_least=1)
    require_whole("--seed", seed, at_least=0)
    require_number("--dead-below", dead_below, at_least=0)
    for snr in noise_snrs_db:
        require_number("--noise-snr", snr, at_least=-MOST_SNR_DB, at_most=MOST_SNR_DB, unit="dB")
    chosen_device = choose_device(device)
    file, model = read_model(weights, sample_rate)
    sample_size = check_sample_size(sample_size, file.sample_rate, file.hop)
    windows = open_windows(dataset_config, sample_size, file.sample_rate, file.channels)
    if limit is not None and require_whole("--limit", limit, at_least=1) < len(windows):
        chosen = np.random.default_rng(seed).choice(len(windows), limit, replace=False)
        windows = windows.select(windows.windows[index] for index in sorted(chosen))
    optimize_for_inference(model.to(chosen_device))
    stats = measure_latents(
        model,
        windows,
        batch_size=batch_size,
        dead_below=dead_below,
        noise_snrs_db=list(dict.fromkeys(noise_snrs_db)),
        seed=seed,
        progress=progress,
    )
    record = {
        **stats.to_json(),
        "weights": file.to_json(),
        "sample_size": sample_size,
        "sample_rate": file.sample_rate,
        "hop_length": file.hop,
        "limit": limit,
        "seed": seed,
        "dataset_config": dict(dataset_config),
        "versions": versions(*PACKAGES),
    }
    return stats, record
