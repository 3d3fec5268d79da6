"""Preparing data: every track is measured once, and rules decide which are fit for training.

Works without stable-audio-tools. :func:`prepare_data` does everything that ``ear-sat prepare-data`` does but for the
summary and the pictures.
"""

from .measurement import measure_track
from .rules import Rules, decide
from .run import Preparation, prepare_data
from .shards import ShardSettings

__all__ = ["Preparation", "Rules", "ShardSettings", "decide", "measure_track", "prepare_data"]
