"""COCO JSON: outlines, run lengths in both forms, crowds, ids, and what is refused."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from unet_train.data.annotations.coco import decompress
from unet_train.data.annotations.find import find_annotations
from unet_train.data.annotations.shapes import rasterise
from unet_train.errors import UserError

SQUARE = [1, 1, 4, 1, 4, 3, 1, 3]  # rows 1, 2; columns 1, 2, 3


def square() -> np.ndarray:
    mask = np.zeros((6, 8), np.uint8)
    mask[1:3, 1:4] = 1
    return mask


def coco(annotations, *, images=("a.png",), categories=("cell",), size=(6, 8)) -> dict:
    return {
        "info": {"description": 'nested: {"images": 1}'},
        "images": [
            {"id": 10 + i, "file_name": name, "height": size[0], "width": size[1]}
            for i, name in enumerate(images)
        ],
        "categories": [{"id": 3 + i, "name": name} for i, name in enumerate(categories)],
        "annotations": [
            {"id": 100 + i, "image_id": 10, "category_id": 3, "iscrowd": 0, **item}
            for i, item in enumerate(annotations)
        ],
    }


def write(path, data, encoding="utf-8", newline="\n"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(json.dumps(data, indent=1).replace("\n", newline).encode(encoding))
    return path


def read(tmp_path, annotations, **kwargs):
    write(tmp_path / "set.json", coco(annotations, **kwargs))
    found = find_annotations(tmp_path)
    assert found is not None
    assert found.format == "COCO JSON"
    return found


def draw(found, image="a.png", height=6, width=8):
    return rasterise(found.shapes(image), height, width, {name: i for i, name in enumerate(found.classes, 1)})


def test_a_polygon(tmp_path):
    classes, objects = draw(read(tmp_path, [{"segmentation": [SQUARE]}]))
    assert (classes == square()).all()
    assert (objects == square()).all()


@pytest.mark.parametrize(("encoding", "newline"), [("utf-8-sig", "\n"), ("utf-8", "\r\n")])
def test_files_from_windows(tmp_path, encoding, newline):
    write(tmp_path / "set.json", coco([{"segmentation": [SQUARE]}]), encoding, newline)
    assert (draw(find_annotations(tmp_path))[0] == square()).all()


def random_masks():
    rng = np.random.default_rng(0)
    yield from (np.zeros((5, 7), np.uint8), np.ones((5, 7), np.uint8), square())
    for share in (0.02, 0.3, 0.9):
        yield (rng.random((61, 37)) < share).astype(np.uint8)
    large = np.zeros((900, 1100), np.uint8)  # lengths of several characters
    large[3:800, 5:999] = rng.random((797, 994)) < 0.999
    yield large


@pytest.mark.parametrize("mask", list(random_masks()))
def test_run_lengths_in_both_forms_against_pycocotools(tmp_path, mask):
    height, width = mask.shape
    packed = coco_mask.encode(np.asfortranarray(mask))
    changes = np.flatnonzero(np.diff(mask.T.ravel())) + 1
    plain = np.diff(np.concatenate([[0], changes, [mask.size]])).tolist()
    plain = [0, *plain] if mask[0, 0] else plain
    for index, counts in enumerate((plain, packed["counts"].decode())):
        segmentation = {"size": [height, width], "counts": counts}
        found = read(tmp_path / str(index), [{"segmentation": segmentation}], size=mask.shape)
        assert (draw(found, height=height, width=width)[0] == mask).all()


@pytest.mark.parametrize("text", ["", "o", "g034o", "\x01", "é", "ooooooooooooo0"])
def test_damaged_texts_of_run_lengths(text):
    with pytest.raises(ValueError, match=r"."):
        decompress(text)


@pytest.mark.parametrize(
    "counts", ["", "g034000", "g03400000<o", [1, 2, 3], [-1, 49], "é", [[48]], {"a": 1}, None]
)
def test_damaged_run_lengths_are_refused(tmp_path, counts):
    with pytest.raises(UserError, match=r"set\.json.*100.*counts"):
        read(tmp_path, [{"segmentation": {"size": [6, 8], "counts": counts}}])


@pytest.mark.parametrize("size", [None, [6], [6, 0], ["6", "8"], [6, 8, 1]])
def test_run_lengths_without_their_size(tmp_path, size):
    with pytest.raises(UserError, match=r"set\.json.*100.*size"):
        read(tmp_path, [{"segmentation": {"size": size, "counts": [48]}}])


def test_run_lengths_of_another_size_than_the_image_s(tmp_path):
    with pytest.raises(UserError, match=r"set\.json.*100.*8, 6.*6, 8.*a\.png"):
        read(tmp_path, [{"segmentation": {"size": [8, 6], "counts": [48]}}])


def test_a_crowd_is_unknown(tmp_path):
    crowd = {"segmentation": {"size": [6, 8], "counts": [40, 8]}, "iscrowd": 1}
    classes, objects = draw(read(tmp_path, [crowd, {"segmentation": [SQUARE]}]))
    expected = square()
    expected[4:, 6] = 255  # 40 pixels down the columns end there
    expected[:, 7] = 255
    assert (classes == expected).all()
    assert objects.max() == 1


def test_parts_are_united_as_in_pycocotools(tmp_path):
    rings = [[0.3, 0.2, 5.1, 0.4, 2.2, 5.8], [1.2, 1.1, 7.7, 2.2, 6.6, 5.5]]  # they overlap
    classes, objects = draw(read(tmp_path, [{"segmentation": rings}], size=(60, 80)), height=60, width=80)
    assert set(np.unique(objects)) == {0, 1}
    scaled = [[10 * value for value in ring] for ring in rings]
    classes, _ = draw(
        read(tmp_path / "large", [{"segmentation": scaled}], size=(60, 80)), height=60, width=80
    )
    theirs = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(scaled, 60, 80)))
    assert (classes & theirs).sum() / (classes | theirs).sum() > 0.98


def test_large_ones_are_drawn_first_whatever_the_file_s_order(tmp_path):
    around = {"segmentation": [[0, 0, 8, 0, 8, 6, 0, 6]], "category_id": 4, "area": 1}
    for index, order in enumerate(([0, 1], [1, 0])):
        items = [[around, {"segmentation": [SQUARE]}][i] for i in order]
        classes, objects = draw(read(tmp_path / str(index), items, categories=("cell", "tissue")))
        assert (classes == np.where(square(), 1, 2)).all()
        assert (objects == np.where(square(), 2, 1)).all()


def test_classes_go_by_category_id(tmp_path):
    data = coco([{"segmentation": [SQUARE]}])
    data["categories"] = [{"id": 9, "name": "zebra"}, {"id": 3, "name": "cell"}, {"id": 5, "name": "ant"}]
    write(tmp_path / "set.json", data)
    assert find_annotations(tmp_path).classes == ("cell", "ant", "zebra")


def test_roboflow_s_heading_is_no_class(tmp_path):
    data = coco([{"segmentation": [SQUARE]}])
    data["categories"] = [
        {"id": 0, "name": "cells", "supercategory": "none"},
        {"id": 3, "name": "live", "supercategory": "cells"},
        {"id": 4, "name": "dead", "supercategory": "cells"},
    ]
    write(tmp_path / "set.json", data)
    assert find_annotations(tmp_path).classes == ("live", "dead")


def test_images_without_objects_and_odd_names(tmp_path):
    names = ["größe (1).png", "sub\\b.png", "./c d.tif", "e.v2.png"]
    found = read(tmp_path, [{"segmentation": [SQUARE]}], images=names)
    assert found.images() == ["größe (1).png", "sub/b.png", "c d.tif", "e.v2.png"]
    assert len(found.shapes(tmp_path / "images" / "gro\u0308\u00dfe (1).png")) == 1  # as macOS spells it
    for image in ("b.png", tmp_path / "sub/b.jpg", "c d.tif", "x/e.v2.jpg"):
        assert found.match(image) is not None
        assert found.shapes(image) == []
    assert found.match("e.png") is None
    with pytest.raises(UserError, match=r"other\.png"):
        found.shapes("other.png")


def test_the_stated_size_is_checked(tmp_path):
    found = read(tmp_path, [{"segmentation": [SQUARE]}])
    with pytest.raises(UserError, match=r"set\.json.*100.*a\.png.*6.*8.*8.*6"):
        draw(found, height=8, width=6)


def test_parts_of_a_split_in_one_folder(tmp_path):
    """The same file name in both parts: the JSON files' names tell which image is meant."""
    for part, points in (("train", SQUARE), ("val", [0, 0, 2, 0, 2, 2, 0, 2])):
        write(tmp_path / f"annotations/instances_{part}2017.json", coco([{"segmentation": [points]}]))
    found = find_annotations(tmp_path)
    assert len(found.images()) == len(set(found.images())) == 2
    for part, area in (("train", 6), ("val", 4)):
        image = tmp_path / f"{part}2017/a.png"
        assert draw(found, image)[0].sum() == area
        assert found.file_of(image).name == f"instances_{part}2017.json"
    assert found.match(tmp_path / "test2017/a.png") is None


def test_roboflow_s_parts(tmp_path):
    for part, points in (("train", SQUARE), ("valid", [0, 0, 2, 0, 2, 2, 0, 2])):
        write(tmp_path / part / "_annotations.coco.json", coco([{"segmentation": [points]}]))
    found = find_annotations(tmp_path)
    assert draw(found, tmp_path / "train/a.png")[0].sum() == 6
    assert draw(found, tmp_path / "valid/a.png")[0].sum() == 4


def test_one_image_in_two_files_is_refused(tmp_path):
    for name in ("one.json", "two.json"):
        write(tmp_path / name, coco([{"segmentation": [SQUARE]}]))
    found = find_annotations(tmp_path)
    with pytest.raises(UserError, match=r"a\.png.*one\.json.*two\.json"):
        found.shapes(tmp_path / "images/a.png")


def test_captions_test_images_and_key_points_are_left_out(tmp_path):
    write(tmp_path / "instances.json", coco([{"segmentation": [SQUARE]}]))
    points = coco([{"segmentation": [SQUARE], "keypoints": [1, 1, 2]}])
    points["categories"][0]["keypoints"] = ["nose"]
    write(tmp_path / "person_keypoints.json", points)
    captions = coco([{"caption": "x"}])
    del captions["categories"]
    write(tmp_path / "captions.json", captions)
    unlabelled = coco([], images=("t.png",))
    del unlabelled["annotations"]
    write(tmp_path / "image_info_test.json", unlabelled)
    write(tmp_path / "notes.json", {"info": 1})
    found = find_annotations(tmp_path)
    assert [path.name for path in found.files] == ["instances.json"]
    assert found.images() == ["a.png"]
    assert len(found.notes) == 1
    assert "person_keypoints.json" in found.notes[0]


def test_panoptic_files_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"set\.json.*segments_info"):
        read(tmp_path, [{"segments_info": []}])


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        ({"segmentation": [[1, 1, 4, 1]]}, r"100.* 2 points"),
        ({"segmentation": [[1, 1, 4, 1, 2]]}, r"100.* 5 "),
        ({"segmentation": [], "bbox": [1, 1, 2, 2]}, r"100.*bbox.*segmentation"),
        ({}, r"100.*segmentation"),
        ({"segmentation": [1, 2, 3, 4]}, r"100.*segmentation"),
        ({"segmentation": "x"}, r"100.*segmentation"),
        ({"segmentation": [SQUARE], "image_id": 77}, r"100.*image_id 77"),
        ({"segmentation": [SQUARE], "category_id": 77}, r"100.*category_id 77"),
        ({"segmentation": [[1, 1, 4, 1, 2, "x"]]}, r"100.*numbers"),
    ],
)
def test_bad_annotations_are_refused_with_file_and_id(tmp_path, annotation, message):
    with pytest.raises(UserError, match=rf"set\.json: annotation id {message}"):
        read(tmp_path, [annotation])


@pytest.mark.parametrize(
    ("section", "items", "message"),
    [
        ("images", [{"id": 10, "file_name": "a.png"}, {"id": 10, "file_name": "b.png"}], r"images\[1\].*10"),
        (
            "images",
            [{"id": 10, "file_name": "a.png"}, {"id": 11, "file_name": "a.png"}],
            r"images\[1\].*a\.png",
        ),
        ("images", [{"id": 10}], r"images\[0\].*file_name"),
        ("categories", [{"id": 3}], r"categories\[0\].*name"),
        ("categories", [{"id": 3, "name": "a"}, {"id": 3, "name": "b"}], r"id 3.*categories"),
        ("categories", [{"id": 3, "name": "a"}, {"id": 4, "name": "a"}], r"'a'"),
        ("annotations", ["x"], r"annotations\[0\]"),
    ],
)
def test_bad_sections_are_refused(tmp_path, section, items, message):
    data = coco([{"segmentation": [SQUARE]}])
    data[section] = items
    write(tmp_path / "set.json", data)
    with pytest.raises(UserError, match=rf"set\.json.*{message}"):
        find_annotations(tmp_path)


def test_broken_json_is_one_line_with_the_place(tmp_path):
    path = write(tmp_path / "set.json", coco([{"segmentation": [SQUARE]}]))
    path.write_text(path.read_text()[:-40])
    with pytest.raises(UserError, match=r"set\.json.*line \d+, column \d+") as error:
        find_annotations(tmp_path)
    assert "\n" not in str(error.value)
    path.write_bytes(b'{"images": [], "annotations": "\xff"}')
    with pytest.raises(UserError, match=r"set\.json.*byte 31"):
        find_annotations(tmp_path)


def test_many_annotations_are_read_once(tmp_path):
    images = [f"{index}.png" for index in range(500)]
    data = coco([{"segmentation": [SQUARE], "image_id": 10 + i % 500} for i in range(20_000)], images=images)
    path = write(tmp_path / "set.json", data)
    found = find_annotations(tmp_path)
    path.unlink()
    again = pickle.loads(pickle.dumps(found))
    assert sum(len(again.shapes(image)) for image in images) == 20_000
    assert again.classes == found.classes
