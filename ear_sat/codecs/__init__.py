"""Published codecs to compare with, as their libraries give them, in the form of an autoencoder of ours.

So they are computed in chunks, resampled, aligned and written as ours are; see :mod:`ear_sat.inference`.
"""

from .codec import Codec
from .facts import CodecFacts, facts_of
from .names import CODECS, find_codec

__all__ = ["CODECS", "Codec", "CodecFacts", "facts_of", "find_codec"]
