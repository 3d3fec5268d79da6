"""ear-sat download: gets the authors' released weights, verifies their checksum and prints their path."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("name", choices=("44k", "48k"), help="44.1 kHz with transformer, or 48 kHz without")


def main(arguments: argparse.Namespace) -> int:
    """Downloads."""
    from ..weights import download

    print(download(arguments.name))
    return 0
