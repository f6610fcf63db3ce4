"""What the scores of an evaluation are made of, kept per group, so that any sample of groups can be scored anew."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields

import numpy as np

from unet_train.metrics.challenge import ChallengeCounts
from unet_train.metrics.confusion import margins, scores_from_margins
from unet_train.metrics.intervals import bootstrap, contributing, interval_of_each
from unet_train.metrics.matching import MATCH_SUMS, match_scores

MEANS = ("iou/mean", "dice/mean")
OBJECT_SUMS = tuple(f.name for f in fields(ChallengeCounts))


@dataclass(frozen=True)
class ImageCounts:
    """The sums of one image.

    Attributes
    ----------
    key, group : str
        `group` may be empty: then the image is a group of its own.
    pixels : ndarray
        3×K int64, see `confusion.margins`.
    objects : ChallengeCounts or None
    matches : ndarray or None
        See `matching.ObjectMatches`.
    values : mapping of str to float
        Scores of the image whose mean over the images is the score of the set; NaN where it has none.
    """

    key: str
    group: str
    pixels: np.ndarray
    objects: ChallengeCounts | None = None
    matches: np.ndarray | None = None
    values: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        key: str,
        group: str,
        counts: np.ndarray,
        objects: ChallengeCounts | None = None,
        matches: np.ndarray | None = None,
        values: Mapping[str, float] | None = None,
    ) -> ImageCounts:
        """From the K×K confusion counts of an image."""
        return cls(key, group, margins(counts), objects, matches, values or {})

    def scores(self, classes: Sequence[str], *, background: bool) -> dict[str, float]:
        """The image's own scores."""
        scores = scores_from_margins(self.pixels, classes, background=background)
        if self.objects is not None:
            scores |= self.objects.scores()
        if self.matches is not None:
            scores |= match_scores(self.matches)
        return scores | dict(self.values)


@dataclass(frozen=True)
class PooledCounts:
    """Sums per group.

    Attributes
    ----------
    groups : tuple of str
        Names of the n groups, sorted.
    classes : tuple of str
        Names of the K classes.
    background : bool
        Whether class 0 is the background.
    pixels : ndarray
        n×3×K, see `confusion.margins`.
    objects : ndarray or None
        n×m sums by `OBJECT_SUMS`; None where no objects were counted.
    matches : ndarray or None
        n×m sums by `MATCH_SUMS`, likewise.
    values : mapping of str to ndarray
        n×2: sum of a score over the images of each group that have it, and their number.
    of_images : bool
        Whether every image is a group of its own.
    """

    groups: tuple[str, ...]
    classes: tuple[str, ...]
    background: bool
    pixels: np.ndarray
    objects: np.ndarray | None
    matches: np.ndarray | None
    values: Mapping[str, np.ndarray]
    of_images: bool

    @classmethod
    def of(cls, images: Iterable[ImageCounts], classes: Sequence[str], *, background: bool) -> PooledCounts:
        """Add the images of each group."""
        images = list(images)
        names = [image.group or image.key for image in images]
        groups = sorted(set(names))
        pixels = np.zeros((len(groups), 3, len(classes)), np.int64)
        objects = np.zeros((len(groups), len(OBJECT_SUMS)))
        matches = np.zeros((len(groups), len(MATCH_SUMS)))
        values = {name: np.zeros((len(groups), 2)) for image in images for name in image.values}
        place = {name: i for i, name in enumerate(groups)}
        for name, image in zip(names, images, strict=True):
            pixels[place[name]] += image.pixels
            if image.objects is not None:
                objects[place[name]] += [getattr(image.objects, of) for of in OBJECT_SUMS]
            if image.matches is not None:
                matches[place[name]] += image.matches
            for score, value in image.values.items():
                if not np.isnan(value):
                    values[score][place[name]] += (value, 1)
        return cls(
            tuple(groups),
            tuple(classes),
            background,
            pixels,
            objects if any(image.objects is not None for image in images) else None,
            matches if any(image.matches is not None for image in images) else None,
            values,
            len(groups) == len(images),
        )

    @property
    def unit(self) -> str:
        """What a group is: ``images`` or ``groups``."""
        return "images" if self.of_images else "groups"

    def scores(self, weights: np.ndarray | None = None) -> dict[str, float]:
        """Scores of all groups, or of a sample that holds each as often as its weight says."""
        n = len(self.groups)
        weights = np.ones(n) if weights is None else np.asarray(weights, float)
        # As float64, which a matrix product is fast in and which is exact up to 2^53 pixels.
        pixels = (weights @ self.pixels.reshape(n, -1)).reshape(3, len(self.classes))
        scores = scores_from_margins(pixels, self.classes, background=self.background)
        if self.objects is not None:
            scores |= ChallengeCounts(*(weights @ self.objects).tolist()).scores()
        if self.matches is not None:
            scores |= match_scores(weights @ self.matches)
        for name, sums in self.values.items():
            total, images = weights @ sums
            scores[name] = float(total / images) if images else float("nan")
        return scores

    def draws(self) -> dict[str, np.ndarray]:
        """Bootstrapped scores (`intervals.bootstrap`).

        Where a sample lacks one of the classes that the means run over, it has no means: one over fewer classes would
        be another score.
        """
        drawn = bootstrap(self.scores, len(self.groups))
        if drawn:
            incomplete = drawn.pop("iou/mean_over") < self.scores()["iou/mean_over"]
            for name in MEANS:
                drawn[name][incomplete] = np.nan
        return drawn

    def intervals(self) -> dict[str, tuple[float, float] | None]:
        """95 % interval of every score; None where there is none to be had."""
        return interval_of_each(self.draws(), contributing(self.scores, len(self.groups)))
