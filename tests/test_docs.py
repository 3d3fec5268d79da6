"""The pages that are made from the code are whole."""

from __future__ import annotations

import re
import runpy
from collections.abc import Iterator
from typing import Any

import pytest
from readme import DOCS

from ear_sat.cli.main import COMMANDS
from ear_sat.config_schema import dataset_config_schema, model_config_schema
from ear_sat.json_file import load_json
from ear_sat.metrics import METRICS

GENERATED = runpy.run_path(str(DOCS / "hooks" / "generated.py"))
PAGES = {page: page.read_text(encoding="utf-8") for page in sorted(DOCS.rglob("*.md"))}
KEYS = [line[3:-3].split()[1:] for text in PAGES.values() for line in text.splitlines() if line.startswith("{{ keys ")]


def made(name: str) -> str:
    """A page as mkdocs gets it."""
    return str(GENERATED["on_page_markdown"](PAGES[DOCS / name]))


def properties(schema: Any) -> Iterator[str]:
    """Every key that a schema knows."""
    if isinstance(schema, list):
        for part in schema:
            yield from properties(part)
    elif isinstance(schema, dict):
        yield from schema.get("properties", {})
        for part in schema.values():
            yield from properties(part)


@pytest.mark.parametrize("words", KEYS, ids=lambda words: words[0].rpartition(":")[2])
def test_every_key_has_a_meaning(words: list[str]) -> None:
    without = [word[1:] for word in words if word.startswith("-")]
    places = [word for word in words if not word.startswith("-")]
    rows = [row for place in places for row in GENERATED["rows"](place, without)]
    assert rows and not [name for name, _, _, meaning in rows if not meaning]


@pytest.mark.parametrize(
    ("page", "schema"),
    [("reference/model-config.md", model_config_schema()), ("reference/dataset-config.md", dataset_config_schema())],
    ids=["model", "dataset"],
)
def test_every_key_of_the_schema_is_on_the_page(page: str, schema: Any) -> None:
    text = made(page)
    assert not [key for key in properties(schema) if f"`{key}`" not in text]


def test_every_command_and_metric_is_on_its_page() -> None:
    commands, metrics = made("reference/commands.md"), made("reference/metrics.md")
    assert all(f"### ear-sat {name}\n" in commands for name in COMMANDS)
    assert all(f"### `{name}`\n" in metrics for name in METRICS)


def test_docstrings_become_markdown() -> None:
    """No page shows Sphinx's roles or doubled backquotes."""
    for page in ("reference/commands.md", "reference/metrics.md", "reference/model-config.md"):
        assert not re.search(r":(class|func|meth|data):`|``[^`]", made(page).replace("```", "")), page


def test_a_docstring_s_parts() -> None:
    def function() -> None:
        """First.

        Args:
            one, two: what both are,
                in two lines.

        Returns:
            NaN if undefined.
        """

    meanings = GENERATED["meanings"](function)
    assert meanings == {"one": "what both are, in two lines.", "two": "what both are, in two lines."}


def test_pages_name_no_workshop() -> None:
    """What was not measured is said once, on the page of performance."""
    for page, text in PAGES.items():
        assert not re.search(r"could not be had|was written|at hand|not tested here|as it was run here", text), page


def test_the_hosts_recipe_trains_the_network_of_the_demo() -> None:
    """What docs/figures/host_demo.json is heard beside; the host's wrapper knows no bottleneck but its own."""
    host, ours = (
        load_json(path)
        for path in (DOCS / "figures" / "host_demo.json", DOCS.parent / "model_configs" / "ear_vae_demo.json")
    )
    assert host["model"] == {**ours["model"], "bottleneck": {"type": "vae"}}
    assert all(host[key] == ours[key] for key in ("sample_size", "sample_rate", "audio_channels"))
