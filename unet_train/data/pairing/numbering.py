"""Numbers at the end of names, by which files of one kind are counted: ``x_mask``, ``x_mask_1``, ``x_mask_2``."""

from __future__ import annotations

import re
from collections.abc import Iterable

_NUMBERED = re.compile(r"(.*[^\d_\- (])[_\- ]*(?:\d+|\(\d+\))", re.DOTALL)


def without_number(stem: str) -> str:
    """A name without the number at its end and what joins it; the name itself where there is none."""
    numbered = _NUMBERED.fullmatch(stem)
    return numbered[1] if numbered else stem


def without_numbers(stems: Iterable[str]) -> dict[str, str]:
    """Each name, without a number at its end where the name without it occurs too."""
    known = set(stems)
    return {stem: head if (head := without_number(stem)) in known else stem for stem in known}
