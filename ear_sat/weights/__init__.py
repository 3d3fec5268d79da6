"""Files of weights: read, checked, converted, downloaded; released, exported or from training."""

from .architecture import read_architecture
from .checkpoint import Checkpoint, check_finite, config_metadata, read_checkpoint, read_tensors, resolve
from .fit import Coverage, compare, fit_partly, fit_strictly
from .loading import Fitted, build_autoencoder, fit_checkpoint, load_autoencoder
from .released import RELEASES, Release, download, sha256
from .source import Builder, Source, as_source, is_foreign
from .writing import FORMATS, format_of, refuse_existing, write_weights

__all__ = [
    "FORMATS",
    "RELEASES",
    "Builder",
    "Checkpoint",
    "Coverage",
    "Fitted",
    "Release",
    "Source",
    "as_source",
    "build_autoencoder",
    "check_finite",
    "compare",
    "config_metadata",
    "download",
    "fit_checkpoint",
    "fit_partly",
    "fit_strictly",
    "format_of",
    "is_foreign",
    "load_autoencoder",
    "read_architecture",
    "read_checkpoint",
    "read_tensors",
    "refuse_existing",
    "resolve",
    "sha256",
    "write_weights",
]
