"""A torchaudio that does not load harms resampling only."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    "error", ["OSError", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("RuntimeError", "ImportError"))]
)
def test_everything_imports_and_resampling_says_what_to_do(error, tmp_path):
    (tmp_path / "torchaudio").mkdir()
    (tmp_path / "torchaudio" / "__init__.py").write_text(f"raise {error}('libtorch_cuda.so: undefined symbol')\n")
    code = """
        import importlib, pkgutil
        import numpy, soundfile, torch
        import ear_sat

        for module in pkgutil.walk_packages(ear_sat.__path__, "ear_sat."):
            importlib.import_module(module.name)

        noise = numpy.random.default_rng(0).uniform(-0.5, 0.5, (22050, 2))
        for rate in (44100, 48000):
            soundfile.write(f"{rate}.wav", noise, rate)
        from ear_sat.evaluate.loading import load_pair
        from ear_sat.metrics import evaluate_pair
        pair = load_pair("44100.wav", "44100.wav")
        assert evaluate_pair(pair.preds, pair.target, 44100)["stft_distance"] == 0
        from ear_sat.models.preprocessing import prepare_batch
        for needs_resampling in (
            lambda: load_pair("44100.wav", "48000.wav"),
            lambda: prepare_batch([torch.ones(1, 99)], 48000, 44100, channels=2, hop=4),
        ):
            try:
                needs_resampling()
            except ear_sat.UserError as problem:
                print(problem)
    """
    path = os.pathsep.join(map(str, (tmp_path, ROOT, os.environ.get("PYTHONPATH", ""))))
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    sentences = done.stdout.splitlines()
    assert len(sentences) == 2 and sentences[0] == sentences[1]
    assert sentences[0].startswith(
        "resampling 48000 Hz to 44100 Hz needs torchaudio, which does not load (libtorch_cuda"
    )
    assert "pip install torchaudio==" in sentences[0]
