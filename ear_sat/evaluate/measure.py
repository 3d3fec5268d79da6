"""The metrics of one pair of files, and what went wrong where there are none."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ..data.parts import UnusableFileError
from ..errors import UserError
from ..metrics import METRICS, evaluate_pair
from .loading import SAMPLE_RATE, load_pair
from .pairing import Pair


@dataclass(frozen=True)
class PairResult:
    """What is known about one pair.

    Attributes:
        file, system, reference, estimate: as in :class:`Pair`, paths as text.
        values: metric → value, NaN where undefined; empty if the pair failed.
        seconds: length of audio compared.
        offset: detected delay of the estimate in samples; None where it cannot be told.
        notes: what was done to the audio.
        error: why there are no values, or None.
        took: seconds of computing.
    """

    file: str
    system: str
    reference: str
    estimate: str
    values: dict[str, float] = field(default_factory=dict)
    seconds: float = math.nan
    offset: int | None = None
    notes: list[str] = field(default_factory=list)
    error: str | None = None
    took: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Plain values; numbers as :func:`encode_number` has them."""
        return {
            **asdict(self),
            "values": {name: encode_number(value) for name, value in self.values.items()},
            "seconds": encode_number(self.seconds),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> PairResult:
        """The inverse of :meth:`to_json`."""
        return cls(
            **{
                **data,
                "values": {name: decode_number(value) for name, value in data["values"].items()},
                "seconds": decode_number(data["seconds"]),
            }
        )


def encode_number(value: float) -> float | str | None:
    """JSON knows neither NaN nor infinity: undefined becomes null, infinity a string.

    >>> encode_number(1.5), encode_number(math.nan), encode_number(-math.inf)
    (1.5, None, '-inf')
    """
    if math.isnan(value):
        return None
    return value if math.isfinite(value) else str(value)


def decode_number(value: float | str | None) -> float:
    """The inverse of :func:`encode_number`."""
    return math.nan if value is None else float(value)


def measure_pair(pair: Pair, align: bool = False, also: Sequence[str] = ()) -> PairResult:
    """Loads and measures ``pair``; a file that cannot be used, or any other failure, ends up in ``error``.

    Args:
        pair: the files.
        align: take a detected offset out.
        also: metrics of :data:`ear_sat.metrics.OPTIONAL` to measure beside the usual ones.
    """
    result = PairResult(pair.file, pair.system, str(pair.reference), str(pair.estimate))
    began = time.perf_counter()
    try:
        loaded = load_pair(pair.reference, pair.estimate, align)
        values = evaluate_pair(loaded.preds, loaded.target, SAMPLE_RATE, [*METRICS, *also])
        result = replace(
            result,
            values=values,
            seconds=loaded.target.shape[-1] / SAMPLE_RATE,
            offset=loaded.offset,
            notes=loaded.notes,
        )
    except (UnusableFileError, UserError) as error:
        result = replace(result, error=str(error))
    except Exception as error:  # one pair must not end the batch; the type tells a bug from a bad file
        result = replace(result, error=f"{type(error).__name__}: {error}")
    return replace(result, took=time.perf_counter() - began)
