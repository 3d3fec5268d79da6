"""The weights that encode: what names them, and the sizes that follow from them."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..checks import require_whole
from ..models import Autoencoder
from ..weights import Source, as_source, fit_checkpoint, read_checkpoint, sha256

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelFile:
    """A file of weights.

    Attributes:
        path: the file.
        sha256: its checksum.
        config: the model config that its tensors have.
    """

    path: Path
    sha256: str
    config: dict[str, Any]

    @property
    def sample_rate(self) -> int:
        """Hz."""
        return self.config["sample_rate"]

    @property
    def hop(self) -> int:
        """Samples per latent frame."""
        return self.config["model"]["downsampling_ratio"]

    @property
    def latent_dim(self) -> int:
        """Channels of the latents."""
        return self.config["model"]["latent_dim"]

    @property
    def channels(self) -> int:
        """Channels of the audio."""
        return self.config["model"]["io_channels"]

    def to_json(self) -> dict[str, str]:
        """Name and checksum, for the records of a run."""
        return {"file": self.path.name, "sha256": self.sha256}


def read_model(path: str | Path | Source, sample_rate: int | None = None) -> tuple[ModelFile, Autoencoder]:
    """Reads a file of weights; the model is on the CPU, in eval mode and without gradients.

    Args:
        path: anything that :func:`ear_sat.weights.load_autoencoder` takes.
        sample_rate: in Hz, where the file does not say it.

    Raises:
        UserError: the file cannot be read or is not an autoencoder.
    """
    if sample_rate is not None:
        require_whole("--sample-rate", sample_rate, at_least=1, unit="Hz")
    checkpoint = read_checkpoint(path)
    fitted = fit_checkpoint(checkpoint, as_source(path).builder, sample_rate=sample_rate)
    # What else may have been assumed concerns the decoder.
    if any(value.startswith("sample_rate") for value in fitted.assumed):
        logger.warning(
            "%s does not say its sample rate; assumed %d Hz, as of the released model (--sample-rate changes it)",
            checkpoint.path.name,
            fitted.config["sample_rate"],
        )
    file = ModelFile(checkpoint.path, sha256(checkpoint.path), fitted.config)
    return file, fitted.model.eval().requires_grad_(False)
