"""The figures of the εar-VAE release's evaluation, on a synthetic pair and on real music where it is at hand."""

from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
import torchaudio
from auraloss.freq import MelSTFTLoss, MultiResolutionSTFTLoss
from auraloss.time import SISDRLoss
from torch import Tensor

from ear_sat.metrics import evaluate_pair, mel_distance, si_sdr_db, stft_distance

PAIRS = Path(__file__).parents[2].parent / "shared" / "audio" / "pairs"
TOLERANCES = {"si_sdr_db": 1e-2, "stft_distance": 1e-3, "mel_distance": 1e-3, "icpc": 1e-3, "ccpc": 1e-3}


def check(preds: Tensor, target: Tensor, golden: dict[str, Any]) -> None:
    values = evaluate_pair(preds, target, 44100, TOLERANCES)
    for name, tolerance in TOLERANCES.items():
        assert values[name] == pytest.approx(golden[name], abs=tolerance), name


def read(path: Path) -> Tensor:
    """(channels, time) at 44.1 kHz, by torchaudio's default resampler: another one moves the third decimal."""
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    audio = torch.from_numpy(samples.T.copy())
    return audio if rate == 44100 else torchaudio.transforms.Resample(rate, 44100)(audio)


def test_synthetic_pair(golden_pair: tuple[Tensor, Tensor], expected: dict[str, Any]) -> None:
    check(*golden_pair, expected["synthetic"])


@pytest.mark.parametrize(
    "name",
    [
        "case1_1067070.ear_vae2.mp3",
        pytest.param("case1_1067070.ear_vae2_no_refiner.mp3", marks=pytest.mark.slow),
        pytest.param("case2_73149.ear_vae2.mp3", marks=pytest.mark.slow),
        pytest.param("case2_73149.ear_vae2_no_refiner.mp3", marks=pytest.mark.slow),
        pytest.param("rock.ear_vae.mp3", marks=pytest.mark.slow),
    ],
)
def test_real_pair(name: str, expected: dict[str, Any]) -> None:
    golden = expected["pairs"][name]
    for file in (name, golden["reference"]):
        if not (PAIRS / file).is_file():
            pytest.skip(f"needs {file}, real music that is not part of the repository")
    preds, target = read(PAIRS / name), read(PAIRS / golden["reference"])
    length = min(preds.shape[-1], target.shape[-1])
    check(preds[:, :length], target[:, :length], golden)


def test_distances_are_auraloss(golden_pair: tuple[Tensor, Tensor]) -> None:
    """Filtering once by FFT (float32: 1e-6 of full scale) moves no distance by more than 1e-5."""
    preds, target = (signal[None] for signal in golden_pair)
    sizes = [4096, 2048, 1024, 512, 256, 128]
    hops = [size // 4 for size in sizes]
    stft = MultiResolutionSTFTLoss(sizes, hops, sizes, sample_rate=44100, perceptual_weighting=True)
    mels = [MelSTFTLoss(44100, n, n // 4, n, n_mels=64, perceptual_weighting=True) for n in sizes[:4]]
    assert stft_distance(preds, target, 44100) == pytest.approx(stft(preds, target).item(), abs=1e-5)
    assert mel_distance(preds, target, 44100) == pytest.approx(sum(m(preds, target).item() for m in mels) / 4, abs=1e-5)
    assert si_sdr_db(preds, target) == pytest.approx(-SISDRLoss()(preds, target).item(), abs=1e-4)
