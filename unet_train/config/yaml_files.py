"""YAML files read with limits: nothing in them is run, and none can grow in memory beyond what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from unet_train.errors import UserError

MOST_NESTED = 30
"""Levels of keys and lists. The deepest config there is has five."""


def read_yaml(path: Path, called: str | None = None) -> Any:
    """What a YAML file holds, in plain types.

    Parameters
    ----------
    path
        The file.
    called
        What messages call it; None: its path.

    Raises
    ------
    OSError
        If it cannot be read.
    UserError
        For what is no YAML, nested too deep, or holds itself over and over.
    """
    called = called or str(path)
    data = path.read_bytes()
    try:
        content = yaml.safe_load(data.decode("utf-8"))
    # Beside YAMLError what Python says of a number or a date that is none.
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{called}: cannot be read ({reason})") from error
    left = _measure(content, len(data) + 1, 0)
    if left < 0:
        raise UserError(
            f"{called}: its aliases (*name) hold each other, or it is nested more than {MOST_NESTED} deep; write the "
            "values out"
        )
    return content


def _measure(value: Any, left: int, depth: int) -> int:
    """`left` less the number of values in plain containers; below 0 at once where they are more, or too deep."""
    left = -1 if depth > MOST_NESTED else left - 1  # an honest file says every value in a byte at least
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for part in parts:
        if left < 0:
            break
        left = _measure(part, left, depth + 1)
    return left
