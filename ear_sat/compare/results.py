"""The files of a comparison."""

from __future__ import annotations

from pathlib import Path

from ..files import disk_errors, make_folder, write_text
from .page import comparison_page
from .run import Comparison
from .tables import comparison_csv, comparison_json, comparison_markdown


def write_results(comparison: Comparison, clips: int | None = None) -> Path:
    """Writes results.json, .csv, .md and report.html into a folder of the plan's name, and returns the page.

    Args:
        comparison: what is known.
        clips: how many tracks can be listened to; None for all.
    """
    out = comparison.out / comparison.plan.name
    with disk_errors(out):
        make_folder(out)
        write_text(out / "results.json", comparison_json(comparison))
        write_text(out / "results.csv", comparison_csv(comparison))
        write_text(out / "results.md", comparison_markdown(comparison))
        write_text(out / "report.html", comparison_page(comparison, clips))
    return out / "report.html"
