"""The scripts in examples/ do what they say."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import soundfile
import torch

from ear_sat.data import synthesise_track
from ear_sat.models import Autoencoder
from ear_sat.weights import config_metadata, write_weights

EXAMPLES = Path(__file__).parents[1] / "examples"


def script(name: str) -> dict[str, Any]:
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))


def test_every_script_is_run_here() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    assert all(f'script("{path.stem}")' in text for path in EXAMPLES.glob("*.py"))


def test_measuring_a_codec_finds_what_it_does() -> None:
    values = script("measure_a_codec")["main"]()
    assert abs(values["stereo_width_error_db"] - 6) < 0.5  # half the side is 6 dB
    assert values["si_sdr_1khz_db"] > values["si_sdr_16khz_db"]


def test_the_loop_of_ones_own_learns() -> None:
    losses = script("own_training_loop")["main"]()
    assert losses[-1] < 0.9 * losses[0]


def test_a_song_is_reconstructed(tmp_path: Path) -> None:
    song, weights, config = tmp_path / "song.wav", tmp_path / "model.pyt", script("own_training_loop")["MODEL"]
    soundfile.write(song, synthesise_track(0, 1.0, 44100, 0).T, 44100)
    torch.manual_seed(0)
    write_weights(Autoencoder.from_config(config).state_dict(), weights, metadata=config_metadata(config))
    values = script("reconstruct_a_song")["main"](str(song), str(weights))
    assert soundfile.info(tmp_path / "song.reconstructed.wav").frames == 44100
    assert set(values) == {"si_sdr_db", "stft_distance", "icpc", "ccpc"}
