"""Images with their masks, by path, and what was not used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from unet_train.data.annotations.collection import Annotations


@dataclass(frozen=True)
class Pair:
    """One image and its masks.

    Attributes
    ----------
    key : str
        Unique in the data set: the part, sub-folders and name, without the ending where that is possible.
    image : Path
    masks : tuple of Path
        One, or several of one image.
    part : str or None
        ``train``, ``val`` or ``test``.
    group : str or None
        Where a pattern says which it is.
    """

    key: str
    image: Path
    masks: tuple[Path, ...]
    part: str | None = None
    group: str | None = None


@dataclass
class Pairing:
    """All pairs of a folder.

    Attributes
    ----------
    pairs : list of Pair
        In natural order of the images' names, part by part.
    rule : str
        What images and masks have in common, in one sentence.
    unlabelled : dict of str to str
        Path of an image without a mask → what is wrong.
    problems : list of (path, what)
        Masks without an image.
    notes : list of str
        What was found out, one sentence each.
    unused : list of str
        What was left aside, one sentence each.
    left_out : dict of str to str
        Path → why, of the images and masks that are not used.
    annotations : Annotations or None
        The files of outlines that take the place of masks.
    """

    pairs: list[Pair] = field(default_factory=list)
    rule: str = ""
    unlabelled: dict[str, str] = field(default_factory=dict)
    problems: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    annotations: Annotations | None = None

    def extend(self, other: Pairing) -> None:
        """Take in the pairs of another part of the same folder; its rule holds for both."""
        self.pairs += other.pairs
        self.rule = self.rule or other.rule
        self.unlabelled |= other.unlabelled
        self.problems += other.problems
        self.notes += [note for note in other.notes if note not in self.notes]
        self.unused += other.unused
        self.left_out.update(other.left_out)


def first_of(items: Mapping[str, str] | list[str], count: int = 3) -> str:
    """``a, b, c, …``: the first few, for a message."""
    names = list(items)
    return ", ".join([*names[:count], *(["…"] if len(names) > count else [])])
