"""labelme JSON: kinds of shapes, objects of several pieces, names, and what is refused."""

from __future__ import annotations

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from unet_train.data.annotations.find import find_annotations
from unet_train.data.annotations.shapes import rasterise
from unet_train.errors import UserError

SQUARE = [[1, 1], [4, 1], [4, 3], [1, 3]]


def square() -> np.ndarray:
    mask = np.zeros((6, 8), np.uint8)
    mask[1:3, 1:4] = 1
    return mask


def item(points=SQUARE, label="cell", kind="polygon", **more) -> dict:
    return {"label": label, "points": points, "group_id": None, "shape_type": kind, "flags": {}, **more}


def write(path, shapes, *, image=None, size=(6, 8), encoding="utf-8", newline="\n"):
    data = {
        "version": "5.4.1",
        "flags": {},
        "shapes": shapes,
        "imagePath": image or path.with_suffix(".png").name,
        "imageData": None,
        "imageHeight": size and size[0],
        "imageWidth": size and size[1],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(json.dumps(data, indent=2, ensure_ascii=False).replace("\n", newline).encode(encoding))
    return path


def draw(found, image="a.png", height=6, width=8):
    return rasterise(found.shapes(image), height, width, {name: i for i, name in enumerate(found.classes, 1)})


def read(tmp_path, *shapes, **kwargs):
    write(tmp_path / "a.json", list(shapes), **kwargs)
    found = find_annotations(tmp_path)
    assert found is not None
    assert found.format == "labelme JSON"
    return found


@pytest.mark.parametrize(
    "shape",
    [
        item(),
        item(kind=None),
        item([[4, 3], [1, 1]], kind="rectangle"),
        item(kind="rectangle"),
    ],
)
def test_polygons_and_rectangles(tmp_path, shape):
    assert (draw(read(tmp_path, shape))[0] == square()).all()


def test_a_circle_is_its_middle_and_a_point_on_it(tmp_path):
    classes, _ = draw(read(tmp_path, item([[4, 3], [4, 5.2]], kind="circle")))
    y, x = np.mgrid[:6, :8] + 0.5
    assert (classes == (np.hypot(x - 4, y - 3) < 2.2)).all()


def test_a_mask(tmp_path):
    pixels = np.array([[0, 1, 1], [1, 1, 0]], np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels * np.uint8(255)).save(file, "PNG")
    shape = item([[2, 1], [4, 2]], kind="mask", mask=base64.b64encode(file.getvalue()).decode())
    classes, _ = draw(read(tmp_path, shape))
    expected = np.zeros((6, 8))
    expected[1:3, 2:5] = pixels
    assert (classes == expected).all()


@pytest.mark.parametrize("mask", [None, "", "!!", "aGVsbG8="])
def test_a_mask_that_is_none_is_refused(tmp_path, mask):
    with pytest.raises(UserError, match=r"a\.json: shapes\[0\]"):
        read(tmp_path, item([[2, 1], [4, 2]], kind="mask", mask=mask))


def test_pieces_of_one_group_are_one_object(tmp_path):
    boxes = [[[0, 0], [2, 2]], [[3, 0], [4, 2]], [[6, 0], [8, 2]], [[0, 3], [2, 5]], [[6, 3], [8, 5]]]
    groups = [7, None, 7, 7, None]
    labels = ["cell", "cell", "cell", "debris", "cell"]
    shapes = [
        item(box, label, "rectangle", group_id=group)
        for box, group, label in zip(boxes, groups, labels, strict=True)
    ]
    classes, objects = draw(read(tmp_path, *shapes))
    assert objects[0].tolist() == [1, 1, 0, 2, 0, 0, 1, 1]
    assert objects[4].tolist() == [3, 3, 0, 0, 0, 0, 4, 4]
    assert classes[4].tolist() == [2, 2, 0, 0, 0, 0, 1, 1]


def test_shapes_are_drawn_in_the_file_s_order(tmp_path):
    """As labelme itself does: a large one that comes later hides what lies under it."""
    around = item([[0, 0], [8, 6]], "tissue", "rectangle")
    assert (draw(read(tmp_path / "a", around, item()))[0] == np.where(square(), 1, 2)).all()
    assert (draw(read(tmp_path / "b", item(), around))[0] == 2).sum() == 48


def test_ignored_and_background_labels(tmp_path):
    found = read(
        tmp_path,
        item([[0, 0], [8, 6]], "cell", "rectangle"),
        item([[0, 0], [8, 1]], "__ignore__", "rectangle"),
        item(label="_background_"),
    )
    assert found.classes == ("cell",)
    classes, objects = draw(found)
    assert set(classes[0]) == {255}
    assert (classes[1:] == 1 - square()[1:]).all()
    assert (objects == (classes == 1)).all()


@pytest.mark.parametrize(("encoding", "newline"), [("utf-8-sig", "\n"), ("utf-8", "\r\n")])
def test_files_from_windows(tmp_path, encoding, newline):
    found = read(tmp_path, item(), image="..\\images\\a.png", encoding=encoding, newline=newline)
    assert (draw(found)[0] == square()).all()


def test_names_and_empty_files(tmp_path):
    write(tmp_path / "labels/größe (2).json", [item(label="zebra")])
    write(tmp_path / "labels/b.v1.json", [], image="b.v1.jpg")
    write(tmp_path / "labels/renamed.json", [item(label="ant")], image="old/first.png")
    found = find_annotations(tmp_path)
    assert sorted(found.images()) == ["labels/b.v1", "labels/größe (2)", "labels/renamed"]
    assert found.classes == ("ant", "zebra")
    assert found.shapes(tmp_path / "images/b.v1.jpg") == []
    assert len(found.shapes(tmp_path / "images/größe (2).tif")) == 1
    assert found.match("first.png") == found.match("x/renamed.png") == "labels/renamed"


def test_a_stale_image_path_takes_no_other_file_s_image(tmp_path):
    write(tmp_path / "a.json", [item()])
    write(tmp_path / "b.json", [item(label="dog")], image="a.png")  # copied, then renamed
    found = find_annotations(tmp_path)
    assert found.match("a.png") == "a"
    assert found.match("b.png") == "b"


def test_sizes(tmp_path):
    assert (draw(read(tmp_path / "none", item(), size=None))[0] == square()).all()
    with pytest.raises(UserError, match=r"a\.json: shapes\[0\].*6.*8.*8.*6"):
        draw(read(tmp_path / "some", item()), height=8, width=6)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (item([[1, 1], [2, 2]]), r"cell.*2 points"),
        (item([[1, 1]], kind="rectangle"), r"rectangle.* 1 "),
        (item([[1, 1]], kind="circle"), r"circle.* 1 "),
        (item([[1, 1]], kind="point"), "point"),
        (item([[1, 1], [2, 2]], kind="line"), "line"),
        (item(kind="linestrip"), "linestrip"),
        (item([[1, 1], [2, "x"], [3, 3]]), "numbers"),
        ({"points": SQUARE}, "label"),
        ({"label": "cell"}, "points"),
    ],
)
def test_bad_shapes_are_refused_with_file_and_index(tmp_path, shape, message):
    with pytest.raises(UserError, match=rf"a\.json: shapes\[1\].*{message}"):
        read(tmp_path, item(), shape)


def test_broken_json_is_one_line_with_the_place(tmp_path):
    path = write(tmp_path / "a.json", [item()])
    path.write_text(path.read_text()[:-90])
    with pytest.raises(UserError, match=r"a\.json.*line \d+, column \d+"):
        find_annotations(tmp_path)


def test_a_label_that_is_a_word_of_another_format(tmp_path):
    found = read(tmp_path, item(label="Feature"), item(label="images"))
    assert found.classes == ("Feature", "images")
