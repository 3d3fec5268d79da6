"""Damaged and hostile checkpoints in every command that reads one: read as they were, or refused; no code is run."""

from __future__ import annotations

import os
import pickle
import random
import shutil
import subprocess
from collections.abc import Callable, Mapping
from itertools import product
from pathlib import Path
from typing import Any

from faults_audio import MUTATIONS as OF_BYTES
from faults_material import ROUNDS, TRAIN, Case, Material, content, deal, must
from faults_outcome import Outcome, judge
from faults_process import Child, ear_sat

FORMS = ("training.ckpt", "model.ckpt", "model.pyt", "legacy.pt", "model.safetensors")
#: What torch's zip format has: a checksum of every tensor.
CHECKED = FORMS[:3]
COMMANDS = ("inspect", "export", "reconstruct", "fine-tune", "resume")
BYTES = ("bits", "bits of the header", "cut", "zeros", "junk", "empty")
SHAPES = ("wrong shape", "missing key")
HOSTILE = ("os.system", "eval", "exec", "subprocess.Popen", "nested", "raw pickle")
#: Rounds of the run that goes on.
MORE = ROUNDS + 2
_MARKER = "ran"


def cases(material: Material) -> list[Case]:
    """300 of them, a third hostile."""
    write_sound(material)
    forms = [(form, command) for form, command in product(FORMS, COMMANDS) if command != "resume" or form == FORMS[0]]
    damaged = [(*one, kind) for one, kind in product(forms, (*BYTES, *SHAPES))]
    hostile = [(*one, kind) for one, kind in product(forms, HOSTILE) if one[0] != "model.safetensors"]
    dealt = deal(damaged, material.count(200), material.seed) + deal(hostile, material.count(100), material.seed)
    return [
        Case(
            f"checkpoints: {'hostile' if kind in HOSTILE else form}",
            f"{form}, {command}, {kind}",
            _run(material, form, command, kind),
        )
        for form, command, kind in dealt
    ]


def write_sound(material: Material) -> None:
    """The sound files of :data:`FORMS`, and what the commands make of them, in ``checkpoints/``."""
    folder = material.folder / "checkpoints"
    folder.mkdir()

    def work() -> int:
        import torch

        state = torch.load(material.run / "export" / "model.ckpt", weights_only=True)["state_dict"]
        torch.save(state, folder / "model.pyt")
        torch.save(state, folder / "legacy.pt", _use_new_zipfile_serialization=False)
        return 0

    must(work, folder)
    shutil.copyfile(material.run / "checkpoints" / "last.ckpt", folder / "training.ckpt")
    for name in ("model.ckpt", "model.safetensors"):
        shutil.copyfile(material.run / "export" / name, folder / name)
    for form, command in product(FORMS, COMMANDS):
        if command != "resume" or form == FORMS[0]:
            place = folder / f"{form}-{command}"
            place.mkdir()
            _lay_out(material, place, folder / form, command)
            must(ear_sat(*_arguments(material, form, command)), place)


def _run(material: Material, form: str, command: str, kind: str) -> Callable[[Path, random.Random], Outcome]:
    def run(folder: Path, rng: random.Random) -> Outcome:
        sound, marker, bad = material.folder / "checkpoints" / form, folder / _MARKER, folder / f"bad-{form}"
        if kind in BYTES:
            bad.write_bytes(OF_BYTES[kind](sound.read_bytes(), rng, ""))
        else:
            _write_changed(sound, bad, kind, marker, rng)
        _lay_out(material, folder, bad, command)
        bad.unlink()
        given = folder / form if command != "resume" else folder / "runs" / "run" / "checkpoints" / "last.ckpt"
        content = given.read_bytes()
        done = Child(ear_sat(*_arguments(material, form, command)), folder).wait()

        def right() -> str:
            if kind in (*SHAPES, *HOSTILE, "cut", "empty") and command not in ("inspect", "resume"):
                return f"accepted with {kind}"
            return _difference(sound.parent / f"{form}-{command}", folder, command) if form in CHECKED else ""

        kept = {} if command == "resume" else {given: content}
        outcome = judge(done, _written(folder, command), right, marker=marker, kept=kept)
        if done.code == 1 and command in ("export", "fine-tune") and _exists(folder, command):
            return Outcome("lost or half-written", "refused, and something was written")
        return outcome

    return run


def _lay_out(material: Material, folder: Path, file: Path, command: str) -> None:
    """What the command needs in ``folder``, with ``file`` as its checkpoint under its own name."""
    if command == "resume":
        shutil.copytree(material.run, folder / "runs" / "run")
        for name in ("last.ckpt", f"step-{ROUNDS}.ckpt"):
            target = folder / "runs" / "run" / "checkpoints" / name
            target.unlink()
            shutil.copyfile(file, target)
        return
    shutil.copyfile(file, folder / file.name.removeprefix("bad-"))
    for name in ("model.json", "data.json"):
        shutil.copyfile(material.folder / name, folder / name)


def _arguments(material: Material, form: str, command: str) -> list[Any]:
    configs = ["--model-config", "model.json", "--dataset-config", "data.json"]
    return {
        "inspect": ["inspect", form],
        "export": ["export", form, "new.safetensors", *_HINTS],
        "reconstruct": ["reconstruct", material.audio("wav"), "--out", "out", "--weights", form, "--device", "cpu"],
        "fine-tune": ["train", *configs, *TRAIN, "--name", "run", "--max-steps", 1, "--pretrained-ckpt-path", form],
        "resume": ["train", *TRAIN, "--resume", "runs/run", "--max-steps", MORE],
    }[command]


#: What a file without a config does not say.
_HINTS = ("--sample-rate", 48_000, "--dim-heads", 32)


def _written(folder: Path, command: str) -> Path:
    """Where a command writes; the damaged file itself lies elsewhere."""
    places = {"reconstruct": folder / "out", "fine-tune": folder / "runs", "resume": folder / "runs" / "run" / "export"}
    return places.get(command, folder / "nowhere")


def _exists(folder: Path, command: str) -> bool:
    return (folder / {"export": "new.safetensors", "fine-tune": "runs/run"}[command]).exists()


def _difference(sound: Path, folder: Path, command: str) -> str:
    """Between what a command made of the sound file and of the damaged one that it accepted."""
    name = {
        "export": "new.safetensors",
        "reconstruct": "out/wav.wav",
        "fine-tune": "runs/run/export/model.safetensors",
        "resume": "runs/run/export/model.safetensors",
    }.get(command)
    if name is None or content(sound / name) == content(folder / name):
        return ""
    return f"{name} is another one than from the sound file, without a word"


class _Hostile:
    """Runs a command when it is unpickled."""

    def __init__(self, call: Callable[..., Any], *arguments: Any) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> Any:
        return self.call, self.arguments


def _write_changed(sound: Path, bad: Path, kind: str, marker: Path, rng: random.Random) -> None:
    """The content of ``sound`` with something wrong in it."""
    import torch
    from safetensors.torch import load_file, save_file

    tensors = sound.suffix == ".safetensors"
    content: dict[str, Any] = load_file(sound) if tensors else torch.load(sound, weights_only=True)
    state = content.get("state_dict", content)
    key = rng.choice([name for name in state if name.endswith("bias") and name.startswith(("enc", "dec", "auto"))])
    if kind == "missing key":
        del state[key]
    elif kind == "wrong shape":
        state[key] = torch.zeros(len(state[key]) + 1)
    else:
        code = f"open({str(marker)!r}, 'w').close()"
        calls: Mapping[str, _Hostile] = {
            "os.system": _Hostile(os.system, f"touch {marker}"),
            "eval": _Hostile(eval, code),
            "subprocess.Popen": _Hostile(subprocess.Popen, ["touch", str(marker)]),
        }
        evil = calls.get(kind, _Hostile(exec, code))
        if kind == "raw pickle":
            bad.write_bytes(pickle.dumps({"state_dict": evil}, protocol=rng.choice((2, 4))))
            return
        if kind == "nested":
            content["hyper_parameters"] = [{"callbacks": [evil]}]
        else:
            state[key] = evil
    if tensors:
        save_file(state, bad)
    else:
        torch.save(content, bad, _use_new_zipfile_serialization=sound.name != "legacy.pt")
