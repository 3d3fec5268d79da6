"""``ear-sat <command>``."""

from __future__ import annotations

import argparse
import ast
import importlib
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import errors

#: Parses its own flags, some of which come from a file: ``main(argv) -> int``.
TRAIN = "train"
#: name → module here with ``add_arguments(parser)`` and ``main(arguments) -> int``; its docstring is the help.
COMMANDS = {
    TRAIN: "train",
    "run": "run",
    "balance": "balance",
    "config": "config",
    "download": "download",
    "inspect": "inspect",
    "export": "export",
    "push": "push",
    "latent-stats": "latent_stats",
    "pre-encode": "pre_encode",
    "reconstruct": "reconstruct",
    "evaluate": "evaluate",
    "listening-results": "listening_results",
    "prepare-data": "prepare_data",
    "compare": "compare",
}
#: Earlier name → today's.
RENAMED = {"convert": "export"}


def load(name: str) -> Any:
    """The module of a command."""
    return importlib.import_module(f".{COMMANDS[name]}", __package__)


def get_parser(chosen: str | None = None) -> argparse.ArgumentParser:
    """The parser; only the ``chosen`` command has its arguments, since importing all modules takes seconds."""
    parser = argparse.ArgumentParser(prog="ear-sat", description="εar-VAE for stable-audio-tools.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in COMMANDS:
        text = _docstring(name)
        command = commands.add_parser(name, help=text.splitlines()[0].split(": ", 1)[-1], description=text)
        if name == chosen != TRAIN:
            load(name).add_arguments(command)
            errors.add_debug(command)
    return parser


def _docstring(name: str) -> str:
    spec = importlib.util.find_spec(f".{COMMANDS[name]}", __package__)
    assert spec is not None and spec.origin is not None
    return ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))) or ""


def main(argv: Sequence[str] | None = None) -> int:
    """Parses and calls one command; returns the exit code."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    return errors.run(lambda: _call(arguments))


def _call(argv: list[str]) -> int:
    if argv and argv[0] in RENAMED:
        print(f"note: ear-sat {argv[0]} is ear-sat {RENAMED[argv[0]]} now, with the same arguments", file=sys.stderr)
        argv[0] = RENAMED[argv[0]]
    chosen = argv[0] if argv and argv[0] in COMMANDS else None
    if chosen == TRAIN:
        return int(load(TRAIN).main(argv[1:]))
    arguments = get_parser(chosen).parse_args(argv)
    return int(load(arguments.command).main(arguments) or 0)


if __name__ == "__main__":
    sys.exit(main())
