"""Audio that the data set tests write to files."""

import numpy as np

RATE = 16000


def music(seconds: float = 1.0, channels: int = 2, rate: int = RATE, seed: int = 0) -> np.ndarray:
    """Noise below full scale, float32 (T, channels): no two places of it are alike."""
    rng = np.random.default_rng(seed)
    return rng.uniform(-0.5, 0.5, (round(seconds * rate), channels)).astype(np.float32)
