"""Files beside the masks that name the classes: class_dict.csv, labelmap.txt, dataset.json."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from unet_train.data.masks.colours import Colour
from unet_train.errors import UserError


@dataclass(frozen=True)
class Legend:
    """Names of the classes by what a mask shows.

    Attributes
    ----------
    path : str
        The file they come from.
    colours : dict of str to Colour
    values : dict of str to int
    unknown : int or None
        Value of pixels of which nothing is known.
    """

    path: str
    colours: dict[str, Colour] = field(default_factory=dict)
    values: dict[str, int] = field(default_factory=dict)
    unknown: int | None = None


def find_legend(root: Path) -> Legend | None:
    """The legend in a data set's folder, or None.

    Raises
    ------
    UserError
        A file of such a name that does not hold what it should.
    """
    for path in sorted(root.iterdir()):
        reader = _READERS.get(path.name.lower())
        if reader is None or not path.is_file():
            continue
        try:
            found = reader(str(path), path.read_text(encoding="utf-8-sig"))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
            detail = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise UserError(
                f"{path}: cannot be read as names of classes ({detail}); correct it, or move it out of the folder"
            ) from None
        if found.colours or found.values:
            return found
    return None


def _class_dict(path: str, text: str) -> Legend:
    """Columns name, r, g, b."""
    colours: dict[str, Colour] = {}
    for row in csv.DictReader(io.StringIO(text), skipinitialspace=True):
        cells = {str(name).strip().lower(): str(value).strip() for name, value in row.items()}
        colours[cells["name"]] = (int(cells["r"]), int(cells["g"]), int(cells["b"]))
    return Legend(path, colours=colours)


def _labelmap(path: str, text: str) -> Legend:
    """CVAT's lines ``name:r,g,b:parts:actions``; comments begin with ``#``."""
    colours: dict[str, Colour] = {}
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        name, colour = line.split(":")[:2]
        red, green, blue = (int(value) for value in colour.split(","))
        colours[name.strip()] = (red, green, blue)
    return Legend(path, colours=colours)


def _dataset_json(path: str, text: str) -> Legend:
    """nnU-Net's labels, name to value or in older files value to name; ``unknown`` is ours (`as_dataset_json`)."""
    content = json.loads(text)
    labels, unknown = content.get("labels", {}), content.get("unknown")
    if unknown is not None and (isinstance(unknown, bool) or not isinstance(unknown, int)):
        raise ValueError(f"unknown is {unknown!r}, not a mask value")
    values: dict[str, int] = {}
    for key, value in labels.items():
        if isinstance(value, int):
            values[str(key)] = value
        elif isinstance(value, str) and str(key).isdigit():
            values[value] = int(key)
        else:
            return Legend(path)  # regions: several values to a class
    return Legend(path, values=values, unknown=unknown)


def as_dataset_json(classes: Sequence[str], unknown: int) -> dict[str, object]:
    """What ``dataset.json`` says of class maps: their names by id, and the value of unknown pixels."""
    return {"labels": {name: index for index, name in enumerate(classes)}, "unknown": unknown}


LEGEND_FILE = "dataset.json"


_READERS: dict[str, Callable[[str, str], Legend]] = {
    "class_dict.csv": _class_dict,
    "labelmap.txt": _labelmap,
    LEGEND_FILE: _dataset_json,
}
