"""Where the pixels of a tif lie, on the map or in micrometres, carried from an image to the files made from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unet_train.data.io.pixel_size import pixel_size
from unet_train.errors import UserError

GEOTIFF = {33550: 12, 33922: 12, 34264: 12, 34735: 3, 34736: 12, 34737: 2}
"""Tag → TIFF type: ModelPixelScale, ModelTiepoint, ModelTransformation (doubles), GeoKeyDirectory (shorts),
GeoDoubleParams (doubles), GeoAsciiParams (text); OGC GeoTIFF Standard 1.1, 19-008r4."""

NODATA = 42113
"""GDAL's tag for the value of pixels without data, as text."""

_TEXT = 2
_ORIENTATION = 274


@dataclass(frozen=True)
class Frame:
    """What a tif says of its pixels' place and size.

    Attributes
    ----------
    geo : mapping of int to value
        Tags of `GEOTIFF`; empty where there are none.
    nodata : bool
        Whether a value stands for pixels without data.
    resolution : (float, float, int) or None
        Pixels per unit along x and y, and the unit as TIFF numbers it (1 none, 2 inch, 3 centimetre).
    pixel : (float, float) or None
        Height and width of a pixel in micrometres.
    """

    geo: Mapping[int, Any] = field(default_factory=dict)
    nodata: bool = False
    resolution: tuple[float, float, int] | None = None
    pixel: tuple[float, float] | None = None

    def tif_options(self, unknown: str) -> dict[str, Any]:
        """Arguments for `tifffile.imwrite`.

        Parameters
        ----------
        unknown : str
            The value of pixels without data in the written file: ``"255"``, ``"0"``, ``"nan"``. The image's own
            would make a class of them.
        """
        options: dict[str, Any] = {}
        tags = [
            (code, kind, len(self.geo[code]) if kind != _TEXT else 0, self.geo[code], True)
            for code, kind in GEOTIFF.items()
            if code in self.geo
        ]
        tags += [(NODATA, _TEXT, 0, unknown, True)] if self.nodata else []
        if tags:
            options["extratags"] = tags
        if self.pixel is not None:
            # As ImageJ writes it, which `pixel_size` and microscopy programs read.
            options["description"] = "ImageJ=1.54f\nunit=um\n"
            options["resolution"] = (1 / self.pixel[1], 1 / self.pixel[0])
            options["resolutionunit"] = 1
        elif self.resolution is not None:
            options["resolution"] = self.resolution[:2]
            options["resolutionunit"] = self.resolution[2]
        return options


def read_frame(path: str | Path) -> Frame:
    """The frame of an image; an empty one where its format has none.

    Raises
    ------
    UserError
        Tags that do not parse.
    """
    if Path(path).suffix.lower() not in (".tif", ".tiff"):
        return Frame()
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            tags = file.pages.first.tags  # type: ignore[union-attr]
            turned = _ORIENTATION in tags and int(tags[_ORIENTATION].value) != 1
            # A picture that is turned when it is read lies elsewhere than its tags say.
            geo = (
                {}
                if turned
                else {code: _checked(path, code, tags[code].value) for code in GEOTIFF if code in tags}
            )
            return Frame(
                geo,
                NODATA in tags,
                None if turned else _resolution(tags),
                None if turned else pixel_size(path),
            )
    except (OSError, tifffile.TiffFileError):
        return Frame()  # told when the pixels are read


def _checked(path: str | Path, code: int, value: Any) -> Any:
    """A tag of `GEOTIFF` as it is written again.

    Raises
    ------
    UserError
        Another type than the standard's, or too few numbers.
    """
    kind = GEOTIFF[code]
    if kind == _TEXT:
        if isinstance(value, str):
            return value
    elif isinstance(value, tuple | list) and all(isinstance(number, int | float) for number in value):
        fewest = {33550: 3, 33922: 6, 34264: 16, 34735: 4}.get(code, 1)
        if len(value) >= fewest and (kind != 3 or all(isinstance(number, int) for number in value)):
            return tuple(value)
    elif code == 34736 and isinstance(value, float):
        return (value,)
    raise UserError(
        f"{path}: its GeoTIFF tag {code} cannot be read ({str(value)[:40]}); write the file anew, for example with "
        "gdal_translate"
    )


def _resolution(tags: Any) -> tuple[float, float, int] | None:
    """TIFF's own resolution; None where it is not there or none."""
    try:
        x, y = (tags[code].value for code in (282, 283))
        unit = int(tags[296].value) if 296 in tags else 2
        found = (x[0] / x[1], y[0] / y[1], unit)
    except (KeyError, TypeError, ZeroDivisionError, ValueError):
        return None
    return found if found[0] > 0 and found[1] > 0 and unit in (1, 2, 3) else None
