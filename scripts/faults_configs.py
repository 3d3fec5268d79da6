"""Mutated configs: refused in one sentence before the run folder is made, or trained with."""

from __future__ import annotations

import copy
import csv
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from faults_material import RATE, SIZE, TRAIN, Case, Material, must, training_config
from faults_outcome import HELD, LOST, Outcome, judge
from faults_process import Child, Work, ear_sat

ROOT = Path(__file__).resolve().parents[1]
#: Below these keys, names are the user's own.
_FREE = ("loss_configs", "demo_cond")
#: What makes a shipped config one that a CPU trains in a second, wherever the key stands.
_NARROW: dict[str, Any] = {
    "channels": 2,
    "filters": 2,
    "embed_dim": 64,
    "num_heads": 2,
    "depth": 1,
    "demo_steps": 1,
    "demo_every": 1_000_000,
    "max_demos": 1,
}
_PRETRANSFORM = "pretransform.safetensors"
Change = Callable[[dict[str, Any] | list[Any], Any, random.Random], None]


def _set(*values: Any) -> Change:
    def change(place: Any, key: Any, rng: random.Random) -> None:
        place[key] = rng.choice(values)

    return change


def _rename(place: Any, key: Any, rng: random.Random) -> None:
    place[f"{key}{rng.choice('aeixs')}"] = place.pop(key)


def _remove(place: Any, key: Any, rng: random.Random) -> None:
    del place[key]


#: Name → what is done at a key of a place.
MUTATIONS: dict[str, Change] = {
    "text": _set("false", "", "3", "ear"),
    "another type": _set([], {}, [1], {"a": 1}, True),
    "range": _set(0, -1, -0.5, 1e30, 10**12),
    "null": _set(None),
    "not finite": _set(float("nan"), float("inf"), float("-inf")),
    "removed": _remove,
    "renamed": _rename,
}
#: Mutations that no sound program takes in place of a number, a truth value, or a name it knows.
_NEVER = ("text", "not finite")


def cases(material: Material) -> list[Case]:
    """500 of them: every key of every shipped config as often as the others."""
    every = [
        (name, place, kind)
        for name, config in configs().items()
        for place in keys(config)
        for kind in MUTATIONS
        if _makes_sense(config, place, kind)
    ]
    must(_write_pretransform(material.folder / _PRETRANSFORM), material.folder)
    chosen = random.Random(material.seed).sample(every, min(len(every), material.count(500)))
    return [
        Case(f"configs: {kind}", f"{name}: {'.'.join(map(str, place))}", _run(material, name, place, kind))
        for name, place, kind in chosen
    ]


def configs() -> dict[str, Any]:
    """Name → config, narrowed: the shipped models, a small one with every loss, and data sets."""
    # host_vae is not ours to check: the host's own wrapper reads it.
    files = (ROOT / "model_configs").glob("ear_*.json")
    shipped = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in files}
    audio = json.loads((ROOT / "dataset_configs" / "local.json").read_text(encoding="utf-8"))
    audio["datasets"][0]["path"] = "music"
    demo = {
        "dataset_type": "ear_demo",
        "tracks": 2,
        "seconds": 2.0,
        "crops_per_track": 4,
        "seed": 0,
        "split": "held_out",
    }
    return {**{name: narrow(shipped[name]) for name in sorted(shipped)}, "tiny": training_config()} | {
        "data: ear_audio": audio,
        "data: ear_demo": demo,
    }


def narrow(config: Any) -> Any:
    """A copy that is trained in a second."""
    if isinstance(config, list):
        return [narrow(item) for item in config]
    if not isinstance(config, dict):
        return config
    small = {key: narrow(value) for key, value in config.items()}
    small |= {key: value for key, value in _NARROW.items() if isinstance(small.get(key), int)}
    if "sample_size" in small:
        small["sample_size"] = 4 * SIZE
    return small


def keys(config: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The place of every value in nested dicts and lists."""
    items: Any = ()
    if isinstance(config, dict | list):
        items = config.items() if isinstance(config, dict) else enumerate(config)
    for key, value in items:
        yield (*place, key)
        yield from keys(value, (*place, key))


def _value(config: Any, place: tuple[Any, ...]) -> Any:
    for key in place:
        config = config[key]
    return config


def _makes_sense(config: Any, place: tuple[Any, ...], kind: str) -> bool:
    if kind == "renamed":
        return isinstance(place[-1], str) and not (len(place) > 1 and place[-2] in _FREE)
    return True


def _run(material: Material, name: str, place: tuple[Any, ...], kind: str) -> Callable[[Path, random.Random], Outcome]:
    def run(folder: Path, rng: random.Random) -> Outcome:
        config = copy.deepcopy(configs()[name])
        before = _value(config, place)
        MUTATIONS[kind](_value(config, place[:-1]), place[-1], rng)
        model, data = (configs()["tiny"], config) if name.startswith("data") else (config, configs()["data: ear_demo"])
        (folder / "model.json").write_text(json.dumps(model), encoding="utf-8")
        (folder / "data.json").write_text(json.dumps(data), encoding="utf-8")
        _write_music(folder / "music")
        flags = ["--model-config", "model.json", "--dataset-config", "data.json", "--name", "run"]
        if "ldm" in name:
            flags += ["--pretransform-ckpt-path", str(material.folder / _PRETRANSFORM)]
        done = Child(ear_sat("train", *flags, *TRAIN, "--max-steps", 1), folder).wait()

        def right() -> str:
            number = isinstance(before, int | float)
            if kind == "renamed" or (kind in _NEVER and number):
                return f"accepted: {kind} in place of {before!r}"
            with (folder / "runs" / "run" / "metrics.csv").open(newline="", encoding="utf-8") as file:
                return "" if any(row["step"] != "0" for row in csv.DictReader(file)) else "no round was logged"

        outcome = judge(done, folder, right)
        if outcome.kind == HELD and done.code and (folder / "runs" / "run").exists():
            return Outcome(LOST, f"late, the run folder had been made: {outcome.detail}")
        if outcome.kind == HELD:
            return outcome
        now = "" if kind in ("removed", "renamed") else f" = {json.dumps(_value(config, place))}"
        return Outcome(outcome.kind, f"{'.'.join(map(str, place))}{now}: {outcome.detail}")

    return run


def _write_pretransform(path: Path) -> Work:
    """Weights of the autoencoder in the diffusion models."""

    def work() -> int:
        from ear_sat.models import Autoencoder
        from ear_sat.weights import config_metadata, write_weights

        found = [config for name, config in configs().items() if "ldm" in name]
        model = found[0]["model"]["pretransform"]["config"]
        config = {**found[0], "model_type": "autoencoder", "model": model}
        write_weights(Autoencoder.from_config(config).state_dict(), path, metadata=config_metadata(config))
        return 0

    return work


def _write_music(folder: Path) -> None:
    import numpy as np
    import soundfile

    folder.mkdir()
    noise = 0.1 * np.random.default_rng(0).standard_normal((RATE, 2))
    for number in range(3):
        soundfile.write(folder / f"{number}.wav", noise, RATE)
