"""One call from music to manifest: find, measure what is missing, decide, write."""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tqdm import tqdm

from ..data.finding import ARCHIVES, SUFFIXES
from ..data.manifest import split_path
from ..engines import check_engine, runner
from ..errors import UserError
from ..files import disk_errors, make_folder, stale_files
from ..parquet import require_pyarrow
from ..processes import Runner, cores
from .configs import manifest_config, shard_config, write_config
from .database import Database
from .manifest import write_manifest
from .measurement import Row, measure_track
from .rules import ERROR, KEEP, STAGE1, STAGES, Rules, decide
from .shards import Failure, Shard, ShardSettings, outdated_shards, plan_shards, write_shard
from .statistics import Statistics
from .tracks import find_tracks

DATABASE = "measurements.sqlite"


@dataclass
class Preparation:
    """What a preparation did.

    Attributes:
        measured: tracks measured by this run, good or bad; the others were known.
        statistics: of the whole manifest.
        configs: the dataset configs written.
        shards: number of shards there are, 0 if none were asked for.
        shards_written: by this run.
        notes: sentences for the user.
    """

    measured: int = 0
    statistics: Statistics = field(default_factory=Statistics)
    configs: list[Path] = field(default_factory=list)
    shards: int = 0
    shards_written: int = 0
    notes: list[str] = field(default_factory=list)


def prepare_data(
    sources: Sequence[Path],
    out: Path,
    rules: Rules | None = None,
    *,
    shards: ShardSettings | None = None,
    engine: str = "local",
    processes: int | None = None,
    retry_errors: bool = False,
) -> Preparation:
    """Measures all tracks of ``sources`` and writes manifest, dataset configs and, if asked for, shards into ``out``.

    What an earlier call has measured is not measured again; one that was stopped, in whatever way, is continued by the
    same call. Other rules need no new measurement.

    Args:
        sources: see :func:`.tracks.find_tracks`.
        out: a folder, made if needed; it is left out where it lies inside a source, and must not be one.
        rules: by default the paper's.
        shards: how to write WebDataset shards, below ``out/shards``; None for none.
        engine: ``"local"`` processes, or ``"ray"``: see :func:`ear_sat.ray_engine.ray_cluster`.
        processes: how many to use, by default one per core and at least two. A file that crashes its decoder becomes a
            row; with one, which is this process, it ends the run.
        retry_errors: measure tracks again that had errors.

    Raises:
        UserError: no track found, ``out`` is a source, a missing package, a full disk, an argument out of range.
    """
    check_engine(engine, processes)
    if os.path.realpath(out) in map(os.path.realpath, sources):  # as a folder of ours it would be left out
        raise UserError(f"--out {out} is one of the sources; choose a folder of its own, which may lie inside it")
    require_pyarrow("the manifest")
    rules, result = rules or Rules(), Preparation()
    make_folder(out)
    with disk_errors(out, sqlite3.OperationalError):
        with Database(out / DATABASE) as database:
            _clear(out)
            others: Counter[str] = Counter()
            found = find_tracks(sources, out, others)
            database.enter(tqdm(found, "finding", unit=" tracks", disable=None), retry_errors)
            if others:
                result.notes.append(_not_read(others))
            if database.count() == 0:
                nothing = f"there is no audio file in what was given, none of {' '.join(SUFFIXES)}"
                raise UserError("; ".join([nothing, *result.notes, "give folders of music, files, lists or shards"]))
            with runner(engine, processes, default=max(2, cores())) as run:
                result.measured = _measure_missing(database, run)
                write_manifest(out, _counted(_decided(database.rows(), database, rules), result.statistics))
                if errors := result.statistics.by_decision[ERROR].tracks:
                    result.notes.append(
                        f"{errors} track(s) had errors, named in the manifest: --retry-errors measures them again"
                    )
                if shards is None and outdated_shards(out / "shards", set()):
                    result.notes.append("the shards are those of an earlier run: add --shards to bring them up to date")
                if shards is not None:
                    _write_shards(database, rules, out / "shards", shards, run, result)
        _write_configs(out.resolve(), result)
    return result


def _clear(out: Path) -> None:
    """Removes what killed runs left half-written."""
    for folder in (out, out / "shards" / KEEP, out / "shards" / STAGE1):
        for file in stale_files(folder):
            file.unlink(missing_ok=True)


def _not_read(others: Counter[str]) -> str:
    suffixes = sorted(others, key=lambda suffix: (-others[suffix], suffix))
    kinds = ", ".join(f"{suffix} {others[suffix]}" for suffix in suffixes)
    archives = any(suffix in ARCHIVES for suffix in others)
    advice = "convert them to flac first" + (", and unpack archives" if archives else "")
    return f"{others.total()} file(s) of formats that are not read ({kinds}): {advice}"


def _measure_missing(database: Database, run: Runner) -> int:
    total, missing, failed = database.count(), database.count("row IS NULL"), database.count("failed")
    with tqdm(total=total, initial=total - missing, unit="track", desc="measuring", disable=None) as bar:
        for _, row in run(measure_track, ((path,) for path in database.missing()), _died_measuring):
            database.add(row)
            failed += row["error"] is not None
            bar.set_postfix_str(f"{failed} unreadable" if failed else "", refresh=False)
            bar.update()
    return missing


def _died_measuring(path: str) -> Row:
    return {"path": path, "error": "the process that measured it died: damaged data, or too little memory"}


def _decided(rows: Iterator[Row], database: Database, rules: Rules) -> Iterator[Row]:
    for row in rows:
        decision, reasons = decide(row, rules, partial(database.has_earlier_equal, row))
        yield row | {"decision": decision, "reason": ";".join(reasons)}


def _counted(rows: Iterator[Row], statistics: Statistics) -> Iterator[Row]:
    for row in rows:
        statistics.add(row)
        statistics.members[row["decision"]] += bool(split_path(row["path"])[1])
        yield row


def _write_shards(
    database: Database, rules: Rules, folder: Path, settings: ShardSettings, run: Runner, result: Preparation
) -> None:
    planned: set[Path] = set()
    failures: list[Failure] = []

    def missing() -> Iterator[tuple[Shard, int | None]]:
        for shard in plan_shards(lambda: _decided(database.shuffled_rows(), database, rules), folder, settings):
            planned.add(shard.path)
            if not shard.path.exists():
                yield shard, settings.sample_rate

    with tqdm(unit=" shards", desc="writing", disable=None) as bar:
        for _, found in run(write_shard, missing(), _died_writing):
            failures += found
            result.shards_written += not found
            bar.update()
    if failures:
        database.forget(failure.path for failure in failures if failure.changed)
        raise UserError(_failed(failures))
    result.shards = len(planned)
    outdated = outdated_shards(folder, planned)
    for file in outdated:
        file.unlink()
    if outdated:
        result.notes.append(f"{len(outdated)} shard(s) of an earlier run did not fit the manifest any more: removed")


def _died_writing(shard: Shard, _: int | None) -> list[Failure]:
    reason = (
        "the process that wrote it died, most likely for want of memory; run the same command again with fewer "
        "--processes"
    )
    return [Failure(str(shard.path), reason, changed=False)]


def _failed(failures: list[Failure]) -> str:
    changed = [failure for failure in failures if failure.changed]
    others = [failure for failure in failures if not failure.changed]
    parts = []
    if changed:
        parts.append(
            f"{len(changed)} track(s) have changed since they were measured; run the same command again, which "
            f"measures them again. The first: {changed[0].path}: {changed[0].reason}"
        )
    if others:
        parts.append(
            f"shards could not be written for {len(others)} reason(s). The first: {others[0].path}: {others[0].reason}"
        )
    return ". ".join(parts)


def _write_configs(out: Path, result: Preparation) -> None:
    tallies, members = result.statistics.by_decision, result.statistics.members
    folders = {name: out / "shards" / name for name in (KEEP, STAGE1) if tallies[name].tracks}
    for stage, decisions in STAGES.items():
        tracks = sum(tallies[decision].tracks for decision in decisions)
        files = tracks - sum(members[decision] for decision in decisions)
        of_manifest, of_shards = out / f"{stage}.json", out / f"{stage}_shards.json"
        if not tracks:
            result.notes.append(f"no track is fit for {stage}: no config for it")
            of_shards.unlink(missing_ok=True)
        if files:
            result.configs.append(of_manifest)
            write_config(of_manifest, manifest_config(out / "manifest.parquet", stage, files))
        else:
            of_manifest.unlink(missing_ok=True)
        if tracks and result.shards:
            result.configs.append(of_shards)
            write_config(of_shards, shard_config(folders, stage))
    fit_members = members[KEEP] + members[STAGE1]
    if fit_members:
        result.notes.append(
            f"{fit_members} track(s) fit for training lie in shards, which ear_audio cannot read: write new ones with "
            "--shards"
        )
