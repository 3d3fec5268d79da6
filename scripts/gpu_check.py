"""One command for the day a GPU is there: is it right on the GPU, is it fast, and where does the time go.

    python scripts/gpu_check.py --out DIR              8 minutes; writes DIR/gpu_check.json and DIR/gpu_check.html
    python scripts/gpu_check.py --out DIR --only equality,profile
    python scripts/gpu_check.py --out DIR --mini --device cpu     in miniature, under a minute

Each section has a cap of time; at its cap it keeps what it has measured and says so. One that cannot run here is
skipped with the reason, one that fails is recorded, and the others still run. Nothing is downloaded. The exit code is 1
if a section failed or a value is out of its bound.

The sections run in a second process, which writes the JSON file after everything it measures; this one only watches it,
stops it where it ignores its cap, and starts another one for what is left after a failure.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

from gpu_page import page
from gpu_section import GOOD, CapReachedError, Section, SkippedError, out_of_bound

from ear_sat.checks import require_number
from ear_sat.cli import errors
from ear_sat.compute import choose_device
from ear_sat.config import check_choice
from ear_sat.files import make_folder, write_text

#: Section, which is the module gpu_<name>.py → its cap in seconds, and in miniature.
SECTIONS = {
    "machine": (25, 4),
    "equality": (80, 10),
    "rounds": (195, 10),
    "resume": (30, 12),
    "memory": (25, 6),
    "benchmarks": (85, 10),
    "profile": (20, 5),
    "synchronisations": (20, 3),
}
SECONDS, MINI_SECONDS = (sum(caps) for caps in zip(*SECTIONS.values(), strict=True))
#: Seconds beyond its cap after which a section is stopped from outside.
GRACE = 5.0


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="DIR", help="folder for gpu_check.json and gpu_check.html")
    add("--device", choices=("cuda", "cpu"), help="default: cuda where torch sees a GPU")
    add("--mini", action="store_true", help="narrow networks and short clips: shows that everything runs")
    add("--only", default=",".join(SECTIONS), help="sections, by comma (default: %(default)s)")
    add("--seconds", type=float, help=f"for all sections together (default: {SECONDS}, in miniature {MINI_SECONDS})")
    add("--child", action="store_true", help=argparse.SUPPRESS)
    return parser


def cap(name: str, args: argparse.Namespace) -> float:
    """Seconds of a section: its share of ``--seconds``."""
    return SECTIONS[name][args.mini] * args.seconds / (MINI_SECONDS if args.mini else SECONDS)


class Results:
    """The JSON file: settings and the result of each section."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.content: dict[str, Any] = {}

    def read(self) -> dict[str, Any]:
        self.content = json.loads(self.path.read_text(encoding="utf-8"))
        return self.content

    def write(self) -> None:
        write_text(self.path, json.dumps(self.content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")

    @property
    def sections(self) -> dict[str, dict[str, Any]]:
        sections: dict[str, dict[str, Any]] = self.content["sections"]
        return sections

    def publish(self, name: str, result: dict[str, Any]) -> None:
        self.sections[name] = result
        self.write()


def run_sections(names: list[str], args: argparse.Namespace, results: Results) -> None:
    """Runs sections in this process, one after the other, up to the first that fails."""
    from gpu_setting import Setting

    setting = Setting(args.device, args.mini)
    for name in names:
        section = Section(cap(name, args), lambda result, name=name: results.publish(name, result))  # type: ignore[misc]
        try:
            importlib.import_module(f"gpu_{name}").run(section, setting)
        except CapReachedError as reached:
            section.finish("capped", f"stopped at its cap; {reached}")
        except SkippedError as reason:
            section.finish("skipped", str(reason))
        except Exception as error:
            section.result["traceback"] = traceback.format_exc()
            section.finish("failed", first_line(error))
            return  # a failed kernel can leave the whole process without its GPU
        else:
            section.finish("ok")


def first_line(error: BaseException) -> str:
    text = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {text}"


def watch(names: list[str], args: argparse.Namespace, results: Results) -> None:
    """Runs sections in processes of their own until each has a result."""
    while names:
        began = time.time()
        command = [
            sys.executable,
            str(Path(__file__).resolve()),
            "--child",
            "--out",
            str(args.out),
            "--device",
            args.device,
        ]
        command += ["--only", ",".join(names), "--seconds", str(args.seconds), *(["--mini"] if args.mini else [])]
        # Read when cuBLAS starts; without it, its matrix products do not repeat exactly (section resume).
        env = {**os.environ, "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
        with tempfile.TemporaryFile() as log:
            child = subprocess.Popen(command, stdout=log, stderr=log, env=env, start_new_session=True)
            try:
                stopped = _wait(child, names, began, args, results)
            finally:
                _kill(child)
            log.seek(0)
            last = log.read().decode(errors="replace").strip().splitlines()[-1:]
        ended = f"its process ended with code {child.returncode}: {' '.join(last) or 'without a word'}"
        _close(names, began, stopped, ended, args, results)
        for name in names:
            if name in results.sections and results.sections[name]["status"] != "running":
                print(f"{name}: {results.sections[name]['status']}" + _because(results.sections[name]), flush=True)
        names = [name for name in names if name not in results.sections]


def _close(
    names: list[str], began: float, stopped: str | None, ended: str, args: argparse.Namespace, results: Results
) -> None:
    """Ends the section that was running when its process ended; what it has measured is kept."""
    results.read()
    name = _current(names, results)
    started = any(n in results.sections for n in names)
    if name is None or not (stopped or name in results.sections or not started):
        return
    result: dict[str, Any] = {"began": began, "cap_seconds": cap(name, args), "tables": {}, "notes": [], "curves": {}}
    result |= results.sections.get(name, {})
    result |= {"seconds": time.time() - result["began"], "doing": None}
    result |= {"status": "capped", "reason": stopped} if stopped else {"status": "failed", "reason": ended}
    if stopped and (wrong := out_of_bound(result)):
        result |= {"status": "out of bound", "reason": f"out of its bound: {', '.join(wrong)}; {stopped}"}
    results.publish(name, result)


def _wait(
    child: subprocess.Popen[bytes], names: list[str], began: float, args: argparse.Namespace, results: Results
) -> str | None:
    """Waits for the child's end; stops waiting where a section ignores its cap, and says what it was at."""
    while child.poll() is None:
        time.sleep(0.1)
        results.read()
        name = _current(names, results)
        if name is None:
            continue
        result = results.sections.get(name, {})
        # One that has not begun waits since the end of the one before it.
        since = result.get("began") or max([began, *(r["began"] + r["seconds"] for r in results.sections.values())])
        if time.time() - since > cap(name, args) + GRACE:
            doing = result.get("doing")
            return f"stopped {GRACE:g} s beyond its cap" + (f", in: {doing}" if doing else "")
    return None


def _current(names: list[str], results: Results) -> str | None:
    """The first section that has not ended."""
    return next((n for n in names if results.sections.get(n, {"status": "running"})["status"] == "running"), None)


def _kill(child: subprocess.Popen[bytes]) -> None:
    """Ends a child and the processes that it has started."""
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL) if hasattr(os, "killpg") else child.kill()
        child.wait()


def _because(result: dict[str, Any]) -> str:
    return f" ({result['reason']})" if result.get("reason") else f", {result['seconds']:.0f} s"


def check(args: argparse.Namespace) -> list[str]:
    """The sections asked for; raises :class:`UserError` for any argument that cannot be right."""
    only = [check_choice("section in --only", name.strip(), tuple(SECTIONS)) for name in args.only.split(",")]
    if args.seconds is None:
        args.seconds = MINI_SECONDS if args.mini else SECONDS
    require_number("--seconds", args.seconds, above=0)
    device = choose_device(args.device or "auto").type
    args.device = device if device == "cuda" else "cpu"
    return list(dict.fromkeys(only))


def main() -> int:
    args = get_parser().parse_args()
    names = check(args)
    results = Results(args.out / "gpu_check.json")
    if args.child:
        results.read()
        run_sections(names, args, results)
        return 0
    make_folder(args.out)
    settings = {"device": args.device, "mini": args.mini, "seconds": args.seconds, "only": names}
    results.content = {"settings": settings, "began": time.strftime("%Y-%m-%d %H:%M"), "sections": {}}
    results.write()
    try:
        watch(names, args, results)
    finally:
        write_text(args.out / "gpu_check.html", page(results.content))
    bad = [name for name, result in results.sections.items() if result["status"] not in GOOD]
    print(f"{args.out / 'gpu_check.html'}" + (f"; not right: {', '.join(bad)}" if bad else ""))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(errors.run(main))
