"""εar-VAE in plain PyTorch: encoder, decoder with RoPE transformer, VAE bottleneck, STFT discriminator."""

from .autoencoder import Autoencoder
from .bottleneck import Bottleneck, Codebooks, VAEBottleneck, kl_divergence
from .discriminator import DISCRIMINATORS, MultiResolutionSTFTDiscriminator
from .foreign import Foreign, chunks_in_words, foreign_layers
from .layers import fold_weight_norm
from .oobleck import Decoder, Encoder
from .optimized import optimize_for_inference
from .parts import BOTTLENECKS, DECODERS, ENCODERS, build_part, check_model_sizes
from .receptive_field import context_frames
from .reconstruction import reconstruct_blocks
from .snake import SnakeBeta, snake_beta
from .transformer import Transformer

__all__ = [
    "BOTTLENECKS",
    "DECODERS",
    "DISCRIMINATORS",
    "ENCODERS",
    "Autoencoder",
    "Bottleneck",
    "Codebooks",
    "Decoder",
    "Encoder",
    "Foreign",
    "MultiResolutionSTFTDiscriminator",
    "SnakeBeta",
    "Transformer",
    "VAEBottleneck",
    "build_part",
    "check_model_sizes",
    "chunks_in_words",
    "context_frames",
    "fold_weight_norm",
    "foreign_layers",
    "kl_divergence",
    "optimize_for_inference",
    "reconstruct_blocks",
    "snake_beta",
]
