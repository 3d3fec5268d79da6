"""The table of what each codec costs, for terminal, Markdown, CSV and page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..codecs import CodecFacts
from ..report.tables import markdown_table, print_table

TITLE = "Codecs"
#: Field of :class:`CodecFacts` → heading.
COLUMNS = {
    "sample_rate": "rate (Hz)",
    "channels": "channels",
    "latent_rate": "frames/s",
    "latent_channels": "latent channels",
    "codebooks": "codebooks",
    "parameters": "10⁶ parameters",
    "times_real_time": "× real time",
    "kbit_per_s": "kbit/s",
    "values_per_s": "values/s",
}
NOTE = (
    "Frames: of latents. kbit/s of quantised codecs and values/s of continuous ones are for stereo, which "
    "a mono codec codes channel by channel. × real time: seconds of audio per second of encoding and decoding, with "
    "reading, resampling and writing"
)


def rate_rows(codecs: Mapping[str, CodecFacts]) -> list[list[object]]:
    """One row per codec: its name, and the values of :data:`COLUMNS`, the parameters in millions."""
    shown = {system: replace(facts, parameters=facts.parameters / 1e6) for system, facts in codecs.items()}
    return [[system, *(getattr(facts, name) for name in COLUMNS)] for system, facts in shown.items()]


def rates_of(codecs: Mapping[str, CodecFacts], system: str) -> dict[str, object]:
    """The values of :data:`COLUMNS` of one system that are known."""
    facts = codecs.get(system)
    found = {} if facts is None else {name: getattr(facts, name) for name in COLUMNS}
    return {name: value for name, value in found.items() if value is not None}


def rate_note(codecs: Mapping[str, CodecFacts]) -> str:
    """What the columns mean, and which device did the work."""
    devices = sorted({facts.device for facts in codecs.values() if facts.device})
    return f"{NOTE}{', on ' + ' and '.join(devices) if devices else ''}."


def print_rates(codecs: Mapping[str, CodecFacts]) -> None:
    """Prints the table, if there is a codec."""
    if codecs:
        print_table(TITLE, _headings(), rate_rows(codecs), [rate_note(codecs)])


def markdown_rates(codecs: Mapping[str, CodecFacts]) -> list[str]:
    """Parts of a Markdown file: heading, table and note; none without a codec."""
    if not codecs:
        return []
    return [f"## {TITLE}", markdown_table(_headings(), rate_rows(codecs)), rate_note(codecs)]


def _headings() -> Sequence[str]:
    return ["codec", *COLUMNS.values()]
