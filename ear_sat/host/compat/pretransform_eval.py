"""The host's uncond wrapper leaves the pretransform in train mode, so an autoencoder with dropout or sampling drifts.

Lightning calls ``train()`` on the whole module when fitting starts; no host wrapper ever trains a pretransform.
"""

from __future__ import annotations

from typing import Any

_MARK = "_ear_sat_stays_in_eval"


def apply() -> None:
    """Makes ``AutoencoderPretransform.train`` a no-op that keeps eval mode."""
    from stable_audio_tools.models.pretransforms import AutoencoderPretransform

    if getattr(AutoencoderPretransform, _MARK, False):
        return

    def train(self: Any, mode: bool = True) -> Any:
        # enable_grad marks the one case where somebody trains through it on purpose.
        return super(AutoencoderPretransform, self).train(mode and self.enable_grad)

    AutoencoderPretransform.train = train
    setattr(AutoencoderPretransform, _MARK, True)
