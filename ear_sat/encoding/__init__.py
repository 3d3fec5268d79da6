"""Audio to latents for latent diffusion: their statistics, and whole data sets of them. Needs no stable-audio-tools."""

from .latent_noise import NoiseError
from .measure import LatentStats, latent_stats, measure_latents
from .posterior import default_sample_size
from .pre_encoding import PreEncodeResult, pre_encode
from .statistics import Moments, kl_per_channel
from .structure import LatentShape, ShapeMeter

__all__ = [
    "LatentShape",
    "LatentStats",
    "Moments",
    "NoiseError",
    "PreEncodeResult",
    "ShapeMeter",
    "default_sample_size",
    "kl_per_channel",
    "latent_stats",
    "measure_latents",
    "pre_encode",
]
