"""εar-VAE for stable-audio-tools.

Importing this package is cheap and changes nothing. :func:`register` makes the host's factories know our types;
everything but latent diffusion works without the host.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .errors import UserError

if TYPE_CHECKING:
    from . import losses, metrics, models
    from .host.opening import load_autoencoder

__version__ = "0.1.0"
__all__ = [
    "UserError",
    "__version__",
    "load_autoencoder",
    "losses",
    "metrics",
    "models",
    "register",
    "register_loss",
]


def register() -> None:
    """Registers our model parts, losses, wrapper and data sets with the host's factories; calling it again is free.

    Raises:
        UserError: stable-audio-tools is not installed.
    """
    from .host.register import register as register_with_host

    register_with_host()


def register_loss(name: str, cls: Callable[..., Any]) -> None:
    """Makes a loss class available under a type name; see :func:`ear_sat.losses.register_loss`."""
    from .losses import register_loss as add

    add(name, cls)


def __getattr__(name: str) -> Any:
    # Imported, and torch with them, when they are asked for.
    if name in ("losses", "metrics", "models"):
        return importlib.import_module(f".{name}", __name__)
    if name == "load_autoencoder":
        from .host.opening import load_autoencoder

        return load_autoencoder
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
