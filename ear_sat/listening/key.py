"""What the names on a blind page stand for. The page and the answers carry it where nobody reads it by accident."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from ..config import build


@dataclass(frozen=True)
class Key:
    """Names of the page → what they stand for.

    Attributes:
        clips: of each clip → its file.
        versions: of each version of a clip → "reference", an anchor or a system; in an order that tells nothing.
    """

    clips: Mapping[str, str]
    versions: Mapping[str, str]

    def encode(self) -> str:
        """JSON in base64: no secret, but nothing that is read by accident."""
        return base64.b64encode(json.dumps(asdict(self), ensure_ascii=False).encode()).decode()

    @classmethod
    def decode(cls, text: str) -> Key:
        """The inverse of :meth:`encode`.

        Raises:
            ValueError: ``text`` is not what :meth:`encode` gives.
        """
        content = json.loads(base64.b64decode(text, validate=True).decode())
        if not isinstance(content, dict):
            raise ValueError("not an object")
        return build("key", cls, content)


def draw_names(clips: Mapping[str, Sequence[str]], seed: int) -> tuple[Key, dict[str, list[str]]]:
    """Names that tell nothing, for clips and their versions in an order that tells nothing either.

    Args:
        clips: file → its versions.
        seed: of the draw.

    Returns:
        the key, and name of each clip → names of its versions, both shuffled.

    >>> key, drawn = draw_names({"song": ["reference", "codec"]}, seed=0)
    >>> sorted(key.versions[name] for names in drawn.values() for name in names)
    ['codec', 'reference']
    """
    chance = random.Random(seed)
    count = len(clips) + sum(map(len, clips.values()))
    names = iter([f"n{number:06x}" for number in chance.sample(range(16**6), count)])
    files: dict[str, str] = {}
    versions: dict[str, str] = {}
    drawn = {}
    for file in chance.sample(list(clips), len(clips)):
        clip = next(names)
        files[clip] = file
        drawn[clip] = [next(names) for _ in clips[file]]
        versions |= zip(drawn[clip], chance.sample(list(clips[file]), len(clips[file])), strict=True)
    return Key(files, versions), drawn
