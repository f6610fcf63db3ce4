"""GeoJSON of QuPath: holes, several polygons, classifications, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from unet_train.data.annotations.find import find_annotations
from unet_train.data.annotations.shapes import rasterise
from unet_train.errors import UserError

SQUARE = [[1, 1], [4, 1], [4, 3], [1, 3], [1, 1]]


def square() -> np.ndarray:
    mask = np.zeros((6, 8), np.uint8)
    mask[1:3, 1:4] = 1
    return mask


def feature(coordinates=None, kind="Polygon", classification=None, **geometry) -> dict:
    properties = {"objectType": "annotation"}
    if classification is not None:
        properties["classification"] = classification
    geometry = {"type": kind, "coordinates": [SQUARE] if coordinates is None else coordinates, **geometry}
    return {"type": "Feature", "id": "x", "geometry": geometry, "properties": properties}


def write(path, data, encoding="utf-8", newline="\n"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(json.dumps(data, indent=1, ensure_ascii=False).replace("\n", newline).encode(encoding))
    return path


def read(tmp_path, *features):
    write(tmp_path / "a.geojson", {"type": "FeatureCollection", "features": list(features)})
    found = find_annotations(tmp_path)
    assert found is not None
    assert found.format == "GeoJSON"
    return found


def draw(found, image="a.tif", height=6, width=8):
    return rasterise(found.shapes(image), height, width, {name: i for i, name in enumerate(found.classes, 1)})


@pytest.mark.parametrize("name", ["a.geojson", "a.json"])
@pytest.mark.parametrize(("encoding", "newline"), [("utf-8", "\n"), ("utf-8-sig", "\r\n")])
@pytest.mark.parametrize(
    "data", [{"type": "FeatureCollection", "features": [feature()]}, [feature()], feature()]
)
def test_a_polygon_in_each_form_of_file(tmp_path, name, encoding, newline, data):
    write(tmp_path / name, data, encoding, newline)
    found = find_annotations(tmp_path)
    assert found.classes == ("object",)
    assert (draw(found)[0] == square()).all()


def test_holes_and_several_polygons(tmp_path):
    around = [[0, 0], [6, 0], [6, 5], [0, 5], [0, 0]]
    hole = [[2, 1], [4, 1], [4, 4], [2, 4], [2, 1]]
    apart = [[7, 0], [8, 0], [8, 6], [7, 6], [7, 0]]
    classes, objects = draw(read(tmp_path, feature([[around, hole], [apart]], "MultiPolygon")))
    expected = np.zeros((6, 8), int)
    expected[:5, :6] = 1
    expected[1:4, 2:4] = 0
    expected[:, 7] = 1
    assert (classes == expected).all()
    assert (objects == expected).all()


def test_classifications(tmp_path):
    found = read(
        tmp_path,
        feature(classification={"name": "Tumor", "color": [200, 0, 0]}),
        feature(classification={"names": ["Immune cells", "CD8"]}),
        feature(classification={"name": "Größe", "colorRGB": -1}),
    )
    assert found.classes == ("Größe", "Immune cells: CD8", "Tumor")
    assert {shape.name for shape in found.shapes("a.png")} == set(found.classes)


def test_ignored_regions_are_unknown(tmp_path):
    whole = [[[0, 0], [8, 0], [8, 6], [0, 6], [0, 0]]]
    found = read(
        tmp_path,
        feature(classification={"name": "Ignore*"}),
        feature(whole, classification={"name": "Tumor"}),
    )
    assert found.classes == ("Tumor",)
    classes, objects = draw(found)
    assert (classes == np.where(square(), 255, 1)).all()
    assert (objects == 1 - square()).all()


def test_some_without_a_classification_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"a\.geojson: features\[1\].*classification.*Tumor"):
        read(tmp_path, feature(classification={"name": "Tumor"}), feature())


def test_large_ones_are_drawn_first_whatever_the_file_s_order(tmp_path):
    whole = feature([[[0, 0], [8, 0], [8, 6], [0, 6], [0, 0]]])
    for index, features in enumerate(([whole, feature()], [feature(), whole])):
        assert (draw(read(tmp_path / str(index), *features))[1] == square() + 1).all()


def test_names_and_empty_files(tmp_path):
    write(tmp_path / "b.ome.tif.geojson", {"type": "FeatureCollection", "features": []})
    found = read(tmp_path, feature())
    assert found.images() == ["a", "b.ome.tif"]
    assert found.match(tmp_path / "images/b.ome.tif") == "b.ome.tif"
    assert not draw(found, "b.ome.tif")[0].any()


def test_planes(tmp_path):
    same = feature(plane={"c": -1, "z": 2, "t": 0})
    assert len(read(tmp_path, same, same).shapes("a.tif")) == 2
    with pytest.raises(UserError, match=r"a\.geojson.*2 slices"):
        read(tmp_path, feature(plane={"c": -1, "z": 0, "t": 0}), same)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (feature([1, 2], "Point"), "Point"),
        (feature([[1, 2], [3, 4]], "LineString"), "LineString"),
        (feature([], "Polygon"), "Polygon"),
        (feature([[]], "MultiPolygon"), "MultiPolygon"),
        (feature([[[1, 1], [2, 2], [1, 1]]]), "2 points"),
        (feature([[[1, 1], [2, "x"], [3, 1]]]), "numbers"),
        ({"type": "Feature", "geometry": None, "properties": {}}, "geometry"),
    ],
)
def test_bad_features_are_refused_with_file_and_index(tmp_path, bad, message):
    with pytest.raises(UserError, match=rf"a\.geojson: features\[1\].*{message}"):
        read(tmp_path, feature(), bad)


def test_broken_json_is_one_line_with_the_place(tmp_path):
    (tmp_path / "a.geojson").write_text('{"type": "FeatureCollection",\n "features": [}')
    with pytest.raises(UserError, match=r"a\.geojson.*line 2, column 15"):
        find_annotations(tmp_path)
