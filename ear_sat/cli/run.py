"""ear-sat run: executes an unmodified script of stable-audio-tools with our types registered.

``ear-sat run train.py --model-config …`` behaves as ``python train.py --model-config …`` would, except that ear_sat is
registered first. Processes that Lightning starts for further devices repeat this module, so they are registered too.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import types
from pathlib import Path

from ..checks import path_argument
from ..errors import UserError

#: Tells the processes that Lightning starts with ``python -m ear_sat.cli.run …`` which script they are to run.
SCRIPT_VARIABLE = "EAR_SAT_RUN_SCRIPT"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument(
        "script", type=path_argument, help="Python script, such as the host's train.py or unwrap_model.py"
    )
    parser.add_argument("args", nargs=argparse.REMAINDER, help="its arguments")


def main(arguments: argparse.Namespace) -> int:
    """Runs the script."""
    script: Path = arguments.script
    if not script.is_file():
        raise UserError(f"no such script: {script}; give the path of a Python file")
    execute(script.resolve(), arguments.args)
    return 0


def execute(script: Path, arguments: list[str]) -> None:
    """Registers, then executes ``script`` as the main module."""
    from .. import register

    register()
    os.environ[SCRIPT_VARIABLE] = str(script)
    main_module = types.ModuleType("__main__")
    main_module.__file__ = str(script)
    # Lightning starts further processes with "python -m <name of the main module's spec> <sys.argv[1:]>".
    main_module.__spec__ = importlib.util.find_spec("ear_sat.cli.run")
    sys.modules["__main__"] = main_module
    sys.argv = [str(script), *arguments]
    sys.path.insert(0, str(script.parent))
    exec(compile(script.read_bytes(), str(script), "exec"), main_module.__dict__)


if __name__ == "__main__":
    execute(Path(os.environ[SCRIPT_VARIABLE]), sys.argv[1:])
