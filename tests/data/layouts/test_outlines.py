"""Folders whose objects are outlined in annotation files: names, keys, and what is refused."""

import json
import pickle
import re

import numpy as np
import pytest

import tests.data.layouts.museum as museum
from unet_train.data.layouts.folder import folder_source
from unet_train.errors import UserError


@pytest.fixture
def coco(tmp_path):
    museum.CONVENTIONS["COCO as objects"].write(tmp_path)
    return tmp_path


def truths(source):
    return {
        museum.scene_of(source.read_image(record)): source.read_truth(record) for record in source.records()
    }


def test_classes_in_another_order(coco):
    source = folder_source(coco, classes=["ground", "leaf", "root"])
    assert source.classes == ("ground", "leaf", "root")
    assert source.has_background
    for scene, truth in truths(source).items():
        np.testing.assert_array_equal(truth.classes, museum.leaves_first(scene))


def test_two_names_make_one_class_of_all(coco):
    with pytest.raises(UserError, match=r"dataset\.instances=true"):
        folder_source(coco, classes=["ground", "plant"])
    source = folder_source(coco, classes=["ground", "plant"], instances=True)
    for scene, truth in truths(source).items():
        np.testing.assert_array_equal(truth.classes, museum.binary(scene))
        np.testing.assert_array_equal(truth.instances > 0, museum.binary(scene) > 0)
        assert len(np.unique(truth.instances)) == len(np.unique(museum.objects(scene)))


def test_workers_get_the_outlines_too(coco):
    source = folder_source(coco)
    again = pickle.loads(pickle.dumps(source))
    for one, other in zip(truths(source).values(), truths(again).values(), strict=True):
        np.testing.assert_array_equal(one.classes, other.classes)


def test_an_image_that_is_not_annotated_and_one_that_is_not_there(coco):
    museum.save(coco / "images/more.png", museum.picture(0))
    content = json.loads((coco / "result.json").read_text())
    content["images"].append({"id": 99, "file_name": "gone.png", "height": 40, "width": 56})
    (coco / "result.json").write_text(json.dumps(content))
    problems = dict(folder_source(coco).layout_problems())
    assert "dataset.unlabelled" in problems[str(coco / "images/more.png")]
    assert any("gone.png" in path and "result.json" in what for path, what in problems.items())
    source = folder_source(coco, unlabelled="leave_out")
    assert list(source.left_out) == [str(coco / "images/more.png")]


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"values": {0: 0, 255: 1}}, r"dataset\.values.*dataset\.annotations=none"),
        ({"threshold": 9}, r"dataset\.threshold"),
        ({"background": "leaf"}, r"dataset\.background=leaf"),
        ({"classes": ["ground", "leaf", "stem"]}, r"dataset\.classes.*root"),
        ({"annotations": "yolo"}, r"dataset\.annotations=yolo"),
        ({"annotations": "coco", "masks": "masks"}, r"dataset\.masks.*dataset\.annotations=coco"),
        ({"annotations": "coco", "images": "pictures"}, r"dataset\.images=pictures"),
        ({"annotations": "none"}, r"dataset\.root.*dataset\.masks"),
    ],
)
def test_keys_that_do_not_go_with_outlines(coco, keys, says):
    with pytest.raises(UserError, match=says):
        folder_source(coco, **keys)


def test_masks_win_over_annotations_that_lie_there_too(coco):
    """The files are named, and the key reads them instead."""
    for scene, name in enumerate(museum.NAMES):
        museum.save(coco / f"masks/{name}.png", 1 - museum.binary(scene))
    source = folder_source(coco)
    for scene, truth in truths(source).items():
        np.testing.assert_array_equal(truth.classes, 1 - museum.binary(scene))
    source = folder_source(coco, annotations="coco", images="images")
    for scene, truth in truths(source).items():
        np.testing.assert_array_equal(truth.classes, museum.classes(scene))


def test_the_size_that_was_annotated_counts(coco):
    content = json.loads((coco / "result.json").read_text())
    for image in content["images"]:
        image["height"] = 41
    (coco / "result.json").write_text(json.dumps(content))
    source = folder_source(coco)
    with pytest.raises(UserError, match=re.escape("result.json")):
        source.read_truth(source.records()[0])
