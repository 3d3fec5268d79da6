"""A model of a few thousand parameters, and audio, for the tests of encoding."""

from __future__ import annotations

from typing import Any

import numpy as np

RATE, HOP, LATENT = 8000, 32, 32
SIZE = 128 * HOP


def model_config(channels: int = 2) -> dict[str, Any]:
    width = {"channels": 4, "c_mults": [1, 2], "strides": [4, 8]}
    decoder = {"out_channels": channels, "latent_dim": LATENT, "transformer": {"depth": 1, "dim_heads": 32}, **width}
    return {
        "model_type": "autoencoder",
        "sample_size": SIZE,
        "sample_rate": RATE,
        "audio_channels": channels,
        "model": {
            "encoder": {"type": "ear_encoder", "config": {"in_channels": channels, "latent_dim": 2 * LATENT, **width}},
            "decoder": {"type": "ear_decoder", "config": {**decoder, "final_tanh": False}},
            "bottleneck": {"type": "ear_vae", "config": {"sample": "training"}},
            "latent_dim": LATENT,
            "downsampling_ratio": HOP,
            "io_channels": channels,
        },
    }


def noise(samples: int, channels: int = 2, seed: int = 0) -> np.ndarray:
    """(samples, channels), below full scale: no two places are alike."""
    return np.random.default_rng(seed).uniform(-0.5, 0.5, (samples, channels)).astype(np.float32)
