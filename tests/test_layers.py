"""Imports point one way: from the commands down to the ground."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "ear_sat"
#: From the ground up; packages of one row may import each other.
LAYERS = [
    {
        "errors",
        "checks",
        "files",
        "caches",
        "config",
        "config_edits",
        "json_file",
        "schema",
        "value_types",
        "named_configs",
        "versions",
        "compute",
        "compiling",
        "processes",
        "ranks",
        "parquet",
        "engines",
        "json_lines",
        "ray_engine",
        "weighting",
        "resampling",
    },
    {"models", "losses", "metrics"},
    {"report", "weights", "data"},
    {"tones"},
    {"inference", "prepare", "encoding", "evaluate", "codecs"},
    {"training", "listening"},
    {"host", "config_schema", "compare"},
    {"cli"},
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}


def imports() -> Iterator[tuple[str, str]]:
    """(importing module, imported part of the package), also of imports inside functions."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if len(parts) == 1 and parts[0] in ("__init__", "__main__"):  # the door, which leads everywhere
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ImportFrom) or node.level == 0:
                continue
            target = [*parts[: len(parts) - node.level], *(node.module or "").split(".")]
            names = [target[0]] if target[0] else [alias.name for alias in node.names]
            yield from ((".".join(parts), name) for name in names)


def test_imports_point_down() -> None:
    up = [
        f"{module} imports {name}"
        for module, name in imports()
        if name in RANK and RANK[name] > RANK[module.split(".")[0]]
    ]
    assert not up


def test_every_part_has_its_layer() -> None:
    parts = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert parts - {"__init__", "__main__"} == set(RANK)


def test_only_the_host_imports_the_host() -> None:
    """Everything below it works where stable-audio-tools is not installed."""
    for path in PACKAGE.rglob("*.py"):
        if path.relative_to(PACKAGE).parts[0] in ("host", "cli"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = [node.module] if isinstance(node, ast.ImportFrom) and node.level == 0 else []
            modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not any(str(module).startswith("stable_audio_tools") for module in modules), path
