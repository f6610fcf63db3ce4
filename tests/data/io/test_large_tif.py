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


def test_the_cache_is_bounded_and_spares_decoding(tmp_path):
    """Once the file is wiped out, only what was kept can still be read: the last ten of 35 tiles."""
    path, noise = tmp_path / "a.tif", RNG.integers(0, 256, (5 * 64, 7 * 64), dtype=np.uint8)
    tifffile.imwrite(path, noise, tile=(64, 64), compression="zlib")
    kept = []
    with TifRegions(path, cache_bytes=10 * 64 * 64) as regions:
        regions.read(0, 5 * 64, 0, 7 * 64)
        path.write_bytes(bytes(path.stat().st_size))
        for number in range(35):
            top, left = (64 * part for part in divmod(number, 7))
            try:
                tile = regions.read(top, top + 64, left, left + 64)
            except UserError:
                continue
            np.testing.assert_array_equal(tile[..., 0], noise[top : top + 64, left : left + 64])
            kept.append(number)
    assert kept == list(range(25, 35))


def test_what_cannot_be_read_by_parts_is_said_in_one_line(tmp_path):
    with pytest.raises(UserError, match=r"none\.tif"):
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
    for rows, refused in ((1 << 13, False), ((1 << 13) + 1, True)):
        tifffile.imwrite(tmp_path / "one.tif", GREY, compression="zlib", rowsperstrip=75, metadata=None)
        with tifffile.TiffFile(tmp_path / "one.tif", mode="r+b") as file:
            for tag, value in (("ImageWidth", 1 << 15), ("ImageLength", rows), ("RowsPerStrip", rows)):
                file.pages[0].tags[tag].overwrite(value)
        with pytest.raises(UserError, match=r"one\.tif") as caught:
            TifRegions(tmp_path / "one.tif")
        # One strip of 256 MiB is decoded (and found to end too early), a larger one is not tried.
        assert ("tiled tif" in str(caught.value)) == refused


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
