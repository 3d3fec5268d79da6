"""The constant offset: exact for shifted copies, 0 for aligned ones however altered, unknown where nothing can say."""

from pathlib import Path

import pytest
import soundfile
import torch
import torch.nn.functional as F
from scipy.signal import butter, sosfilt
from torch import Tensor

from ear_sat.metrics import offset_samples

PAIRS = Path(__file__).parents[2].parent / "shared" / "audio" / "pairs"


def noise(channels: int = 2, length: int = 100000, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(channels, length, generator=torch.Generator().manual_seed(seed))


def shifted(signal: Tensor, lag: int) -> Tensor:
    """Late by ``lag`` samples: silence in front, or the beginning cut off."""
    return F.pad(signal, (lag, 0)) if lag > 0 else signal[:, -lag:]


@pytest.mark.parametrize("lag", [0, 1, -1, 7, -100, 1105, -2257, 24000, -24000])
def test_shift_is_exact(lag: int) -> None:
    target = noise()
    found = offset_samples(shifted(target, lag), target)
    assert found.samples == lag
    assert found.confidence > 0.8


@pytest.mark.parametrize("gain", [-1.0, 1e-3, -30.0])
def test_gain_and_polarity_do_not_matter(gain: float) -> None:
    target = noise()
    assert offset_samples(gain * shifted(target, 500), target).samples == 500
    one_flipped = target * torch.tensor([[1.0], [-0.5]])
    assert offset_samples(shifted(one_flipped, -500), target).samples == -500
    assert offset_samples(one_flipped, target).samples == 0


@pytest.mark.parametrize("lag", [0, 300, -3000])
def test_noise_louder_than_the_signal(lag: int) -> None:
    preds = shifted(noise(), lag)
    assert offset_samples(preds + 2 * noise(2, preds.shape[1], seed=1), noise()).samples == lag


@pytest.mark.parametrize("lag", [0, 300])
def test_bass(lag: int) -> None:
    """30 to 100 Hz only: the correlation's peak is 400 samples wide."""
    band = butter(4, [30, 100], "band", fs=44100, output="sos")
    target = torch.from_numpy(sosfilt(band, noise(1, 441000).numpy())).float()
    assert offset_samples(shifted(target, -lag), target).samples == -lag


@pytest.mark.parametrize("name", ["case1_1067070.ear_vae2.mp3", "case2_73149.ear_vae2.mp3", "rock.ear_vae.mp3"])
def test_codec_output(name: str) -> None:
    """Aligned although phases smear; shifted by 1234 it reads that, or the sample beside it."""
    reference = f"{name.split('.', maxsplit=1)[0]}.reference.mp3"
    if not (PAIRS / name).is_file():
        pytest.skip(f"needs {name}, real music that is not part of the repository")
    preds, target = (
        torch.from_numpy(soundfile.read(PAIRS / file, frames=480000, dtype="float32")[0].T.copy())
        for file in (name, reference)
    )
    assert offset_samples(preds, target).samples == 0
    found = offset_samples(-0.5 * shifted(preds, 1234), target)
    assert found.samples in (1234, 1235)
    assert found.confidence > 0.5
    assert offset_samples(shifted(target, -1234), target).samples == -1234


def test_phase_errors_are_no_offset() -> None:
    """Half a sample of delay in a band of a codec's noise: the peak moves, the error does not."""
    target = noise(1)
    spectrum = torch.fft.rfft(target)
    spectrum[:, :10000] *= torch.exp(-2j * torch.pi * 2 * torch.arange(10000) / target.shape[1])  # 2 samples late
    preds = torch.fft.irfft(spectrum, target.shape[1])
    assert offset_samples(preds, target).samples == 0


def test_unknown() -> None:
    target = noise()
    for preds in (0 * target, noise(seed=1), target[:, :0], target * float("nan")):
        assert offset_samples(preds, target).samples is None
        assert offset_samples(target, preds).samples is None
    assert offset_samples(0 * target, 0 * target).samples is None


def test_repetition() -> None:
    """A loop fits at every repeat: aligned stays aligned, shifted is unknown."""
    loop = noise(1, 11025).repeat(1, 40)
    assert offset_samples(loop, loop).samples == 0
    assert offset_samples(shifted(loop, -100), loop).samples is None
    sine = torch.sin(0.05 * torch.arange(100000))[None]
    assert offset_samples(-sine, sine).samples == 0


def test_range() -> None:
    """An offset beyond the range is unknown, not its edge; a range longer than the clips is no error."""
    target = noise(1, 20000)
    assert offset_samples(shifted(target, 50), target, 50).samples == 50
    for lag in (51, 60, 1000):
        assert offset_samples(shifted(target, lag), target, 50).samples is None
    assert offset_samples(shifted(target, -1000), target, 100000).samples == -1000


@pytest.mark.parametrize("length", [1, 10, 1000])
def test_short_clips_are_aligned_or_unknown(length: int) -> None:
    target = noise(2, length)
    assert offset_samples(-target, target).samples == 0
    assert offset_samples(noise(2, length, seed=5), target).samples in (None, 0)


def test_blocks_are_the_whole(music_like: tuple[Tensor, Tensor]) -> None:
    """Longer than one block of the transform: the sum over blocks forgets no lag."""
    preds, target = music_like
    for lag in (3000, -3000):
        assert offset_samples(shifted(preds, lag), target, 4000).samples == lag


def test_wrong_arguments_raise() -> None:
    good = noise(2, 100)
    with pytest.raises(ValueError, match=r"same number of channels, not \(2, 100\) and \(1, 100\)"):
        offset_samples(good, good[:1])
    with pytest.raises(ValueError, match="same number of channels"):
        offset_samples(good[None], good[None])
    with pytest.raises(ValueError, match="max_offset must be at least one sample, not 0"):
        offset_samples(good, good, 0)
    with pytest.raises(ValueError, match=r"preds must be a torch\.Tensor"):
        offset_samples(good.numpy(), good)  # type: ignore[arg-type]
