"""Whether a data set has an up, read off its masks: may training images be turned upside down and on their side?

The question asked of each class is: how much does its place in an image say about which way the image was turned? With
a fair coin F (turned or not), the class indicator C of a pixel and the band R of the image it lies in, that is the
mutual information I(F; C | R), the Jensen-Shannon divergence of the class's share in a band before and after the turn,
averaged over the bands. As a share of the entropy of C it lies between 0 (the place says nothing) and 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from unet_train.data.records import IGNORE

BANDS = 4
"""Bands of equal height, and of equal width, that an image is cut into."""

LARGEST = 0.01
"""Above it, place is taken to tell which way is up. Street scenes have 0.5, brain lesions 0.013, the membranes of
electron microscopy 0.0005, to which chance is added (docs/results.md)."""

FEWEST_GROUPS = 20
"""Images (or groups of them) that show a class: of fewer, chance cannot be told from rule. 'upright' then."""

BLOCKS = 20
"""Groups that follow one another are turned together, in so many blocks: frames of a film and slices of a patient are
no independent witnesses, and file names tell it even where no group does. Independent ones lose nothing by it."""

MOST_IMAGES = 256
_DRAWS = 200
_QUANTILE = 0.95
_TURNS = ("upside down", "on its side")


@dataclass(frozen=True)
class Evidence:
    """What the place of one class says about one of the turns.

    Attributes
    ----------
    turn : {'upside down', 'on its side'}
    label : int
        Class id.
    found : float
        I(F; C | R) / H(C), 0 to 1.
    chance : float
        What as many groups of images, each turned or not by a coin, exceed in one of twenty draws.
    groups : int
        Groups of images that show the class and something else.
    """

    turn: str
    label: int
    found: float
    chance: float
    groups: int

    @property
    def bound(self) -> float:
        """What it may be at most: the roots add up, as the root of the divergence is a metric."""
        if self.groups < FEWEST_GROUPS:
            return 1.0
        return min(1.0, (self.found**0.5 + self.chance**0.5) ** 2)


def band_counts(classes: np.ndarray, count: int, bands: int = BANDS) -> np.ndarray:
    """How often each class occurs in each band of an image, as shares of its known pixels.

    Parameters
    ----------
    classes : ndarray
        H×W uint8 class ids, `IGNORE` where nothing is known.
    count : int
        Number of classes.
    bands : int

    Returns
    -------
    ndarray
        2×bands×count float64: bands from top to bottom, then from left to right; each sums up to 1, or to 0 where
        nothing is known.
    """
    found = np.zeros((2, bands, count))
    for axis, picture in enumerate((classes, classes.T)):
        for number, part in enumerate(np.array_split(picture, bands)):
            found[axis, number] = np.bincount(part.ravel(), minlength=IGNORE + 1)[:count]
    return found / max(1.0, found[0].sum())


def sample(count: int) -> list[int]:
    """Indices of the images to look at, ascending: all, or `MOST_IMAGES` evenly spread over many."""
    return np.unique(np.linspace(0, count - 1, min(count, MOST_IMAGES)).round().astype(int)).tolist()


def look(maps: Iterable[tuple[str, np.ndarray]], count: int) -> tuple[np.ndarray, list[str]]:
    """Band counts of class maps.

    Parameters
    ----------
    maps : iterable of (str, ndarray)
        Group of the image and its H×W class map; each is let go before the next.
    count : int
        Number of classes.

    Returns
    -------
    counts : ndarray
        N×2×bands×count, see `band_counts`.
    groups : list of str
    """
    counts, groups = [], []
    for group, classes in maps:
        counts.append(band_counts(classes, count))
        groups.append(group)
    return np.array(counts), groups


def weigh(counts: np.ndarray, groups: Sequence[str]) -> Evidence | None:
    """The strongest evidence for an up, over all classes and both turns.

    A class that counts little in the whole may be the one that has an up, and a mean IoU counts it like the others; so
    each class is asked by itself.

    Parameters
    ----------
    counts : ndarray
        N×2×bands×classes, see `band_counts`.
    groups : sequence of str
        N names, of neighbours beside each other; images of one group (a film, a patient) turn together.

    Returns
    -------
    Evidence or None
        None where there is less than two classes, so that place could tell nothing.
    """
    names = list(dict.fromkeys(groups))
    member = np.array([[group == name for group in groups] for name in names], float)
    total = np.tensordot(member, counts, axes=1)  # groups×2×bands×classes
    shown = total[:, 0].sum(1)
    showing = ((shown > 0) & (shown < shown.sum(-1, keepdims=True))).sum(0)
    blocks = np.array([block.sum(0) for block in np.array_split(total, min(BLOCKS, len(names)))])
    rows, columns = blocks[:, 0], blocks[:, 1]
    sides = [(rows, rows[:, ::-1]), (rows, columns)]
    coins = np.random.default_rng(0).random((_DRAWS, len(blocks))) < 0.5
    evidence = []
    for turn, (straight, turned) in zip(_TURNS, sides, strict=True):
        found = _told(straight.sum(0), turned.sum(0))
        mixed = [
            np.tensordot(np.where(coins, 1.0, 0.0), one, axes=1)
            + np.tensordot(np.where(coins, 0.0, 1.0), other, axes=1)
            for one, other in ((straight, turned), (turned, straight))
        ]
        chance = np.quantile(_told(*mixed), _QUANTILE, axis=0)
        evidence += [
            Evidence(turn, label, float(found[label]), float(chance[label]), int(showing[label]))
            for label in np.flatnonzero(~np.isnan(found)).tolist()
            if label or len(found) > 2  # of two classes the background says the same as the other
        ]
    return max(evidence, key=lambda one: (one.bound, one.found), default=None)


def decide(counts: np.ndarray, groups: Sequence[str], names: Sequence[str]) -> tuple[str, str]:
    """``any`` or ``upright``, and why.

    Parameters
    ----------
    counts, groups
        As for `weigh`.
    names : sequence of str
        Of the classes.

    Returns
    -------
    orientation : {'any', 'upright'}
        ``any`` only where the evidence excludes that some class has an up; ``upright`` in doubt.
    reason : str
        Half a sentence for the user.
    """
    found = weigh(counts, groups)
    if found is None:
        return "upright", "one class alone does not tell whether the images have an up"
    if found.groups < FEWEST_GROUPS and found.found <= max(LARGEST, found.chance):
        what = "images show" if len(groups) == len(set(groups)) else "groups of images show"
        return "upright", (
            f"{found.groups} {what} {names[found.label]!r}, too few to tell whether they have an up"
        )
    figures = f"{found.found:.3f} of 1, {found.chance:.3f} may be chance"
    if found.bound <= LARGEST:
        return (
            "any",
            f"the place of no class tells which way is up (at most {names[found.label]!r}: {figures})",
        )
    if found.found <= max(LARGEST, found.chance):
        return "upright", (
            f"where {names[found.label]!r} lies may tell whether an image is {found.turn} ({figures})"
        )
    return "upright", f"where {names[found.label]!r} lies tells whether an image is {found.turn} ({figures})"


def _told(straight: np.ndarray, turned: np.ndarray) -> np.ndarray:
    """I(F; C | R) / H(C) for each class, from …×bands×classes counts; NaN where all or no pixels are of the class."""
    known = [one.sum(-1, keepdims=True) for one in (straight, turned)]
    first, second = (
        np.divide(one, all_, out=np.zeros_like(one), where=all_ > 0)
        for one, all_ in zip((straight, turned), known, strict=True)
    )
    divergence = _entropy((first + second) / 2) - (_entropy(first) + _entropy(second)) / 2
    # A band with nothing known one way round compares nothing.
    weight = np.where((known[0] > 0) & (known[1] > 0), known[0] + known[1], 0.0)
    told = (weight * divergence).sum(-2) / np.maximum(weight.sum(-2), 1e-300)
    share = (straight + turned).sum(-2) / np.maximum((known[0] + known[1]).sum(-2), 1e-300)
    whole = _entropy(share)
    return np.divide(told.clip(0), whole, out=np.full_like(told, np.nan), where=whole > 0)


def _entropy(share: np.ndarray) -> np.ndarray:
    """Of a yes-or-no with this share, in bits."""
    both = np.stack([share, 1 - share]).clip(0, 1)
    return -(both * np.log2(np.where(both > 0, both, 1))).sum(0)
