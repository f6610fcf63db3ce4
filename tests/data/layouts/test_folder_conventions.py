"""Folders as people have them: parts under other names, names with prefixes, masks in several forms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unet_train.data.io.images import write_image, write_labels
from unet_train.data.layouts.folder import folder_source
from unet_train.data.pairing.affixes import common_affixes
from unet_train.errors import UserError

IMAGE = np.full((8, 10), 90, np.uint8)


def scene(index: int) -> np.ndarray:
    """A truth of 0 and 1, another for each index."""
    truth = np.zeros((8, 10), np.uint8)
    truth[1 : 3 + index % 4, 2 : 5 + index % 3] = 1
    return truth


def write_pair(image: Path, mask: Path, index: int) -> None:
    write_image(image, IMAGE + np.uint8(index))
    write_labels(mask, scene(index) * np.uint8(255))


def parts_of(source: folder_source) -> dict[str, str | None]:
    return {Path(record.image).stem: record.part for record in source.records()}


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [("train", "val", "test"), ("training", "validation", "testing"), ("Train", "valid", "TEST")],
)
@pytest.mark.parametrize("inside", [True, False])
def test_parts_by_any_of_their_names(tmp_path, train, val, test, inside):
    for index, part in enumerate([train, train, val, test]):
        places = [f"{kind}/{part}" if inside else f"{part}/{kind}" for kind in ("images", "masks")]
        write_pair(*(tmp_path / place / f"{index}.png" for place in places), index)
    source = folder_source(tmp_path)
    assert parts_of(source) == {"0": "train", "1": "train", "2": "val", "3": "test"}
    assert [record.key for record in source.records()] == ["train/0", "train/1", "val/2", "test/3"]
    assert not source.layout_problems()
    for record in source.records():
        assert (source.read_truth(record).classes == scene(int(Path(record.image).stem))).all()


def test_parts_of_masks_may_have_another_name(tmp_path):
    write_pair(tmp_path / "images/train/a.png", tmp_path / "masks/training/a.png", 0)
    write_pair(tmp_path / "images/val/b.png", tmp_path / "masks/Val/b.png", 1)
    assert parts_of(folder_source(tmp_path)) == {"a": "train", "b": "val"}


def test_two_names_for_one_part_are_refused(tmp_path):
    for part in ("train", "val", "valid"):
        write_pair(tmp_path / part / "images/a.png", tmp_path / part / "masks/a.png", 0)
    with pytest.raises(UserError, match=r"val/.*valid/"):
        folder_source(tmp_path)


def test_an_image_beside_the_parts_is_refused(tmp_path):
    write_pair(tmp_path / "images/train/a.png", tmp_path / "masks/train/a.png", 0)
    write_image(tmp_path / "images/loose.png", IMAGE)
    with pytest.raises(UserError, match=r"train/.*loose\.png"):
        folder_source(tmp_path)


def test_a_folder_that_is_no_part_is_named(tmp_path):
    for part in ("train", "val"):
        write_pair(tmp_path / f"images/{part}/a.png", tmp_path / f"masks/{part}/a.png", 0)
    write_image(tmp_path / "images/extra/c.png", IMAGE)
    assert any("extra" in note for note in folder_source(tmp_path).notes)


def test_masks_without_the_part_are_refused(tmp_path):
    write_pair(tmp_path / "images/train/a.png", tmp_path / "masks/train/a.png", 0)
    write_image(tmp_path / "images/val/b.png", IMAGE)
    with pytest.raises(UserError, match=r"masks.val"):
        folder_source(tmp_path)


def test_files_that_are_not_read_are_named(tmp_path):
    write_pair(tmp_path / "images/a.png", tmp_path / "masks/a.png", 0)
    write_pair(tmp_path / "images/b.png", tmp_path / "masks/b.png", 1)
    (tmp_path / "images/c.heic").write_bytes(b"x")
    (tmp_path / "images/.hidden").write_bytes(b"x")
    said = [note for note in folder_source(tmp_path).notes if "c.heic" in note]
    assert len(said) == 1
    assert ".hidden" not in said[0]


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("img_{}", "mask_{}"),
        ("{}_0000", "{}"),
        ("{}_leftImg8bit", "{}_gtFine_labelIds"),
        ("{}", "{}_cp_masks"),
        ("{}_training", "{}_manual1"),
        ("scan{}", "label-{}"),
    ],
)
def test_names_are_paired_by_what_varies(tmp_path, image, mask):
    for index in (9, 10, 11, 101):
        places = (
            tmp_path / f"images/{image.format(index)}.png",
            tmp_path / f"masks/{mask.format(index)}.png",
        )
        write_pair(*places, index)
    source = folder_source(tmp_path)
    pairs = {Path(r.image).stem: Path(r.labels["mask"]).stem for r in source.records()}
    assert pairs == {image.format(index): mask.format(index) for index in (9, 10, 11, 101)}
    assert not source.layout_problems()
    assert any("{name}" in note for note in source.notes)


def test_an_image_or_mask_left_over_is_no_reason_to_pair_wrongly(tmp_path):
    for name in ("img_1", "img_2", "img_3"):
        write_image(tmp_path / f"images/{name}.png", IMAGE)
    for name in ("mask_1", "mask_2", "mask_4"):
        write_labels(tmp_path / f"masks/{name}.png", scene(1) * np.uint8(255))
    source = folder_source(tmp_path)
    assert [record.key for record in source.records()] == ["img_1", "img_2"]
    problems = dict(source.layout_problems())
    assert [Path(path).stem for path in problems] == ["img_3", "mask_4"]
    assert "dataset.unlabelled" in problems[str(tmp_path / "images/img_3.png")]


def test_two_channels_of_one_image_are_no_two_images(tmp_path):
    for name in ("a_0000", "a_0001", "b_0000", "b_0001"):
        write_image(tmp_path / f"images/{name}.png", IMAGE)
    for name in "ab":
        write_labels(tmp_path / f"masks/{name}.png", scene(1) * np.uint8(255))
    with pytest.raises(UserError, match=r"a_0000.*a_0001.*channels"):
        folder_source(tmp_path)


def test_a_number_is_not_torn():
    assert common_affixes(["x10", "x11", "x12"]).part_between("x11") == "11"
    assert common_affixes(["cell", "cello"]).part_between("cello") == "cello"


def write_indexed(
    path: Path, truth: np.ndarray, colours: list[tuple[int, int, int]], order: list[int]
) -> None:
    """Class i of `truth` gets the index ``order[i]`` and the colour ``colours[i]``."""
    palette = np.zeros((256, 3), np.uint8)
    for index, colour in zip(order, colours, strict=True):
        palette[index] = colour
    picture = Image.fromarray(np.array(order, np.uint8)[truth], "P")
    picture.putpalette(palette.ravel().tolist())
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)


BLACK, WHITE, RED, BLUE = (0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 0, 255)


@pytest.mark.parametrize("orders", [[[0, 1]], [[1, 0]], [[0, 1], [1, 0]], [[3, 2], [0, 255]]])
def test_black_and_white_palettes_go_by_brightness(tmp_path, orders):
    for index in range(4):
        write_image(tmp_path / f"images/{index}.png", IMAGE)
        write_indexed(
            tmp_path / f"masks/{index}.png", scene(index), [BLACK, WHITE], orders[index % len(orders)]
        )
    source = folder_source(tmp_path)
    for record in source.records():
        assert (source.read_truth(record).classes == scene(int(record.key))).all()


def test_coloured_palettes_in_two_orders_go_by_colour(tmp_path):
    truths = [scene(i) + np.eye(8, 10, dtype=np.uint8) * (scene(i) == 0) * 2 for i in range(4)]
    for index, truth in enumerate(truths):
        write_image(tmp_path / f"images/{index}.png", IMAGE)
        order = [0, 1, 2] if index % 2 else [2, 0, 1]
        write_indexed(tmp_path / f"masks/{index}.png", truth, [BLACK, RED, BLUE], order)
    source = folder_source(tmp_path)
    read = [source.read_truth(record).classes for record in source.records()]
    for value in range(3):  # the same colour is the same class in every file, and no two colours share one
        ids = [
            set(np.unique(found[truth == value]).tolist()) for found, truth in zip(read, truths, strict=True)
        ]
        assert len(set.union(*ids)) == 1
    assert len(source.classes) == 3


def test_indices_of_one_palette_stay(tmp_path):
    for index in range(3):
        write_image(tmp_path / f"images/{index}.png", IMAGE)
        write_indexed(tmp_path / f"masks/{index}.png", scene(index) * 2, [BLACK, RED, BLUE], [0, 1, 2])
    assert folder_source(tmp_path).values == {0: 0, 1: 1, 2: 2}


def test_a_palette_that_was_not_looked_at_and_contradicts_is_refused(tmp_path):
    for index in range(2):
        write_image(tmp_path / f"images/{index}.png", IMAGE)
        write_indexed(tmp_path / f"masks/{index}.png", scene(index), [BLACK, RED], [0, 1])
    source = folder_source(tmp_path)
    write_indexed(tmp_path / "masks/1.png", scene(1), [BLACK, RED], [1, 0])
    with pytest.raises(UserError, match=r"1\.png.*#"):
        source.read_truth(source.records()[1])


def test_masks_of_0_1_among_masks_of_0_255(tmp_path):
    for index in range(4):
        write_image(tmp_path / f"images/{index}.png", IMAGE)
        write_labels(tmp_path / f"masks/{index}.png", scene(index) * np.uint8(255 if index % 2 else 1))
    source = folder_source(tmp_path)
    for record in source.records():
        assert (source.read_truth(record).classes == scene(int(record.key))).all()


def test_1_and_255_in_one_mask_stay_a_question(tmp_path):
    truth = scene(0)
    truth[7] = 255
    write_image(tmp_path / "images/a.png", IMAGE)
    write_labels(tmp_path / "masks/a.png", truth)
    with pytest.raises(UserError, match=r"ignore_value=255"):
        folder_source(tmp_path)


def test_numbers_with_gaps_that_change_from_file_to_file_are_asked_about(tmp_path):
    for index, numbers in enumerate([(3, 9), (9, 17), (4, 21), (17, 28)]):
        labels = np.zeros((8, 10), np.uint8)
        labels[1:3, 1:3], labels[5:7, 5:7] = numbers
        write_image(tmp_path / f"images/{index}.png", IMAGE)
        write_labels(tmp_path / f"masks/{index}.png", labels)
    with pytest.raises(UserError, match=r"dataset\.instances=true.*dataset\.classes"):
        folder_source(tmp_path)
    source = folder_source(tmp_path, instances=True)
    assert np.unique(source.read_truth(source.records()[0]).instances).tolist() == [0, 3, 9]


@pytest.mark.parametrize("values", [(1, 2), (1, 2, 3)])
def test_masks_without_0_ask_for_the_background(tmp_path, values):
    labels = np.array(values, np.uint8)[np.arange(80).reshape(8, 10) % len(values)]
    write_image(tmp_path / "images/a.png", IMAGE)
    write_labels(tmp_path / "masks/a.png", labels)
    with pytest.raises(UserError, match=r"dataset\.background=1"):
        folder_source(tmp_path)
    source = folder_source(tmp_path, background="2")
    classes = source.read_truth(source.records()[0]).classes
    assert ((classes == 0) == (labels == 2)).all()
