"""The page about the host's autoencoders can be followed: every block of it runs, in order."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import soundfile

from ear_sat.cli.main import main
from ear_sat.data import synthesise_track

sys.path.append(str(Path(__file__).parents[1]))
from readme import README, blocks

PAGE = README.parent / "docs" / "autoencoders.md"


@pytest.mark.slow
def test_the_page_can_be_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    soundfile.write("song.wav", synthesise_track(0, 2.0, 44100, 0).T, 44100)
    names: dict[str, Any] = {}
    found = blocks(PAGE)
    assert 2 * len(found) == PAGE.read_text(encoding="utf-8").count("```") > 0
    for block in found:
        if block.language == "python":
            exec(compile(block.text, f"{PAGE.name}: {block.first_line}", "exec"), names)
            continue
        for words in block.commands():
            more = ["--accelerator", "cpu"] if words[1] == "train" else []
            assert main([*words[1:], *more]) == 0, " ".join(words)
    assert Path("new_decoder/model.safetensors").is_file()
