"""Tables and regions of predicted objects: `objects/NAME.csv` and `rois/NAME.zip` per image, `objects.csv` of all."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from unet_train.atomic import replacing
from unet_train.data.annotations.write_imagej import write_regions
from unet_train.data.io.images import natural_key
from unet_train.inference.object_table import SIDES
from unet_train.inference.outlines import is_hole, outlines

TABLE = "objects.csv"
FIRST = ("image", "id", "class", "area", "area_um2", "centroid_y", "centroid_x", *SIDES)
"""Columns of every table; intensities follow, one column per channel."""

_TEXT: dict[str, Any] = {"newline": "", "encoding": "utf-8", "errors": "surrogateescape"}
"""How tables are opened: names may be of any bytes."""


def write_object_rows(path: Path, name: str, rows: Sequence[dict[str, object]], channels: int) -> None:
    """The table of one image, whole or not there; with its header alone where there is no object.

    Parameters
    ----------
    path : Path
    name : str
        Of the image, as the output folders have it.
    rows : sequence of dict
        As `inference.object_table.measure_objects` gives them.
    channels : int
        Of the image.
    """
    means = ["mean_intensity"] if channels == 1 else [f"mean_intensity_{c}" for c in range(channels)]
    path.parent.mkdir(parents=True, exist_ok=True)
    with _written(path) as file:
        writer = csv.DictWriter(file, [*FIRST, *means])
        writer.writeheader()
        for row in rows:
            writer.writerow({key: _cell(value) for key, value in ({"image": name} | row).items()})


def write_object_regions(path: Path, objects: np.ndarray) -> None:
    """Each object's outline as a region named by its id; ImageJ's polygons know no holes, so these are filled."""
    rings = []
    for label, all_rings in outlines(objects):
        outer = [ring for ring in all_rings if not is_hole(ring)]
        rings += [
            (f"{label:04d}" if number == 0 else f"{label:04d}-{number + 1}", ring)
            for number, ring in enumerate(outer)
        ]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_regions(path, rings)


def join_tables(folder: Path) -> Path | None:
    """`objects.csv`: the tables of all images of an output folder, those of earlier calls too, in natural order.

    Returns
    -------
    Path or None
        None where there is no table.
    """
    joined: list[Path] = []
    # Another process may add tables to the folder, and end meanwhile: whoever writes last must have seen all.
    while (tables := _tables(folder)) != joined:
        _join(folder / TABLE, tables)
        joined = tables
    return folder / TABLE if joined else None


def _tables(folder: Path) -> list[Path]:
    return sorted((folder / "objects").rglob("*.csv"), key=lambda path: natural_key(path.as_posix()))


def _join(path: Path, tables: Sequence[Path]) -> None:
    header: list[str] = []
    for table in tables:
        with open(table, **_TEXT) as file:
            header += [name for name in next(csv.reader(file), []) if name not in header]
    with _written(path) as file:
        writer = csv.DictWriter(file, header, restval="")
        writer.writeheader()
        for table in tables:
            writer.writerows(_rows_of(table))


@contextmanager
def _written(path: Path) -> Iterator[TextIO]:
    """A file for a table, whole or not there."""
    with replacing(path) as temporary, open(temporary, "w", **_TEXT) as file:
        yield file


def _rows_of(table: Path) -> Iterable[dict[str, str]]:
    with open(table, **_TEXT) as file:
        yield from csv.DictReader(file)


def _cell(value: object) -> object:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else value
