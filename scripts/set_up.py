"""Makes the environment in which everything of this repository runs: ``.venv``, with ear_sat and its host.

    python scripts/set_up.py [--python 3.12] [--host 0.0.19] [--torch-backend cpu] [--venv FOLDER]

Any Python from 3.8 runs it; it needs no package. The work is done by uv, which is fetched from the package index into
``.uv`` where there is none. The environment gets the newest Python that fits and is found, the versions that were
tested together (``ear_sat/host/pins``) and this folder as an editable install. A second run has nothing to do; one that
was interrupted is made good by the next. An environment that was made otherwise is left alone.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple, NoReturn

ROOT = Path(__file__).resolve().parent.parent
PINS = ROOT / "ear_sat" / "host" / "pins"
TOOL = ROOT / ".uv"
#: Minor versions of Python 3 for each host: newest first, as they are tried.
HOSTS = {"0.0.20": (13, 12, 11, 10), "0.0.19": (11, 10)}
#: The oldest uv that knows every option used here.
LEAST_UV = (0, 8)
#: File in the environment that says what is in it, and that this script made it; empty while it is being made.
MARKER = ".installed"
PROBE = (
    "import json, platform, sys, sysconfig;"
    "assert platform.python_implementation() == 'CPython' and not sysconfig.get_config_var('Py_GIL_DISABLED');"
    "print(json.dumps([platform.python_version(), getattr(sys, '_base_executable', None) or sys.executable]))"
)


class Interpreter(NamedTuple):
    version: str
    path: str


def say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


def fail(sentence: str) -> NoReturn:
    sys.exit("error: " + sentence)


def output_of(*command: str) -> str | None:
    """What a command prints, None where it does not run: pyenv's shims exist for versions that do not."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    except OSError:
        return None
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None


def run(what: str, *command: str) -> None:
    """Runs a command whose own messages are shown, and stops with a sentence where it fails."""
    if subprocess.run(command, stdin=subprocess.DEVNULL, stdout=sys.stderr, cwd=ROOT).returncode != 0:
        fail(f"{what} failed, see above; mend that and run this again")


def probe(python: str) -> Interpreter | None:
    """The interpreter behind a command (a virtual environment's base), None where it does not run as usual CPython."""
    printed = output_of(python, "-c", PROBE)
    return Interpreter(*json.loads(printed)) if printed else None


def find_uv() -> str:
    """The uv on the PATH where it is recent, else our own, fetched once."""
    own = [str(TOOL / folder / name) for folder in ("bin", "Scripts") for name in ("uv", "uv.exe")]
    for uv in ["uv", *own]:
        version = re.match(r"uv (\d+)\.(\d+)", output_of(uv, "--version") or "")
        if version and tuple(map(int, version.groups())) >= LEAST_UV:
            return uv
    say(f"fetching uv into {TOOL.name}")
    shutil.rmtree(TOOL, ignore_errors=True)
    # Settings of pip under which --target is refused.
    os.environ.update(PIP_USER="0", PIP_REQUIRE_VIRTUALENV="0")
    os.environ.update(PIP_DISABLE_PIP_VERSION_CHECK="1", PIP_ROOT_USER_ACTION="ignore")
    least = "uv>=" + ".".join(map(str, LEAST_UV))
    if output_of(sys.executable, "-m", "pip", "--version"):
        run("fetching uv", sys.executable, "-m", "pip", "install", "-q", "--target", str(TOOL), least)
    elif output_of(sys.executable, "-m", "venv", str(TOOL)) is not None:
        python = TOOL / ("Scripts" if os.name == "nt" else "bin") / "python"
        run("fetching uv", str(python), "-m", "pip", "install", "-q", least)
    else:
        shutil.rmtree(TOOL, ignore_errors=True)
        fail("there is neither a uv nor a pip to fetch it with; install uv, or pip (Debian: apt install python3-pip)")
    return next((uv for uv in own if output_of(uv, "--version")), "") or fail(f"the uv in {TOOL} does not run")


def interpreters(uv: str) -> list[Interpreter]:
    """Every Python that is found and runs: on the PATH, known to uv (its own; Windows' registry), in pyenv's folder."""
    listed = output_of(uv, "python", "list", "--only-installed", "--output-format", "json") or "[]"
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    names = [f"python3.{minor}" for minor in HOSTS["0.0.20"]] + ["python3", "python", sys.executable]
    names += [entry["path"] for entry in json.loads(listed)]
    with contextlib.suppress(OSError):  # a folder of another user's
        names += map(str, sorted(pyenv.glob("versions/3.*/bin/python"), reverse=True))
    return [found for found in map(probe, dict.fromkeys(names)) if found]


def choose_python(uv: str, wanted: str, host: str) -> str:
    """The interpreter to use, or a version for uv to fetch where none is found."""
    minors = [f"3.{minor}" for minor in HOSTS[host]]
    fits = f"stable-audio-tools {host} needs Python {minors[-1]} to {minors[0]}"
    asked = re.fullmatch(r"(?:python)?((3\.\d+)(?:\.\d+)?)", wanted)
    if asked is None and wanted:
        given = probe(wanted) or fail(f"{wanted} is not a Python that runs; give its path or a version such as 3.12")
        if not within(minors, given.version):
            fail(f"{fits}, and {wanted} is {given.version}")
        return given.path
    if asked and asked.group(2) not in minors:
        fail(f"{fits}, not {asked.group(1)}")
    versions = [asked.group(1)] if asked else minors
    found = interpreters(uv)
    return next((f.path for version in versions for f in found if within([version], f.version)), versions[0])


def within(versions: list[str], version: str) -> bool:
    """Whether 3.12.1 is one of 3.12, 3.13, …"""
    return any(f"{version}.".startswith(f"{prefix}.") for prefix in versions)


def read_marker(venv: Path) -> dict[str, str]:
    """What the environment holds; nothing where it is absent, half-made, or its Python has gone."""
    try:
        return json.loads((venv / MARKER).read_text()) if python_of(venv).exists() else {}
    except (OSError, ValueError):
        return {}


def python_of(venv: Path) -> Path:
    return venv / "Scripts" / "python.exe" if os.name == "nt" else venv / "bin" / "python"


def clear(venv: Path) -> None:
    """Empties the folder of an environment that this script made; the marker goes last, and comes back empty."""
    if venv.exists() and not (venv / MARKER).exists() and any(venv.iterdir()):
        fail(f"{venv} was not made by this set-up; remove it or choose another folder with VENV=")
    venv.mkdir(parents=True, exist_ok=True)
    (venv / MARKER).write_text("")
    for entry in venv.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name != MARKER:
            entry.unlink()


def make(venv: Path, wanted: dict[str, str]) -> None:
    if not os.access(ROOT, os.W_OK):
        fail(f"the folder {ROOT} cannot be written to; use a copy of your own")
    uv, host = find_uv(), wanted["host"]
    python = choose_python(uv, wanted["python"], host)
    clear(venv)
    say(f"setting up {venv.name}: stable-audio-tools {host}, {python} (minutes, the first time)")
    what = (
        "making the environment"
        if Path(python).is_absolute()
        else f"fetching Python {python} (none that fits was found)"
    )
    run(what, uv, "venv", "-q", "--no-project", "--allow-existing", "--python", python, str(venv))
    # Compiled once here and not by every process where Python may not write beside the packages.
    command = [uv, "pip", "install", "-q", "--compile-bytecode", "--python", str(python_of(venv))]
    command += ["--constraints", str(PINS / f"{host}.txt"), "--overrides", str(PINS / f"{host}-overrides.txt")]
    command += ["--torch-backend", wanted["torch_backend"]] if wanted["torch_backend"] else []
    run("installing", *command, "pip", "-e", ".[sat,dev]")
    (venv / MARKER).write_text(json.dumps(wanted))


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--python", default="", help="path, command or version; the newest found that fits")
    parser.add_argument("--host", default="0.0.20", help="version of stable-audio-tools: " + " or ".join(HOSTS))
    parser.add_argument(
        "--torch-backend", default="", help="uv's option: cpu, cu128, auto, …; only its default is tested"
    )
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv", help="folder of the environment")
    parser.add_argument("--find", action="store_true", help="print the Python that would be used, and do nothing")
    return parser


def main() -> None:
    args = get_parser().parse_args()
    if args.host not in HOSTS:
        fail(f"no host {args.host}; choose {' or '.join(HOSTS)}")
    if args.find:
        print(choose_python(find_uv(), args.python, args.host))
        return
    venv = args.venv.resolve()
    made = read_marker(venv)
    files = [ROOT / "pyproject.toml", PINS / f"{args.host}.txt", PINS / f"{args.host}-overrides.txt"]
    # A Python or a build of torch once chosen stays, until another is asked for.
    kept = made if made.get("host") == args.host else {}
    wanted = {
        "host": args.host,
        "python": args.python or kept.get("python", ""),
        "torch_backend": args.torch_backend or kept.get("torch_backend", ""),
        "files": hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest(),
    }
    if made == wanted:
        return
    try:
        make(venv, wanted)
    except OSError as error:
        fail(f"cannot make the environment ({error})")
    except KeyboardInterrupt:
        fail("interrupted; run this again to finish")


if __name__ == "__main__":
    main()
