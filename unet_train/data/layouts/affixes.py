"""Pairs of names that differ by what all images and all masks have in common: ``img_1`` and ``mask_1``."""

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

    before: str
    after: str

    def part_between(self, stem: str) -> str:
        """The varying part of a name."""
        return stem[len(self.before) : len(stem) - len(self.after)]

    def __str__(self) -> str:
        return f"{self.before}{{name}}{self.after}"


def find_affixes(images: Sequence[str], masks: Sequence[str]) -> tuple[Affixes, Affixes] | None:
    """What images' and masks' names have in common, if the rest pairs them one to one.

    Parameters
    ----------
    images, masks : sequence of str
        Names without ending.

    Returns
    -------
    (Affixes, Affixes) or None
        Of the images and of the masks. None where a single image has no mask or a mask no image, where two have
        the same rest, or where there are fewer than two images: then nothing tells what varies.
    """
    if len(images) < 2 or len(images) != len(masks):
        return None
    ours, theirs = _common(images), _common(masks)
    image_rests = {ours.part_between(stem) for stem in images}
    mask_rests = {theirs.part_between(stem) for stem in masks}
    if len(image_rests) < len(images) or image_rests != mask_rests:
        return None
    return ours, theirs


def _common(stems: Sequence[str]) -> Affixes:
    """Common beginning and end, cut so that no number and no word is torn: 10 and 11 differ by more than 0 and 1."""
    before = _common_start(stems)
    while before and any(_joined(before, stem[len(before) :]) for stem in stems):
        before = before[:-1]
    rests = [stem[len(before) :] for stem in stems]
    after = _common_start([rest[::-1] for rest in rests])[::-1]
    while after and any(_joined(rest[: len(rest) - len(after)], after) for rest in rests):
        after = after[1:]
    return Affixes(before, after)


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
