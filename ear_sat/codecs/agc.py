"""Audiogen Codec, by the package audiogen-agc (MIT): stereo, convolutions; continuous (32 channels) or quantised.

The package's ``from_pretrained`` fails beside transformers 5, so the tensors are put into its model here. Its
``encode`` draws from the posterior; the posterior's mean is taken instead, as everywhere here.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor
from torch.nn import functional as F

from ..errors import UserError
from ..json_file import load_json
from ..models import Autoencoder, Codebooks
from ..weights.torch_file import read_file
from .adapting import autoencoder_of, convolutional_reaches

#: What the package adds to audio before it encodes (``AGC.preprocess``).
_OFFSET = 1e-5


def build(folder: Path, _: float | None) -> Autoencoder:
    """The codec in ``folder``."""
    from agc import AGC, AGCConfig

    config = AGCConfig(**load_json(folder / "config.json"))
    model = AGC(config).eval()
    try:
        model.load_state_dict(read_file(folder / "model.safetensors")[0], strict=True)
    except RuntimeError as error:
        lines = str(error).splitlines()
        raise UserError(
            f"the tensors in {folder} do not fit its config.json: {lines[min(1, len(lines) - 1)].strip()[:300]}; get "
            "both files of one model again"
        ) from None
    hop = int(model.hop_length)

    def latent(audio: Tensor) -> Tensor:
        encoded: Tensor = model.encoder(audio + _OFFSET)
        return encoded.chunk(2, dim=1)[0] if config.vae else encoded

    def encode(audio: Tensor) -> Tensor:
        audio = F.pad(audio, (0, -audio.shape[-1] % hop))
        return latent(audio) if model.continuous else model.quantizer(latent(audio))[0].float()

    def decode(z: Tensor) -> Tensor:
        audio: Tensor = model.decoder(z if model.continuous else model.quantizer.from_indices(z.long()))
        return audio

    return autoencoder_of(
        model,
        encode,
        decode,
        *convolutional_reaches(latent, model.decoder, 2, model.latent_dim, hop),
        exact=True,
        latent_dim=model.latent_dim if model.continuous else config.num_codebooks,
        sample_rate=config.sample_rate,
        channels=2,
        codebooks=None if model.continuous else Codebooks(config.num_codebooks, config.codebook_size),
    )
