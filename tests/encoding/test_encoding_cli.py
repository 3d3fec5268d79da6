"""The two commands: what they print, what they write, and how they end."""

import json

import numpy as np
import pytest
from encoding_test_model import HOP, LATENT, SIZE
from PIL import Image

from ear_sat.cli.main import main
from ear_sat.report.latents import save_latent_plot


@pytest.fixture
def call(weights, music, tmp_path, capsys):
    """Runs a command on ``tmp_path/music``; returns the exit code and what it printed."""

    def run(command, *arguments, data=("--data", str(tmp_path / "music"))):
        code = main([command, "--weights", str(weights), "--device", "cpu", *data, *map(str, arguments)])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def test_latent_stats_prints_and_writes(call, tmp_path, weights):
    code, out, _ = call("latent-stats", "--sample-size", SIZE, "--out", tmp_path / "report" / "deep")
    assert code == 0
    record = json.loads((tmp_path / "report/deep/latent_stats.json").read_text(encoding="utf-8"))
    assert f'"scale": {record["scale"]:.6g}' in out and "dead channels" in out and record["windows"] == 5
    assert [channel["channel"] for channel in record["channels"]] == list(range(LATENT))
    assert [band["to_hz"] for band in record["spectrum"]][-1] == 8000 / HOP / 2
    assert sum(band["share"] for band in record["spectrum"]) == pytest.approx(1) == sum(record["eigenvalues"])
    assert 1 < record["effective_rank"] <= LATENT and record["smoothness"] > 0 and record["kurtosis"] > 1
    assert record["noise"] == [] and "effective rank" in out and "Power over time" in out
    assert record["kl"] == pytest.approx(sum(channel["kl"] for channel in record["channels"]))
    assert max(len(line) for line in out.splitlines() if not line.startswith("written: ")) < 200
    with Image.open(tmp_path / "report/deep/latent_stats.png") as picture:
        assert picture.size == (1400, 1240) and np.asarray(picture.convert("L")).std() > 10
    assert not [file for file in (tmp_path / "report/deep").iterdir() if file.name.startswith(".")]


def test_latent_stats_without_a_folder_writes_nothing(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    code, out, _ = call("latent-stats", "--sample-size", SIZE, "--limit", 2, "--dead-below", 1e-9)
    assert code == 0 and "0 of 32" in out and sorted(tmp_path.rglob("*")) == before


def test_noise_on_the_latents_costs_more_the_stronger_it_is(call, tmp_path):
    arguments = ("latent-stats", "--sample-size", SIZE, "--out", tmp_path / "out", "--noise-snr", 40, 10, 0)
    code, out, _ = call(*arguments)
    record = json.loads((tmp_path / "out/latent_stats.json").read_text(encoding="utf-8"))
    assert code == 0 and "Decoded with noise on the latents" in out
    assert [row["snr_db"] for row in record["noise"]] == [40, 10, 0]
    loud = [row["si_sdr_db"] for row in record["noise"]]
    far = [row["stft_distance"] for row in record["noise"]]
    assert loud == sorted(loud, reverse=True) and far == sorted(far) and loud[0] > loud[2] + 20 and far[0] > 0
    call(*arguments)
    assert json.loads((tmp_path / "out/latent_stats.json").read_text(encoding="utf-8"))["noise"] == record["noise"]
    code, _, err = call("latent-stats", "--sample-size", SIZE, "--noise-snr", 500)
    assert code == 1 and "--noise-snr must be a number of dB of at least -120 and at most 120, not 500" in err


def test_pre_encode_prints_what_to_do_with_the_latents(call, tmp_path):
    (tmp_path / "music" / "bad.wav").write_text("no audio")
    arguments = ("pre-encode", "--sample-size", SIZE, "--out", tmp_path / "latents")
    code, out, _ = call(*arguments)
    assert code == 0 and '"dataset_type": "pre_encoded"' in out and f'"path": "{tmp_path / "latents"}"' in out
    assert '"pre_encoded": true' in out and f'"sample_size": {SIZE}' in out and "bad.wav: not readable" in out
    assert len(list(tmp_path.glob("latents/0/*.npy"))) == 5
    code, out, _ = call(*arguments)
    assert code == 0 and "there already" in out and "n/a" in out  # no speed where nothing was encoded


def test_demo_music_needs_no_data(call, tmp_path):
    config = tmp_path / "demo.json"
    config.write_text(json.dumps({"dataset_type": "ear_demo", "tracks": 1, "seconds": 1.0}))
    code, *_ = call(
        "pre-encode", "--sample-size", SIZE, "--out", tmp_path / "out", data=("--dataset-config", str(config))
    )
    assert code == 0 and len(list(tmp_path.glob("out/0/*.json"))) == 2


@pytest.mark.parametrize("command", ["latent-stats", "pre-encode"])
def test_errors_are_one_line(call, command, tmp_path, weights):
    out = ("--out", tmp_path / "out")
    cases = {
        "multiple of the model's hop of 32": call(command, *out, "--sample-size", HOP + 1),
        "no such folder": call(command, *out, data=("--data", str(tmp_path / "absent"))),
        "no such file": call(command, *out, data=("--dataset-config", str(tmp_path / "absent.json"))),
        "cannot make the folder": call(command, "--out", weights / "out"),
    }
    for message, (code, _, err) in cases.items():
        assert code == 1 and err.startswith("error: ") and err.count("\n") == 1 and message in err
    with pytest.raises(SystemExit):
        call(command, *out, data=())


def test_a_plot_of_dead_and_of_single_channels(tmp_path):
    for count in (1, 3):
        zeros = np.zeros(count)
        shape = {"eigenvalues": zeros, "effective_rank": np.nan, "band_edges": [0, 1, 2], "spectrum": [np.nan] * 2}
        flat = {"mean": zeros, "std": zeros, "posterior_std": zeros, "kl": zeros, "dead": zeros == 0}
        save_latent_plot(tmp_path / "flat.png", **flat, **shape, dead_below=0.01, scale=0.0, title="collapsed")
        assert (tmp_path / "flat.png").stat().st_size > 1000
