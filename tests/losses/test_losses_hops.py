"""The hop of every spectral term is the one its config asks for: by plain formulas over torch's own STFT."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ear_sat.losses import LossBundle

WINDOW = 128


def spectrum(x: Tensor, hop: int) -> Tensor:
    window = torch.hann_window(WINDOW)
    frames = torch.stft(x.flatten(0, 1), WINDOW, hop, window=window, center=True, return_complex=True)
    return frames * 4 / WINDOW


def magnitude(preds: Tensor, target: Tensor) -> Tensor:
    return (preds.abs() - target.abs()).abs().mean()


def correlation(preds: Tensor, target: Tensor) -> Tensor:
    return 1 - (preds * target.conj()).angle().cos().mean()


def difference(axis: int) -> Callable[[Tensor, Tensor], Tensor]:
    """Mean of the wrapped steps of the phase error, over frames or bins."""

    def derivative(preds: Tensor, target: Tensor) -> Tensor:
        error = (preds * target.conj()).movedim(axis, -1)
        return (error[..., 1:] * error[..., :-1].conj()).angle().abs().mean()

    return derivative


PLAIN = {
    ("ear_magnitude", "linear"): magnitude,
    ("ear_correlation", "correlation"): correlation,
    ("ear_phase_derivative", "if"): difference(-1),
    ("ear_phase_derivative", "gd"): difference(-2),
}


@pytest.mark.parametrize("hop", [128, 64, 16])
@pytest.mark.parametrize(("kind", "part"), PLAIN)
def test_the_hop_is_the_one_asked_for(
    kind: str, part: str, hop: int, noise: Callable[..., Tensor], single: Callable[..., LossBundle]
) -> None:
    target = noise(time=1000)
    preds = target + noise(time=1000)
    unweighted = {"weighting": "none"} if kind == "ear_magnitude" else {"bin_weighting": "none"}
    term = single(kind, part, windows=[WINDOW], hop_factor=hop / WINDOW, channels="lr", **unweighted)
    plain = [PLAIN[kind, part](spectrum(preds, h), spectrum(target, h)).item() for h in (hop, WINDOW // 4)]
    assert term(preds, target).total.item() == pytest.approx(plain[0], rel=2e-5)
    assert abs(plain[0] - plain[1]) > 1e-4 * plain[1]  # the default hop has another value
