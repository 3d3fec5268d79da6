"""JSON files as people's editors save them, and what would be dropped or read in silence."""

import json
from pathlib import Path

import pytest

from ear_sat import UserError
from ear_sat.json_file import load_json

CONFIG = {"name": "Gärtner", "model": {"latent_dim": 64}}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_encodings_of_editors(tmp_path: Path, encoding: str) -> None:
    mark = "\ufeff" if encoding.endswith(("le", "be")) else ""  # as Notepad and PowerShell write it
    path = tmp_path / "config.json"
    path.write_bytes((mark + json.dumps(CONFIG, ensure_ascii=False)).encode(encoding))
    assert load_json(path) == CONFIG


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"a": {"lr": 1, "b": 2, "lr": 3}}', 'the key "lr" stands twice in one object'),
        (b'{"lr": NaN}', "NaN is not a number that JSON has"),
        (b'{"lr": -Infinity}', "-Infinity is not a number that JSON has"),
        ('{"name": "Gärtner"}'.encode("latin-1"), "is not text in UTF-8; save it as UTF-8"),
        (b"[" * 100_000, "cannot read"),
        (b"", "is not valid JSON"),
    ],
)
def test_what_would_be_lost_in_silence_is_one_sentence(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(data)
    with pytest.raises(UserError, match=message) as caught:
        load_json(path)
    assert "config.json" in str(caught.value)
