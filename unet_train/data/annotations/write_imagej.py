"""Regions of ImageJ and Fiji (.zip) from outlines along pixel edges; roifile writes the format."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from unet_train.atomic import replacing
from unet_train.data.io.libraries import import_extra


def write_regions(path: Path, rings: Iterable[tuple[str, np.ndarray]]) -> None:
    """Write named polygons as ImageJ's ROI manager saves them; the file is whole or not there.

    Parameters
    ----------
    path : Path
        A .zip.
    rings : iterable of (str, ndarray)
        Name, and N×2 int corners (x, y) along the edges of pixels.

    Raises
    ------
    UserError
        If roifile is not installed.
    """
    roifile = import_extra("roifile", "annotations", "ImageJ's regions", path)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, ring in rings:
            region = roifile.ImagejRoi.frompoints(ring)
            region.roitype = roifile.ROI_TYPE.POLYGON
            region.name = name
            archive.writestr(f"{name}.roi", region.tobytes())
    with replacing(path) as temporary:
        temporary.write_bytes(content.getvalue())
