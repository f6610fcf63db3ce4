"""Faults of a data set: which file, what is wrong, and how a thousand of one kind are told in a few lines."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

from unet_train.errors import one_line

MOST_LINES = 3
"""Faults of one kind that are listed one by one; of more, only the first two."""

_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
_PATHS = re.compile(r"[^\s,;()]*[/\\][^\s,;()]*")
_WITH_DIGITS = re.compile(r"[^\s,;:()\[\]]*\d[^\s,;:()\[\]]*")
_REPEATED = re.compile(r"#(?:(?:,? )(?:#|…))+")


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: which file (or key), and what."""

    file: str
    what: str

    def __str__(self) -> str:
        return one_line(f"{self.file}: {self.what}")

    @property
    def kind(self) -> str:
        """What is wrong without names, paths and numbers: the same for the same fault of another file."""
        text = self.what
        path = PurePath(self.file)
        for name in (self.file, path.name, path.stem):
            if len(name) > 2:
                text = text.replace(name, "#")
        for pattern in (_QUOTED, _PATHS, _WITH_DIGITS):
            text = pattern.sub("#", text)
        return _REPEATED.sub("#", text)


def by_kind(problems: Sequence[Problem]) -> list[list[Problem]]:
    """The problems by kind: the commonest first, otherwise in the order given."""
    kinds: dict[str, list[Problem]] = {}
    for problem in problems:
        kinds.setdefault(problem.kind, []).append(problem)
    return sorted(kinds.values(), key=len, reverse=True)  # stable


def list_problems(problems: Sequence[Problem], all_in: str = "") -> str:
    """All kinds of problems, the commonest first, each with a few example files, under a line with their number.

    Parameters
    ----------
    problems : sequence of Problem
    all_in : str
        Where all problems are listed one by one; said where that is not here.

    Returns
    -------
    str
        Lines; empty where there are no problems.
    """
    if not problems:
        return ""
    kinds = by_kind(problems)
    lines = []
    shortened = False
    for same in kinds:
        shown = same if len(same) <= MOST_LINES else same[: MOST_LINES - 1]
        lines += [f"  {problem}" for problem in shown]
        if len(shown) < len(same):
            lines.append(f"  … and {len(same) - len(shown)} more of this kind")
            shortened = True
    count = len(problems)
    of_kinds = f", of {len(kinds)} kinds" if shortened and len(kinds) > 1 else ""
    head = f"{count} problem{'s' if count > 1 else ''} in the data{of_kinds}:"
    if shortened and all_in:
        lines.append(f"all of them: {all_in}")
    return "\n".join([head, *lines])
