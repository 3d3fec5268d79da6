"""Scores of other systems: the packaged table, one of one's own, and what is wrong with one."""

import json
from pathlib import Path

import pytest

from ear_sat.errors import UserError
from ear_sat.evaluate.references import COLUMNS, SHOWN, packaged_results, paper_references, read_references


def test_the_packaged_table():
    rows = read_references(packaged_results())
    paper = {(row.system, row.music): row.values for row in paper_references()}
    assert len(paper) == 15 and len(rows) > 15
    # arXiv 2509.14912, and what the authors published later.
    assert paper["εar-VAE 44.1 kHz, 43 Hz", "in-house"] == dict(
        zip(SHOWN, ("11.00", "1.12", "0.55", "0.9666", "0.9652", "0.05"), strict=True)
    )
    assert paper["SAME-L", "Song Describer"]["si_sdr_db"] == "12.5"
    assert {row.files for row in rows if row.music == "Song Describer"} == {546}
    assert all(
        row.measured_by and row.source and row.values.keys() <= set(rows[0].values) | {"visqol_mos"} for row in rows
    )
    ours = [row for row in rows if row.measured_by == "ear_sat"]
    assert {row.system for row in ours} == {"εar-VAE2", "εar-VAE2 without refiner", "εar-VAE"}
    assert all(row.files in (1, 2) for row in ours)


def test_the_page_has_the_same_rows():
    """docs/results.md says so."""
    page = (Path(__file__).parents[2] / "docs" / "results.md").read_text(encoding="utf-8")
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line[:2] == "| "]
    shown = [row for row in cells if row[0] != "system"]
    known = read_references(packaged_results())
    assert sorted(row[:2] for row in shown) == sorted([row.system, row.music] for row in known)
    for row in known:
        files = [] if row.files is None else [str(row.files)]
        assert [row.system, row.music, *files, *row.values.values()] in shown


def test_a_system_among_them(tmp_path, noise, write, evaluate_command, capsys, monkeypatch):
    """The packaged table by its name, from any folder; a file of that name wins."""
    monkeypatch.chdir(tmp_path)
    target, preds = write(tmp_path / "a.wav", noise(0, 0.3)), write(tmp_path / "b.wav", noise(1, 0.3))
    arguments = ("--reference", target, "--estimate", f"mine={preds}", "--audio", 0, "--compare-with", "results.csv")
    assert evaluate_command(*arguments, "--out", tmp_path / "out") == 0
    texts = [capsys.readouterr().out]
    texts += [(tmp_path / "out" / name).read_text(encoding="utf-8") for name in ("results.md", "report.html")]
    for text in texts:
        assert "SAME-L" in text and "this run" in text and "do not compare strictly" in text
        assert text.index("this run") < text.index("MuChin")
    rows = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))["references"]["rows"]
    assert rows[0]["system"] == "mine" and len(rows) == 1 + len(read_references(packaged_results()))
    (tmp_path / "results.csv").write_text("system,music,files,measured_by,source,icpc\nX,some,,me,here,0.5\n")
    assert evaluate_command(*arguments, "--paper-table", "--out", tmp_path / "out") == 0
    rows = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))["references"]["rows"]
    assert len(rows) == 1 + 15 + 1 and rows[-1] == {
        "system": "X",
        "music": "some",
        "files": None,
        "measured_by": "me",
        "source": "here",
        "values": {"icpc": 0.5},
    }


HEAD = ",".join(COLUMNS)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "has no rows"),
        (f"{HEAD},icpc\n", "has no rows"),
        ("system,music\na,b\n", "has no column files"),
        (f"{HEAD},icpx\na,b,1,c,d,0.5\n", "unknown column 'icpx'; did you mean 'icpc'"),
        (f"{HEAD},icpc\na,b,1,c,d,good\n", "line 2: icpc must be a number or empty, not good"),
        (f"{HEAD},icpc\na,b,few,c,d,0.5\n", "line 2: files must be a whole number or empty, not few"),
        (None, "cannot read"),
    ],
)
def test_what_is_no_table(tmp_path, text, sentence):
    path = tmp_path / "scores.csv"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=sentence):
        read_references(path)
