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

from .. import __version__
from . import errors
from .examples import EXAMPLES
from .help import INDENT, Formatter, to_copy

#: Parses its own flags, some of which come from a file: ``main(argv) -> int``.
TRAIN = "train"
#: What the commands are for, in the order in which most people meet them.
GROUPS = {
    "Train a model": (TRAIN, "config", "prepare-data", "balance", "compare"),
    "Hear and measure it": ("reconstruct", "evaluate", "listening-results"),
    "Weights": ("download", "inspect", "export", "push"),
    "Latents for diffusion": ("latent-stats", "pre-encode"),
    "This machine": ("doctor", "run"),
}
#: name → module here with ``add_arguments(parser)`` and ``main(arguments) -> int``; its docstring is the help.
COMMANDS = {name: name.replace("-", "_") for names in GROUPS.values() for name in names}
FIRST_STEPS = (
    "ear-sat doctor                                         # what works on this machine",
    "ear-sat train --model-config ear_vae_demo --dataset-config demo --batch-size 2 --num-workers 0",
    "ear-sat COMMAND --help                                 # its options, with an example",
)
#: Earlier name → today's.
RENAMED = {"convert": "export"}


def load(name: str) -> Any:
    """The module of a command."""
    return importlib.import_module(f".{COMMANDS[name]}", __package__)


def get_parser(chosen: str | None = None) -> argparse.ArgumentParser:
    """The parser; only the ``chosen`` command has its arguments, since importing all modules takes seconds."""
    parser = argparse.ArgumentParser(
        prog="ear-sat",
        usage="ear-sat COMMAND …",
        description=f"εar-VAE for stable-audio-tools: train, measure and use a music autoencoder.\n\n{_overview()}",
        epilog=to_copy("first steps:", FIRST_STEPS),
        formatter_class=Formatter,
    )
    parser.add_argument("--version", action="version", version=f"ear-sat {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", help="one of the above")
    for name in COMMANDS:
        command = commands.add_parser(
            name, description=_docstring(name), epilog=examples(name), formatter_class=Formatter
        )
        if name == chosen != TRAIN:
            load(name).add_arguments(command)
            errors.add_debug(command)
    return parser


def examples(name: str) -> str:
    """What stands below a command's options."""
    lines = EXAMPLES[name]
    return to_copy("example:" if len(lines) == 1 else "examples:", lines)


def _overview() -> str:
    """Every command in a line, by what it is for."""
    width = max(map(len, COMMANDS))
    return "\n\n".join(
        f"{INDENT}{title}:\n" + "\n".join(f"{INDENT * 2}{name:<{width}}  {_line(name)}" for name in names)
        for title, names in GROUPS.items()
    )


def _line(name: str) -> str:
    return _docstring(name).splitlines()[0].split(": ", 1)[-1].rstrip(".")


def _docstring(name: str) -> str:
    spec = importlib.util.find_spec(f".{COMMANDS[name]}", __package__)
    assert spec is not None and spec.origin is not None
    return ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))) or ""


def main(argv: Sequence[str] | None = None) -> int:
    """Parses and calls one command; returns the exit code. Without a command it shows what there is."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    return errors.run(lambda: _call(arguments))


def _call(argv: list[str]) -> int:
    if argv and argv[0] in RENAMED:
        print(f"note: ear-sat {argv[0]} is ear-sat {RENAMED[argv[0]]} now, with the same arguments", file=sys.stderr)
        argv[0] = RENAMED[argv[0]]
    chosen = argv[0] if argv and argv[0] in COMMANDS else None
    if chosen == TRAIN:
        return int(load(TRAIN).main(argv[1:]))
    parser = get_parser(chosen)
    arguments = parser.parse_args(argv)
    if arguments.command is None:
        parser.print_help()
        return 0
    return int(load(arguments.command).main(arguments) or 0)


if __name__ == "__main__":
    sys.exit(main())
