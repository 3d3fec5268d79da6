"""Data sets: synthesised demo music, folders of audio files, and the loader that builds them from JSON."""

from .base import CropDataset, Sample
from .demo import DemoDataset
from .excerpt import read_excerpt
from .finding import find_audio_files
from .folder import FolderDataset, collect_left_out
from .layouts import mix_channels
from .loader import DATASET_TYPES, collate, create_dataloader, create_dataset, held_out_config
from .manifest import read_manifest
from .parts import UnusableFileError
from .reading import open_header, read_crop, read_frames
from .sampler import EpochSampler
from .stream import AudioFile
from .synth import synthesise_track
from .table import FileTable

__all__ = [
    "DATASET_TYPES",
    "AudioFile",
    "CropDataset",
    "DemoDataset",
    "EpochSampler",
    "FileTable",
    "FolderDataset",
    "Sample",
    "UnusableFileError",
    "collate",
    "collect_left_out",
    "create_dataloader",
    "create_dataset",
    "find_audio_files",
    "held_out_config",
    "mix_channels",
    "open_header",
    "read_crop",
    "read_excerpt",
    "read_frames",
    "read_manifest",
    "synthesise_track",
]
