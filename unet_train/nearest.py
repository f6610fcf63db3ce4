"""The nearest name to a misspelt one, said the same way in every message."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(word: object, names: Iterable[object], *, count: int = 1, cutoff: float = 0.6) -> str:
    """`` (did you mean resnet?)`` with the nearest of `names`, or nothing where none is near.

    Parameters
    ----------
    word
        What was typed.
    names
        What could have been meant.
    count
        The most names to offer, nearest first.
    cutoff
        How alike they must be, 0 (not at all) to 1 (the same), as `difflib` measures it.
    """
    found = difflib.get_close_matches(str(word), [str(name) for name in names], n=count, cutoff=cutoff)
    return f" (did you mean {', '.join(found)}?)" if found else ""
