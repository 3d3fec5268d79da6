"""Writes a dataset config for a folder of music; see --help."""

import argparse
import json
import sys
from pathlib import Path

from ear_sat.cli import errors
from ear_sat.data import find_audio_files
from ear_sat.json_file import load_json

TEMPLATE = Path(__file__).parents[1] / "dataset_configs" / "local.json"


def main() -> None:
    """The template for local folders with another path; a single file cannot be split into train and held-out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    config = load_json(TEMPLATE)
    config["datasets"] = [{"id": "music", "path": str(arguments.folder)}]
    if len(find_audio_files(arguments.folder)) < 2:
        config["split"] = "all"
    arguments.out.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(errors.run(main))
