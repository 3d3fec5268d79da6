"""Finished measurements on disk: a second run measures only what is missing or has changed.

An SQLite file of the standard library. It does what a folder of result files (as evaluations have) cannot do for
millions of tracks: sort them, find equal ones, and hold none of them in memory. Only the process that hands out the
work opens it, so that it may lie on a network file system.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ..errors import UserError
from .measurement import Row, measuring_code
from .tracks import Found

PAGE = 1000  # tracks read at a time

_TABLES = """
CREATE TABLE IF NOT EXISTS tracks (
    path TEXT PRIMARY KEY,
    identity TEXT NOT NULL,  -- of the file and of the code that measured it
    run INTEGER NOT NULL,    -- the last run that found the track
    sha256 TEXT,
    failed INTEGER,          -- whether the row has an error
    row TEXT                 -- JSON; NULL until the track is measured
);
CREATE INDEX IF NOT EXISTS equal_tracks ON tracks (sha256, path);
"""
# What is known of a track that has changed is forgotten.
_FOUND = """
INSERT INTO tracks VALUES (:path, :identity, :run, NULL, :failed, :row)
ON CONFLICT (path) DO UPDATE SET
    run = :run,
    identity = :identity,
    sha256 = CASE WHEN identity = :identity THEN sha256 END,
    failed = CASE WHEN identity = :identity THEN failed ELSE :failed END,
    row = CASE WHEN identity = :identity THEN row ELSE :row END
"""


class Database:
    """The tracks of a preparation; use it in a ``with`` block.

    Args:
        path: the file, made if needed.

    Raises:
        UserError: another process works with it, or it is no such file.
        sqlite3.OperationalError: it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._connection = sqlite3.connect(path, timeout=1, isolation_level=None)
            # Exclusive: one run at a time, and no shared memory, which network file systems do not have.
            self._connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._connection.execute("PRAGMA journal_mode = WAL")  # a commit costs microseconds and survives a kill
            self._connection.execute("PRAGMA synchronous = NORMAL")
            self._connection.executescript(_TABLES)
            self._connection.execute("BEGIN IMMEDIATE")
            self.run = (self._connection.execute("SELECT max(run) FROM tracks").fetchone()[0] or 0) + 1
            self._connection.execute("COMMIT")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):  # a full disk, no permission
                raise
            raise UserError(f"{path.parent} is in use by another prepare-data; wait for it ({error})") from None
        except sqlite3.DatabaseError as error:
            raise UserError(f"{path} is damaged ({error}); delete it to measure all tracks again") from None

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def enter(self, tracks: Iterable[Found], retry_errors: bool = False) -> None:
        """Makes ``tracks`` those of this run, and forgets what was measured of files that have changed since.

        Args:
            tracks: any number of them.
            retry_errors: forget errors too.
        """
        self._connection.execute("BEGIN")
        if retry_errors:  # before, so that the errors of finding are entered anew
            self._connection.execute("UPDATE tracks SET row = NULL, failed = NULL WHERE failed")
        self._connection.executemany(_FOUND, map(self._entry, tracks))
        self._connection.execute("COMMIT")

    def _entry(self, found: Found) -> dict[str, Any]:
        entry = {"path": found.path, "identity": f"{found.identity} {measuring_code()}", "run": self.run}
        if found.error:  # without an identity of its own, so that the next run looks again
            row = json.dumps({"path": found.path, "error": found.error})
            return entry | {"identity": f"{self.run} {found.error}", "failed": 1, "row": row}
        return entry | {"failed": None, "row": None}

    def add(self, row: Row) -> None:
        """Keeps the row of a measured track; it is on disk when this returns."""
        self._connection.execute(
            "UPDATE tracks SET row = ?, sha256 = ?, failed = ? WHERE path = ?",
            (json.dumps(row), row.get("sha256"), int(row["error"] is not None), row["path"]),
        )

    def forget(self, paths: Iterable[str]) -> None:
        """Makes tracks unmeasured again, whatever their files look like."""
        query = "UPDATE tracks SET row = NULL, sha256 = NULL, failed = NULL WHERE path = ?"
        self._connection.execute("BEGIN")
        self._connection.executemany(query, ((path,) for path in paths))
        self._connection.execute("COMMIT")

    def count(self, condition: str = "TRUE") -> int:
        """The number of this run's tracks, of those to which an SQL condition applies."""
        query = f"SELECT count(*) FROM tracks WHERE run = ? AND {condition}"
        return int(self._connection.execute(query, (self.run,)).fetchone()[0])

    def missing(self) -> Iterator[str]:
        """Paths of this run's tracks that are not measured yet, in order; rows may be added meanwhile."""
        return (path for (path,) in self._pages("path", "row IS NULL", ("path",)))

    def rows(self) -> Iterator[Row]:
        """This run's measured tracks, in the order of their paths."""
        return (json.loads(row) for _, row in self._pages("path, row", "row IS NOT NULL", ("path",)))

    def shuffled_rows(self) -> Iterator[Row]:
        """The good ones among them in the order of their checksums: random, and the same every time."""
        pages = self._pages("sha256, path, row", "NOT failed AND sha256 IS NOT NULL", ("sha256", "path"))
        return (json.loads(row) for _, _, row in pages)

    def has_earlier_equal(self, row: Row) -> bool:
        """Whether a good track of this run with a lesser path has the same bytes."""
        query = "SELECT 1 FROM tracks WHERE sha256 = ? AND path < ? AND run = ? AND NOT failed LIMIT 1"
        return self._connection.execute(query, (row.get("sha256"), row["path"], self.run)).fetchone() is not None

    def _pages(self, columns: str, condition: str, order: tuple[str, ...]) -> Iterator[tuple]:
        """Selects from this run's tracks page by page; ``columns`` begin with those of ``order``."""
        keys = ", ".join(order)
        query = (
            f"SELECT {columns} FROM tracks WHERE run = ? AND {condition} "
            f"AND ({keys}) > ({', '.join('?' * len(order))}) ORDER BY {keys} LIMIT {PAGE}"
        )
        last: tuple = ("",) * len(order)
        while page := self._connection.execute(query, (self.run, *last)).fetchall():
            yield from page
            last = page[-1][: len(order)]
