"""GeoJSON as QuPath exports it: one file per image; polygons with holes, several polygons as one object."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from unet_train.data.annotations.collection import (
    Annotations,
    Entry,
    entry_by_name,
    foreground_classes,
    name_of,
)
from unet_train.data.annotations.json_files import read_json
from unet_train.data.annotations.shapes import Shape, large_first, polygon
from unet_train.errors import UserError

FORMAT = "GeoJSON"
_ONE_CLASS = "object"
_UNKNOWN = "Ignore*"  # QuPath's class for regions that are to be left out


def might_be_geojson(keys: set[str], head: bytes) -> bool:
    """Whether a JSON file with these outermost keys and first bytes holds features."""
    return "type" in keys and (b'"Feature"' in head or b'"FeatureCollection"' in head)


def read_geojson(root: Path, files: Sequence[Path]) -> Annotations | None:
    """Read GeoJSON files; None where none of them is one.

    Objects without a classification are of the class ``object``.

    Raises
    ------
    UserError
        Broken files; lines and points; outlines of fewer than three points; objects of several slices; some objects
        with a classification and some without; two files for one image.
    """
    shapes: dict[Path, list[Shape]] = {}
    for path in files:
        data = read_json(path)
        if _features(data) is not None:
            shapes[path] = _shapes(path, data)
    if not shapes:
        return None
    known = [shape for own in shapes.values() for shape in own if not shape.unknown]
    names = sorted({shape.name for shape in known})
    if "" in names and len(names) > 1:
        bare = next(shape for shape in known if not shape.name)
        raise UserError(
            f"{bare.where} has no classification while others have ({', '.join(names[1:])}); classify all objects in "
            "QuPath, or delete it"
        )
    return Annotations(
        format=FORMAT,
        classes=foreground_classes(name or _ONE_CLASS for name in names),
        files=tuple(shapes),
        root=root,
        entries=entry_by_name(Entry(name_of(root, path), path) for path in shapes),
        reader=partial(read_shapes, _ONE_CLASS),
    )


def read_shapes(unclassified: str, path: Path, _name: str) -> list[Shape]:
    """Shapes of one file, from the largest to the smallest; those without a classification are of the class named.

    Raises
    ------
    UserError
        As `read_geojson`.
    """
    return large_first(_shapes(path, read_json(path), unclassified))


def _features(data: Any) -> list[Any] | None:
    """The features of a collection, a list or a single one."""
    if isinstance(data, dict) and data.get("type") == "FeatureCollection":
        features = data.get("features")
        return features if isinstance(features, list) else None
    if isinstance(data, dict) and data.get("type") == "Feature":
        return [data]
    if isinstance(data, list) and all(isinstance(f, dict) and f.get("type") == "Feature" for f in data):
        return data
    return None


def _shapes(path: Path, data: Any, unclassified: str = "") -> list[Shape]:
    planes = set()
    shapes = []
    for index, feature in enumerate(_features(data) or []):
        where = f"{path}: features[{index}]"
        geometry = feature.get("geometry") if isinstance(feature, dict) else None
        if not isinstance(geometry, dict):
            raise UserError(f"{where} has no geometry")
        kind, coordinates = geometry.get("type"), geometry.get("coordinates")
        if kind not in ("Polygon", "MultiPolygon"):
            raise UserError(f"{where}: a {kind} has no area; delete it in QuPath, or draw a polygon instead")
        polygons = [coordinates] if kind == "Polygon" else coordinates
        if (
            not isinstance(polygons, list)
            or not polygons
            or not all(isinstance(p, list) and p for p in polygons)
        ):
            raise UserError(f"{where}: a {kind} without coordinates; delete it or draw it again")
        plane = geometry.get("plane")
        planes.add(
            (str(plane.get("z", 0)), str(plane.get("t", 0))) if isinstance(plane, dict) else ("0", "0")
        )
        name = _class_name(feature)
        shapes.append(
            Shape(
                name or unclassified,
                tuple(polygon(rings, where) for rings in polygons),
                unknown=name == _UNKNOWN,
                where=where,
            )
        )
    if len(planes) > 1:
        raise UserError(
            f"{path}: its objects belong to {len(planes)} slices of a stack; export one file per image"
        )
    return shapes


def _class_name(feature: dict[str, Any]) -> str:
    """``classification.name``, or its ``names`` as QuPath joins them; "" for none."""
    properties = feature.get("properties")
    found = properties.get("classification") if isinstance(properties, dict) else None
    if isinstance(found, str):
        return found
    if not isinstance(found, dict):
        return ""
    names = found.get("names")
    return str(found.get("name") or (": ".join(map(str, names)) if isinstance(names, list) else ""))
