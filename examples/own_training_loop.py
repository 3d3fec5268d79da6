"""Trains with the losses of ear_sat in a loop of one's own: ``python examples/own_training_loop.py``.

No Lightning and no stable-audio-tools: a small autoencoder of ear_sat learns one piece of music for a few rounds.
"""

from __future__ import annotations

import torch

from ear_sat.data import synthesise_track
from ear_sat.losses import LossBundle
from ear_sat.models import Autoencoder

RATE, ROUNDS = 44100, 12
MODEL = {
    "model_type": "autoencoder",
    "sample_size": 8192,
    "sample_rate": RATE,
    "audio_channels": 2,
    "model": {
        "encoder": {
            "type": "ear_encoder",
            "config": {"channels": 8, "c_mults": [1, 2], "strides": [4, 4], "latent_dim": 32},
        },
        "decoder": {
            "type": "ear_decoder",
            "config": {"channels": 8, "c_mults": [1, 2], "strides": [4, 4], "latent_dim": 16},
        },
        "bottleneck": {"type": "ear_vae"},
        "latent_dim": 16,
        "downsampling_ratio": 16,
        "io_channels": 2,
    },
}
LOSSES = {
    "magnitude": {"type": "ear_magnitude", "weights": {"log": 1.0, "convergence": 1.0}},
    "correlation": {"type": "ear_correlation", "weights": {"correlation": 1.0}},
}


def main() -> list[float]:
    """Prints the loss of each round, and returns them."""
    torch.manual_seed(0)
    model = Autoencoder.from_config(MODEL).train()
    bundle = LossBundle.from_config(LOSSES, RATE)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    clip = torch.from_numpy(synthesise_track(0, 1.0, RATE, 0))[None, :, : MODEL["sample_size"]]
    losses = []
    for number in range(ROUNDS):
        output = bundle(model.decode(model.encode(clip)), clip)
        optimizer.zero_grad()
        output.total.backward()
        optimizer.step()
        losses.append(output.total.item())
        parts = ", ".join(f"{name} {value.item():.3f}" for name, value in output.raw.items())
        print(f"round {number + 1:2}: {losses[-1]:.3f} ({parts})")
    return losses


if __name__ == "__main__":
    main()
