"""WebDataset ends a sample's name at its first dot: ``01. Intro.flac`` and ``01. Intro.json`` have no part in common.

Where a name with dots has its own JSON, ours ends it at the last one; others stay as they are (``0.mix.flac`` beside
``0.json``). A shard that is damaged or holds no sample is left out by name, and so is a sample that is incomplete.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .shard_rejects import REJECTS, name_of, words
from .wrapping import wrap

_LATENTS = "npy"
Fields = dict[str, bytes]
"""What belongs to one name, by suffix."""


class DamagedShardError(Exception):
    """A shard cannot be read, or ends too early; the message is the reason."""


def apply() -> None:
    """Makes the host's pipelines read shards by :func:`read_shards`."""
    from stable_audio_tools.data.dataset import AUDIO_KEYS, WebDatasetDataLoader
    from webdataset.tariterators import tarfile_samples

    def reading(original: Any) -> Any:
        def init(self: Any, *args: Any, **kwargs: Any) -> None:
            original(self, *args, **kwargs)
            (stage,) = (stage for stage in self.dataset.pipeline if getattr(stage, "f", None) is tarfile_samples)
            stage.f, stage.kw = read_shards, {"suffixes": (*AUDIO_KEYS, _LATENTS)}

        return init

    wrap(WebDatasetDataLoader, "__init__", reading)


def read_shards(shards: Iterable[dict[str, Any]], suffixes: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """The samples of the shards ``{"url": …}``: those with a JSON and something of ``suffixes``."""
    from webdataset.tariterators import tar_file_expander, url_opener

    for shard in shards:
        url, empty, before = shard["url"], True, REJECTS.in_a_row
        try:
            for sample in group(tar_file_expander(url_opener([shard]))):
                has_data = any(field.endswith(suffixes) for field in sample)
                if has_data and "json" in sample:
                    empty, REJECTS.current = False, name_of(sample)
                    yield sample
                elif has_data:
                    REJECTS.bad(name_of(sample), "it has no .json of the same name; add one, {} at least")
                elif "json" in sample:
                    REJECTS.bad(name_of(sample), f"its .json has no file of the same name: {', '.join(suffixes)}")
        except DamagedShardError as error:
            REJECTS.bad(url, f"it cannot be read to its end ({error})")
        if empty and REJECTS.in_a_row == before:
            REJECTS.bad(url, "it holds no audio file with a .json of the same name")


def group(files: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Samples of one shard's ``files`` {"fname", "data", "__url__"}, in order; those of a sample lie side by side.

    Raises:
        DamagedShardError: after the samples before it, where ``files`` raises something.
    """
    names: dict[str, Fields] = {}  # of the files whose names have ``common``, all up to the first dot, in common
    common, last, url, rest = "", "", "", iter(files)
    while True:
        try:
            file = next(rest)
        except StopIteration:
            yield from _samples(common, names, url)
            return
        except Exception as error:  # whatever tarfile, the system or a pipe raises
            yield from _samples(common, names, url)
            raise DamagedShardError(words(error)) from error
        folder, slash, name = file.get("fname", "").rpartition("/")
        if name.startswith(".") or "." not in name:  # {} is WebDataset's mark at a shard's end
            continue
        stem, _, suffix = (folder + slash + name).rpartition(".")
        beginning = folder + slash + name.partition(".")[0]
        if beginning != common:
            yield from _samples(common, names, url)
            common, names = beginning, {}
        elif stem != last and _stands_alone(last, common, names):  # "J. S. Bach …": not a whole shard at a time
            yield {"__key__": last, "__url__": url, **names.pop(last)}
        last, url = stem, file["__url__"]
        names.setdefault(stem, {}).setdefault(suffix.lower(), file["data"])


def _stands_alone(stem: str, common: str, names: Mapping[str, Fields]) -> bool:
    """Whether a name with dots has a JSON of its own, and something beside it."""
    fields = names.get(stem, {})
    return stem != common and "json" in fields and len(fields) > 1


def _samples(common: str, names: dict[str, Fields], url: str) -> Iterator[dict[str, Any]]:
    """Those that stand alone, then what WebDataset makes of the others."""
    for stem in [stem for stem in names if _stands_alone(stem, common, names)]:
        yield {"__key__": stem, "__url__": url, **names.pop(stem)}
    others = {
        f"{stem}.{suffix}"[len(common) + 1 :].lower(): data
        for stem, fields in names.items()
        for suffix, data in fields.items()
    }
    if others:
        yield {"__key__": common, "__url__": url, **others}
