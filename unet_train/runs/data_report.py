"""What a data set was understood to be: data.json, and a sheet of a dozen images with their labels."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unet_train.config.checks import expand
from unet_train.data.check import Report
from unet_train.data.io.images import write_image
from unet_train.data.records import Record, Source
from unet_train.errors import UserError
from unet_train.reporting.sheet import MOST_IMAGES, Labelled, sheet
from unet_train.runs.factory import class_palette
from unet_train.training.run_folder import FIGURES, write_json

LONG_NAME = 44
"""Letters of a file name that fit under its image."""

MOST_PIXELS, FEWEST_IMAGES = 48_000_000, 4
"""Of larger images fewer are shown, because they have to be read for it: about a second's worth."""

MOST_EMPTY = 3
"""Images without foreground among those shown, where there are others."""


def output_folder(output: str, root: Path | None) -> Path:
    """The folder of a report, made where it is missing.

    Raises
    ------
    UserError
        If it lies in the data set's folder, where it might be taken for data, or cannot be made.
    """
    folder = expand(output)
    if root is not None and folder.resolve().is_relative_to(root.resolve()):
        raise UserError(
            f"output={folder}: lies in the data set's folder {root}, which is never written to; name another folder"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        what = "is a file" if folder.is_file() else f"cannot be made ({error.strerror})"
        raise UserError(f"output={folder}: {what}; name another folder") from None
    return folder


def write_report(
    folder: Path, summary: Mapping[str, Any], picture: np.ndarray | None, name: str
) -> list[Path]:
    """Write ``data.json`` and the sheet; what an earlier report left is replaced.

    Parameters
    ----------
    folder : Path
    summary : mapping
        As `summarise` gives it.
    picture : ndarray or None
        As `draw_sheet` gives it; None: an earlier one is removed.
    name : str
        File name of the picture.

    Returns
    -------
    list of Path
        The files that were written.

    Raises
    ------
    UserError
        If the folder cannot be written.
    """
    figures, drawn = folder / FIGURES, folder / name
    try:
        write_json(figures, summary)
        if picture is None:
            drawn.unlink(missing_ok=True)
            return [figures]
        write_image(drawn, picture)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror or error})") from None
    return [figures, drawn]


def draw_sheet(
    source: Source, records: Sequence[Record], report: Report, summary: Mapping[str, Any]
) -> np.ndarray | None:
    """A dozen images of a checked data set with their labels; of very large images fewer.

    Parameters
    ----------
    source : Source
    records : sequence of Record
        Those that `report` is about.
    report : Report
    summary : mapping
        As `summarise` gives it: for the title, and the classes' shares in the legend.

    Returns
    -------
    ndarray or None
        H×W×3 uint8; None where no image can be shown.
    """
    sound = [record for record in records if record.key in report.shapes]
    pixels = sum(math.prod(report.shapes[record.key]) for record in sound) / max(len(sound), 1)
    shown = choose_shown(
        sound,
        report.class_ids,
        len(source.classes),
        background=source.has_background,
        most=min(MOST_IMAGES, max(FEWEST_IMAGES, int(MOST_PIXELS / max(pixels, 1)))),
    )
    if not shown:
        return None
    names = file_names(shown)
    return sheet(
        lambda number: _read(source, shown[number], names[number]),
        [report.shapes[record.key] for record in shown],
        class_names=_names_with_shares(source.classes, summary["pixels"]),
        palette=class_palette(source),
        background=source.has_background,
        title=title_of(summary),
        workers=min(4, os.cpu_count() or 1),
    )


def choose_shown(
    records: Sequence[Record],
    class_ids: Mapping[str, Sequence[int]],
    classes: int,
    *,
    background: bool = True,
    most: int = MOST_IMAGES,
) -> list[Record]:
    """Records from across the data set that show, together, as many classes as possible.

    Parameters
    ----------
    records : sequence of Record
    class_ids : mapping of str to sequence of int
        Key → classes in its labels; records without an entry are not chosen.
    classes : int
        Number of classes.
    background : bool
        Whether class 0 is the background: images of it alone are at most `MOST_EMPTY`, if there are others enough.
    most : int
        Number of records.

    Returns
    -------
    list of Record
        In their order.
    """
    known = [record for record in records if record.key in class_ids]
    foreground = range(1 if background else 0, classes)
    shows = {index: [r.key for r in known if index in class_ids[r.key]] for index in foreground}
    chosen: dict[str, None] = {}
    # The rarest class first: an image that shows it may show the others too.
    for keys in sorted((keys for keys in shows.values() if keys), key=len):
        if len(chosen) < most // 2 and not chosen.keys() & set(keys):
            chosen[keys[len(keys) // 2]] = None
    filled = {key for keys in shows.values() for key in keys}
    empty = [record.key for record in known if record.key not in filled]
    full = [record.key for record in known if record.key in filled and record.key not in chosen]
    room = most - len(chosen)
    some_empty = min(len(empty), max(MOST_EMPTY, room - len(full)), room)
    chosen |= dict.fromkeys(_spread(full, room - some_empty))
    chosen |= dict.fromkeys(_spread(empty, some_empty))
    return [record for record in known if record.key in chosen]


def file_names(records: Sequence[Record]) -> list[str]:
    """Names of the image files, from the folder on that they share; of long names the part that tells them apart."""
    if any(record.image.startswith("<") for record in records):  # drawn, not read from files
        return [record.key for record in records]
    folders = [os.path.dirname(record.image) for record in records]
    try:
        shared = os.path.commonpath(folders)
    except ValueError:  # files on two drives
        shared = ""
    names = [
        Path(os.path.relpath(record.image, shared)).as_posix() if shared else record.image
        for record in records
    ]
    if len(names) < 2 or max(map(len, names)) <= LONG_NAME:
        return names
    before = re.sub(r"[^\W_]*$", "", _beginning(names))  # back to the beginning of a word
    rest = [name[len(before) :] for name in names]
    after = re.sub(r"^[^\W_]*", "", _beginning([name[::-1] for name in rest])[::-1])
    return [f"{'…' if before else ''}{name.removesuffix(after)}{'…' if after else ''}" for name in rest]


def _beginning(names: Sequence[str]) -> str:
    """What all names begin with."""
    least, most = min(names), max(names)
    same = (i for i, (a, b) in enumerate(zip(least, most, strict=False)) if a != b)
    return least[: next(same, len(least))]


def title_of(summary: Mapping[str, Any]) -> str:
    """How many images there are of what, and how they were paired, in one line."""
    count = sum(summary["parts"].values())
    parts = ", ".join(f"{images} {part}" for part, images in summary["parts"].items() if part != "all")
    text = f"{summary['name']}: {count} image{'s' if count != 1 else ''}{f' ({parts})' if parts else ''}"
    return f"{text}; {summary['pairing']}" if summary["pairing"] else text


def _read(source: Source, record: Record, name: str) -> Labelled | None:
    try:
        image = source.read_image(record)
        truth = source.read_truth(record, scoring=not record.trainable)
    except UserError:
        return None  # the check has told it
    if truth.classes.shape != image.shape[:2]:
        return None
    return Labelled(image, truth.classes, truth.instances, name)


def _names_with_shares(classes: Sequence[str], pixels: Mapping[str, int]) -> list[str]:
    """``cell 13 %``: a share that surprises is a mask that was misunderstood."""
    total = max(sum(pixels.values()), 1)
    return [f"{name} {_per_cent(pixels[name] / total)}" for name in classes]


def _per_cent(share: float) -> str:
    if 0 < share < 0.0001:
        return "< 0.01 %"
    return f"{100 * share:.0f} %" if share >= 0.0995 else f"{100 * share:.2g} %"


def _spread(keys: Sequence[str], count: int) -> list[str]:
    """At most `count` of the keys, evenly."""
    if count <= 0 or not keys:
        return []
    count = min(count, len(keys))
    return [keys[i] for i in np.linspace(0, len(keys) - 1, count).round().astype(int)]
