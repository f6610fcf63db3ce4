"""Folders in which something would be lost or misread: each is refused, or said, with what to do."""

import json
import re

import numpy as np
import pytest

import tests.data.layouts.museum as museum
from unet_train.data.layouts.folder import folder_source
from unet_train.errors import UserError


def some(image, mask, names=museum.NAMES, draw=museum.white):
    def write(root):
        for scene, name in enumerate(names):
            museum.save(root / image.format(name=name), museum.picture(scene))
            museum.save(root / mask.format(name=name), draw(scene))

    return write


@pytest.mark.parametrize(("other", "part"), [("dev", "val"), ("validation_set", "val"), ("test2019", "test")])
@pytest.mark.parametrize(
    "place",
    [
        "{part}/images/{{name}}.png {part}/masks/{{name}}.png",
        "{part}/img/{{name}}.png {part}/gt/{{name}}.png",
    ],
)
def test_more_names_of_parts(tmp_path, other, part, place):
    for folder, names in (("train", museum.NAMES[:3]), (other, museum.NAMES[3:])):
        some(*place.format(part=folder).split(), names=names)(tmp_path)
    parts = [record.part for record in folder_source(tmp_path).records()]
    assert sorted(parts) == sorted(["train"] * 3 + [part] * 3)


@pytest.mark.parametrize("inside", [("images", "masks"), ("img", "gt")])
def test_a_folder_beside_train_that_is_no_part_is_not_trained_on(tmp_path, inside):
    for folder, names in (("train", museum.NAMES[:3]), ("holdout", museum.NAMES[3:])):
        some(*(f"{folder}/{kind}/{{name}}.png" for kind in inside), names=names)(tmp_path)
    with pytest.raises(UserError, match="holdout"):
        folder_source(tmp_path)
    if inside == ("img", "gt"):
        with pytest.raises(UserError) as refusal:
            folder_source(tmp_path)
        assert "'dataset.parts={train:train,val:holdout}'" in str(refusal.value)
        source = folder_source(tmp_path, parts={"train": "train", "val": "holdout"})
        assert [record.part for record in source.records()] == ["train"] * 3 + ["val"] * 3


def test_what_lies_beside_images_and_masks_is_named(tmp_path):
    some("images/{name}.png", "masks/{name}.png")(tmp_path)
    some("thumbs/{name}.png", "masks_bob/{name}.png")(tmp_path)
    museum.text("ann.json", "{}")(tmp_path)
    source = folder_source(tmp_path)
    assert len(source.records()) == museum.COUNT
    assert any("masks_bob" in note and "12" in note for note in source.notes)
    assert any("ann.json" in note for note in source.notes)
    assert len(source.left_out) == 12


def test_a_list_of_one_part(tmp_path):
    some("images/{name}.png", "masks/{name}.png")(tmp_path)
    museum.text("val.txt", "/somewhere/else/a10.png\nb2\n")(tmp_path)
    parts = {
        museum.scene_of(folder_source(tmp_path).read_image(r)): r.part
        for r in folder_source(tmp_path).records()
    }
    assert parts == {0: "train", 1: "val", 2: "val", 3: "train", 4: "train", 5: "train"}
    museum.text("val.txt", "a10\nb3\n")(tmp_path)
    with pytest.raises(UserError, match=r"val\.txt: b3 .*b31\?"):
        folder_source(tmp_path)
    museum.text("val.txt", "nothing of this\n")(tmp_path)
    assert any("val.txt" in note for note in folder_source(tmp_path).notes)


@pytest.mark.parametrize("place", ["masks/{name}/{kind}.png", "{name}/masks/{kind}.png"])
def test_the_same_words_for_each_image_are_no_objects(tmp_path, place):
    for scene, name in enumerate(museum.NAMES):
        museum.save(
            tmp_path
            / ("images/{name}.png" if place[0] == "m" else "{name}/images/{name}.png").format(name=name),
            museum.picture(scene),
        )
        for kind in ("cup", "disc"):
            museum.save(tmp_path / place.format(name=name, kind=kind), museum.white(scene))
    with pytest.raises(UserError, match=r"cup\.png.*disc\.png.*dataset\.masks"):
        folder_source(tmp_path)
    image = "images/{name}.png" if place[0] == "m" else "{name}/images/{name}.png"
    source = folder_source(tmp_path, images=image, masks=place.replace("{kind}", "cup"))
    assert len(source.records()) == museum.COUNT


def test_one_pattern_for_both(tmp_path):
    some("scans/{name}_t1.png", "scans/{name}_m.png")(tmp_path)
    with pytest.raises(UserError, match=r"dataset\.masks=scans"):
        folder_source(tmp_path, images="scans/{name}_t1.png", masks="scans/{name}_t1.png")


def test_the_rule_of_a_folder_for_each_image_works_as_a_pattern(tmp_path):
    museum.CONVENTIONS["a folder for each image"].write(tmp_path)
    images, masks = re.fullmatch(r"(\S+) is paired with (\S+)", folder_source(tmp_path).pairing).groups()
    assert len(folder_source(tmp_path, images=images, masks=masks).records()) == museum.COUNT


@pytest.mark.parametrize("images", ["pics", "cells"])
def test_a_word_on_one_side_alone(tmp_path, images):
    some(f"{images}/{{name}}.png", "gt/{name}.png")(tmp_path)
    source = folder_source(tmp_path)
    assert len(source.records()) == museum.COUNT
    assert not source.layout_problems()


def test_the_file_that_holds_the_odd_value_is_named(tmp_path):
    some("images/{name}.png", "masks/{name}.png")(tmp_path)
    odd = museum.white(3).copy()
    odd[0, 0] = 3
    museum.save(tmp_path / "masks/b31.png", odd)
    with pytest.raises(UserError, match=r"masks.b31\.png: .*0, 3, 255.*dataset\.threshold=128"):
        folder_source(tmp_path)


def test_images_and_masks_swapped(tmp_path):
    some("masks/{name}.png", "images/{name}.png", draw=museum.white)(tmp_path)
    with pytest.raises(UserError, match=r"swapped.*dataset\.images"):
        folder_source(tmp_path)


def test_outlines_in_other_units(tmp_path):
    museum.CONVENTIONS["COCO as objects"].write(tmp_path)
    content = json.loads((tmp_path / "result.json").read_text())
    for item in content["annotations"]:
        item["segmentation"] = [[value / 100 for value in item["segmentation"][0]]]
    (tmp_path / "result.json").write_text(json.dumps(content))
    source = folder_source(tmp_path)
    with pytest.raises(UserError, match=r"result\.json.*40×56"):
        [source.read_truth(record) for record in source.records()]


def test_a_link_to_a_folder_above(tmp_path):
    some("images/{name}.png", "masks/{name}.png")(tmp_path)
    try:
        (tmp_path / "images/again").symlink_to(tmp_path / "images", target_is_directory=True)
    except OSError:
        pytest.skip("no symbolic links here")
    source = folder_source(tmp_path)
    assert len(source.records()) == museum.COUNT
    assert not source.layout_problems()


def test_a_single_pair_of_other_names_is_said(tmp_path):
    some("images/foo_{name}.png", "masks/bar.png", names=("a",))(tmp_path)
    source = folder_source(tmp_path)
    assert len(source.records()) == 1
    assert any("foo_a.png" in note and "bar.png" in note for note in source.notes)


@pytest.mark.parametrize(("image", "mask"), [("A{}", "a{}"), ("{}", "{:03}"), ("s1/X_{:02}", "s1/x_{}")])
def test_names_that_differ_in_case_and_leading_zeros(tmp_path, image, mask):
    for scene in range(museum.COUNT):
        museum.save(tmp_path / f"images/{image.format(scene + 7)}.png", museum.picture(scene))
        museum.save(tmp_path / f"masks/{mask.format(scene + 7)}.png", museum.white(scene))
    source = folder_source(tmp_path)
    assert not source.layout_problems()
    assert any("leading zeros" in note for note in source.notes)
    for record in source.records():
        scene = museum.scene_of(source.read_image(record))
        np.testing.assert_array_equal(source.read_truth(record).classes, museum.binary(scene))


def test_names_that_loose_reading_would_mix_up_are_problems(tmp_path):
    some("images/{name}.png", "masks/{name}.png", names=("a1", "a01", "b"))(tmp_path)
    (tmp_path / "masks/b.png").rename(tmp_path / "masks/B.png")
    source = folder_source(tmp_path)
    assert sorted(record.key for record in source.records()) == ["a01", "a1"]
    assert len(source.layout_problems()) == 2
