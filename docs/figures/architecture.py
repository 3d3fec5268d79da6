"""The picture of the architecture: ``python docs/figures/architecture.py``."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from html import escape

from style import COLOURS, FAINT, FOLDER, GROUND, INK

WIDTH, HEIGHT = 1000, 400
BLUE, ORANGE, GREEN, PINK = COLOURS[:4]
MIDDLE = 130  # height at which the signal runs


def text(x: float, y: float, words: str, size: int = 14, weight: str = "normal", colour: str = INK) -> str:
    return (
        f'<text x="{x}" y="{y}" font-size="{size}" font-weight="{weight}" fill="{colour}" '
        f'text-anchor="middle">{escape(words)}</text>'
    )


def box(x: float, y: float, width: float, height: float, colour: str, *lines: str) -> str:
    """A box around ``x``, ``y``; its first line is bold."""
    rest = "".join(text(x, y + 4 + 17 * i - 8.5 * (len(lines) - 1), line, 12) for i, line in enumerate(lines) if i)
    return (
        f'<rect x="{x - width / 2}" y="{y - height / 2}" width="{width}" height="{height}" rx="8" fill="{colour}" '
        f'fill-opacity="0.12" stroke="{colour}" stroke-width="1.5"/>'
        + text(x, y + 5 - 8.5 * (len(lines) - 1), lines[0], 14, "bold")
        + rest
    )


def arrow(*points: tuple[float, float], dashed: bool = False) -> str:
    path = " ".join(f"{'L' if i else 'M'}{x} {y}" for i, (x, y) in enumerate(points))
    dashes = ' stroke-dasharray="5 4"' if dashed else ""
    return f'<path d="{path}" fill="none" stroke="{INK}" stroke-width="1.5" marker-end="url(#head)"{dashes}/>'


def trapezium(x: float, y: float, length: float, first: float, last: float, colour: str) -> str:
    """A network that narrows from height ``first`` to ``last``."""
    left, right = x - length / 2, x + length / 2
    points = f"{left},{y - first / 2} {right},{y - last / 2} {right},{y + last / 2} {left},{y + first / 2}"
    return (
        f'<polygon points="{points}" fill="{colour}" fill-opacity="0.12" stroke="{colour}" stroke-width="1.5" '
        'stroke-linejoin="round"/>'
    )


def waveform(x: float, y: float, colour: str, seed: int) -> str:
    """Two channels, one above the other."""
    draw = random.Random(seed)
    bars = []
    for channel in (-24, 24):
        for i in range(24):
            size = 4 + 15 * abs(math.sin(i / 3.1 + channel)) * draw.uniform(0.5, 1)
            left = x - 60 + 5 * i
            bars.append(f"M{left:.0f} {y + channel - size:.1f}V{y + channel + size:.1f}")
    return f'<path d="{"".join(bars)}" stroke="{colour}" stroke-width="2.4" stroke-linecap="round"/>'


def latents(x: float, y: float) -> Iterator[str]:
    """A small matrix: channels by frames."""
    draw = random.Random(3)
    for row in range(8):
        for column in range(5):
            opacity = draw.uniform(0.15, 0.9)
            yield (
                f'<rect x="{x - 25 + 10 * column}" y="{y - 40 + 10 * row}" width="9" height="9" fill="{ORANGE}" '
                f'fill-opacity="{opacity:.2f}"/>'
            )


def parts() -> Iterator[str]:
    yield waveform(80, MIDDLE, BLUE, 1)
    yield text(80, 205, "audio, 44.1 kHz stereo", 12)
    yield arrow((148, MIDDLE), (180, MIDDLE))
    yield trapezium(250, MIDDLE, 130, 150, 90, BLUE)
    yield text(250, MIDDLE - 6, "encoder", 15, "bold") + text(250, MIDDLE + 14, "convolutions ÷ 1024", 11)
    yield arrow((318, MIDDLE), (346, MIDDLE))
    yield box(400, MIDDLE, 108, 88, ORANGE, "bottleneck", "mean μ, scale σ", "z = μ + σ·noise")
    yield arrow((456, MIDDLE), (482, MIDDLE))
    yield from latents(515, MIDDLE)
    yield text(515, 195, "latents: 64 × 43 a second", 12)
    yield arrow((546, MIDDLE), (574, MIDDLE))
    yield box(628, MIDDLE, 112, 84, GREEN, "transformer", "2 blocks, RoPE")
    yield arrow((684, MIDDLE), (706, MIDDLE))
    yield trapezium(775, MIDDLE, 132, 90, 150, BLUE)
    yield text(775, MIDDLE - 6, "decoder", 15, "bold") + text(775, MIDDLE + 14, "convolutions × 1024", 11)
    yield arrow((844, MIDDLE), (860, MIDDLE))
    yield waveform(928, MIDDLE, PINK, 1)
    yield text(928, 205, "reconstruction", 12)
    yield text(700, 40, "decoder with transformer", 11, colour="#5a6478")
    yield f'<path d="M574 60V50H841V60" fill="none" stroke="{FAINT}" stroke-width="1.5"/>'
    # Below: what compares both ends.
    yield arrow((80, 215), (80, 320), (128, 320), dashed=True)
    yield arrow((928, 215), (928, 320), (872, 320), dashed=True)
    yield box(250, 320, 236, 96, PINK, "magnitude", "log and convergence, K-weighted", "mid, side, left, right")
    yield box(470, 320, 170, 96, PINK, "phase", "correlation, IF, GD", "left, right")
    yield box(642, 320, 150, 96, PINK, "KL", "of the latents, × 1e-6")
    yield box(798, 320, 136, 96, PINK, "discriminator", "complex spectra,", "five resolutions")
    yield text(500, 252, "losses compare the reconstruction with the original", 13, colour="#5a6478")


def main() -> None:
    """Writes architecture.svg."""
    head = (
        '<marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
        f'orient="auto-start-reverse"><path d="M0 0L10 5L0 10z" fill="{INK}"/></marker>'
    )
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        'font-family="system-ui, sans-serif">',
        "<title>εar-VAE: encoder, bottleneck, transformer, decoder, and the losses that train them</title>",
        f"<defs>{head}</defs>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="12" fill="{GROUND}"/>',
        *parts(),
        "</svg>",
    ]
    path = FOLDER / "architecture.svg"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(path)


if __name__ == "__main__":
    main()
