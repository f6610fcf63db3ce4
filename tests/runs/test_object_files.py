"""What unet-predict writes of objects: measured as by hand, joined over calls, and regions that can be read again."""

import csv
import sys

import numpy as np
import pytest
import tifffile

from unet_train.data.io.images import read_image, write_image
from unet_train.data.layouts.folder import folder_source

RULE = {"min_size": 2, "min_seed": 1, "fill_holes": True}
PARTS = {1: (slice(2, 6), slice(3, 8)), 2: (slice(10, 20), slice(20, 32))}


def picture(value: int = 250) -> np.ndarray:
    image = np.zeros((24, 40), np.uint8)
    for rows, columns in PARTS.values():
        image[rows, columns] = value
    image[12:14, 22:24] = 200
    return image


def rows_of(path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_objects_are_measured_and_joined_over_calls(tmp_path, threshold_model, run_command, capsys):
    image = picture()
    metadata = {"unit": "um"}
    (tmp_path / "in" / "sub").mkdir(parents=True)
    tifffile.imwrite(tmp_path / "in" / "b.tif", image, imagej=True, resolution=(4, 2), metadata=metadata)
    model = threshold_model(has_instances=True, objects=RULE)
    words = [
        "predict",
        f"ckpt={model}",
        f"input={tmp_path / 'in'}",
        f"output={tmp_path / 'o'}",
        "precision=32",
    ]
    assert run_command(*words) == 0
    (said,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("objects ")]
    assert str(tmp_path / "o" / "objects.csv") in said
    write_image(tmp_path / "in" / "a10.png", np.zeros((8, 8), np.uint8))  # no object
    write_image(tmp_path / "in" / "sub" / "c.png", image)
    assert run_command(*words) == 0
    rows = rows_of(tmp_path / "o" / "objects.csv")
    assert [(row["image"], row["id"]) for row in rows] == [
        ("b", "1"),
        ("b", "2"),
        ("sub/c", "1"),
        ("sub/c", "2"),
    ]
    for row in rows:
        found = PARTS[int(row["id"])]
        y, x = np.mgrid[found]
        assert row["class"] == "cell"
        assert int(row["area"]) == y.size
        assert (float(row["centroid_y"]), float(row["centroid_x"])) == (y.mean(), x.mean())
        box = (y.min(), x.min(), y.max() + 1, x.max() + 1)
        assert tuple(int(row[side]) for side in ("top", "left", "bottom", "right")) == box
        assert float(row["mean_intensity"]) == pytest.approx(image[found].mean(), rel=1e-5)
        pixel = 0.5 * 0.25
        assert row["area_um2"] == (f"{y.size * pixel:.6g}" if row["image"] == "b" else "")
    assert rows_of(tmp_path / "o" / "objects" / "a10.csv") == []
    overlay = read_image(tmp_path / "o" / "overlays" / "b.png")
    assert len(np.unique(overlay.reshape(-1, 3), axis=0)) > 3, "objects in colours of their own"


def test_regions_come_back_as_the_objects(tmp_path, threshold_model, run_command):
    """As masks of a data set: fiji's zip beside the image, read by our own reader."""
    pytest.importorskip("roifile")
    write_image(tmp_path / "in" / "a.png", picture())
    model = threshold_model(has_instances=True, objects=RULE)
    words = ["predict", f"ckpt={model}", f"input={tmp_path / 'in'}", f"output={tmp_path / 'o'}", "roi=true"]
    assert run_command(*words) == 0
    objects = tifffile.imread(tmp_path / "o" / "objects" / "a.tif")
    (tmp_path / "o" / "rois" / "a.zip").rename(tmp_path / "in" / "a.zip")
    source = folder_source(tmp_path / "in", instances=True)
    (record,) = source.records()
    np.testing.assert_array_equal(source.read_truth(record).instances, objects)


@pytest.mark.parametrize(
    ("words", "named"), [(["roi=true"], "annotations"), (["roi=true", "format=ctc"], "format=ctc")]
)
def test_regions_that_cannot_be_are_refused_before_the_first_image(
    tmp_path, threshold_model, run_command, capsys, monkeypatch, words, named
):
    monkeypatch.setitem(sys.modules, "roifile", None)
    write_image(tmp_path / "in" / "a.png", picture())
    model = threshold_model(has_instances=True, objects=RULE)
    given = [f"ckpt={model}", f"input={tmp_path / 'in'}", f"output={tmp_path / 'o'}"]
    assert run_command("predict", *given, *words) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert named in error
    assert not (tmp_path / "o").exists()
