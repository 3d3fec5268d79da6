"""A model, or any device, measured as an audio analyser would: distortion, response, impulse, crosstalk, noise."""

from .measurement import measure_tones
from .report import save_tone_report, tone_tables
from .results import ToneResults

__all__ = ["ToneResults", "measure_tones", "save_tone_report", "tone_tables"]
