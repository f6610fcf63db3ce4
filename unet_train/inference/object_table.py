"""What is measured of each predicted object: class, area, place, bounding box, intensity."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from skimage.measure import regionprops_table

SIDES = ("top", "left", "bottom", "right")
"""Of the bounding box; the last two are the first row and column beyond it, as in scikit-image."""


def measure_objects(
    objects: np.ndarray,
    classes: np.ndarray,
    image: np.ndarray,
    names: Sequence[str],
    pixel_size: tuple[float, float] | None = None,
) -> list[dict[str, object]]:
    """One row per object, by id.

    Parameters
    ----------
    objects : ndarray
        H×W int32 ids, 0 for none.
    classes : ndarray
        H×W uint8 class ids.
    image : ndarray
        H×W×C, as the model saw it: uint8, or float32 in [0, 1].
    names : sequence of str
        By class id.
    pixel_size : (float, float) or None
        Height and width of a pixel in micrometres.

    Returns
    -------
    list of dict
        ``id``, ``class`` (that of most of its pixels), ``area`` in pixels, ``centroid_y``, ``centroid_x``, the sides of
        the bounding box (`SIDES`), ``mean_intensity`` (of more channels ``mean_intensity_0``, …), and ``area_um2``,
        None without a pixel size.
    """
    if not objects.any():
        return []
    channels = image.shape[-1]
    table = regionprops_table(
        objects,
        image,
        properties=("label", "area", "centroid", "bbox", "intensity_mean"),
    )
    votes = np.zeros((int(objects.max()) + 1, len(names)), np.int64)
    np.add.at(votes, (objects[objects > 0], classes[objects > 0]), 1)
    rows = []
    for place, label in enumerate(table["label"].tolist()):
        area = int(table["area"][place])
        row: dict[str, object] = {
            "id": label,
            "class": names[int(votes[label].argmax())],
            "area": area,
            "area_um2": None if pixel_size is None else area * pixel_size[0] * pixel_size[1],
            "centroid_y": float(table["centroid-0"][place]),
            "centroid_x": float(table["centroid-1"][place]),
        }
        row |= {side: int(table[f"bbox-{number}"][place]) for number, side in enumerate(SIDES)}
        for channel in range(channels):
            name = "mean_intensity" if channels == 1 else f"mean_intensity_{channel}"
            row[name] = float(table[f"intensity_mean-{channel}"][place])
        rows.append(row)
    return rows
