"""What the host trains on our latents: its diffusion models."""
