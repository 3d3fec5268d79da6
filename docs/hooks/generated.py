"""Parts of the reference that come from the code: a hook of mkdocs, which replaces lines ``{{ … }}`` of the pages.

``{{ keys PLACE… }}``: a table of the JSON keys that a constructor or a ``TypedDict`` takes, from its annotations,
defaults and docstring; ``-NAME`` leaves one out. ``{{ commands }}``, ``{{ metrics }}``, ``{{ configs }}``: from the
command line's parsers, the registry of metrics, and the configs that come with the package. Links to clips become
players.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import math
import re
from collections.abc import Iterator
from html import escape
from typing import Any, is_typeddict

from ear_sat.cli.examples import EXAMPLES
from ear_sat.cli.main import COMMANDS, GROUPS, TRAIN, get_parser
from ear_sat.config import parameter_names, value_types
from ear_sat.metrics import METRICS
from ear_sat.named_configs import DATASET, DESCRIPTIONS, MODEL, PLAN, named_configs
from ear_sat.value_types import in_words

#: A link to a clip, which becomes a player.
CLIP = re.compile(r"\[listen\]\((clips/\w+\.mp3)\)")
#: Of Sphinx, in docstrings: ":class:`~a.B`".
ROLE = re.compile(r":(?:class|func|meth|data|mod|attr):(`|<code>)[~.]*")
#: Heading of a part of a docstring, and what it says of one name.
PART = re.compile(r"^(Args|Keys|Attributes|Parts|Returns|Raises|Shapes|Source): ?(.*)$")
NAMES = re.compile(r"^    ((?:\w+, )*\w+): (.+)$")


def plain(text: str) -> str:
    """A docstring's text in Markdown."""
    return ROLE.sub(r"\1", text).replace("``", "`")


def parts_of(docstring: str) -> dict[str, str]:
    """Heading → text; what stands before the first heading is under ""."""
    found, heading = {"": ""}, ""
    for line in docstring.split("\n>>> ")[0].splitlines():
        if match := PART.match(line):
            heading = match.group(1)
            line = match.group(2)
        found[heading] = f"{found.get(heading, '')}\n{line}"
    return {heading: text.strip("\n") for heading, text in found.items()}


def meanings(thing: Any) -> dict[str, str]:
    """Name → what its docstring says of it, those of its bases as well."""
    found: dict[str, str] = {}
    for each in reversed(inspect.getmro(thing) if inspect.isclass(thing) else [thing]):
        texts = parts_of(inspect.cleandoc(each.__doc__ or ""))
        names: list[str] = []
        for line in "\n".join(texts.get(key, "") for key in ("Args", "Keys", "Attributes")).splitlines():
            if match := NAMES.match(line):
                names = match.group(1).split(", ")
                found |= dict.fromkeys(names, match.group(2))
            elif line.strip() and not line.startswith(" " * 8):  # a paragraph after the names
                names = []
            else:
                found |= {name: f"{found[name]} {line.strip()}".strip() for name in names}
    return found


def resolve(place: str) -> Any:
    """What "module:Name" names."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


def rows(place: str, without: list[str]) -> Iterator[tuple[str, str, str, str]]:
    """Key, values, default and meaning of what stands at ``place``."""
    thing = resolve(place)
    types, texts = value_types(thing), meanings(thing)
    names = list(types) if is_typeddict(thing) else parameter_names(thing, without=without)
    defaults = {} if is_typeddict(thing) else inspect.signature(thing).parameters
    for name in names:
        if name not in without:
            default = defaults[name].default if name in defaults else inspect.Parameter.empty
            yield name, in_words(types.get(name)), shown(default), plain(texts.get(name, "")).replace("None", "null")


def shown(default: Any) -> str:
    """A default as JSON has it; nothing where there is none."""
    if default is inspect.Parameter.empty:
        return ""
    if default is None:
        return "none"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, str):
        return f'`"{default}"`'
    return f"`{list(default)}`" if isinstance(default, tuple | list) else f"`{default}`"


def table(head: list[str], body: list[tuple[str, ...]]) -> str:
    """In Markdown."""
    lines = [head, ["---"] * len(head), *(map(cell, row) for row in body)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cell(text: str) -> str:
    """Without a bar that would end it; in a span of code a backslash would be shown."""
    text = re.sub(
        r"`([^`]*[|][^`]*)`", lambda span: f"<code>{escape(span.group(1)).replace('|', '&#124;')}</code>", text
    )
    return text.replace("|", "\\|")


def keys(*words: str) -> str:
    """The table of the keys at some places."""
    without = [word[1:] for word in words if word.startswith("-")]
    found: dict[str, tuple[str, str, str, str]] = {}
    for place in words:
        if not place.startswith("-"):
            found = {**found, **{row[0]: row for row in rows(place, without) if row[0] not in found}}
    listed = list(found.values())
    if not any(default for _, _, default, _ in listed):  # a TypedDict tells its defaults in words
        return table(["key", "value", "meaning"], [(f"`{name}`", values, text) for name, values, _, text in listed])
    body = [(f"`{name}`", values, default, text) for name, values, default, text in listed]
    return table(["key", "value", "default", "meaning"], body)


def commands() -> str:
    """Every command: what it does, an example, and its options by group."""
    return "\n\n".join(f"## {title}\n\n" + "\n\n".join(map(command, names)) for title, names in GROUPS.items())


def command(name: str) -> str:
    """One command."""
    module = importlib.import_module(f"ear_sat.cli.{COMMANDS[name]}")
    if name == TRAIN:
        parser = module.get_parser()
    else:
        (subparsers,) = (a for a in get_parser(name)._actions if isinstance(a, argparse._SubParsersAction))
        parser = subparsers.choices[name]
    text = plain(inspect.cleandoc(module.__doc__ or "")).split(": ", 1)[1]
    examples = "\n".join(EXAMPLES.get(name, []))
    parts = [f"### ear-sat {name}", text[0].upper() + text[1:], f"```\n{examples}\n```"]
    for group in parser._action_groups:
        options = [a for a in group._group_actions if not {"-h", "--debug"} & {*a.option_strings}]
        if options:
            parts.append(table([group.title or "", ""], [option(action) for action in options]))
    return "\n\n".join(parts)


def option(action: argparse.Action) -> tuple[str, str]:
    """How an option is written, and what its help says."""
    value = ""
    if action.nargs != 0:
        choices = "|".join(map(str, action.choices)) if action.choices and len(list(action.choices)) < 8 else ""
        value = str(action.metavar or choices or action.dest.upper())
    if not action.option_strings:
        return f"`{value}`", str(action.help or "")
    names = action.option_strings
    if isinstance(action, argparse.BooleanOptionalAction):
        names = [f"--[no-]{name[2:]}" for name in names if not name.startswith("--no-")]
    return f"`{', '.join(names)}{' ' if value else ''}{value}`", str(action.help or "").replace("%%", "%")


def metrics() -> str:
    """Every metric: what it is, its unit and range, and what its docstring says."""
    found = []
    for metric in METRICS.values():
        texts = parts_of(inspect.cleandoc(metric.function.__doc__ or ""))
        best = "∞" if math.isinf(metric.identity) else f"{metric.identity:g}"
        facts = [
            ("in tables", metric.label),
            ("unit", metric.unit or "none"),
            ("better", f"{'higher' if metric.higher_is_better else 'lower'}; an identical pair has {best}"),
            ("undefined (NaN)", undefined(texts.get("Returns", "")) or "as its twin"),
            ("source", plain(texts.get("Source", "")) or "ours"),
        ]
        facts = [(what, " ".join(text.split())) for what, text in facts]
        found.append(f"### `{metric.name}`\n\n{plain(texts[''])}\n\n{table(['', ''], facts)}")
    return "\n\n".join(found)


def undefined(returns: str) -> str:
    """When a metric has no value, from what its docstring says it returns."""
    text = plain(returns).partition("NaN")[2].removeprefix(" if undefined").strip(" .:;\n")
    return text[1:].replace(")", "", 1) if text.startswith("(") else text


def configs() -> str:
    """Every config that has a name."""
    body = [
        (f"`{name}`", folder.removesuffix("s").replace("_", " "), DESCRIPTIONS.get(name, ""))
        for folder in (MODEL, DATASET, PLAN)
        for name in named_configs(folder)
        if name in DESCRIPTIONS
    ]
    return table(["name", "kind", "what it is for"], body)


MAKERS = {"keys": keys, "commands": commands, "metrics": metrics, "configs": configs}


def on_page_markdown(markdown: str, **_: object) -> str:
    """Called by mkdocs for every page."""

    def made(match: re.Match[str]) -> str:
        name, *words = match.group(1).split()
        return MAKERS[name](*words)

    markdown = CLIP.sub(r'<audio controls preload="none" src="../\1"></audio>', markdown)
    return re.sub(r"^\{\{ (.+) \}\}$", made, markdown, flags=re.MULTILINE)


def on_page_content(html: str, **_: object) -> str:
    """Called by mkdocs for what each page has become; docstrings come in here."""
    return ROLE.sub(r"\1", html)
