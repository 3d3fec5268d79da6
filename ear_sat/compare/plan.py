"""A plan: a base config, what is changed in it, how long each variant is trained, on what, and measured on what."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, TypedDict

from ..checks import require_path
from ..config import check_section, choice_error
from ..config_edits import remove, set_value
from ..errors import UserError
from ..json_file import load_json
from ..named_configs import DATASET, MODEL, PLAN, find_config, load_config
from ..value_types import Positive, Range, Size

TEST = "test"
"""The tracks that are kept for one confirmation at the end."""

RESERVED = "reference"
"""The originals' name beside the variants."""

DEFAULT_SEEDS = (1, 2)
_NAME = re.compile(r"[\w][\w.+-]*")

Seed = Annotated[int, Range(at_least=0, at_most=2**32 - 1)]


class SettingsSection(TypedDict, total=False):
    """What plan, size and variant may say; the later ones win, and changes of the config add up."""

    set: Mapping[str, object]
    unset: Sequence[str]
    rounds: Size | None
    minutes: Positive | None
    batch_size: Size
    seeds: Sequence[Seed]
    pretrained: str | None
    flags: Sequence[str]


class SizeSection(SettingsSection, total=False):
    """One size: settings, and the base where it is another one."""

    base: object


class VariantSection(SettingsSection, total=False):
    """One variant: the base with changes, an earlier variant with changes, or a config of its own."""

    name: str
    about: str
    config: object
    like: str
    sizes: Mapping[str, object]


class PlanSection(SettingsSection, total=False):
    """The whole file."""

    title: str
    about: str
    base: object
    sizes: Mapping[str, object]
    variants: Sequence[object]
    train: object
    tracks: Mapping[str, str]


@dataclass(frozen=True)
class Settings:
    """How a variant is trained.

    Attributes:
        rounds: its length in rounds, or None.
        minutes: its length in minutes of training, or None; with both, what comes first.
        batch_size: clips per batch.
        seeds: one run each.
        pretrained: weights to start from.
        flags: further flags of ``ear-sat train``.
    """

    rounds: int | None = None
    minutes: float | None = None
    batch_size: int = 8
    seeds: tuple[int, ...] = DEFAULT_SEEDS
    pretrained: str | None = None
    flags: tuple[str, ...] = ()

    def updated(self, section: Mapping[str, Any]) -> Settings:
        """With what ``section`` says."""
        given = {key: section[key] for key in ("rounds", "minutes", "batch_size", "pretrained") if key in section}
        given |= {key: tuple(section[key]) for key in ("seeds", "flags") if key in section}
        return replace(self, **given)


@dataclass(frozen=True)
class Variant:
    """What is trained: a name, a sentence, the model config and how."""

    name: str
    about: str
    config: dict[str, Any]
    settings: Settings


@dataclass(frozen=True)
class Plan:
    """A plan at one of its sizes.

    Attributes:
        name: of its file.
        title, about: for the page.
        size: name of the size, empty if the plan has none.
        variants: what is trained; the others are compared with the first.
        train: dataset config.
        tracks: name of the set → its folder; of :data:`TEST` only confirmed variants are measured.
    """

    name: str
    title: str
    about: str
    size: str
    variants: tuple[Variant, ...]
    train: dict[str, Any]
    tracks: dict[str, Path]

    @property
    def base(self) -> Variant:
        """The variant that the others are compared with."""
        return self.variants[0]

    def variant(self, name: str) -> Variant:
        """The variant of that name.

        Raises:
            UserError: there is none.
        """
        found = {variant.name: variant for variant in self.variants}
        if name not in found:
            raise choice_error("variant", name, found)
        return found[name]


def load_plan(
    path: Path,
    size: str | None = None,
    *,
    train: Path | None = None,
    tracks: Mapping[str, Path] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Plan:
    """Reads a plan and puts its configs together.

    Args:
        path: the JSON file, or the name of a plan that comes with ear_sat.
        size: one of its sizes; by default the first.
        train: dataset config, its name, or a folder of music, in place of the plan's.
        tracks: sets of tracks, in place of the plan's of the same names.
        overrides: settings that win over the plan's: ``rounds``, ``minutes``, ``seeds``, ``pretrained``, …

    Raises:
        UserError: the plan is not understood, a change does not fit, or data are missing.
    """
    path = find_config(path, PLAN)
    raw = load_json(path)
    section = check_section(str(path), PlanSection, raw)
    for key in ("base", "variants"):
        if not section.get(key):
            raise UserError(f"{path} lacks the key {key}; see the plans that come with ear_sat for what a plan holds")
    size, of_size = _size(path, section, size)
    settings = Settings().updated(section).updated(of_size)
    base = _config(f"{path}: base", of_size.get("base", section["base"]), MODEL)
    _edit(f"{path}", base, section)
    _edit(f"{path}: sizes.{size}", base, of_size)
    start = Variant("", "", base, settings)
    variants: list[Variant] = []
    for index, entry in enumerate(section["variants"]):
        where = f"{path}: variants[{index}]"
        entry = check_section(where, VariantSection, entry)
        variants.append(_variant(where, entry, _start(where, entry, start, variants), size, overrides))
    names = [variant.name for variant in variants]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{path}: two variants are called {name}; give each a name of its own")
    data = train if train is not None else section.get("train")
    if data is None:
        raise UserError(f'{path} has no training data; give --train with a folder of music, or "train" in the plan')
    own = {name: require_path(f"{path}: tracks.{name}", given) for name, given in section.get("tracks", {}).items()}
    folders = {**own, **(tracks or {})}
    if not folders:
        raise UserError(f"{path} has no tracks to measure; give --tracks NAME=FOLDER")
    for name, folder in folders.items():
        _check_name(f"{path}: tracks", name)
        if not folder.is_dir():
            raise UserError(f"tracks {name}: no such folder: {folder}; give --tracks {name}=FOLDER")
    title, about = section.get("title", path.stem), section.get("about", "")
    return Plan(path.stem, title, about, size, tuple(variants), _train(f"{path}: train", data), folders)


def _size(path: Path, section: Mapping[str, Any], size: str | None) -> tuple[str, Mapping[str, Any]]:
    sizes = section.get("sizes", {})
    checked = {name: check_section(f"{path}: sizes.{name}", SizeSection, given) for name, given in sizes.items()}
    if size is None:
        size = next(iter(checked), "")
        return size, checked.get(size, {})
    if size not in checked:
        raise choice_error(f"size of {path}", size, checked)
    return size, checked[size]


def _start(where: str, section: Mapping[str, Any], base: Variant, earlier: Sequence[Variant]) -> Variant:
    """What a variant changes: the base, an earlier variant, or a config of its own with the base's settings."""
    if "config" in section:
        if "like" in section:
            raise UserError(f"{where} has a config of its own and is like another variant; give one of the two")
        return replace(base, config=_config(f"{where}.config", section["config"], MODEL))
    if "like" not in section:
        return base
    found = {variant.name: variant for variant in earlier}
    if section["like"] not in found:
        raise choice_error(f"earlier variant in {where}.like", section["like"], found)
    return found[section["like"]]


def _variant(
    where: str, section: Mapping[str, Any], start: Variant, size: str, overrides: Mapping[str, Any] | None
) -> Variant:
    name = _check_name(where, section.get("name"))
    own_sizes = section.get("sizes", {})
    own = own_sizes.get(size, {})
    check_section(f"{where}.sizes.{size}", SettingsSection, own)
    config = copy.deepcopy(start.config)
    _edit(where, config, section)
    _edit(f"{where}.sizes.{size}", config, own)
    settings = start.settings.updated(section).updated(own).updated(overrides or {})
    if settings.rounds is None and settings.minutes is None:
        raise UserError(f"{where} has neither rounds nor minutes; say how long to train, or give --rounds")
    if not settings.seeds or len(set(settings.seeds)) < len(settings.seeds):
        raise UserError(f"{where}: seeds must be different numbers, at least one, not {list(settings.seeds)}")
    return Variant(name, section.get("about", ""), config, settings)


def _check_name(where: str, name: object) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name == RESERVED:
        raise UserError(
            f"{where}: a name must be letters, digits and . + - _, as it names a folder, and not {RESERVED}; "
            f"got {name!r}"
        )
    return name


def _config(where: str, given: object, kind: str) -> dict[str, Any]:
    if isinstance(given, Mapping):
        return copy.deepcopy(dict(given))
    return load_config(require_path(where, given), kind)


def _train(where: str, given: object) -> dict[str, Any]:
    """A dataset config: given, named, or for a folder of music."""
    if not isinstance(given, Mapping) and (folder := require_path(where, given)).is_dir():
        entry = {"id": "train", "path": str(folder)}
        return {"dataset_type": "ear_audio", "datasets": [entry], "seed": 1, "crops_per_file": 64}
    return _config(where, given, DATASET)


def _edit(where: str, config: dict[str, Any], section: Mapping[str, Any]) -> None:
    try:
        for path in section.get("unset", ()):
            remove(config, path)
        for path, value in section.get("set", {}).items():
            set_value(config, path, copy.deepcopy(value))
    except UserError as error:
        raise UserError(f"{where}: {path}: {error}") from None
