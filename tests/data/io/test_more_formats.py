"""gif, webp, npy, CMYK, min-is-white and turned pictures: pixels as the picture is shown."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from unet_train.data.io.images import image_size, list_images, read_image, read_labels, turn_of
from unet_train.data.io.large_tif import TifRegions
from unet_train.data.io.turns import stored_box, turned, turned_size
from unet_train.errors import UserError


def _scene(height: int = 12, width: int = 20, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (height, width, channels), dtype=np.uint8)


def _with_turn(turn: int) -> Image.Exif:
    exif = Image.Exif()
    exif[274] = turn
    return exif


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_turned_jpg_reads_as_pillow_shows_it(tmp_path: Path, turn: int) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(_scene()).save(path, exif=_with_turn(turn), quality=95)
    shown = np.asarray(ImageOps.exif_transpose(Image.open(path)))
    assert (read_image(path) == shown).all()
    assert image_size(path) == shown.shape
    assert turn_of(path) == turn


@pytest.mark.parametrize("ending", ["png", "webp", "tif"])
def test_a_turn_in_other_formats(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    scene = _scene()
    options = {"lossless": True} if ending == "webp" else {}
    Image.fromarray(scene).save(path, exif=_with_turn(6), **options)
    assert (read_image(path) == np.rot90(scene, -1)).all()
    assert image_size(path) == (20, 12, 3)


@pytest.mark.parametrize("turn", range(1, 9))
def test_the_stored_box_is_the_shown_box(turn: int) -> None:
    stored = np.arange(12 * 20).reshape(12, 20)
    shown = turned(stored, turn)
    assert shown.shape == turned_size(stored.shape, turn)
    top, bottom, left, right = 2, 7, 3, 11
    a, b, c, d = stored_box((top, bottom, left, right), stored.shape, turn)
    assert (turned(stored[a:b, c:d], turn) == shown[top:bottom, left:right]).all()


@pytest.mark.parametrize("turn", [3, 6])
def test_regions_of_a_turned_tif(tmp_path: Path, turn: int) -> None:
    path = tmp_path / "a.tif"
    scene = _scene(40, 64)
    tifffile.imwrite(path, scene, photometric="rgb", extratags=[(274, "H", 1, turn, True)])
    whole = read_image(path)
    assert (whole == turned(scene, turn)).all()
    with TifRegions(path) as regions:
        assert (regions.read(5, 30, 7, 29) == whole[5:30, 7:29]).all()


def test_a_turned_label_file(tmp_path: Path) -> None:
    path = tmp_path / "m.png"
    labels = _scene(channels=1)[:, :, 0] // 86
    Image.fromarray(labels).save(path, exif=_with_turn(3))
    assert (read_labels(path) == labels[::-1, ::-1]).all()


def test_broken_orientation_is_upright(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(_scene()).save(path, exif=_with_turn(9))
    assert turn_of(path) == 1


def test_gif_and_lossless_webp(tmp_path: Path) -> None:
    grey = _scene(channels=1)[:, :, 0]
    Image.fromarray(grey).save(tmp_path / "a.gif")
    assert (read_image(tmp_path / "a.gif")[:, :, 0] == grey).all()
    scene = _scene()
    Image.fromarray(scene).save(tmp_path / "b.WEBP", format="webp", lossless=True)
    assert (read_image(tmp_path / "b.WEBP") == scene).all()
    assert [path.name for path in list_images(tmp_path)] == ["a.gif", "b.WEBP"]


@pytest.mark.parametrize("ending", ["gif", "webp"])
def test_an_animation_is_refused_with_its_frames(tmp_path: Path, ending: str) -> None:
    frames = [Image.fromarray(_scene(channels=1)[:, :, 0] // (i + 1)) for i in range(3)]
    path = tmp_path / f"a.{ending}"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    with pytest.raises(UserError, match=rf"a\.{ending}.*3 frames"):
        read_image(path)


@pytest.mark.parametrize("shape", [(9, 14), (9, 14, 3), (9, 14, 1)])
def test_npy_grey_and_colour(tmp_path: Path, shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    np.save(tmp_path / "a.npy", array)
    np.savez(tmp_path / "b.npz", array)
    for name in ("a.npy", "b.npz"):
        assert (read_image(tmp_path / name) == array.reshape(9, 14, -1)).all()
        assert image_size(tmp_path / name) == (9, 14, shape[2] if len(shape) == 3 else 1)


def test_npy_of_channels_first_needs_the_key(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 256, (3, 9, 14), dtype=np.uint8)
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(UserError, match=r"a\.npy"):
        read_image(tmp_path / "a.npy")
    assert (read_image(tmp_path / "a.npy", channels=3) == np.moveaxis(array, 0, -1)).all()


def test_npy_with_objects_is_not_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match="pickled"):
        read_image(tmp_path / "a.npy")


def test_npz_with_two_arrays_names_them(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", one=np.zeros((4, 4)), two=np.zeros((4, 4)))
    with pytest.raises(UserError, match="one, two"):
        read_image(tmp_path / "a.npz")


def test_cut_off_gif_is_one_line(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(_scene(60, 60, 1)[:, :, 0]).save(buffer, "gif")
    (tmp_path / "a.gif").write_bytes(buffer.getvalue()[:40])
    with pytest.raises(UserError, match=r"a\.gif"):
        read_image(tmp_path / "a.gif")


def test_cmyk_tif_is_the_colour_that_pillow_shows(tmp_path: Path) -> None:
    ink = _scene(channels=4)
    tifffile.imwrite(tmp_path / "a.tif", ink, photometric="separated", planarconfig="contig")
    shown = np.asarray(Image.fromarray(ink, "CMYK").convert("RGB"))
    found = read_image(tmp_path / "a.tif")
    assert found.shape == shown.shape == (12, 20, 3)
    assert np.abs(found.astype(int) - shown).max() <= 1
    assert image_size(tmp_path / "a.tif") == (12, 20, 3)


def test_one_bit_labels_with_white_as_zero(tmp_path: Path) -> None:
    white = np.zeros((8, 16), bool)
    white[2:5, 3:9] = True
    tifffile.imwrite(tmp_path / "a.tif", ~white, photometric="miniswhite")
    assert ((read_labels(tmp_path / "a.tif") > 0) == white).all()
    assert ((read_image(tmp_path / "a.tif")[:, :, 0] > 0) == white).all()
