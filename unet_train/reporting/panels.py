"""Three classes and more: image, truth, prediction and errors side by side, filled in the classes' colours."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from unet_train.reporting.colours import class_colours
from unet_train.reporting.overlays import DARK, Colour, add_legend, displayable, resize_labels

WIDEST, HIGHEST = 1920, 1440
"""Room for all panels together; larger images are reduced."""

SHORT_SIDE = 320
"""Smaller images are enlarged, by whole numbers, until each panel has about this shorter side."""

FILL = 0.72
"""Share of the class colour in a filled pixel; the rest is the image in grey, so that its structure shows."""

RIGHT_SHADE = 0.35
"""Brightness of the image where the prediction is right, in the errors' panel."""

BACKGROUND_ERROR = (255, 255, 255)
"""Background that was taken for a class; its own colour, if it has one, would not be seen."""

HATCH = ((70, 70, 70), (130, 130, 130))
"""Unknown pixels: stripes, since any plain colour could be a class's."""

GAP = 8
NARROWEST = 300
"""Narrower panels stand on a wider ground, so that their titles can be read."""

MOST_NAMES = 20
"""Classes that the legend names at most; of more the largest in this picture."""


def panels(
    image: np.ndarray,
    truth: np.ndarray | None = None,
    prediction: np.ndarray | None = None,
    *,
    class_names: Sequence[str],
    palette: Sequence[Sequence[int]] | None = None,
    background: bool = True,
    caption: str = "",
    ignore: int = 255,
) -> np.ndarray:
    """Draw image, truth, prediction and errors, those that there are, with titles and one legend.

    Parameters
    ----------
    image : ndarray
        H×W or H×W×C; any numeric dtype (see `overlays.displayable`).
    truth, prediction : ndarray or None
        H×W class ids. With both there is a panel of errors: where the two differ, the colour of the true
        class, on the darkened image.
    class_names : sequence of str
        Names by class id.
    palette : sequence of (red, green, blue), or None
        Colours by class id; None: `colours.class_colours`.
    background : bool
        Whether class 0 is the background: not filled, and not in the legend. Background that was taken for
        a class is white among the errors.
    caption : str
        One line under the panels.
    ignore : int
        Value of `truth` that means "unknown": hatched, and never an error.

    Returns
    -------
    ndarray
        H'×W'×3 uint8 RGB. The panels stand in a row or two by two, whichever shows more.

    Raises
    ------
    ValueError
        If a map has not the size of the image, or holds an id without a name.
    """
    picture = displayable(image)
    size = picture.shape[:2]
    maps = {"truth": truth, "prediction": prediction}
    for name, ids in maps.items():
        if ids is not None and ids.shape != size:
            raise ValueError(f"{name} is {ids.shape}, the image {size}")
    count = len(class_names)
    for name, ids in maps.items():
        if ids is not None and ids[ids != ignore].max(initial=0) >= count:
            raise ValueError(f"{name} holds class {ids[ids != ignore].max()}, but there are {count} names")
    colours = class_colours(count, palette, background=background)
    titles = ["image", *(name for name, ids in maps.items() if ids is not None)]
    both = truth is not None and prediction is not None
    titles += ["errors, in the true class's colour"] if both else []
    columns, target = arrangement(size, len(titles))
    present = _present([ids for ids in (truth, prediction) if ids is not None], ignore)

    # Whatever is drawn is drawn at the size at which it is shown: hatching and colours stay sharp.
    reduced = target[0] < size[0]
    picture = cv2.resize(
        picture, target[::-1], interpolation=cv2.INTER_AREA if reduced else cv2.INTER_NEAREST
    )
    small = {name: resize_labels(ids, target) for name, ids in maps.items() if ids is not None}
    grey = np.repeat(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    unknown = small["truth"] == ignore if truth is not None else np.zeros(target, bool)
    hatch = hatched(target)
    drawn = [picture]
    for ids in small.values():
        panel = _filled(grey, ids, colours, ignore, background)
        panel[ids == ignore] = hatch[ids == ignore]
        drawn.append(panel)
    missed_background = False
    if both:
        errors = (grey * RIGHT_SHADE).round().astype(np.uint8)
        wrong = (small["truth"] != small["prediction"]) & ~unknown
        shown = colours.copy()
        if background:
            shown[0] = BACKGROUND_ERROR
            missed_background = bool((wrong & (small["truth"] == 0)).any())
        errors[wrong] = shown[small["truth"][wrong]]
        errors[unknown] = hatch[unknown]
        drawn.append(errors)
    entries = legend_entries(class_names, colours, present, background)
    if missed_background:
        entries.append((f"{class_names[0]} taken for a class", BACKGROUND_ERROR))
    if unknown.any():
        entries.append(("unknown", HATCH[1]))
    titled = [_titled(panel, title) for panel, title in zip(drawn, titles, strict=True)]
    return add_legend(_grid(titled, columns), entries, caption)


def arrangement(size: tuple[int, int], count: int) -> tuple[int, tuple[int, int]]:
    """Columns, and height and width of each of `count` panels of an image of `size`.

    The number of columns is the one, of those without an empty place, at which the panels are largest within
    `WIDEST` × `HIGHEST`.
    """

    def room(columns: int) -> float:
        rows = count // columns
        width = (WIDEST - (columns - 1) * GAP) / columns
        height = (HIGHEST - (rows - 1) * GAP) / rows
        return min(height / size[0], width / size[1])

    columns = max((c for c in range(count, 0, -1) if count % c == 0), key=room)
    factor = room(columns)
    if factor >= 1:
        factor = max(1, min(-(-SHORT_SIDE // min(size)), int(factor)))
    return columns, (max(1, int(size[0] * factor)), max(1, int(size[1] * factor)))


def _present(maps: Sequence[np.ndarray], ignore: int) -> np.ndarray:
    """Pixels per id, 256 numbers, in all maps together; 0 for `ignore`."""
    pixels = np.zeros(256, np.int64)
    for ids in maps:
        pixels += np.bincount(ids.ravel(), minlength=256)
    pixels[ignore] = 0
    return pixels


def _filled(
    grey: np.ndarray, ids: np.ndarray, colours: np.ndarray, ignore: int, background: bool
) -> np.ndarray:
    """The grey image under the colours of its classes; the background is left as it is."""
    table = np.zeros((256, 3), np.float32)
    table[: len(colours)] = colours
    mixed = (grey * (1 - FILL) + table[ids] * FILL).round().astype(np.uint8)
    left = ids == ignore
    if background:
        left |= ids == 0
    mixed[left] = grey[left]
    return mixed


def hatched(size: tuple[int, int]) -> np.ndarray:
    """Diagonal stripes for unknown pixels, H×W×3 uint8."""
    diagonal = np.add.outer(np.arange(size[0]), np.arange(size[1]))
    return np.array(HATCH, np.uint8)[(diagonal % 8 < 3).astype(int)]


def legend_entries(
    class_names: Sequence[str], colours: np.ndarray, present: np.ndarray, background: bool
) -> list[tuple[str, Colour | None]]:
    """Legend of the classes: all of a few, of many those that occur, the largest of very many.

    Parameters
    ----------
    class_names : sequence of str
    colours : ndarray
        N×3 uint8, by class id.
    present : ndarray
        Pixels by class id.
    background : bool
        Whether class 0 is left out.

    Returns
    -------
    list of (name, colour or None)
        For `overlays.add_legend`.
    """
    ids = list(range(int(background), len(class_names)))
    hidden = 0
    if len(ids) > MOST_NAMES:
        occurring = [i for i in ids if present[i]]
        largest = sorted(occurring, key=lambda i: -present[i])[:MOST_NAMES]
        hidden = len(occurring) - len(largest)
        ids = sorted(largest)
    entries: list[tuple[str, Colour | None]] = []
    for i in ids:
        red, green, blue = colours[i].tolist()
        entries.append((class_names[i], (red, green, blue)))
    if hidden:
        entries.append((f"and {hidden} smaller", None))
    return entries


def _titled(panel: np.ndarray, title: str) -> np.ndarray:
    """A panel with its title above."""
    height, width = panel.shape[:2]
    ground = np.full((height, max(width, NARROWEST), 3), DARK, np.uint8)
    ground[:, :width] = panel
    return np.concatenate([add_legend(ground[:0], [], title), ground])


def _grid(parts: Sequence[np.ndarray], columns: int) -> np.ndarray:
    """Equal pictures in rows of `columns`, with gaps between."""
    across = np.full((parts[0].shape[0], GAP, 3), DARK, np.uint8)
    rows = []
    for first in range(0, len(parts), columns):
        row: list[np.ndarray] = []
        for part in parts[first : first + columns]:
            row += [across, part] if row else [part]
        rows.append(np.concatenate(row, axis=1))
    return np.concatenate(rows)
