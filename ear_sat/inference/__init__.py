"""Reconstruction of audio files: finds them, streams them through the model, writes the results."""

from .batch import reconstruct_files, summarize
from .files import FileJob, plan_jobs
from .model import ModelFile, load_model, made_ready, open_model
from .settings import Settings
from .streaming import Result, reconstruct_file

__all__ = [
    "FileJob",
    "ModelFile",
    "Result",
    "Settings",
    "load_model",
    "made_ready",
    "open_model",
    "plan_jobs",
    "reconstruct_file",
    "reconstruct_files",
    "summarize",
]
