"""Damaged audio files in every command that reads audio: whole, or called by their name; the sound ones are done."""

from __future__ import annotations

import csv
import json
import math
import random
import shutil
from collections.abc import Callable
from itertools import product
from pathlib import Path

from faults_material import FORMATS, FRAMES, RATE, SIZE, TRAIN, Case, Material, deal, write_configs
from faults_outcome import Outcome, judge
from faults_process import Child, Done, Work, ear_sat

#: Marks before the field that says how long the audio is, by container → (mark, distance, bytes, byte order).
_LENGTHS = {
    "WAV": (b"data", 4, 4, "little"),
    "RF64": (b"ds64", 16, 8, "little"),
    "W64": (b"data", 16, 8, "little"),
    "AIFF": (b"COMM", 10, 4, "big"),
    "FLAC": (b"fLaC", 22, 4, "big"),
    "MP3": (b"Xing", 8, 4, "big"),
    "OGG": (b"OggS\x00\x04", 6, 8, "little"),  # the last page's position; its checksum is wrong then
}
#: Those look for the usual suffixes only.
_NOT_IN_FOLDERS = ("w64",)
#: Frames that may be missing at the end without a word: what the readers allow, since an mp3's length is an estimate.
TOLERANCE = RATE // 10


def cases(material: Material) -> list[Case]:
    """200 of them, of all commands, formats and mutations."""
    every = [
        (command, name, kind)
        for command, name, kind in product(_COMMAND, FORMATS, MUTATIONS)
        if name not in _NOT_IN_FOLDERS or command in ("reconstruct", "evaluate")
    ]
    return [
        Case(f"audio: {command}", f"{name}, {kind}", _run(material, command, name, kind))
        for command, name, kind in deal(every, material.count(200), material.seed)
    ]


def _bits(data: bytes, rng: random.Random, first: int = 0, last: int | None = None) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 3, 20))):
        changed[rng.randrange(first, min(last or len(data), len(data)))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _zeros(data: bytes, rng: random.Random) -> bytes:
    length = rng.randrange(16, len(data) // 2)
    place = rng.randrange(len(data) - length)
    return data[:place] + bytes(length) + data[place + length :]


def _lie(data: bytes, rng: random.Random, container: str) -> bytes:
    mark, distance, size, order = _LENGTHS[container]
    place = data.rfind(mark) if container == "OGG" else data.find(mark)
    if place < 0 and container == "MP3":
        place = data.find(b"Info")
    place += distance
    field = slice(place, place + size)
    told = int.from_bytes(data[field], order)
    lie = rng.choice((0, told // 2, 2 * told, (1 << (8 * size - 1)) - 1, (1 << (8 * size)) - 1))
    return data[: field.start] + lie.to_bytes(size, order) + data[field.stop :]


#: Name → (bytes, random numbers, container) → bytes. The suffix of one called "suffix" is another's as well.
MUTATIONS: dict[str, Callable[[bytes, random.Random, str], bytes]] = {
    "bits": lambda data, rng, _: _bits(data, rng),
    "bits of the header": lambda data, rng, _: _bits(data, rng, last=100),
    "cut": lambda data, rng, _: data[: rng.randrange(len(data) // 20, len(data) * 17 // 20)],
    "lie": _lie,
    "zeros": lambda data, rng, _: _zeros(data, rng),
    "junk": lambda data, rng, _: data + rng.randbytes(rng.randrange(1, 5000)),
    "suffix": lambda data, rng, _: data,
    "empty": lambda data, rng, _: b"",
}


def _run(material: Material, command: str, name: str, kind: str) -> Callable[[Path, random.Random], Outcome]:
    def run(folder: Path, rng: random.Random) -> Outcome:
        suffix, container, _ = FORMATS[name]
        data = MUTATIONS[kind](material.audio(name).read_bytes(), rng, container)
        if kind == "suffix":
            suffix = rng.choice([other for other, _, _ in FORMATS.values() if other not in (suffix, ".w64")])
        music = folder / "music"
        music.mkdir()
        shutil.copyfile(material.audio("wav"), music / "good.wav")
        bad = music / f"bad{suffix}"
        bad.write_bytes(data)
        whole = _frames(material.audio(name))
        told = _frames(bad) if kind.startswith("bits") else None  # what a format without checksums cannot know
        work, right = _COMMAND[command](material, folder, {whole, told})
        done = Child(work, folder).wait()
        names = (bad.name, "bad, a")  # the latter of a pair of files
        is_named = any(text in done.text.replace("\n", "") for text in names)

        def wrong() -> str:
            if kind == "empty" and not is_named and command not in ("prepare-data", "evaluate"):  # they list it
                return f"an empty file is not named; {done.text[-200:]}"
            return right(done, is_named)

        written = folder / ("runs" if command == "train" else "out")
        given = next((text for text in names if text in done.text), bad.name)
        return judge(done, written, wrong, named=given, kept={bad: data})

    return run


def _frames(path: Path) -> int | None:
    """Samples per channel that libsndfile finds announced; None where it finds no audio."""
    import soundfile

    try:
        return int(soundfile.info(path).frames)
    except (soundfile.SoundFileError, ValueError):
        return None


def _like(frames: float | None, lengths: set[int | None], step: int = 1) -> bool:
    """Whether a length, told in steps, is one of ``lengths``, but for :data:`TOLERANCE`."""
    return frames is not None and any(-TOLERANCE - 1 <= frames - length < step + 1 for length in lengths if length)


#: (command line, what is wrong with its results): the latter from the command and whether it names the bad file.
Check = tuple[Work, Callable[[Done, bool], str]]


def _reconstruct(material: Material, folder: Path, lengths: set[int | None]) -> Check:
    def right(done: Done, is_named: bool) -> str:
        if _frames(folder / "out" / "good.wav") != FRAMES:
            return "the sound file was not done"
        written = folder / "out" / "bad.wav"
        frames = _frames(written) if written.exists() else None
        return "" if (is_named and done.code) or _like(frames, lengths) else f"{frames} frames without a word"

    arguments = ["reconstruct", "music", "--out", "out", "--weights", material.weights, "--device", "cpu"]
    return ear_sat(*arguments), right


def _evaluate(material: Material, folder: Path, lengths: set[int | None]) -> Check:
    (folder / "reference").mkdir()
    for name in ("good", "bad"):
        shutil.copyfile(material.audio("flac"), folder / "reference" / f"{name}.flac")

    def right(done: Done, is_named: bool) -> str:
        results = json.loads((folder / "out" / "results.json").read_text(encoding="utf-8"))
        found = {file["file"]: file for file in results["files"]}
        told = is_named or any(Path(entry["path"]).stem == "bad" for entry in results["unmatched"])
        good, bad = found.get("good"), found.get("bad")
        if good is None or good["error"] or not float(good["values"]["si_sdr_db"] or "nan") > 20:
            return f"the sound pair was not measured: {good}"
        if bad is None or bad["error"] or bad["notes"]:
            return "" if bad or told else "the bad file is not mentioned"
        return "" if _like(bad["seconds"] * RATE, lengths) else f"{bad['seconds']} s compared without a word"

    arguments = ["evaluate", "--reference", "reference", "--estimate", "a=music", "--out", "out"]
    return ear_sat(*arguments, "--processes", 1, "--audio", 0), right


def _prepare(material: Material, folder: Path, lengths: set[int | None]) -> Check:
    def right(done: Done, is_named: bool) -> str:
        with (folder / "out" / "manifest.csv").open(newline="", encoding="utf-8") as file:
            rows = {Path(row["path"]).stem: row for row in csv.DictReader(file)}
        if rows["good"]["frames"] != str(FRAMES) or rows["good"]["error"]:
            return f"the sound file was not measured: {rows['good']}"
        bad = rows.get("bad")
        if bad is None or bad["error"]:
            return "" if bad or is_named else "the bad file is not in the manifest"
        return "" if _like(int(bad["frames"]), lengths) else f"{bad['frames']} frames without a word"

    return ear_sat("prepare-data", "music", "--out", "out", "--processes", 1), right


def _encoder(command: str) -> Callable[[Material, Path, set[int | None]], Check]:
    def check(material: Material, folder: Path, lengths: set[int | None]) -> Check:
        def right(done: Done, is_named: bool) -> str:
            good = math.ceil(FRAMES / SIZE)
            if command == "pre-encode":
                windows = len(list((folder / "out").glob("*/*.npy")))
            else:
                windows = json.loads((folder / "out" / "latent_stats.json").read_text(encoding="utf-8"))["windows"]
            if windows < good:
                return f"{windows} windows, but {good} of the sound file"
            return (
                ""
                if is_named or _like((windows - good) * SIZE, lengths, SIZE)
                else f"{windows - good} windows without a word"
            )

        arguments = [command, "--weights", material.weights, "--data", "music", "--out", "out"]
        return ear_sat(*arguments, "--device", "cpu", "--sample-size", SIZE), right

    return check


def _train(material: Material, folder: Path, lengths: set[int | None]) -> Check:
    data = {"dataset_type": "ear_audio", "datasets": [{"id": "music", "path": "music"}], "crops_per_file": 1}
    write_configs(folder, data)

    def right(done: Done, is_named: bool) -> str:
        with (folder / "runs" / "run" / "metrics.csv").open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["train/loss/total"]]
        losses = [float(row["train/loss/total"]) for row in rows]
        if len(losses) != 2 or not all(map(math.isfinite, losses)):
            return f"losses {losses}"
        return "" if is_named or lengths - {None} else "a file that cannot be read is not named"

    flags = ["--model-config", "model.json", "--dataset-config", "data.json", *TRAIN]
    return ear_sat("train", *flags, "--name", "run", "--max-steps", 2), right


_COMMAND: dict[str, Callable[[Material, Path, set[int | None]], Check]] = {
    "reconstruct": _reconstruct,
    "evaluate": _evaluate,
    "prepare-data": _prepare,
    "latent-stats": _encoder("latent-stats"),
    "pre-encode": _encoder("pre-encode"),
    "train": _train,
}
