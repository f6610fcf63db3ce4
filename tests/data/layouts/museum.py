"""Folder conventions drawn small: one set of scenes, written as different people and programs write them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image

HEIGHT, WIDTH = 40, 56
COUNT = 6
NAMES = ("a9", "a10", "b2", "b31", "c4", "c5")
PARTS = ("train", "train", "train", "val", "val", "test")
GREY = ((0, 0, 0), (255, 255, 255))
COLOURS = ((0, 0, 0), (200, 30, 60), (0, 128, 64))


def objects(index: int) -> np.ndarray:
    """Numbers of the objects of a scene, H×W uint8: two or three squares that do not touch."""
    numbers = np.zeros((HEIGHT, WIDTH), np.uint8)
    numbers[4 : 14 + index, 4:16] = 1
    numbers[6:30, 22 : 30 + index] = 2
    if index % 2:
        numbers[24:36, 40:52] = 3
    return numbers


def binary(index: int) -> np.ndarray:
    """Foreground of a scene, H×W uint8."""
    return (objects(index) > 0).astype(np.uint8)


def classes(index: int) -> np.ndarray:
    """Class ids of a scene, H×W uint8: the first object is of class 1, the others of class 2."""
    return np.minimum(objects(index), 2)


def picture(index: int, channels: int = 3) -> np.ndarray:
    """An image whose corner tells which scene it is."""
    rng = np.random.default_rng(index)
    image = rng.integers(90, 180, (HEIGHT, WIDTH), dtype=np.uint8)
    image[binary(index) > 0] += 60
    image[:8, :4] = 30 * index
    return np.repeat(image[:, :, None], channels, axis=2) if channels > 1 else image


def scene_of(image: np.ndarray) -> int:
    """Which scene an image read back shows; it went through JPEG perhaps."""
    corner = image[2:6, 1:3].astype(float).mean()
    return round(corner * (1 if image.dtype == np.uint8 else 255) / 30)


def save(path: Path, array: np.ndarray, **options: Any) -> None:
    """Write an array by another library than ours; the ending says the format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix in (".tif", ".tiff"):
        tifffile.imwrite(
            path, array, photometric="rgb" if array.ndim == 3 and array.shape[2] == 3 else "minisblack"
        )
    elif path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix == ".npz":
        np.savez(path, array)
    else:
        if path.suffix == ".webp":
            options = {"lossless": True} | options
        Image.fromarray(array).save(path, **options)


def indexed(
    path: Path, labels: np.ndarray, colours: tuple[tuple[int, int, int], ...], order: list[int]
) -> None:
    """Indexed colour: label i has index ``order[i]`` and the colour ``colours[i]``."""
    palette = np.zeros((256, 3), np.uint8)
    palette[order] = colours
    image = Image.fromarray(np.array(order, np.uint8)[labels], "P")
    image.putpalette(palette.ravel().tolist())
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def coloured(labels: np.ndarray, colours: tuple[tuple[int, int, int], ...] = COLOURS) -> np.ndarray:
    """H×W×3."""
    return np.array(colours, np.uint8)[labels]


@dataclass(frozen=True)
class Convention:
    """One way to lay out and write a data set.

    Attributes
    ----------
    write : callable
        Writes the scenes into a folder.
    truth : callable
        Class map of a scene as it should be read.
    keys : mapping
        Keys that the folder needs; a message must name each of them.
    parts : sequence of (str or None)
        Part of each scene; a scene left out is "".
    names : tuple of str, optional
        Class names, if they are told.
    objects : bool
        Whether each object is known by itself.
    groups : int, optional
        Number of groups.
    left_out : int
        Number of images that are not used.
    pairing : str
        What the rule names.
    """

    write: Callable[[Path], None]
    truth: Callable[[int], np.ndarray] = binary
    keys: Mapping[str, Any] = field(default_factory=dict)
    parts: tuple[str | None, ...] = (None,) * COUNT
    names: tuple[str, ...] | None = None
    objects: bool = False
    groups: int = COUNT
    left_out: int = 0
    pairing: str = "{name}"


def pairs(
    image: str,
    mask: str,
    draw: Callable[[int], np.ndarray] = lambda i: binary(i) * np.uint8(255),
    *,
    channels: int = 3,
    **options: Any,
) -> Callable[[Path], None]:
    """Writes image and mask of each scene; paths may hold ``{name}``, ``{number}`` and ``{part}``."""

    def write(root: Path) -> None:
        for i, (name, part) in enumerate(zip(NAMES, PARTS, strict=True)):
            words = {"name": name, "number": i + 1, "part": part}
            save(root / image.format(**words), picture(i, channels))
            save(root / mask.format(**words), draw(i), **options)

    return write


def renamed_parts(image: str, mask: str, names: dict[str, str]) -> Callable[[Path], None]:
    """As `pairs`, with other names of the parts."""

    def write(root: Path) -> None:
        for i, (name, part) in enumerate(zip(NAMES, PARTS, strict=True)):
            save(root / image.format(name=name, part=names[part]), picture(i))
            save(root / mask.format(name=name, part=names[part]), binary(i) * np.uint8(255))

    return write


def also(write: Callable[[Path], None], more: Callable[[Path], None]) -> Callable[[Path], None]:
    """Writes both."""

    def both(root: Path) -> None:
        write(root)
        more(root)

    return both


def text(path: str, content: str) -> Callable[[Path], None]:
    """Writes a text file."""

    def write(root: Path) -> None:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(content)

    return write


def lists(folder: str) -> Callable[[Path], None]:
    """Writes a list of names for each part."""

    def write(root: Path) -> None:
        for part in ("train", "val", "test"):
            names = [name for name, own in zip(NAMES, PARTS, strict=True) if own == part]
            text(f"{folder}/{part}.txt", "\n".join(names) + "\n")(root)

    return write


def object_files(pattern: str, image: str) -> Callable[[Path], None]:
    """Writes one mask for each object; the first may have another name than the others."""

    def write(root: Path) -> None:
        for i, name in enumerate(NAMES):
            save(root / image.format(name=name), picture(i))
            for number in range(1, int(objects(i).max()) + 1):
                mask = (objects(i) == number) * np.uint8(255)
                more = f"_{number - 1}" if number > 1 else ""
                save(root / pattern.format(name=name, number=number, more=more), mask)

    return write


def _grey_palettes(root: Path) -> None:
    for i, name in enumerate(NAMES):
        save(root / f"images/{name}.png", picture(i))
        indexed(root / f"masks/{name}.png", binary(i), GREY, [1, 0] if i % 2 else [0, 1])


def _colour_palettes(orders: list[list[int]]) -> Callable[[Path], None]:
    def write(root: Path) -> None:
        for i, name in enumerate(NAMES):
            save(root / f"images/{name}.png", picture(i))
            indexed(root / f"masks/{name}.png", classes(i), COLOURS, orders[i % len(orders)])

    return write


def _mixed_scales(root: Path) -> None:
    for i, name in enumerate(NAMES):
        save(root / f"images/{name}.png", picture(i))
        save(root / f"masks/{name}.png", binary(i) * np.uint8(255 if i % 2 else 1))


def _soft(index: int) -> np.ndarray:
    """White with soft edges inside and outside, the half on the true edge."""
    from scipy import ndimage

    return np.rint(ndimage.gaussian_filter(binary(index) * 255.0, 0.6)).astype(np.uint8)


def soft_truth(index: int) -> np.ndarray:
    """What of a soft mask is at least half white."""
    return (_soft(index) >= 128).astype(np.uint8)


def _one_hot(root: Path) -> None:
    for i, name in enumerate(NAMES):
        save(root / f"images/{name}.tif", picture(i))
        pages = np.stack([(classes(i) == c) * np.uint8(255) for c in range(3)])
        tifffile.imwrite(_made(root / f"masks/{name}.tif"), pages, photometric="minisblack")


def _stack(root: Path) -> None:
    images = np.stack([picture(i, 1) for i in range(COUNT)])
    masks = np.stack([binary(i) * np.uint8(255) for i in range(COUNT)])
    tifffile.imwrite(_made(root / "images/volume.tif"), images, photometric="minisblack")
    tifffile.imwrite(_made(root / "masks/volume.tif"), masks, photometric="minisblack")


def _volumes(root: Path) -> None:
    """Two volumes of three slices, one stored with other axes; values of two types."""
    import nibabel

    for number in range(2):
        scenes = range(3 * number, 3 * number + 3)
        affine = np.diag([2.0, 2.0, 3.0, 1.0])
        for folder, draw, kind in (
            ("imagesTr", lambda i: picture(i, 1).astype(np.int16), np.int16),
            ("labelsTr", lambda i: classes(i).astype(np.float32), np.float32),
        ):
            # Columns from left to right, rows from front to back.
            stack = np.stack([np.rot90(draw(i), -1) for i in scenes], axis=-1).astype(kind)
            image = nibabel.Nifti1Image(stack, affine)
            if number:
                image = image.as_reoriented(np.array([[1, -1], [0, 1], [2, 1]]))
            ending = "_0000.nii.gz" if folder == "imagesTr" else ".nii.gz"
            nibabel.save(image, _made(root / f"{folder}/p{number}{ending}"))


def _white_is_zero(root: Path) -> None:
    for i, name in enumerate(NAMES):
        save(root / f"images/{name}.tif", picture(i))
        tifffile.imwrite(
            _made(root / f"masks/{name}.tif"), binary(i) == 0, photometric="miniswhite", dtype=bool
        )


def _one_bit(root: Path) -> None:
    for i, name in enumerate(NAMES):
        save(root / f"images/{name}.png", picture(i))
        Image.fromarray(binary(i) > 0).save(_made(root / f"masks/{name}.png"))


def _turned(root: Path) -> None:
    for i, name in enumerate(NAMES):
        exif = Image.Exif()
        exif[0x0112] = 3
        path = _made(root / f"images/{name}.jpg")
        Image.fromarray(picture(i)[::-1, ::-1]).save(path, exif=exif, quality=95)
        save(root / f"masks/{name}.png", binary(i) * np.uint8(255))


def _stored_on_its_side(root: Path) -> None:
    """Pictures and masks as the sensor wrote them; the turn stands in the picture's EXIF alone."""
    for i, name in enumerate(NAMES):
        exif = Image.Exif()
        exif[0x0112] = 6
        path = _made(root / f"images/{name}.jpg")
        Image.fromarray(np.rot90(picture(i))).save(path, exif=exif, quality=95)
        save(root / f"masks/{name}.png", np.ascontiguousarray(np.rot90(white(i))))


def _nnunet(root: Path) -> None:
    for i, name in enumerate(NAMES):
        test = PARTS[i] == "test"
        save(root / f"images{'Ts' if test else 'Tr'}/{name}_0000.png", picture(i, 1))
        if not test:
            save(root / f"labelsTr/{name}.png", classes(i))
    text("dataset.json", '{"labels": {"background": 0, "root": 1, "leaf": 2}}')(root)


def _patients(root: Path) -> None:
    for i in range(COUNT):
        folder = f"P{i % 3}"
        save(root / f"{folder}/{folder}_{i}.tif", picture(i))
        save(root / f"{folder}/{folder}_{i}_mask.tif", binary(i) * np.uint8(255))


def boxes(index: int) -> list[tuple[str, list[tuple[float, float]]]]:
    """Class name and corners of each object of a scene: all are rectangles."""
    found = []
    for number in range(1, int(objects(index).max()) + 1):
        rows, columns = np.nonzero(objects(index) == number)
        top, bottom, left, right = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
        corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
        found.append(("root" if number == 1 else "leaf", [(float(x), float(y)) for x, y in corners]))
    return found


def _coco(image: str, annotations: str, *, one_class: bool = False) -> Callable[[Path], None]:
    def write(root: Path) -> None:
        for part in sorted(set(PARTS)) if "{part}" in annotations else [None]:
            images, outlines = [], []
            for i, name in enumerate(NAMES):
                if part in (None, PARTS[i]):
                    file = image.format(name=name, part=part)
                    save(root / file, picture(i))
                    entry = {"id": i, "file_name": Path(file).name, "height": HEIGHT, "width": WIDTH}
                    images.append(entry)
                    for kind, corners in boxes(i):
                        category = 3 if one_class or kind == "root" else 7
                        flat = [value for corner in corners for value in corner]
                        item = {"id": len(outlines), "image_id": i, "category_id": category, "iscrowd": 0}
                        outlines.append(item | {"segmentation": [flat]})
            names = {3: "root"} if one_class else {3: "root", 7: "leaf"}
            categories = [{"id": number, "name": name} for number, name in names.items()]
            content = {"images": images, "annotations": outlines, "categories": categories}
            text(annotations.format(part=part), json.dumps(content))(root)

    return write


def _labelme(root: Path) -> None:
    for i, name in enumerate(NAMES):
        save(root / f"{name}.jpg", picture(i))
        shapes = [{"label": kind, "points": points, "shape_type": "polygon"} for kind, points in boxes(i)]
        content = {
            "version": "5.0.1",
            "flags": {},
            "shapes": shapes,
            "imagePath": f"{name}.jpg",
            "imageHeight": HEIGHT,
            "imageWidth": WIDTH,
        }
        text(f"{name}.json", json.dumps(content))(root)


def _yolo(root: Path) -> None:
    for i, (name, part) in enumerate(zip(NAMES, PARTS, strict=True)):
        save(root / f"images/{part}/{name}.png", picture(i))
        lines = []
        for kind, corners in boxes(i):
            places = " ".join(f"{x / WIDTH:.9f} {y / HEIGHT:.9f}" for x, y in corners)
            lines.append(f"{('root', 'leaf').index(kind)} {places}\n")
        text(f"labels/{part}/{name}.txt", "".join(lines))(root)
    text("data.yaml", "path: .\ntrain: images/train\nval: images/val\nnames: [root, leaf]\n")(root)


def _imagej(root: Path) -> None:
    import roifile

    for i, name in enumerate(NAMES):
        save(root / f"{name}.tif", picture(i, 1))
        rois = [
            roifile.ImagejRoi.frompoints(np.array(points), name=f"cell-{number}")
            for number, (_, points) in enumerate(boxes(i))
        ]
        roifile.roiwrite(root / f"{name}.zip", rois)


def _geojson(root: Path) -> None:
    for i, name in enumerate(NAMES):
        save(root / f"{name}.png", picture(i))
        features = [
            {
                "type": "Feature",
                "geometry": {"type": "Polygon", "coordinates": [[*points, points[0]]]},
                "properties": {"objectType": "annotation", "classification": {"name": kind}},
            }
            for kind, points in boxes(i)
        ]
        text(f"{name}.geojson", json.dumps({"type": "FeatureCollection", "features": features}))(root)


def leaves_first(index: int) -> np.ndarray:
    """Class map of a scene where names are sorted: leaf is 1, root 2."""
    return np.array([0, 2, 1], np.uint8)[classes(index)]


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def white(index: int) -> np.ndarray:
    """0 and 255."""
    return binary(index) * np.uint8(255)


CLASS_DICT = "name,r,g,b\n" + "".join(
    f"{name},{r},{g},{b}\n" for name, (r, g, b) in zip(("ground", "crop", "weed"), COLOURS, strict=True)
)
LABELMAP = "# label:color_rgb:parts:actions\n" + "".join(
    f"{name}:{r},{g},{b}::\n" for name, (r, g, b) in zip(("background", "crop", "weed"), COLOURS, strict=True)
)
ALL_PARTS = {"parts": PARTS}
NO_TEST = {"parts": ("train", "train", "train", "val", "val", "val")}
TEST_LEFT_OUT = {"parts": ("train", "train", "train", "train", "train", ""), "left_out": 1}
OBJECTS = {"objects": True}

CONVENTIONS: dict[str, Convention] = {
    # where images and masks lie, and how they are called
    "same names": Convention(pairs("images/{name}.png", "masks/{name}.png")),
    "other endings": Convention(pairs("images/{name}.jpg", "masks/{name}.png")),
    "sub-folders": Convention(pairs("images/{part}_day/{name}.png", "masks/{part}_day/{name}.png")),
    "parts inside images and masks": Convention(
        pairs("images/{part}/{name}.png", "masks/{part}/{name}.png"), **ALL_PARTS
    ),
    "images and masks inside parts": Convention(
        pairs("{part}/images/{name}.png", "{part}/masks/{name}.png"), **ALL_PARTS
    ),
    "valid and testing": Convention(
        renamed_parts(
            "{part}/images/{name}.png",
            "{part}/masks/{name}.png",
            {"train": "TRAIN", "val": "valid", "test": "Testing"},
        ),
        **ALL_PARTS,
    ),
    "annotations/training": Convention(
        renamed_parts(
            "images/{part}/{name}.jpg",
            "annotations/{part}/{name}.png",
            {"train": "training", "val": "validation", "test": "test"},
        ),
        **ALL_PARTS,
    ),
    "train and train_masks": Convention(
        pairs("{part}/{name}.jpg", "{part}_masks/{name}_mask.gif"), **ALL_PARTS
    ),
    "train and trainannot": Convention(pairs("{part}/{name}.png", "{part}annot/{name}.png"), **ALL_PARTS),
    "street scenes": Convention(
        pairs(
            "leftImg8bit/{part}/town/{name}_leftImg8bit.png", "gtFine/{part}/town/{name}_gtFine_labelIds.png"
        ),
        **ALL_PARTS,
    ),
    "numbered retinas": Convention(
        pairs("training/images/{number}_training.tif", "training/1st_manual/{number}_manual1.gif"),
        parts=("train",) * COUNT,
    ),
    "imagesTr and labelsTr": Convention(
        _nnunet, classes, names=("background", "root", "leaf"), **TEST_LEFT_OUT
    ),
    "JPEGImages and lists": Convention(
        also(pairs("JPEGImages/{name}.jpg", "SegmentationClass/{name}.png"), lists("ImageSets/Segmentation")),
        **ALL_PARTS,
    ),
    "lists in the root": Convention(
        also(pairs("images/{name}.png", "masks/{name}.png"), lists(".")), **ALL_PARTS
    ),
    "prefixes": Convention(pairs("images/img_{number}.png", "masks/mask_{number}.png")),
    "suffix of masks": Convention(pairs("images/{name}.png", "masks/{name}_cp_masks.png")),
    "suffix of images": Convention(pairs("images/{name}_0000.png", "masks/{name}.png")),
    "one folder, suffix": Convention(pairs("{name}.png", "{name}_mask.png")),
    "one folder, two suffixes": Convention(pairs("all/{name}_img.png", "all/{name}_masks.png")),
    "one folder, prefixes": Convention(pairs("image_{number}.png", "mask_{number}.png")),
    "one folder, endings": Convention(pairs("scans/{name}.jpg", "scans/{name}.png")),
    "parts with suffix": Convention(pairs("{part}/{name}.jpg", "{part}/{name}_mask.png"), **ALL_PARTS),
    "a folder for each image": Convention(pairs("{name}/image.png", "{name}/mask.png")),
    "a folder for each patient": Convention(_patients),
    "inputs and targets": Convention(pairs("inputs/{name}.png", "targets/{name}.png")),
    "folders of any name": Convention(pairs("microscope/{name}.png", "anna/{name}.png")),
    "masks of another name only": Convention(pairs("images/{name}.png", "anna/{name}_x.png")),
    "images above": Convention(pairs("{name}.png", "masks/{name}.png")),
    "patterns": Convention(
        also(
            pairs("x/s_{name}_t1.png", "y/z_{name}_drawn.png"),
            pairs("x/s_{name}_t2.png", "y/z_{name}_old.png"),
        ),
        keys={"images": "x/s_{name}_t1.png", "masks": "y/z_{name}_drawn.png"},
    ),
    "declared parts": Convention(
        pairs("images/{part}_day/{name}.png", "masks/{part}_day/{name}.png"),
        keys={"parts": {"train": "images/train_day", "val": ["images/val_day", "images/test_day"]}},
        **NO_TEST,
    ),
    "images without a mask": Convention(
        also(
            pairs("images/{name}.png", "masks/{name}.png"),
            lambda root: save(root / "images/more.png", picture(0)),
        ),
        keys={"unlabelled": "leave_out"},
        left_out=1,
    ),
    # what masks look like
    "0 and 1": Convention(pairs("images/{name}.png", "masks/{name}.png", binary)),
    "class ids": Convention(pairs("images/{name}.png", "masks/{name}.png", classes), classes),
    "black and white in RGB": Convention(
        pairs("images/{name}.png", "masks/{name}.png", lambda i: coloured(binary(i), GREY))
    ),
    "0 and 1 in some, 0 and 255 in others": Convention(_mixed_scales),
    "grey palettes": Convention(_grey_palettes),
    "one palette": Convention(_colour_palettes([[0, 1, 2]]), classes),
    "palettes in two orders": Convention(_colour_palettes([[0, 1, 2], [0, 2, 1]]), classes),
    "black and one colour": Convention(
        pairs(
            "images/{name}.png", "masks/{name}.png", lambda i: coloured(binary(i), ((0, 0, 0), (255, 0, 0)))
        )
    ),
    "colours and class_dict.csv": Convention(
        also(
            pairs("images/{name}.png", "masks/{name}.png", lambda i: coloured(classes(i))),
            text("class_dict.csv", CLASS_DICT),
        ),
        classes,
        names=("ground", "crop", "weed"),
    ),
    "colours and labelmap.txt": Convention(
        also(
            pairs("JPEGImages/{name}.jpg", "SegmentationClass/{name}.png", lambda i: coloured(classes(i))),
            text("labelmap.txt", LABELMAP),
        ),
        classes,
        names=("background", "crop", "weed"),
    ),
    "colours": Convention(
        pairs("images/{name}.png", "masks/{name}.png", lambda i: coloured(classes(i))),
        classes,
        keys={"colors": {"background": [0, 0, 0], "crop": "#c81e3c", "weed": [0, 128, 64]}},
        names=("background", "crop", "weed"),
    ),
    "JPEG": Convention(
        pairs("images/{name}.jpg", "masks/{name}.jpg", white, quality=80), keys={"threshold": 128}
    ),
    "soft edges": Convention(
        pairs("images/{name}.png", "masks/{name}.png", _soft), soft_truth, keys={"threshold": 128}
    ),
    "no 0": Convention(
        pairs("images/{name}.png", "masks/{name}.png", lambda i: np.array([2, 1, 3], np.uint8)[classes(i)]),
        classes,
        keys={"background": "2"},
    ),
    "one page per class": Convention(_one_hot, classes),
    "white is zero": Convention(_white_is_zero),
    "one bit": Convention(_one_bit),
    "object numbers": Convention(
        pairs("images/{name}.tif", "masks/{name}.tif", lambda i: objects(i).astype(np.uint16) * 301),
        keys={"instances": True},
        **OBJECTS,
    ),
    "object colours": Convention(
        pairs(
            "images/{name}.png",
            "masks/{name}.png",
            lambda i: coloured(objects(i), ((0, 0, 0), (9, 200, i), (80, i, 7), (1, 2, 250))),
        ),
        keys={"instances": True},
        **OBJECTS,
    ),
    "one file per object": Convention(
        object_files("{name}/masks/{name}h{number}.png", "{name}/images/{name}.png"), **OBJECTS
    ),
    "one file per object below masks": Convention(
        object_files("masks/{name}/{number}.png", "images/{name}.png"), **OBJECTS
    ),
    "further masks by number": Convention(
        object_files("benign/scan ({name})_mask{more}.png", "benign/scan ({name}).png"), **OBJECTS
    ),
    # outlines in files
    "COCO": Convention(
        _coco("{part}2017/{name}.jpg", "annotations/instances_{part}2017.json"),
        classes,
        names=("background", "root", "leaf"),
        pairing="COCO",
        **ALL_PARTS,
    ),
    "COCO beside its images": Convention(
        _coco("{part}/{name}.jpg", "{part}/_annotations.coco.json"),
        classes,
        names=("background", "root", "leaf"),
        pairing="COCO",
        **ALL_PARTS,
    ),
    "COCO of one class": Convention(
        _coco("images/{name}.png", "result.json", one_class=True),
        names=("background", "root"),
        pairing="COCO",
        **OBJECTS,
    ),
    "COCO as objects": Convention(
        _coco("images/{name}.png", "result.json"),
        keys={"instances": True},
        names=("background", "object"),
        pairing="COCO",
        **OBJECTS,
    ),
    "labelme": Convention(_labelme, leaves_first, names=("background", "leaf", "root"), pairing="labelme"),
    "YOLO": Convention(_yolo, classes, names=("background", "root", "leaf"), pairing="YOLO", **ALL_PARTS),
    "ImageJ": Convention(_imagej, pairing="ImageJ", **OBJECTS),
    "QuPath": Convention(_geojson, leaves_first, names=("background", "leaf", "root"), pairing="GeoJSON"),
    # formats
    "gif": Convention(pairs("images/{name}.png", "masks/{name}.gif")),
    "webp": Convention(pairs("images/{name}.webp", "masks/{name}.webp", binary)),
    "npy": Convention(pairs("images/{name}.npy", "masks/{name}.npy", classes), classes),
    "npz": Convention(pairs("images/{name}.npz", "masks/{name}.npz", classes), classes),
    "turned by the camera": Convention(_turned),
    "turned by the camera, masks not": Convention(_stored_on_its_side),
    "pages of a tif": Convention(_stack, groups=1),
    "NIfTI volumes": Convention(
        _volumes, classes, groups=2, parts=("train",) * COUNT, keys={"intensity_range": (0.0, 255.0)}
    ),
}
