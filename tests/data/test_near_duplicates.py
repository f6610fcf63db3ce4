"""Copies of images between the parts of a split, against correlations by NumPy and copies made with OpenCV."""

import cv2
import numpy as np
import pytest

from unet_train.data.check import check_source, find_copies
from unet_train.data.io.images import read_image, write_image
from unet_train.data.layouts.folder import folder_source
from unet_train.data.near_duplicates import LEAST_CORRELATION, SIDE, near_duplicates, thumbnail
from unet_train.data.splits import SplitRule, make_split
from unet_train.data.summary import summarise


def blobs(seed: int, channels: int = 3) -> np.ndarray:
    """160×128×C uint8 of bright spots on noise."""
    rng = np.random.default_rng(seed)
    image = rng.normal(60, 4, (160, 128, channels))
    for _ in range(12):
        y, x, r = rng.integers(0, 160), rng.integers(0, 128), rng.integers(6, 20)
        rows, columns = np.ogrid[:160, :128]
        image[(rows - y) ** 2 + (columns - x) ** 2 < r * r] += rng.uniform(20, 60)
    return image.clip(0, 255).astype(np.uint8)


def saved_anew(image: np.ndarray, quality: int = 60) -> np.ndarray:
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.imdecode(data, cv2.IMREAD_UNCHANGED).reshape(image.shape)


COPIES = {
    "jpg": saved_anew,
    "mirrored": lambda image: image[:, ::-1],
    "turned": lambda image: np.rot90(image),
    "turned, mirrored and saved anew": lambda image: saved_anew(
        np.ascontiguousarray(np.rot90(image, 3)[::-1])
    ),
    "brighter": lambda image: np.clip(image * 1.1 + 8.0, 0, 255).astype(np.uint8),
    "half": lambda image: cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "grey": lambda image: np.repeat(image.mean(-1, keepdims=True), 3, -1).astype(np.uint8),
    "float": lambda image: (image / 255).astype(np.float32),
}


@pytest.mark.parametrize("name", COPIES)
def test_a_copy_in_another_part_is_found(name):
    parts = {"train": ["a", "b", "c"], "val": ["d", "e"], "test": []}
    images = {key: blobs(number) for number, key in enumerate("abcde")}
    images["e"] = COPIES[name](images["b"])
    found = near_duplicates({key: thumbnail(image) for key, image in images.items()}, parts)
    assert [(one.first, one.first_part, one.second, one.second_part) for one in found] == [
        ("b", "train", "e", "val")
    ]


def test_the_most_alike_is_that_of_a_search_by_hand():
    """The bound that spares most comparisons leaves none out, at any threshold."""
    rng = np.random.default_rng(0)
    keys = [str(number) for number in range(40)]
    base = blobs(1, 1)
    images = {key: np.clip(base + rng.normal(0, 60, base.shape), 0, 255).astype(np.uint8) for key in keys}
    images |= {key: np.rot90(images[key], int(key) % 4) for key in keys[:20]}
    thumbnails = {key: thumbnail(image) for key, image in images.items()}
    train, val = keys[:25], keys[25:]

    def flattened(key: str) -> list[np.ndarray]:
        square = np.frombuffer(thumbnails[key], np.uint8).reshape(SIDE, SIDE).astype(float)
        y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
        terms = np.stack([x**0, x, y, x**2, y**2, x * y], -1).reshape(-1, 6)
        square -= (terms @ np.linalg.lstsq(terms, square.ravel())[0]).reshape(SIDE, SIDE)
        return [np.rot90(flip, turn).ravel() for flip in (square, square.T) for turn in range(4)]

    best = {
        key: max(
            (np.corrcoef(one, flattened(other)[0])[0, 1], other) for one in flattened(key) for other in train
        )
        for key in val
    }
    # Between two of them, where rounding decides nothing.
    least = float(np.mean(sorted(correlation for correlation, _ in best.values())[7:9]))
    found = near_duplicates(thumbnails, {"train": train, "val": val}, least=least)
    wanted = {key: value for key, value in best.items() if value[0] >= least}
    assert {one.second: one.first for one in found} == {key: other for key, (_, other) in wanted.items()}
    assert [one.correlation for one in found] == pytest.approx(
        [best[one.second][0] for one in found], abs=1e-4
    )


def test_the_same_uneven_light_is_no_copy():
    rows, columns = np.mgrid[-1:1:200j, -1:1:240j]
    light = 180 - 60 * (rows**2 + columns**2)
    rng = np.random.default_rng(0)
    empty = [
        np.clip(light + rng.normal(0, 5, light.shape), 0, 255).astype(np.uint8)[:, :, None] for _ in range(2)
    ]
    thumbnails = dict(zip("ab", map(thumbnail, empty), strict=True))
    plain = np.corrcoef(*(np.frombuffer(value, np.uint8) for value in thumbnails.values()))[0, 1]
    assert plain > LEAST_CORRELATION  # so that without care for the light they would be called copies
    assert near_duplicates(thumbnails, {"train": ["a"], "val": ["b"]}) == []


def test_an_image_of_one_value_is_not_compared():
    assert thumbnail(np.full((40, 50, 1), 7, np.uint8)) is None
    smooth = np.repeat(np.linspace(0, 1, 50, dtype=np.float32)[None], 40, 0)[:, :, None]
    thumbnails = {key: thumbnail(smooth) for key in "ab"}
    assert near_duplicates(thumbnails, {"train": ["a"], "val": ["b"]}) == []


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 300, 3), (5, 7, 2), (40, 30, 6)])
def test_any_size_and_number_of_channels(shape):
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    made = thumbnail(image)
    assert made is None if shape == (1, 1, 1) else made is not None and len(made) == SIDE * SIDE


def test_the_check_says_which_files(tmp_path, run_command, capsys):
    for number in range(6):
        write_image(tmp_path / "images" / f"{number}.png", blobs(number))
        write_image(
            tmp_path / "masks" / f"{number}.png", (blobs(number)[:, :, 0] > 90).astype(np.uint8) * 255
        )
    source = folder_source(tmp_path)
    records = source.records()
    split = make_split(records, SplitRule(val_fraction=0.3))
    copied, original = split.val[0], split.train[1]
    write_image(copied.image, saved_anew(read_image(original.image)[::-1].copy(), 90))
    report = check_source(source, records)
    warnings = find_copies(report, split.keys.parts)
    assert len(warnings) == 1
    assert copied.key in warnings[0]
    assert original.key in warnings[0]
    found = summarise(source, records, report, split, tmp_path)["near_duplicates"]
    assert [(one["file"], one["part"], one["like"], one["like_part"]) for one in found] == [
        (f"images/{copied.key}.png", "val", f"images/{original.key}.png", "train")
    ]
    assert LEAST_CORRELATION <= found[0]["correlation"] <= 1
    words = ("dataset=folder", f"dataset.root={tmp_path}", "split.val_fraction=0.3")
    assert run_command("data", "check", *words) == 0
    assert any(
        "warning" in line and copied.key in line and original.key in line
        for line in capsys.readouterr().out.splitlines()
    )
