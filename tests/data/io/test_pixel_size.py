"""The size of a pixel is read where a microscope or ImageJ says it, and nowhere else."""

import numpy as np
import pytest
import tifffile

from unet_train.data.io.images import write_image
from unet_train.data.io.pixel_size import pixel_size

IMAGE = np.zeros((4, 6), np.uint8)


def imagej(unit, per_unit=(4.0, 5.0)):
    return {"imagej": True, "resolution": per_unit, "metadata": {"unit": unit}}


def ome(**sizes):
    return {"ome": True, "metadata": {"axes": "YX", **sizes}}


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (imagej("um"), (0.2, 0.25)),
        (imagej("micron"), (0.2, 0.25)),
        (imagej("\\u00B5m"), (0.2, 0.25)),
        (imagej("nm"), (0.0002, 0.00025)),
        (imagej("mm"), (200, 250)),
        (imagej("inch"), None),
        (imagej("pixel"), None),
        ({"imagej": True}, None),
        (ome(PhysicalSizeX=0.25, PhysicalSizeY=0.2), (0.2, 0.25)),
        (ome(PhysicalSizeX=250, PhysicalSizeXUnit="nm", PhysicalSizeY=0.2), (0.2, 0.25)),
        (ome(PhysicalSizeX=0.25), None),
        (ome(), None),
        ({"resolution": (72, 72), "resolutionunit": "INCH"}, None),
        ({}, None),
    ],
)
def test_what_the_tags_say(tmp_path, written, expected):
    tifffile.imwrite(tmp_path / "a.ome.tif" if "ome" in written else tmp_path / "a.tif", IMAGE, **written)
    (path,) = tmp_path.iterdir()
    assert pixel_size(path) == (None if expected is None else pytest.approx(expected))


def test_other_files_say_nothing(tmp_path):
    write_image(tmp_path / "a.png", IMAGE)
    (tmp_path / "b.tif").write_bytes(b"II*\0nonsense")
    assert pixel_size(tmp_path / "a.png") is None
    assert pixel_size(tmp_path / "b.tif") is None
    assert pixel_size(tmp_path / "none.tif") is None
