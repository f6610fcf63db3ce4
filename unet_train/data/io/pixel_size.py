"""The size of a pixel in micrometres, where a tif's tags say it as microscopes and ImageJ write it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

MICROMETRES = {
    "nm": 1e-3,
    "µm": 1.0,
    "μm": 1.0,
    "um": 1.0,
    "micron": 1.0,
    "microns": 1.0,
    "mm": 1e3,
    "cm": 1e4,
    "m": 1e6,
}
"""Unit → micrometres, for the two Unicode letters that are written for micro too."""


def pixel_size(path: str | Path) -> tuple[float, float] | None:
    """Height and width of a pixel.

    OME's ``PhysicalSizeY`` and ``PhysicalSizeX`` count, and the resolution of a tif of ImageJ with its unit. The plain
    resolution tag in dots per inch does not: programs write 72 or 96 there whatever the image.

    Parameters
    ----------
    path : path
        An image of any format.

    Returns
    -------
    (float, float) or None
        In micrometres; None where the file does not say it, or not in a length.
    """
    if Path(path).suffix.lower() not in (".tif", ".tiff"):
        return None
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            if file.ome_metadata:
                return _ome(file.ome_metadata)
            if file.imagej_metadata is not None:
                return _imagej(file.pages.first, str(file.imagej_metadata.get("unit", "")))
    except (OSError, ValueError, LookupError, TypeError, ArithmeticError, ElementTree.ParseError):
        return None  # an image that can be read without its tags; what is wrong with its pixels is told by the reader
    return None


def _ome(text: str) -> tuple[float, float] | None:
    for element in ElementTree.fromstring(text).iter():
        if element.tag.rpartition("}")[2] == "Pixels":
            sides = [
                _length(element.get(f"PhysicalSize{axis}"), element.get(f"PhysicalSize{axis}Unit", "µm"))
                for axis in "YX"
            ]
            return _both(*sides)
    return None


def _imagej(page: Any, unit: str) -> tuple[float, float] | None:
    # A unit that latin-1 cannot hold is written as an escape.
    unit = re.sub(r"\\u([0-9A-Fa-f]{4})", lambda found: chr(int(found[1], 16)), unit)
    sides = []
    for name in ("YResolution", "XResolution"):
        numerator, denominator = page.tags[name].value
        sides.append(_length(denominator / numerator, unit))
    return _both(*sides)


def _length(value: Any, unit: str) -> float | None:
    factor = MICROMETRES.get(unit.strip())
    return None if value is None or factor is None else float(value) * factor


def _both(height: float | None, width: float | None) -> tuple[float, float] | None:
    if height is None or width is None or not (0 < height < 1e9 and 0 < width < 1e9):
        return None
    return height, width
