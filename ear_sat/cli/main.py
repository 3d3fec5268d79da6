"""``ear-sat <command>``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from . import (
    balance,
    config,
    convert,
    download,
    errors,
    evaluate,
    export,
    inspect,
    latent_stats,
    pre_encode,
    reconstruct,
    run,
)

#: name → module with ``add_arguments(parser)`` and ``main(arguments) -> int``.
COMMANDS = {
    "run": run,
    "balance": balance,
    "config": config,
    "download": download,
    "inspect": inspect,
    "convert": convert,
    "export": export,
    "latent-stats": latent_stats,
    "pre-encode": pre_encode,
    "reconstruct": reconstruct,
    "evaluate": evaluate,
}


def get_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(prog="ear-sat", description="εar-VAE for stable-audio-tools.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, module in COMMANDS.items():
        summary = (module.__doc__ or "").strip().splitlines()[0].split(": ", 1)[-1]
        module.add_arguments(commands.add_parser(name, help=summary, description=module.__doc__))
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Parses and calls one command; returns the exit code."""
    arguments = get_parser().parse_args(argv)
    return errors.run(lambda: COMMANDS[arguments.command].main(arguments))


if __name__ == "__main__":
    sys.exit(main())
