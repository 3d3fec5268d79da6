"""The types that the installed host can build, read off its own code.

The host keeps no registries: a factory is a chain of ``if x_type == "…"``. What is compared there is what it knows, so
a message can name the close match in any version of the host.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from typing import Any


def branch_types(function: Callable[..., Any], subject: str) -> list[str]:
    """The texts that ``function`` compares with an expression that contains ``subject``.

    Args:
        function: a factory of the host; a replacement made with ``functools.wraps`` is looked through.
        subject: part of the compared expression as Python writes it, such as ``encoder_type`` or
            ``['discriminator']['type']``.

    Returns:
        the names in order; none where the source cannot be had.

    >>> def create(config):
    ...     if config["type"] == "vae" or config["type"] in ("same", "taae"):
    ...         return config
    >>> branch_types(create, "['type']")
    ['same', 'taae', 'vae']
    """
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function))))
    except (OSError, SyntaxError, TypeError):
        return []
    found: set[str] = set()
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Compare) and subject in ast.unparse(node.left)):
            continue
        for operator, compared in zip(node.ops, node.comparators, strict=True):
            if isinstance(operator, ast.Eq | ast.In):
                leaves = (leaf.value for leaf in ast.walk(compared) if isinstance(leaf, ast.Constant))
                found |= {value for value in leaves if isinstance(value, str)}
    return sorted(found)
