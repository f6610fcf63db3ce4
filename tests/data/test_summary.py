"""The figures of data.json against NumPy on the files themselves."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from unet_train.data.check import check_source
from unet_train.data.io.images import write_image, write_labels
from unet_train.data.layouts.folder import folder_source
from unet_train.data.splits import SplitRule, make_split
from unet_train.data.summary import from_root, summarise

RNG = np.random.default_rng(0)


def summary(source, root, **rule):
    records = source.records()
    report = check_source(source, records)
    return summarise(source, records, report, make_split(records, SplitRule(**rule)), root)


@pytest.fixture
def scene(tmp_path):
    """Three classes and unknown pixels, in images of two sizes: folder, images, masks."""
    images, masks = {}, {}
    for i in range(7):
        size = (20, 30) if i in (2, 5) else (24, 16)
        images[f"{i}.png"] = RNG.integers(3, 240, (*size, 3), dtype=np.uint8)
        masks[f"{i}.png"] = RNG.choice(np.array([0, 1, 2, 9], np.uint8), size, p=[0.5, 0.2, 0.1, 0.2])
        write_image(tmp_path / "images" / f"{i}.png", images[f"{i}.png"])
        write_labels(tmp_path / "masks" / f"{i}.png", masks[f"{i}.png"])
    return tmp_path, images, masks


def test_classes(scene):
    root, images, masks = scene
    source = folder_source(root, ignore_value=9, classes=["ground", "tree", "car"], background="ground")
    found = summary(source, root, test_fraction=0.3)
    labels = np.concatenate([mask.ravel() for mask in masks.values()])
    values = np.concatenate([image.ravel() for image in images.values()])
    low, high = np.percentile(values, [0.1, 99.9], method="inverted_cdf")
    assert found == {
        "name": "folder",
        "root": str(root),
        "parts": {"train": 4, "val": 1, "test": 2},
        "pairing": source.pairing,
        "classes": ["ground", "tree", "car"],
        "pixels": {name: int((labels == i).sum()) for i, name in enumerate(["ground", "tree", "car"])},
        "unknown": int((labels == 9).sum()),
        "objects": None,
        "intensity": {
            "dtype": "uint8",
            "low": values.min(),
            "high": values.max(),
            "percentile_0.1": low,
            "percentile_99.9": high,
        },
        "sizes": [{"height": 24, "width": 16, "images": 5}, {"height": 20, "width": 30, "images": 2}],
        "left_out": {},
        "problems": [],
        "near_duplicates": [],
        "warnings": [],
        "notes": found["notes"],
    }
    assert json.loads(json.dumps(found)) == found


def test_objects_and_sixteen_bits(tmp_path):
    areas, counts, values = [], [], []
    for i in range(5):
        numbers = np.zeros((60, 70), np.uint16)
        for number in range(1, 3 + 2 * i):
            radius = int(RNG.integers(1, 6))
            cv2.circle(numbers, (7 * number - 3, 10 * i + 8), radius, number, -1)
        if i == 4:
            numbers[:] = 0
        found = [int((numbers == n).sum()) for n in range(1, 12) if (numbers == n).any()]
        areas += found
        counts.append(len(found))
        image = RNG.integers(200, 3000, numbers.shape).astype(np.uint16)
        values.append(image.ravel())
        write_image(tmp_path / "images" / f"{i}.tif", image)
        write_labels(tmp_path / "masks" / f"{i}.tif", numbers)
    found = summary(folder_source(tmp_path, instances=True), tmp_path)
    assert found["objects"] == {
        "count": len(areas),
        "per_image": np.median(counts),
        "diameter": pytest.approx(np.median([2 * np.sqrt(area / np.pi) for area in areas]), rel=1e-12),
    }
    pixels = np.concatenate(values)
    low, high = np.percentile(pixels, [0.1, 99.9], method="inverted_cdf")
    assert found["intensity"] == {
        "dtype": "uint16",
        "low": pixels.min(),
        "high": pixels.max(),
        "percentile_0.1": low,
        "percentile_99.9": high,
    }
    assert any("dataset.intensity_range=[0,4095]" in note for note in found["notes"])


@pytest.mark.parametrize("counted", [[4], [4, 9], [4, 9, 9], [1, 4, 9, 16]])
def test_the_median_of_few_objects(tmp_path, counted):
    numbers = np.zeros((20, 40), np.uint8)
    for number, area in enumerate(counted, start=1):
        numbers[number * 2, :area] = number
    for i in range(2):
        write_image(tmp_path / f"images/{i}.png", RNG.integers(0, 255, (20, 40), dtype=np.uint8))
        write_labels(tmp_path / f"masks/{i}.png", numbers)
    objects = summary(folder_source(tmp_path, instances=True), tmp_path)["objects"]
    diameters = [2 * np.sqrt(area / np.pi) for area in counted]
    assert objects == {
        "count": 2 * len(counted),
        "per_image": len(counted),
        "diameter": pytest.approx(np.median(diameters)),
    }


def test_the_number_of_workers_changes_nothing(scene):
    root, _, _ = scene
    source = folder_source(root, ignore_value=9)
    one, three = (check_source(source, source.records(), workers=workers) for workers in (1, 3))
    assert one.facts == three.facts


def test_what_is_left_out_and_why(scene):
    root, _, _ = scene
    source = folder_source(root, ignore_value=9)
    source.pairing = "images and masks of one name"
    source.left_out = {
        str(root / "images/notes.txt"): "ending .txt is not read",
        "/elsewhere/b.png": "no mask",
    }
    assert source.channels == 3
    (root / "images/0.png").write_bytes(b"")
    write_labels(root / "masks/3.png", np.zeros((3, 3), np.uint8))
    (root / "split.json").write_text(json.dumps({"train": ["1", "2"], "val": ["3"], "test": ["0", "4"]}))
    found = summary(source, root, file=root / "split.json")
    assert found["pairing"] == "images and masks of one name"
    assert found["parts"] == {"train": 2, "val": 1, "test": 2}
    assert list(found["left_out"]) == [
        "images/notes.txt",
        "/elsewhere/b.png",
        "images/5.png",
        "images/6.png",
        "images/0.png",
        "masks/3.png",
    ]
    problems = {problem["file"]: problem["what"] for problem in found["problems"]}
    assert problems.keys() == {"images/0.png", "masks/3.png"}
    assert all(found["left_out"][file] == what for file, what in problems.items())
    assert "3×3" in problems["masks/3.png"]


def test_without_a_split_all_are_one_part(scene):
    root, _, _ = scene
    source = folder_source(root, ignore_value=9)
    records = [replace(record, part="train") for record in source.records()]
    assert summarise(source, records, check_source(source, records))["parts"] == {"all": 7}


def test_files_are_named_from_the_root(tmp_path):
    assert from_root(str(tmp_path / "a" / "b.png"), tmp_path) == "a/b.png"
    assert from_root("<demo 3>", tmp_path) == "<demo 3>"
    assert from_root("x/b.png", None) == "x/b.png"
