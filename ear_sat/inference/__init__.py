"""Reconstruction of audio files: finds them, streams them through the model, writes the results."""

from .batch import reconstruct_files, summarize
from .files import Job, plan_jobs
from .settings import Settings
from .streaming import Result, reconstruct_file

__all__ = ["Job", "Result", "Settings", "plan_jobs", "reconstruct_file", "reconstruct_files", "summarize"]
