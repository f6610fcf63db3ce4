"""What is no regular file, claims more than it holds, or lies in folders that go round in circles."""

import os
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.stress.inputs import huge_files
from unet_train.data.annotations.find import find_annotations
from unet_train.data.io import files
from unet_train.data.io.images import image_size, list_images, read_image, read_labels, read_stored
from unet_train.data.layouts.folder import folder_source
from unet_train.data.problems import Problem, list_problems
from unet_train.errors import UserError, one_line
from unet_train.runs.prediction_inputs import find_inputs

posix = pytest.mark.skipif(sys.platform == "win32", reason="pipes and devices are files on POSIX systems")


def picture(path: Path, value: int = 7) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((6, 5), value, np.uint8)).save(path, "PNG")
    return path


@posix
@pytest.mark.parametrize("ending", [".png", ".tif", ".npy", ".nii", ".nii.gz"])
@pytest.mark.parametrize("kind", ["pipe", "device", "loop", "nothing", "folder"])
def test_what_is_no_file_is_refused_without_waiting(tmp_path, ending, kind):
    path = tmp_path / f"thing{ending}"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to({"device": "/dev/zero", "loop": path, "nothing": tmp_path / "gone"}[kind])
    volume = ending.startswith(".nii")
    for read in (image_size,) if volume else (read_image, read_labels, read_stored, image_size):
        with pytest.raises(UserError) as error:
            read(path)
        assert str(error.value).startswith(f"{path}: ")


@posix
@pytest.mark.parametrize("name", ["a.json", "a.txt", "a.zip", "a.roi"])
def test_a_pipe_among_annotation_files_is_not_waited_for(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(UserError, match=name):
        find_annotations(tmp_path)


@posix
def test_folders_that_link_to_each_other_are_walked_once(tmp_path):
    """Two folders with links to each other would otherwise be 2⁴⁰ paths."""
    for part in ("a", "b"):
        picture(tmp_path / part / f"{part}.png")
        for number in range(3):
            (tmp_path / part / f"to{number}").symlink_to(
                tmp_path / "ab"[part == "a"], target_is_directory=True
            )
    wanted = [tmp_path / "a" / "a.png", tmp_path / "b" / "b.png"]
    assert list_images(tmp_path, recursive=True) == wanted
    assert find_annotations(tmp_path) is None
    assert [job.path for job in find_inputs(str(tmp_path)).jobs] == wanted


@posix
def test_a_link_to_itself_among_the_inputs_is_left_to_the_reading(tmp_path):
    (tmp_path / "me.png").symlink_to(tmp_path / "me.png")
    assert [job.path.name for job in find_inputs(str(tmp_path), tmp_path / "out").jobs] == ["me.png"]


@pytest.mark.parametrize("name", huge_files(100_000))
def test_a_header_that_claims_too_much_is_refused_before_memory_is_asked_for(tmp_path, name, monkeypatch):
    path = tmp_path / name
    path.write_bytes(huge_files(100_000)[name])
    for module in ("cv2.imdecode", "numpy.load", "tifffile.TiffPageSeries.asarray"):
        monkeypatch.setattr(module, lambda *_, **__: pytest.fail("decoded"))
    with pytest.raises(UserError) as error:
        read_image(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "tif" in str(error.value) or "GiB" in str(error.value)


def test_the_stated_limit_is_the_limit(tmp_path, monkeypatch):
    image = np.zeros((20, 30, 3), np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="rgb", compression="zlib")
    np.savez_compressed(tmp_path / "a.npz", image)
    monkeypatch.setattr(files, "LARGEST_DECODED", image.nbytes + 128)  # an npy header has 128 bytes
    for name in ("a.tif", "a.npz"):
        assert read_image(tmp_path / name).shape == image.shape
    monkeypatch.setattr(files, "LARGEST_DECODED", image.nbytes - 1)
    for name in ("a.tif", "a.npz"):
        with pytest.raises(UserError, match=name):
            read_image(tmp_path / name)


def test_a_bomb_of_tiles_is_refused(tmp_path):
    """The image is small; one of its tiles claims to be a hundred thousand pixels wide."""
    path = tmp_path / "tile.tif"
    tifffile.imwrite(path, np.zeros((32, 32), np.uint8), tile=(32, 32), compression="zlib", metadata=None)
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        for tag in ("TileWidth", "TileLength"):
            at = file.pages.first.tags[tag].offset
            data[at + 2 : at + 12] = b"\x04\0\x01\0\0\0" + (100_000).to_bytes(4, "little")
    path.write_bytes(bytes(data))
    with pytest.raises(UserError, match="GiB"):
        read_image(path)


def test_a_zip_of_regions_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    pytest.importorskip("roifile")
    import zipfile

    from unet_train.data.annotations import imagej

    monkeypatch.setattr(imagej, "LARGEST_REGION", 1000)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("one.roi", b"Iout" + bytes(2000))
    picture(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"a\.zip.*one\.roi"):
        folder_source(tmp_path)


@pytest.mark.parametrize(
    "name", ["two\nlines.png", "\x1b[31mred.png", "\udcff.png", "tab\t.png", "\u202eback.png"]
)
def test_names_that_no_terminal_shows_are_told_in_one_printable_line(name):
    line = str(Problem(name, "is broken"))
    assert line.isprintable()
    assert line == one_line(line)
    assert line.encode()
    assert "is broken" in line
    assert len(list_problems([Problem(name, "is broken")]).splitlines()) == 2


def test_one_line_leaves_letters_of_any_script_alone():
    assert one_line("größe 细胞 🔬: e\u0301") == "größe 细胞 🔬: e\u0301"
    assert one_line("a\n b\x07") == "a b\\x07"


def test_png_checks_are_of_the_header_not_of_the_data():
    """So that the generator's bombs are bombs: the png's checksums are right, only its size is a lie."""
    data = next(data for name, data in huge_files(100_000).items() if name.endswith(".png"))
    at = data.index(b"IHDR")
    assert zlib.crc32(data[at : at + 17]) == int.from_bytes(data[at + 17 : at + 21], "big")
