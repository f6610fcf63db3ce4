"""The kaggle_3m layout: slices by the value of their number, patients as groups."""

import numpy as np
import pytest

from unet_train.data.io.images import write_image, write_labels
from unet_train.data.layouts.kaggle import KaggleSource
from unet_train.data.records import Source
from unet_train.errors import UserError


@pytest.fixture
def root(tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    for patient, slices in (("TCGA_B_1", (1, 2, 10)), ("TCGA_A_1", (3, 1))):
        for number in slices:
            write_image(tmp_path / patient / f"{patient}_{number}.tif", image)
            mask = np.zeros((8, 8), np.uint8)
            mask[:number] = 255
            write_labels(tmp_path / patient / f"{patient}_{number}_mask.tif", mask)
    (tmp_path / "data.csv").write_text("Patient,age\n")
    return tmp_path


def test_listing(root):
    source = KaggleSource(root)
    assert isinstance(source, Source)
    records = source.records()
    keys = ["TCGA_A_1/1", "TCGA_A_1/3", "TCGA_B_1/1", "TCGA_B_1/2", "TCGA_B_1/10"]
    assert [record.key for record in records] == keys
    assert [record.order for record in records] == [1, 3, 1, 2, 10]
    assert [record.group for record in records] == ["TCGA_A_1"] * 2 + ["TCGA_B_1"] * 3
    assert source.channels == 3
    assert source.classes == ("background", "lesion")
    truth = source.read_truth(records[1])
    assert truth.classes.dtype == np.uint8
    assert truth.classes.sum(axis=1).tolist() == [8, 8, 8, 0, 0, 0, 0, 0]
    assert source.read_image(records[0]).shape == (8, 8, 3)


def test_problems(root):
    (root / "TCGA_A_1/TCGA_A_1_3_mask.tif").unlink()
    (root / "TCGA_B_1/TCGA_B_1_2.tif").unlink()
    source = KaggleSource(root)
    assert dict(source.layout_problems()) == {
        str(root / "TCGA_A_1/TCGA_A_1_3.tif"): "has no mask",
        str(root / "TCGA_B_1/TCGA_B_1_2_mask.tif"): "is a mask without a slice",
    }
    grey = np.full((8, 8), 77, np.uint8)
    write_labels(root / "TCGA_A_1/TCGA_A_1_1_mask.tif", grey)
    with pytest.raises(UserError, match=r"TCGA_A_1_1_mask\.tif: .*\b77\b.*0 and 255"):
        source.read_truth(source.records()[0])


def test_bad_roots(root, tmp_path):
    with pytest.raises(UserError, match=r"dataset\.root: .*kaggle\.com.*kaggle_3m"):
        KaggleSource(tmp_path / "missing")
    with pytest.raises(UserError, match="holds no folder of slices"):
        KaggleSource(root / "TCGA_A_1")


def test_brain(real_data):
    source = KaggleSource(real_data / "kaggle_3m")
    records = source.records()
    assert len(records) == 537
    assert len({record.group for record in records}) == 22
    one = [record for record in records if record.group == "TCGA_HT_8106_19970727"]
    assert [record.order for record in one] == list(range(1, 23))
    masks = [source.read_truth(record).classes for record in one]
    assert sum(mask.any() for mask in masks) == 13
    assert sum(int(mask.sum()) for mask in masks) == 24973
