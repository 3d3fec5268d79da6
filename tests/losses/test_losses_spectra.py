"""The shared STFT: scaling, linearity, mid and side, short signals."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ear_sat.errors import UserError
from ear_sat.losses import STFT, Resolution, Spectra
from ear_sat.losses.spectra import parse_components
from ear_sat.losses.stft import resolutions

Noise = Callable[..., Tensor]


@pytest.mark.parametrize("window", [2048, 512, 64])
@pytest.mark.parametrize("amplitude", [1.0, 0.25])
@pytest.mark.parametrize("phase", [0.0, 1.0])
def test_sine_in_a_bin_reads_its_amplitude(window: int, amplitude: float, phase: float) -> None:
    index = window // 8
    time = torch.arange(6 * window, dtype=torch.float64)
    sine = amplitude * torch.cos(2 * torch.pi * index / window * time + phase)
    spectrum = STFT(Resolution(window, window // 4))(sine.float())
    frame = 12  # 3 windows from the start: no padding inside
    magnitude = spectrum[:, frame].abs()
    assert magnitude[index].item() == pytest.approx(amplitude, abs=1e-5)
    # A Hann window's neighbours are 6 dB down, everything else is nothing (float32: −120 dB).
    assert magnitude[[index - 1, index + 1]].tolist() == pytest.approx([amplitude / 2] * 2, abs=1e-5)
    magnitude[index - 1 : index + 2] = 0
    assert magnitude.max() < 1e-6 * window**0.5
    # The frame is centred on sample frame · hop; its phase is the sine's, seen from the frame's first sample.
    start = frame * window // 4 - window // 2
    expected = torch.tensor(phase + 2 * torch.pi * index / window * start)
    assert torch.polar(torch.ones(()), spectrum[index, frame].angle() - expected).real.item() == pytest.approx(1, 1e-5)


def test_constant_reads_twice_its_value() -> None:
    # DC has one line where a sine has two: the scaling for sines doubles it.
    spectrum = STFT(Resolution(256, 64))(torch.full((2048,), 0.3))
    assert spectrum[0].abs().mean().item() == pytest.approx(0.6, abs=1e-5)


def test_linear(noise: Noise) -> None:
    stft = STFT(Resolution(256, 64))
    a, b = noise(), noise()
    assert torch.allclose(stft(2 * a - 3 * b), 2 * stft(a) - 3 * stft(b), atol=1e-6)


def test_shapes(noise: Noise) -> None:
    stft = STFT(Resolution(256, 64))
    audio = noise(batch=3, time=1000)
    # Centred frames: one at each multiple of the hop, first and last included.
    assert stft(audio).shape == (3, 2, 129, 1000 // 64 + 1)
    assert torch.equal(stft(audio[0]), stft(audio)[0]) and torch.equal(stft(audio[0, 0]), stft(audio)[0, 0])


@pytest.mark.parametrize("length", [1, 100, 255])
def test_short_signals_are_padded_with_zeros_to_a_window(length: int, noise: Noise) -> None:
    stft, audio = STFT(Resolution(256, 64)), noise(time=length)
    padded = torch.nn.functional.pad(audio, (0, 256 - length))
    assert stft(audio).shape == (2, 2, 129, 5)
    assert torch.equal(stft(audio), stft(padded))


@pytest.mark.parametrize("window", [512, 32])
def test_mid_and_side_from_the_spectrum(window: int, noise: Noise) -> None:
    stft, audio = STFT(Resolution(window, window // 4)), noise()
    left, right = audio[:, :1], audio[:, 1:]
    spectra = Spectra(stft(audio))
    names = ("mid", "side", "left", "right")
    waveforms = torch.cat(((left + right) / 2, (left - right) / 2, left, right), dim=1)
    # Linear: rounding of float32 only, 1e-7 of −20 dBFS.
    assert torch.allclose(spectra.components(names), stft(waveforms), atol=1e-7)
    assert torch.allclose(spectra.magnitude(names), stft(waveforms).abs(), atol=1e-7)
    for name, waveform in zip(names, waveforms.unbind(1), strict=True):
        assert torch.allclose(spectra.components((name,))[:, 0], stft(waveform), atol=1e-7)
    assert torch.equal(spectra.components(("right", "left")), spectra.channels.flip(1))


def test_mid_and_side_powers_sum_to_left_and_right(noise: Noise) -> None:
    # |M|² + |S|² = (|L|² + |R|²)/2
    power = Spectra(STFT(Resolution(256, 64))(noise())).magnitude(("mid", "side", "left", "right")).square()
    assert torch.allclose(power[:, :2].sum(1), power[:, 2:].sum(1) / 2, rtol=1e-4, atol=1e-9)


def test_mono_is_its_own_component(noise: Noise) -> None:
    channels = STFT(Resolution(256, 64))(noise(channels=1))
    assert torch.equal(Spectra(channels).components(("mid", "side", "left", "right")), channels)


def test_half_types_are_transformed_in_float32(noise: Noise) -> None:
    stft, audio = STFT(Resolution(256, 64)), noise().bfloat16()
    assert torch.equal(stft(audio), stft(audio.float()))


@pytest.mark.parametrize(
    ("channels", "names"),
    [
        ("mslr", ("mid", "side", "left", "right")),
        ("rl", ("right", "left")),
        ("side", ("side",)),
        (["m", "left"], ("mid", "left")),
    ],
)
def test_component_names(channels: str | list[str], names: tuple[str, ...]) -> None:
    assert parse_components(channels) == names


@pytest.mark.parametrize("channels", ["", [], "ll", ["left", "l"], 3, None])
def test_wrong_component_names(channels: object) -> None:
    with pytest.raises(UserError, match="channels must"):
        parse_components(channels)


@pytest.mark.parametrize("windows", [[], 512, "512", [2], [512.5], [512, None], ["big"], [float("inf")], [-512]])
def test_wrong_windows(windows: object) -> None:
    with pytest.raises(UserError, match="windows must be a list of whole numbers of samples, 4 or more; got "):
        resolutions(windows, 0.25)


@pytest.mark.parametrize("factor", [0, -0.25, 1.5, "0.25", float("nan")])
def test_wrong_hop_factor(factor: object) -> None:
    with pytest.raises(
        UserError, match="hop_factor, the hop as a fraction of the window, must be a number above 0 and at most 1"
    ):
        resolutions([512], factor)


def test_hops_are_whole_and_at_least_one() -> None:
    assert resolutions([512.0, 30, 4], 0.25) == [(512, 128), (30, 7), (4, 1)]
    assert resolutions([4], 0.1) == [(4, 1)]
