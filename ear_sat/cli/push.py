"""ear-sat push: uploads the folder of an export to the Hugging Face hub.

``ear-sat export runs/NAME my_model --format hub`` makes the folder; ``ear-sat push my_model USER/NAME`` uploads its
weights, config and card as one commit, with the model's name in place of USER/NAME in the card. Everything that takes
weights then takes USER/NAME, or USER/NAME@REVISION.
"""

from __future__ import annotations

import argparse

from ..checks import path_argument
from ..errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("folder", type=path_argument, help="of ear-sat export … --format hub")
    parser.add_argument("name", metavar="USER/NAME", help="of the model on the hub; @REVISION after it names a branch")
    parser.add_argument("--private", action="store_true", help="make a new repository private")
    parser.add_argument("--dry-run", action="store_true", help="say what would be uploaded, and upload nothing")


def main(arguments: argparse.Namespace) -> int:
    """Uploads."""
    from ..report.tables import print_table
    from ..weights.hub import parse_hub_name
    from ..weights.publishing import content, plan_upload, push

    name = parse_hub_name(arguments.name)
    if name is None:
        raise UserError(f"{arguments.name} is not the name of a model on the hub; give USER/NAME or USER/NAME@BRANCH")
    upload = plan_upload(arguments.folder, name, arguments.private)
    if not arguments.dry_run:
        print(push(upload))
        return 0
    made = [content(upload, path) for path in upload.files]
    sizes = [len(part) if isinstance(part, bytes) else part.stat().st_size for part in made]
    rows = [[path.name, f"{size:,}"] for path, size in zip(upload.files, sizes, strict=True)]
    where = f"{name.repository}, branch {name.revision or 'main'}"
    kind = "private if it is new" if upload.private else "public if it is new"
    print_table("", ["file", "bytes"], rows, [f"would be uploaded to {where} ({kind})"])
    return 0
