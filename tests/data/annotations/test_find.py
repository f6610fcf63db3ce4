"""Formats told apart and, for one random scene written in each of them, the same pixels."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from matplotlib.path import Path as Outline
from roifile import ImagejRoi

from unet_train.data.annotations.find import FORMATS, find_annotations
from unet_train.data.annotations.json_files import top_keys
from unet_train.data.annotations.shapes import rasterise
from unet_train.errors import UserError

HEIGHT, WIDTH = 36, 44
NAMES = ("cell", "debris")
Scene = list[tuple[int, np.ndarray]]
"""(index of the name, N×2 x and y), the largest first."""


# --- the scene in each format ----------------------------------------------------------------------------------


def write_coco(folder: Path, image: str, scene: Scene) -> None:
    data = {
        "images": [{"id": 1, "file_name": f"{image}.png", "height": HEIGHT, "width": WIDTH}],
        "categories": [{"id": 1 + index, "name": name} for index, name in enumerate(NAMES)],
        "annotations": [
            {"id": i, "image_id": 1, "category_id": 1 + index, "segmentation": [points.ravel().tolist()]}
            for i, (index, points) in enumerate(scene)
        ],
    }
    (folder / "instances.json").write_text(json.dumps(data))


def write_labelme(folder: Path, image: str, scene: Scene) -> None:
    data = {
        "version": "5.0.0",
        "flags": {},
        "shapes": [{"label": NAMES[index], "points": points.tolist()} for index, points in scene],
        "imagePath": f"{image}.png",
        "imageHeight": HEIGHT,
        "imageWidth": WIDTH,
    }
    (folder / f"{image}.json").write_text(json.dumps(data))


def write_yolo(folder: Path, image: str, scene: Scene) -> None:
    lines = [
        " ".join([str(index), *(f"{value:.9f}" for value in (points / (WIDTH, HEIGHT)).ravel())])
        for index, points in scene
    ]
    (folder / f"{image}.txt").write_text("\n".join(lines))
    (folder / "data.yaml").write_text(f"names: {list(NAMES)}")


def write_imagej(folder: Path, image: str, scene: Scene) -> None:
    with zipfile.ZipFile(folder / f"{image}.zip", "w") as archive:
        for i, (index, points) in enumerate(scene):
            archive.writestr(f"{NAMES[index]}-{i}.roi", ImagejRoi.frompoints(points).tobytes())


def write_geojson(folder: Path, image: str, scene: Scene) -> None:
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [[*points.tolist(), points[0].tolist()]]},
            "properties": {"classification": {"name": NAMES[index]}},
        }
        for index, points in scene
    ]
    (folder / f"{image}.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))


WRITERS: dict[str, Callable[[Path, str, Scene], None]] = {
    "coco": write_coco,
    "labelme": write_labelme,
    "yolo": write_yolo,
    "imagej": write_imagej,
    "geojson": write_geojson,
}
RECTANGLE = np.array([[3, 2], [9, 2], [9, 7], [3, 7]], float)


def area(points: np.ndarray) -> float:
    x, y = points.T
    return abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


def keeps_off_centres(points: np.ndarray) -> bool:
    """Whether no pixel's centre lies so near an edge that rounding in a file could decide."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    centres = np.stack([x.ravel(), y.ravel()], axis=1)
    for start, end in zip(points, np.roll(points, -1, axis=0), strict=True):
        along = end - start
        share = np.clip((centres - start) @ along / max(along @ along, 1e-12), 0, 1)
        if np.hypot(*(start + share[:, None] * along - centres).T).min() < 1e-3:
            return False
    return True


@st.composite
def scenes(draw) -> Scene:
    """Rectangles between corners and stars in quarter pixels, partly outside the image."""
    scene = []
    for _ in range(draw(st.integers(2, 5))):
        index = draw(st.integers(0, len(NAMES) - 1))
        x, y = draw(st.integers(-4, WIDTH - 4)), draw(st.integers(-4, HEIGHT - 4))
        if draw(st.booleans()):
            width, height = draw(st.integers(1, 20)), draw(st.integers(1, 20))
            points = np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]], float)
        else:
            count = draw(st.integers(3, 9))
            radii = np.array(draw(st.lists(st.integers(12, 60), min_size=count, max_size=count))) / 4
            angles = np.arange(count) * 2 * np.pi / count + draw(st.integers(0, 30)) / 10
            points = np.stack([x + radii * np.cos(angles), y + radii * np.sin(angles)], axis=1)
            points = np.round(points * 4) / 4
        assume(keeps_off_centres(points))
        scene.append((index, points))
    sizes = [area(points) for _, points in scene]
    assume(len(set(sizes)) == len(sizes))
    return [scene[i] for i in np.argsort(sizes)[::-1]]


def expected_pixels(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    classes, objects = np.zeros((HEIGHT, WIDTH), int), np.zeros((HEIGHT, WIDTH), int)
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    for number, (index, points) in enumerate(scene, 1):
        inside = Outline(points).contains_points(np.c_[x.ravel(), y.ravel()]).reshape(HEIGHT, WIDTH)
        classes[inside], objects[inside] = index + 1, number
    return classes, objects


@given(scene=scenes())
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow]
)
def test_one_scene_comes_back_the_same_from_every_format(tmp_path_factory, scene):
    expected = expected_pixels(scene)
    for name, write in WRITERS.items():
        folder = tmp_path_factory.mktemp(name)
        write(folder, "a", scene)
        found = pickle.loads(pickle.dumps(find_annotations(folder)))
        assert found.format == FORMATS[name]
        used = {NAMES[index] for index, _ in scene}
        assert used <= set(found.classes) <= set(NAMES) or found.classes == ("object",)
        # A region's name that occurs once is an object's: a scene of two such has one class in ImageJ's format.
        ids = {NAMES[0]: 1, NAMES[1]: 2, "object": 1}
        classes, objects = rasterise(found.shapes("a.png"), HEIGHT, WIDTH, ids)
        assert (objects == expected[1]).all(), name
        if "object" not in found.classes:
            assert (classes == expected[0]).all(), name


# --- telling formats apart -------------------------------------------------------------------------------------


def test_no_annotations(tmp_path):
    assert find_annotations(tmp_path) is None
    (tmp_path / "images").mkdir()
    (tmp_path / "images/a.png").write_bytes(b"no image, and never opened")
    (tmp_path / "dataset.json").write_text('{"labels": {"0": "background"}, "training": []}')
    (tmp_path / "list.json").write_text('["a", "b"]')
    (tmp_path / "results.json").write_text('[{"image_id": 1, "category_id": 1, "segmentation": []}]')
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "README.txt").write_text("5 images of cells\n")
    (tmp_path / ".hidden").mkdir()
    write_labelme(tmp_path / ".hidden", "a", [(0, RECTANGLE)])
    (tmp_path / "._a.json").write_bytes(b"\x00\x05\x16\x07")
    assert find_annotations(tmp_path) is None


@pytest.mark.parametrize("one", WRITERS)
@pytest.mark.parametrize("other", WRITERS)
def test_two_formats_are_refused_with_a_file_of_each_and_the_key(tmp_path, one, other):
    if one == other:
        return
    for name in (one, other):
        (tmp_path / name).mkdir()
        WRITERS[name](tmp_path / name, "a", [(0, RECTANGLE)])
    with pytest.raises(UserError) as error:
        find_annotations(tmp_path)
    for name in (one, other):
        assert f"dataset.annotations={name}" in str(error.value)
        assert FORMATS[name] in str(error.value)
    assert find_annotations(tmp_path, only=one).format == FORMATS[one]
    assert find_annotations(tmp_path / one).images() == ["a.png" if one == "coco" else "a"]


def test_an_unknown_format_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"dataset\.annotations=voc.*coco"):
        find_annotations(tmp_path, only="voc")


def test_a_folder_without_files_of_the_format_asked_for(tmp_path):
    write_yolo(tmp_path, "a", [(0, RECTANGLE)])
    assert find_annotations(tmp_path, only="coco") is None


@pytest.mark.parametrize("where", ["images/a.png", "images/a.tiff", "a.png", "a"])
@pytest.mark.parametrize("name", WRITERS)
def test_an_image_is_matched_by_its_file_name(tmp_path, name, where):
    WRITERS[name](tmp_path, "a", [(0, RECTANGLE)])
    found = find_annotations(tmp_path)
    for image in (where, tmp_path / where, Path("/elsewhere") / where):
        assert len(found.shapes(image)) == 1
        assert found.file_of(image) == found.files[0]
    assert found.match("images/b.png") is None
    assert found.file_of("b.png") is None


def test_folders_decide_between_equal_names(tmp_path):
    for folder in ("p1", "p2", "p2/deep"):
        (tmp_path / "labels" / folder).mkdir(parents=True, exist_ok=True)
        write_labelme(tmp_path / "labels" / folder, "001", [(0, RECTANGLE)])
    found = find_annotations(tmp_path)
    for folder in ("p1", "p2", "p2/deep"):
        assert found.match(tmp_path / "images" / folder / "001.png") == f"labels/{folder}/001"
    with pytest.raises(UserError, match=r"(?=.*images.001\.png)(?=.*labels)"):
        found.match(tmp_path / "images/001.png")


def test_folders_above_the_root_say_nothing_of_parts(tmp_path):
    root = tmp_path / "training" / "set"
    (root / "val").mkdir(parents=True)
    write_labelme(root / "val", "a", [(0, RECTANGLE)])
    assert find_annotations(root).match(root / "val/a.png") == "val/a"
    assert find_annotations(root).match(root / "images/a.png") == "val/a"
    assert find_annotations(root / "val").match(root / "val/a.png") == "a"


def test_keys_by_the_first_bytes():
    text = b'\xef\xbb\xbf{"a": {"b": [1, {"c": 2}]}, "d\\"e": "f: {", "g": [[1], 2], "h'
    assert top_keys(text) == {"a", 'd\\"e', "g"}
    assert top_keys(b'[{"a": 1}, {"b": {"c": 1}}]') == {"a", "b"}
    assert top_keys(b"]]}") == top_keys(b"") == set()


# --- whatever a file may hold ----------------------------------------------------------------------------------

ODD = [
    None,
    True,
    -1,
    0,
    1.5,
    1e400,
    "",
    "x",
    "é\ud800",
    [],
    [[]],
    {},
    {"a": 1},
    [1, 2],
    [[1, 2], [3]],
    10**400,
]


def nodes(data, path=()):
    """Paths of all values in nested lists and dicts."""
    yield path
    children = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in children:
        yield from nodes(value, (*path, key))


def replaced(data, path, value):
    if not path:
        return value
    copy = dict(data) if isinstance(data, dict) else list(data)
    copy[path[0]] = replaced(data[path[0]], path[1:], value)
    return copy


def refusal(folder: Path) -> str:
    """What is said on reading and drawing all that a folder holds; "" where it can be read."""
    try:
        found = find_annotations(folder)
        for image in found.images() if found else ():
            rasterise(found.shapes(image), HEIGHT, WIDTH, dict.fromkeys(found.classes, 1))
    except UserError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", ["coco", "labelme", "geojson"])
def test_any_value_in_the_wrong_place_is_read_or_refused_in_one_line(tmp_path, name):
    """Each value of a small file in turn replaced by each odd one: nothing else than a UserError comes out."""
    WRITERS[name](tmp_path, "a", [(0, RECTANGLE), (1, RECTANGLE[:3])])
    (path,) = [file for file in tmp_path.iterdir() if file.suffix in (".json", ".geojson")]
    data = json.loads(path.read_text())
    said = []
    for place in nodes(data):
        for odd in ODD:
            path.write_text(json.dumps(replaced(data, place, odd)))
            said.append(refusal(tmp_path))
    refused = [message for message in said if message]
    assert len(refused) > 100
    assert [message for message in refused if path.name not in message or "\n" in message] == []


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_any_bytes_in_a_region_are_read_or_refused_in_one_line(tmp_path_factory, data):
    whole = bytearray(ImagejRoi.frompoints(RECTANGLE.astype(int), name="cell").tobytes())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("roi") / "a.roi"
    path.write_bytes(whole[: data.draw(st.integers(1, len(whole)))])
    message = refusal(path.parent)
    assert not message or ("a.roi" in message and "\n" not in message)
