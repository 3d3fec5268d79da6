"""Reconstruction of audio files: finds them, streams them through the model, writes the results."""

from .batch import reconstruct_files, summarize
from .files import FileJob, plan_jobs
from .model import ModelFile, open_model
from .settings import Settings
from .streaming import Result, reconstruct_file

__all__ = [
    "FileJob",
    "ModelFile",
    "Result",
    "Settings",
    "open_model",
    "plan_jobs",
    "reconstruct_file",
    "reconstruct_files",
    "summarize",
]
