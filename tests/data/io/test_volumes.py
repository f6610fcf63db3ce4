"""NIfTI volumes slice by slice, against nibabel's own arrays."""

import gzip
import sys

import numpy as np
import pytest

from unet_train.data.io.images import image_pages, image_size, read_stored, read_unscaled
from unet_train.data.layouts.folder import folder_source
from unet_train.errors import UserError

nibabel = pytest.importorskip("nibabel")


def write(path, volume):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), path)
    return path


def ramp(*shape, dtype=np.int16):
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".NII.GZ"])
def test_a_slice_shows_the_front_up_and_the_right_side_right(tmp_path, ending):
    volume = ramp(5, 4, 3)  # from left to right, back to front, feet to head
    path = write(tmp_path / "a.nii.gz", volume).rename(tmp_path / f"a{ending.lower()}")
    if ending == ".nii":
        path.write_bytes(gzip.decompress(path.read_bytes()))
    assert image_pages(path) == 3
    assert image_size(path, page=1) == (4, 5, 1)
    found = read_unscaled(path, page=2)[:, :, 0]
    for row in range(4):
        for column in range(5):
            assert found[row, column] == volume[column, 3 - row, 2]


def test_other_orders_of_the_axes_give_the_same_slices(tmp_path):
    volume = ramp(5, 4, 3)
    plain = write(tmp_path / "a.nii.gz", volume)
    turned = nibabel.load(plain).as_reoriented(np.array([[2, -1], [0, 1], [1, -1]]))
    nibabel.save(turned, tmp_path / "b.nii.gz")
    for page in range(3):
        np.testing.assert_array_equal(
            read_unscaled(plain, page=page), read_unscaled(tmp_path / "b.nii.gz", page=page)
        )


def test_labels_are_whole_numbers(tmp_path):
    path = write(tmp_path / "a.nii.gz", ramp(4, 4, 2, dtype=np.float32))
    assert read_stored(path, page=0).array.dtype == np.int32
    path = write(tmp_path / "b.nii.gz", ramp(4, 4, 2, dtype=np.float32) / 2)
    with pytest.raises(UserError, match=r"b\.nii\.gz: .*whole numbers"):
        read_stored(path, page=1)


def test_what_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"a\.nii\.gz: .*4×4×2×3"):
        image_pages(write(tmp_path / "a.nii.gz", ramp(4, 4, 2, 3)))
    assert image_pages(write(tmp_path / "one.nii.gz", ramp(4, 4, 2, 1))) == 2
    (tmp_path / "b.nii.gz").write_bytes(b"no volume")
    with pytest.raises(UserError, match=r"b\.nii\.gz: damaged"):
        image_pages(tmp_path / "b.nii.gz")
    with pytest.raises(UserError, match=r"c\.nii\.gz: cannot be read"):
        image_pages(tmp_path / "c.nii.gz")
    with pytest.raises(UserError, match=r"one\.nii\.gz: .*2 slices"):
        read_unscaled(tmp_path / "one.nii.gz", page=2)


def test_a_mask_with_another_number_of_slices(tmp_path):
    write(tmp_path / "images/a.nii.gz", ramp(6, 6, 4))
    write(tmp_path / "masks/a.nii.gz", ramp(6, 6, 3) % 2)
    with pytest.raises(UserError, match=r"masks.a\.nii\.gz: 3 pages for the 4"):
        folder_source(tmp_path)


def test_without_the_library_the_extra_is_named(tmp_path, monkeypatch):
    path = write(tmp_path / "a.nii.gz", ramp(4, 4, 2))
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(UserError, match=r'a\.nii\.gz: .*pip install "unet-train\[volumes\]"'):
        image_pages(path)
