"""What all images' names have in common and all masks' names: ``img_1`` and ``mask_1`` differ by that alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Affixes:
    """What stands before and after the varying part of every name.

    Attributes
    ----------
    before, after : str
    """

    before: str = ""
    after: str = ""

    def part_between(self, stem: str) -> str:
        """The varying part of a name."""
        return stem[len(self.before) : len(stem) - len(self.after)]

    def __str__(self) -> str:
        return f"{self.before}{{name}}{self.after}"


def common_affixes(stems: Sequence[str]) -> Affixes:
    """The common beginning and end of at least two names.

    They are cut so that no number and no word is torn: 10 and 11 differ by more than 0 and 1.
    """
    before = _common_start(stems)
    while before and any(_joined(before, stem[len(before) :]) for stem in stems):
        before = before[:-1]
    rests = [stem[len(before) :] for stem in stems]
    after = _common_start([rest[::-1] for rest in rests])[::-1]
    while after and any(_joined(rest[: len(rest) - len(after)], after) for rest in rests):
        after = after[1:]
    return Affixes(before, after)


def without_shared(first: Affixes, second: Affixes) -> tuple[Affixes, Affixes]:
    """Both without what they share next to the varying part: it is part of the name in both."""
    before = _common_start([first.before[::-1], second.before[::-1]])
    after = _common_start([first.after, second.after])
    return (
        Affixes(first.before[: len(first.before) - len(before)], first.after[len(after) :]),
        Affixes(second.before[: len(second.before) - len(before)], second.after[len(after) :]),
    )


def _common_start(texts: Sequence[str]) -> str:
    """What all texts begin with: all that lies between the first and the last in order begins with it too."""
    first, last = min(texts), max(texts)
    for index, (a, b) in enumerate(zip(first, last, strict=False)):
        if a != b:
            return first[:index]
    return first


def _joined(left: str, right: str) -> bool:
    """Whether a cut between two texts would tear a run of digits or of letters."""
    if not left or not right:
        return False
    a, b = left[-1], right[0]
    return (a.isdigit() and b.isdigit()) or (a.isalpha() and b.isalpha())
