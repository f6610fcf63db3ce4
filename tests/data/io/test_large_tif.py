"""Regions of every kind of tif are those of the whole image, and only their part of the file is read."""

import tracemalloc

import numpy as np
import pytest
import tifffile

from unet_train.data.io.images import read_image
from unet_train.data.io.large_tif import TifRegions, write_label_tiles
from unet_train.errors import UserError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (75, 110), dtype=np.uint8)
DEEP = RNG.integers(0, 65536, (75, 110), dtype=np.uint16)
RGB = RNG.integers(0, 256, (75, 110, 3), dtype=np.uint8)

KINDS = {
    "raw strips": (GREY, {"rowsperstrip": 7}),
    "one raw strip": (GREY, {"rowsperstrip": 75}),
    "deflate strips": (GREY, {"rowsperstrip": 16, "compression": "zlib"}),
    "deflate with predictor": (GREY, {"compression": "zlib", "predictor": True, "rowsperstrip": 10}),
    "tiles": (GREY, {"tile": (32, 48)}),
    "deflate tiles, 16 bit": (DEEP, {"tile": (16, 16), "compression": "zlib"}),
    "big-endian": (DEEP, {"byteorder": ">", "rowsperstrip": 9}),
    "rgb strips": (RGB, {"photometric": "rgb", "rowsperstrip": 8}),
    "rgb tiles": (RGB, {"photometric": "rgb", "tile": (32, 32), "compression": "lzw"}),
    "planar rgb": (
        RGB.transpose(2, 0, 1),
        {"photometric": "rgb", "planarconfig": "separate", "rowsperstrip": 11},
    ),
    "white is zero": (GREY, {"photometric": "miniswhite", "rowsperstrip": 5}),
    "declared channels": (RGB.transpose(2, 0, 1), {"metadata": {"axes": "CYX"}, "imagej": True}),
    "rgba": (RNG.integers(0, 256, (75, 110, 4), dtype=np.uint8), {"photometric": "rgb", "extrasamples": [2]}),
    "float": (RNG.random((75, 110), dtype=np.float32), {"rowsperstrip": 6, "compression": "zlib"}),
    "bigtiff": (GREY, {"bigtiff": True, "tile": (64, 64)}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_regions_are_those_of_the_whole_image(tmp_path, kind):
    array, options = KINDS[kind]
    path = tmp_path / "größe (1).tif"
    options = {"photometric": "minisblack", **options}
    tifffile.imwrite(path, array, **options)
    whole = read_image(path)
    with TifRegions(path) as regions:
        assert regions.shape == whole.shape
        for top, bottom, left, right in [(0, 75, 0, 110), (3, 4, 5, 6), (10, 60, 31, 97), (70, 75, 100, 110)]:
            part = regions.read(top, bottom, left, right)
            assert part.dtype == whole.dtype
            np.testing.assert_array_equal(part, whole[top:bottom, left:right])


def test_declared_range_and_channels_hold_here_too(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", DEEP, rowsperstrip=8)
    with TifRegions(tmp_path / "a.tif", intensity_range=(100, 4000), channels=3) as regions:
        whole = read_image(tmp_path / "a.tif", intensity_range=(100, 4000), channels=3)
        np.testing.assert_array_equal(regions.read(5, 30, 7, 90), whole[5:30, 7:90])


@pytest.mark.parametrize("options", [{"tile": (64, 64), "compression": "zlib"}, {"rowsperstrip": 4096}])
def test_memory_is_that_of_the_region_not_of_the_image(tmp_path, options):
    def peak(side):
        path = tmp_path / f"{side}.tif"
        tifffile.imwrite(path, np.zeros((side, side), np.uint8), **options)
        with TifRegions(path, cache_bytes=1 << 15) as regions:
            tracemalloc.start()
            for corner in range(0, side - 128, 128):
                regions.read(corner, corner + 128, corner, corner + 128)
            result = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        return result

    small, large = peak(512), peak(2048)
    assert large < 1.2 * small, "sixteen times the pixels"


def test_the_cache_is_bounded_and_spares_decoding(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "a.tif", GREY, tile=(16, 16), compression="zlib")
    with TifRegions(tmp_path / "a.tif", cache_bytes=10 * 256) as regions:
        regions.read(0, 75, 0, 110)
        assert regions._cached <= 10 * 256
        assert len(regions._cache) == 10
        before = list(regions._cache)
        regions.read(70, 75, 90, 100)
        assert set(regions._cache) == set(before), "the last tiles were still there"


def test_what_cannot_be_read_by_parts_is_said_in_one_line(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="no such file"):
        TifRegions(tmp_path / "none.tif")
    (tmp_path / "text.tif").write_text("not a tif")
    with pytest.raises(UserError, match=r"text\.tif"):
        TifRegions(tmp_path / "text.tif")
    tifffile.imwrite(tmp_path / "stack.tif", np.zeros((40, 30, 30), np.uint8), photometric="minisblack")
    with pytest.raises(UserError, match="stack"):
        TifRegions(tmp_path / "stack.tif")
    tifffile.imwrite(tmp_path / "cut.tif", GREY, tile=(16, 16))
    data = (tmp_path / "cut.tif").read_bytes()
    (tmp_path / "cut.tif").write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match=r"cut\.tif"), TifRegions(tmp_path / "cut.tif") as regions:
        regions.read(0, 75, 0, 110)
    monkeypatch.setattr("unet_train.data.io.large_tif.LARGEST_SEGMENT", 1000)
    tifffile.imwrite(tmp_path / "one.tif", GREY, compression="zlib", rowsperstrip=75)
    with pytest.raises(UserError, match="save it as a tiled tif"):
        TifRegions(tmp_path / "one.tif")


def test_label_tiles_make_a_readable_tif_or_none(tmp_path):
    labels = RNG.integers(0, 3, (70, 50), dtype=np.uint8)

    def tiles(break_off=False):
        padded = np.pad(labels, ((0, 26), (0, 46)))
        for top in range(0, 70, 32):
            for left in range(0, 50, 32):
                if break_off and top:
                    raise UserError("half way")
                yield padded[top : top + 32, left : left + 32]

    write_label_tiles(tmp_path / "new" / "a.tif", tiles(), (70, 50), 32)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "new" / "a.tif"), labels)
    with pytest.raises(UserError, match="half way"):
        write_label_tiles(tmp_path / "new" / "b.tif", tiles(break_off=True), (70, 50), 32)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.tif"], "no half file is left behind"
