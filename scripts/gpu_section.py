"""What a section of gpu_check.py reports into: tables, checks against bounds, notes and curves, under a cap of time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

Item = TypeVar("Item")
#: Ends that count as good: measured, measured in part, not measurable here.
GOOD = ("ok", "capped", "skipped")


class CapReachedError(Exception):
    """The section's time is over; it says what was left out."""


class SkippedError(Exception):
    """The section cannot run here; it says why."""


class Section:
    """Collects the result of one section and publishes it before each step and at least once a second of additions.

    Args:
        cap: seconds.
        publish: called with the result.
        clock: seconds.
    """

    def __init__(
        self, cap: float, publish: Callable[[dict[str, Any]], None], clock: Callable[[], float] = time.time
    ) -> None:
        self._publish, self._clock, self._began, self._published = publish, clock, clock(), -math.inf
        self.result: dict[str, Any] = {"status": "running", "reason": None, "began": self._began, "cap_seconds": cap}
        self.result |= {"seconds": 0.0, "doing": None, "tables": {}, "notes": [], "curves": {}}
        self._changed(at_once=True)

    @property
    def left(self) -> float:
        """Seconds until the cap."""
        return float(self.result["cap_seconds"]) - (self._clock() - self._began)

    def within_cap(self, items: Iterable[Item], name: Callable[[Item], str] = str) -> Iterator[Item]:
        """``items`` while there is time; raises :class:`CapReachedError` with the ``name`` of those that are left."""
        rest = list(items)
        while rest:
            if self.left <= 0:
                raise CapReachedError(f"not measured: {', '.join(map(name, rest))}")
            self.result["doing"] = name(rest[0])
            self._changed(at_once=True)
            yield rest.pop(0)
        self.result["doing"] = None
        self._changed(at_once=True)

    def row(self, table: str, **cells: Any) -> None:
        """Adds a row to ``table``; numbers that are not finite become None."""
        self.result["tables"].setdefault(table, []).append({key: _finite(value) for key, value in cells.items()})
        self._changed()

    def check(self, table: str, what: str, value: float, bound: float, reason: str, unit: str, least: bool) -> None:
        """Adds a row with a verdict: ``value`` must be at least or at most ``bound``, because of ``reason``."""
        ok = math.isfinite(value) and (value >= bound if least else value <= bound)
        sign = "≥" if least else "≤"
        self.row(
            table, what=what, value=value, unit=unit, bound=f"{sign}\N{NO-BREAK SPACE}{bound:g}", ok=ok, reason=reason
        )

    def note(self, text: str) -> None:
        if text not in self.result["notes"]:
            self.result["notes"].append(text)
            self._changed()

    def curves(self, panel: str, name: str, values: list[float]) -> None:
        """One line of a panel: a value per round."""
        self.result["curves"].setdefault(panel, {})[name] = [_finite(value) for value in values]
        self._changed()

    def finish(self, status: str, reason: str | None = None) -> None:
        """Ends the section; one whose work is done is "out of bound" if a check says so, also where time ran out."""
        wrong = out_of_bound(self.result)
        if wrong and status in ("ok", "capped"):
            status, reason = (
                "out of bound",
                "; ".join([f"out of its bound: {', '.join(wrong)}", *filter(None, [reason])]),
            )
        self.result |= {"status": status, "reason": reason, "doing": None}
        self._changed(at_once=True)

    def _changed(self, at_once: bool = False) -> None:
        now = self._clock()
        self.result["seconds"] = now - self._began
        if at_once or now - self._published > 1:
            self._publish(self.result)
            self._published = now


def out_of_bound(result: dict[str, Any]) -> list[str]:
    """What the checks of a section's result found wrong."""
    return [row["what"] for rows in result["tables"].values() for row in rows if row.get("ok") is False]


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
