"""What `unet-predict` writes lies where its image lies: on the map, and in micrometres."""

import numpy as np
import pytest
import tifffile

from unet_train.data.io.frame import read_frame
from unet_train.data.io.pixel_size import pixel_size
from unet_train.runs import prediction

IMAGE = np.zeros((24, 32), np.uint8)
IMAGE[4:12, 6:20] = 250
SCALE, TIE = (0.5, 0.5, 0.0), (0.0, 0.0, 0.0, 691000.0, 5334000.0, 0.0)
KEYS = (1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 32632)
GEO = [(33550, 12, 3, SCALE, True), (33922, 12, 6, TIE, True), (34735, 3, 16, KEYS, True)]
NODATA = [(42113, 2, 0, "0", True)]


def predict(run_command, model, path, *words):
    """Predict one image into o/; the tif of each kind by its folder."""
    output = path.parent / "o"
    words = [f"ckpt={model}", f"input={path}", f"output={output}", "precision=32", *words]
    assert run_command("predict", *words) == 0
    return {kind: output / kind / "a.tif" for kind in ("classes", "objects", "probabilities")}


def objects_model(threshold_model):
    """A model that tells objects apart."""
    return threshold_model(has_instances=True, objects={"min_size": 5, "min_seed": 1})


@pytest.mark.parametrize("large", [False, True])
def test_a_geotiff_keeps_its_place_on_the_map(tmp_path, threshold_model, run_command, monkeypatch, large):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, IMAGE, metadata=None, extratags=GEO + NODATA)
    if large:
        monkeypatch.setattr(prediction.streaming, "LARGE_PIXELS", 100)
    written = predict(run_command, objects_model(threshold_model), path, "probabilities=true")
    written = {"classes": written["classes"]} if large else written
    for kind, unknown in (("classes", "255"), ("objects", "0"), ("probabilities", "nan")):
        if kind in written:
            with tifffile.TiffFile(written[kind]) as file:
                tags = {tag.code: tag.value for tag in file.pages.first.tags}
            assert [tags[code] for code in (33550, 33922, 34735)] == [SCALE, TIE, KEYS]
            assert tags[42113] == unknown, "the image's own 0 would make a hole of the background"
    np.testing.assert_array_equal(tifffile.imread(written["classes"]), IMAGE > 0)
    rasterio = pytest.importorskip("rasterio", reason="rasterio is not installed")
    for kind, file in written.items():
        with rasterio.open(path) as image, rasterio.open(file) as found:
            assert found.transform == image.transform
            assert found.crs == image.crs
            assert found.crs.to_epsg() == 32632
            np.testing.assert_equal(found.nodata, {"classes": 255, "objects": 0}.get(kind, np.nan))
            assert (found.height, found.width) == IMAGE.shape
            assert found.count == (2 if kind == "probabilities" else 1)


@pytest.mark.parametrize("written_by", ["ome", "imagej"])
def test_the_size_of_a_pixel_goes_out_again(tmp_path, threshold_model, run_command, written_by):
    path = tmp_path / "a.tif"
    if written_by == "ome":
        size = {"PhysicalSizeX": 0.65, "PhysicalSizeY": 0.5}
        tifffile.imwrite(path, IMAGE, ome=True, metadata={"axes": "YX"} | size)
    else:
        tifffile.imwrite(path, IMAGE, imagej=True, resolution=(1 / 0.65, 1 / 0.5), metadata={"unit": "um"})
    written = predict(run_command, objects_model(threshold_model), path, "probabilities=true")
    for file in written.values():
        assert pixel_size(file) == pytest.approx((0.5, 0.65), rel=1e-6)
    np.testing.assert_array_equal(tifffile.imread(written["classes"]), IMAGE > 0)
    assert tifffile.imread(written["probabilities"]).shape == (24, 32, 2)


def test_the_resolution_of_a_print_goes_out_again(tmp_path, threshold_model, run_command):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, IMAGE, metadata=None, resolution=(300, 200), resolutionunit=3)
    found = read_frame(predict(run_command, threshold_model(), path)["classes"])
    assert found.resolution == (300, 200, 3)
    assert not found.geo
    assert not found.nodata


def test_a_picture_that_is_turned_when_read_has_no_frame(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", IMAGE, metadata=None, extratags=[*GEO, (274, 3, 1, 6, True)])
    assert not read_frame(tmp_path / "a.tif").geo


def test_tags_that_do_not_parse_get_a_line(tmp_path, threshold_model, run_command, capsys):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, IMAGE, metadata=None, extratags=[(33922, 12, 3, (0.0, 0.0, 0.0), True)])
    words = [f"ckpt={threshold_model()}", f"input={path}", f"output={tmp_path / 'o'}"]
    assert run_command("predict", *words) == 1, "one bad image"
    assert not list((tmp_path / "o").rglob("*.tif")), "noticed before it is predicted"
    said = capsys.readouterr()
    assert "a.tif: its GeoTIFF tag 33922 cannot be read" in said.out + said.err
