"""Phase error of a delayed signal, and what the phase terms say of it: ``python docs/figures/delay.py``."""

from __future__ import annotations

import numpy as np
import style
import torch

from ear_sat.losses import CorrelationTerm, PhaseDerivativeTerm

RATE, SECONDS = 44100, 2
SHOWN = (1, 2, 4)  # samples, left
DELAYS = (0, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 4, 6, 8, 12, 16)  # right


def delayed(signal: torch.Tensor, samples: float) -> torch.Tensor:
    """The periodic signal (…, time), later by so many samples, whole or not."""
    turn = torch.exp(-2j * torch.pi * samples * torch.fft.rfftfreq(signal.shape[-1], dtype=torch.float64))
    return torch.fft.irfft(torch.fft.rfft(signal.double()) * turn, n=signal.shape[-1]).float()


def music_like() -> torch.Tensor:
    """Pink noise, (batch, channels, time), whose levels fall with frequency as those of music do."""
    noise = torch.randn(1, 2, RATE * SECONDS, generator=torch.Generator().manual_seed(0))
    spectrum = torch.fft.rfft(noise)
    pink = torch.fft.irfft(spectrum / torch.arange(1, spectrum.shape[-1] + 1).sqrt(), n=noise.shape[-1])
    return 0.1 * pink / pink.std()


def main() -> None:
    """Draws and saves."""
    target = music_like()
    figure = style.new(3.4)
    left, right = figure.subplots(1, 2)
    frequencies = np.linspace(0, RATE / 2, 2000)
    for delay in SHOWN:
        error = np.angle(np.exp(-2j * np.pi * frequencies * delay / RATE))
        error[1:][np.abs(np.diff(error)) > np.pi] = np.nan  # no line where it wraps
        left.plot(frequencies / 1000, error, label=f"{delay} sample{'s' * (delay > 1)}", linewidth=2)
    left.set(xlabel="frequency in kHz", ylabel="phase error in rad", title="a delay turns high frequencies more")
    left.set_yticks([-np.pi, 0, np.pi], ["−π", "0", "π"])
    left.set_ylim(-4.8, 3.4)
    left.legend(loc="lower center", ncols=len(SHOWN), columnspacing=1)
    correlation, derivative = CorrelationTerm(), PhaseDerivativeTerm()
    values: dict[str, list[float]] = {"correlation": [], "if": [], "gd": []}
    for delay in DELAYS:
        preds = delayed(target, delay)
        for name, value in {**correlation(preds, target), **derivative(preds, target)}.items():
            if name in values:
                values[name].append(float(value))
    for name, row in values.items():
        right.plot(DELAYS, row, marker="o", markersize=4, label=name, linewidth=2)
    right.set(xlabel="delay in samples", ylabel="value of the term", title="what the terms say of it")
    right.legend()
    style.save(figure, "delay")


if __name__ == "__main__":
    main()
