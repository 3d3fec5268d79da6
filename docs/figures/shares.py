"""Shares of the terms in the gradient, from the table in docs/explanation/weights.md."""

from __future__ import annotations

import re

import style


def rows() -> list[tuple[str, float]]:
    """Term and gradient of the page's first table, which `ear-sat balance` has printed."""
    page = (style.FOLDER.parent / "explanation" / "weights.md").read_text(encoding="utf-8")
    found = re.findall(r"^\| ([^|]+) \| [\d.]+ \| ([\d.]+) \| [\d.]+ % \|$", page, flags=re.MULTILINE)
    return [(term, float(gradient)) for term, gradient in found]


def main() -> None:
    """Draws and saves."""
    terms, gradients = zip(*rows(), strict=True)
    figure = style.new(3.0)
    axes = figure.subplots()
    axes.barh(terms, gradients, color=style.COLOURS[0])
    for place, gradient in enumerate(gradients):
        axes.text(gradient * 1.15, place, f"{gradient:g}", va="center")
    axes.set_xscale("log")
    axes.set(xlabel="norm of the weighted gradient × √samples (logarithmic)", xlim=(1e-4, 1e4))
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    style.save(figure, "shares")


if __name__ == "__main__":
    main()
