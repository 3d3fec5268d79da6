"""Self-contained HTML pages from the templates beside this file."""

from __future__ import annotations

from typing import Any


def render(template: str, **context: Any) -> str:
    """Fills a template of ``ear_sat/report/templates``; every value is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("ear_sat.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**context)
