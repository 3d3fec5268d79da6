"""The golden figures on real music through the command, where it is at hand."""

import json
from pathlib import Path

import pytest

from ear_sat.cli.main import main
from ear_sat.evaluate.references import packaged_results, read_references

PAIRS = Path(__file__).parents[2].parent / "shared" / "audio" / "pairs"
COHERENCES = {"icpc": 1e-3, "ccpc": 1e-3}
TOLERANCES = {"si_sdr_db": 1e-2, "true_peak_diff_db": 1e-2, "stft_distance": 1e-3, "mel_distance": 1e-3, **COHERENCES}
#: Name in the table of scores → name of the codec here.
SYSTEMS = {"εar-VAE": "ear_vae", "εar-VAE2": "ear_vae2", "εar-VAE2 without refiner": "ear_vae2_no_refiner"}


def folders(root, expected):
    """A folder of references and one per codec, of links; names as the command pairs them: {(file, codec): golden}."""
    golden = {}
    for name, figures in expected["pairs"].items():
        song, codec, _ = name.rsplit(".", 2)
        for folder, file in (("reference", figures["reference"]), (codec, name)):
            if not (PAIRS / file).is_file():
                pytest.skip(f"needs {file}, real music that is not part of the repository")
            link = root / folder / f"{song}.mp3"
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.exists():
                link.symlink_to(PAIRS / file)
        golden[song, codec] = figures
    return golden


@pytest.mark.slow
def test_real_music(tmp_path, expected):
    """Five pairs of three codecs at 44.1 and 48 kHz, one of them 0.17 s shorter than its reference."""
    golden = folders(tmp_path, expected)
    codecs = sorted({codec for _, codec in golden})
    systems = [text for codec in codecs for text in ("--estimate", f"{codec}={tmp_path / codec}")]
    assert main(["evaluate", "--reference", str(tmp_path / "reference"), *systems, "--out", str(tmp_path / "out")]) == 0
    data = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    files = {(file["file"], file["system"]): file for file in data["files"]}
    assert files.keys() == golden.keys()
    for key, figures in golden.items():
        for name in figures.keys() - {"reference"}:
            assert files[key]["values"][name] == pytest.approx(figures[name], abs=TOLERANCES[name]), (key, name)
        assert files[key]["offset"] == 0
    published = {row.system: row.values for row in read_references(packaged_results()) if row.measured_by == "ear_sat"}
    assert published.keys() == SYSTEMS.keys()
    for system, values in published.items():
        for name in values.keys() - {"visqol_mos"}:  # which takes minutes
            mean = data["own_summaries"][name][SYSTEMS[system]]["mean"]
            assert float(values[name]) == pytest.approx(mean, abs=TOLERANCES[name]), (system, name)
    rock = files["rock", "ear_vae"]["notes"]
    assert any("shorter: trimmed to 102.07 s" in note for note in rock)
    assert sum("48000 Hz: resampled" in note for note in files["case1_1067070", "ear_vae2"]["notes"]) == 2
    assert data["shared_files"] == []  # rock was coded by another codec than the rest: nothing to rank
    assert all(summary["rank"] is None for row in data["summaries"].values() for summary in row.values())
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "the systems share no file" in page.lower() and len(page) < 30e6
