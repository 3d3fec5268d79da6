"""These tests need stable-audio-tools; where it is missing they are not collected."""

from __future__ import annotations

import importlib.util

if importlib.util.find_spec("stable_audio_tools") is None:
    collect_ignore_glob = ["test_*.py"]
else:
    import torch

    import ear_sat

    torch.set_num_threads(1)
    ear_sat.register()
