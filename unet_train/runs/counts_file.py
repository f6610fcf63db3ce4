"""counts.csv: the whole-number sums of every scored image, from which scores of any set of images can be made again."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from unet_train.atomic import replacing
from unet_train.errors import UserError
from unet_train.metrics.challenge import ChallengeCounts
from unet_train.metrics.matching import MATCH_SUMS
from unet_train.metrics.pooled import OBJECT_SUMS, ImageCounts

COUNTS = "counts.csv"

PIXELS = ("agreeing", "true", "predicted")
"""Of each class: pixels on which truth and prediction agree, pixels of the truth, pixels predicted."""

MATCHING, VALUE = "matching/", "value/"
"""Before the names of `MATCH_SUMS`, and of scores that are means over images."""


def write_counts(path: Path, images: Sequence[ImageCounts], classes: Sequence[str]) -> None:
    """One row per image: key, group, pixels by `PIXELS` and class, sums of objects, scores averaged over images."""
    with_matches = any(image.matches is not None for image in images)
    values = list(dict.fromkeys(name for image in images for name in image.values))
    with_objects = any(image.objects is not None for image in images)
    with (
        replacing(path) as temporary,
        open(temporary, "w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = csv.writer(file)
        pixels = [f"{what}/{name}" for what in PIXELS for name in classes]
        head = ["key", "group", *pixels, *(OBJECT_SUMS if with_objects else [])]
        head += [f"{MATCHING}{name}" for name in MATCH_SUMS] if with_matches else []
        writer.writerow([*head, *(f"{VALUE}{name}" for name in values)])
        for image in images:
            sums = [getattr(image.objects, name) if image.objects else "" for name in OBJECT_SUMS]
            row = [image.key, image.group, *image.pixels.ravel().tolist(), *(sums if with_objects else [])]
            if with_matches:
                row += [""] * len(MATCH_SUMS) if image.matches is None else image.matches.tolist()
            of_image = [image.values.get(name, math.nan) for name in values]
            writer.writerow([*row, *("" if math.isnan(value) else value for value in of_image)])


def read_counts(path: Path) -> tuple[list[ImageCounts], tuple[str, ...]]:
    """The images of a file that `write_counts` wrote, and the names of their classes.

    Raises
    ------
    UserError
        For a file that cannot be read.
    """
    try:
        with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
            rows = list(csv.DictReader(file))
        start = f"{PIXELS[0]}/"
        classes = tuple(name.removeprefix(start) for name in rows[0] if name.startswith(start))
        images = []
        for row in rows:
            pixels = np.array([[int(row[f"{what}/{name}"]) for name in classes] for what in PIXELS])
            objects = None
            if row.get(OBJECT_SUMS[0]):
                sums = {name: float(row[name]) for name in OBJECT_SUMS if row.get(name)}
                objects = ChallengeCounts(**sums)  # type: ignore[arg-type]
            matches = None
            if row.get(f"{MATCHING}{MATCH_SUMS[0]}"):
                matches = np.array([float(row[f"{MATCHING}{name}"]) for name in MATCH_SUMS])
            values = {
                name.removeprefix(VALUE): float(cell) if cell else math.nan
                for name, cell in row.items()
                if name and name.startswith(VALUE)
            }
            images.append(ImageCounts(row["key"], row["group"], pixels, objects, matches, values))
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, IndexError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); evaluate the run again") from error
    return images, classes
