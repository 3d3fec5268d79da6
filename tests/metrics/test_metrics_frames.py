"""The STFT in blocks is the STFT, and the distances on it are auraloss' in double precision."""

import pytest
import torch
from auraloss.freq import MelSTFTLoss, STFTLoss
from auraloss.perceptual import FIRFilter

from ear_sat.metrics import mel_distance, stft_distance
from ear_sat.metrics.frames import BLOCK_SAMPLES, power, stft_blocks
from ear_sat.metrics.spectral import MEL_SIZES, STFT_SIZES


@pytest.mark.parametrize("size", STFT_SIZES)
@pytest.mark.parametrize(("channels", "length"), [(1, 2049), (2, 44100), (3, 100001)])
def test_blocks_are_the_stft(size: int, channels: int, length: int) -> None:
    signal = torch.randn(channels, length, generator=torch.Generator().manual_seed(0))
    blocks = list(stft_blocks(signal, size))
    window = torch.hann_window(size)
    whole = torch.stft(signal, size, size // 4, window=window, return_complex=True).transpose(1, 2)
    torch.testing.assert_close(torch.cat(blocks, 1), whole, atol=1e-4, rtol=1e-4)
    assert all(block.shape[0] * block.shape[1] * size <= BLOCK_SAMPLES for block in blocks)
    assert len(blocks) > 1 or length < 10000
    torch.testing.assert_close(power(blocks[0]), blocks[0].abs().square())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("rate", [32000, 44100, 48000])
def test_distances_are_auraloss_in_double_precision(seed: int, rate: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    target = 0.1 * torch.randn(2, rate + 17 * seed, generator=rng) * torch.rand(1, generator=rng)
    preds = target + 0.03 * torch.randn(target.shape, generator=rng)
    taps = FIRFilter("aw", fs=rate).fir.weight.detach().double()
    weighted = [
        torch.nn.functional.conv1d(signal[:, None].double(), taps, padding=50)[:, 0][None] for signal in (preds, target)
    ]

    def mean(losses: list[STFTLoss]) -> float:
        for loss in losses:
            loss.window = loss.window.double()
        return sum(loss.double()(*weighted).item() for loss in losses) / len(losses)

    stft = [STFTLoss(size, size // 4, size) for size in STFT_SIZES]
    mel = [MelSTFTLoss(rate, size, size // 4, size, n_mels=64) for size in MEL_SIZES]
    assert stft_distance(preds, target, rate) == pytest.approx(mean(stft), rel=1e-5)
    assert mel_distance(preds, target, rate) == pytest.approx(mean(mel), rel=1e-5)
