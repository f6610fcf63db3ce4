"""YOLO text: fractions, names beside the files, boxes and other texts that are refused."""

from __future__ import annotations

import numpy as np
import pytest

from unet_train.data.annotations.find import find_annotations
from unet_train.data.annotations.shapes import rasterise
from unet_train.errors import UserError

SQUARE = "0.125 0.25 0.5 0.25 0.5 0.5 0.125 0.5"  # of 8×8 pixels: columns 1 to 3, rows 2 and 3


def square() -> np.ndarray:
    mask = np.zeros((8, 8), np.uint8)
    mask[2:4, 1:4] = 1
    return mask


def write(path, text, encoding="utf-8"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))
    return path


def read(tmp_path, text, names="names: [cell, debris, tissue]\n", **kwargs):
    write(tmp_path / "labels/a.txt", text, **kwargs)
    if names:
        write(tmp_path / "data.yaml", names)
    found = find_annotations(tmp_path)
    assert found is not None
    assert found.format == "YOLO text"
    return found


def draw(found, image="images/a.jpg", height=8, width=8):
    return rasterise(found.shapes(image), height, width, {name: i for i, name in enumerate(found.classes, 1)})


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (f"0 {SQUARE}\n", "utf-8"),
        (f"0 {SQUARE}", "utf-8-sig"),
        (f"\r\n0 {SQUARE}\r\n\r\n", "utf-8"),
        (f"0  {SQUARE} \t\n", "utf-8"),
    ],
)
def test_an_outline(tmp_path, text, encoding):
    found = read(tmp_path, text, encoding=encoding)
    assert (draw(found)[0] == square()).all()
    assert (draw(found, height=80, width=80)[0] == np.kron(square(), np.ones((10, 10)))).all()
    assert found.classes == ("cell", "debris", "tissue")


def test_pieces_joined_by_a_bridge(tmp_path):
    """Ultralytics writes an object of two pieces as one outline that goes there and back."""
    pieces = "0 0  0.25 0  0.25 0.25  0.75 0.25  0.75 0  1 0  1 0.5  0.75 0.5  0.75 0.25  0.25 0.25  0.25 0.5  0 0.5"
    classes, objects = draw(read(tmp_path, f"0 {pieces}"))
    assert classes[1].tolist() == classes[3].tolist() == [1, 1, 0, 0, 0, 0, 1, 1]
    assert objects.max() == 1


def test_large_ones_are_drawn_first_whatever_the_file_s_order(tmp_path):
    for index, lines in enumerate(
        ([f"0 {SQUARE}", "2 0 0 1 0 1 1 0 1"], ["2 0 0 1 0 1 1 0 1", f"0 {SQUARE}"])
    ):
        classes, objects = draw(read(tmp_path / str(index), "\n".join(lines)))
        assert (classes == np.where(square(), 1, 3)).all()
        assert (objects == np.where(square(), 2, 1)).all()


def test_a_little_outside_is_clipped(tmp_path):
    classes, _ = draw(read(tmp_path, "0 -0.1 -0.1 0.5 -0.1 0.5 1.2 -0.1 1.2"))
    assert (classes == np.repeat([[1, 0]], 4, axis=1)).all()


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("data.yaml", "train: x\nnames:\n  0: cell\n  1: größe\n"),
        ("data.yaml", "nc: 2\nnames: ['cell', 'größe']\n"),
        ("data.yaml", "names: \"['cell', 'größe']\"\n"),
        ("my_set.yml", "\ufeffnames: [cell, größe]\r\n"),
        ("classes.txt", "cell\r\ngröße\r\n"),
        ("labels/classes.txt", "\ufeffcell\ngröße\n\n"),
    ],
)
def test_names_beside_the_files(tmp_path, file, text):
    write(tmp_path / file, text)
    found = read(tmp_path, f"1 {SQUARE}", names=None)
    assert found.classes == ("cell", "größe")
    assert [shape.name for shape in found.shapes("a.png")] == ["größe"]
    assert any(file.rpartition("/")[2] in note for note in found.notes)


def test_names_above_the_folder_of_a_part(tmp_path):
    write(tmp_path / "data.yaml", "names: [cell]")
    write(tmp_path / "train/labels/a.txt", f"0 {SQUARE}")
    assert find_annotations(tmp_path / "train/labels").classes == ("cell",)


def test_names_inside_come_before_those_above(tmp_path):
    write(tmp_path / "other.yaml", "names: [street]")
    assert read(tmp_path / "mine", f"0 {SQUARE}").classes == ("cell", "debris", "tissue")


def test_without_names_classes_go_by_id_and_that_is_said(tmp_path):
    write(tmp_path / "labels/b.txt", f"7 {SQUARE}")
    found = read(tmp_path, f"2 {SQUARE}", names=None)
    assert found.classes == ("class_2", "class_7")
    assert [shape.name for shape in found.shapes("a.png")] == ["class_2"]
    assert len(found.notes) == 1


def test_empty_files_are_images_without_objects(tmp_path):
    write(tmp_path / "labels/b c.txt", "")
    write(tmp_path / "labels/c.txt", "\n")
    write(tmp_path / "requirements/empty.txt", "")
    write(tmp_path / "train.txt", "images/a.png\nimages/b.png\n")
    found = read(tmp_path, f"0 {SQUARE}")
    assert found.images() == ["labels/a", "labels/b c", "labels/c"]
    assert found.shapes("b c.png") == []
    assert not draw(found, "c.png")[0].any()


def test_parts_with_equal_names(tmp_path):
    write(tmp_path / "data.yaml", "names: [cell, debris]")
    for index, part in enumerate(("train", "val")):
        write(tmp_path / f"labels/{part}/a.txt", f"{index} {SQUARE}")
    write(tmp_path / "labels/train/b.txt", f"0 {SQUARE}")
    found = find_annotations(tmp_path)
    assert found.match(tmp_path / "images/train/a.jpg") == "labels/train/a"
    assert found.match(tmp_path / "images/val/a.jpg") == "labels/val/a"
    assert found.match(tmp_path / "images/val/b.jpg") is None  # another part's


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0.5 0.5 0.2 0.2", r"box.*class x1 y1"),
        (f"0 {SQUARE} 0.93", r"9 numbers.*confidence"),
        ("0 0.1 0.2", "1 points"),
        ("0 10 20 100 20 100 200", "200.*fraction"),
        (f"3 {SQUARE}", r"id 3.*0, 1, 2"),
        (f"cell {SQUARE}", "class id"),
        ("0 0.1 0.2 x 0.3 0.4 0.5", "class id"),
        ("0 0.1 0.2 nan 0.3 0.4 0.5", "class id"),
    ],
)
def test_bad_lines_are_refused_with_file_and_line(tmp_path, line, message):
    found = read(tmp_path, f"0 {SQUARE}\n{line}\n")
    with pytest.raises(UserError, match=rf"a\.txt: line 2.*{message}"):
        found.shapes("a.png")


def test_files_of_boxes_are_found_and_refused(tmp_path):
    with pytest.raises(UserError, match=r"a\.txt: line 1.*box"):
        read(tmp_path, "0 0.5 0.5 0.2 0.2\n", names=None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("names: [a\n", r"data\.yaml.*YAML"),
        ("names: 5\n", r"data\.yaml.*names"),
        ("names: [a]\nkpt_shape: [17, 3]\n", r"data\.yaml.*kpt_shape"),
    ],
)
def test_bad_data_files_are_refused(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        read(tmp_path, f"0 {SQUARE}", names=text)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("classes.txt", "cell\n\ndebris\n", r"classes\.txt: line 2"),
        ("classes.txt", "cell\ncell\n", r"classes\.txt.*'cell'"),
        ("data.yaml", "names: [a, b, a]", r"data\.yaml.*'a'"),
    ],
)
def test_name_lists_that_leave_ids_open_are_refused(tmp_path, file, text, message):
    write(tmp_path / file, text)
    with pytest.raises(UserError, match=message):
        read(tmp_path, f"0 {SQUARE}", names=None)


def test_names_that_differ_are_refused(tmp_path):
    write(tmp_path / "labels/classes.txt", "cell\nother\n")
    with pytest.raises(UserError, match=r"(?=.*data\.yaml)(?=.*classes\.txt)(?=.*other)"):
        read(tmp_path, f"0 {SQUARE}")


@pytest.mark.parametrize(
    "text", ["1 0 91 0\n", "1 2 3 4 5 6\n", "some words in a line of text\n", "a.png 1 2 3 4\n", "\x00\xff"]
)
def test_other_texts_are_no_annotations(tmp_path, text):
    write(tmp_path / "a.txt", text)
    assert find_annotations(tmp_path) is None
