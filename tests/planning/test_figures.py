"""The figures that a plan goes by, against NumPy by hand."""

import numpy as np
import pytest
import torch

from tests.data.layouts import museum
from unet_train.data.check import check_source
from unet_train.data.layouts.folder import folder_source
from unet_train.data.object_target import objects_in_contact
from unet_train.data.splits import make_split
from unet_train.errors import UserError
from unet_train.planning.figures import look_at_data
from unet_train.planning.pretrained import find_pretrained


def test_contacts():
    numbers = np.zeros((6, 8), np.int32)
    numbers[0:2, 0:2] = 1
    numbers[2:4, 0:2] = 2  # below 1
    numbers[4:6, 2:4] = 3  # corner to corner with 2
    numbers[0:2, 5:7] = 7  # alone
    assert objects_in_contact(numbers) == {1, 2}
    assert objects_in_contact(np.zeros((3, 3), np.int32)) == set()


def test_data(tmp_path):
    convention = museum.CONVENTIONS["object numbers"]
    convention.write(tmp_path)
    source = folder_source(tmp_path, **convention.keys)
    records = source.records()
    found = look_at_data(source, records, check_source(source, records), make_split(records))
    foreground = np.mean([museum.binary(scene).mean() for scene in range(museum.COUNT)])
    assert found.shares["object"] == pytest.approx(foreground)
    assert (found.images, found.groups, found.validation_images) == (6, 6, 1)
    assert (found.height, found.width, found.channels, found.dtypes) == (40, 56, 3, ("uint8",))
    assert found.objects == sum(int(museum.objects(scene).max()) for scene in range(museum.COUNT))
    assert found.contacts == 0
    areas = np.concatenate([np.bincount(museum.objects(scene).ravel())[1:] for scene in range(museum.COUNT)])
    assert found.diameter == pytest.approx(2 * np.sqrt(np.median(areas) / np.pi), rel=0.05)


def test_a_named_file_says_its_encoder(tmp_path):
    for name, kind in {"layer1.0.conv1.weight": "resnet", "_conv_stem.weight": "timm"}.items():
        torch.save({name: torch.zeros(1)}, tmp_path / "w.pth")
        assert find_pretrained(str(tmp_path / "w.pth"), None).encoder == kind
    torch.save({"other": torch.zeros(1)}, tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"w\.pth.*encoder="):
        find_pretrained(str(tmp_path / "w.pth"), None)
    assert find_pretrained(str(tmp_path / "w.pth"), "resnet").encoder == "resnet"


def test_weights_are_taken_from_the_cache_or_the_server_else_there_are_none(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    assert find_pretrained(None, "resnet", answers=lambda url: False) is None
    fetched = find_pretrained(None, "resnet", answers=lambda url: True)
    assert fetched.encoder == "resnet"
    assert fetched.path is None
    name = fetched.where.rpartition("/")[2]
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / name).touch()
    cached = find_pretrained(None, "resnet", answers=lambda url: pytest.fail("asked"))
    assert name in cached.where
    assert find_pretrained(None, "unet", answers=lambda url: True) is None
    # Another depth has other weights than those in the cache.
    assert find_pretrained(None, "resnet", {"depth": 50}, answers=lambda url: False) is None
    deeper = find_pretrained(None, "resnet", {"depth": 50}, answers=lambda url: True)
    assert deeper.keys == {"depth": 50}
    assert "resnet50" in deeper.where
