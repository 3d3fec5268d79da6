"""These tests need stable-audio-tools; where it is missing they are not collected."""

from __future__ import annotations

import importlib.util

if importlib.util.find_spec("stable_audio_tools") is None:
    collect_ignore_glob = ["test_*.py"]
else:
    import pytest
    import torch

    import ear_sat
    from ear_sat.training.run import demo, finish
    from ear_sat.training.run.train import RUN_FOLDER_VARIABLE

    torch.set_num_threads(1)
    ear_sat.register()

    @pytest.fixture(autouse=True)
    def _runs_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
        """They follow no other run and draw no pictures, which take most of the time; those of scripts do."""
        monkeypatch.delenv(RUN_FOLDER_VARIABLE, raising=False)
        monkeypatch.setattr(demo, "save_spectrograms", lambda *_, **__: None)
        monkeypatch.setattr(finish, "save_curves", lambda *_, **__: None)
