"""Files that are damaged, wrong or malicious end in one line, and never in other weights than were saved."""

import json
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from unet_train.errors import UserError
from unet_train.models.files import read_checkpoint, read_tensors


def content() -> dict:
    generator = torch.Generator().manual_seed(0)
    return {"format": 1, "epoch": 3, "state_dict": {"w": torch.randn(40, 5, generator=generator)}}


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "größe (1).pt"
    torch.save(content(), path)
    return path


def one_line(path, reader=read_checkpoint) -> str:
    with pytest.raises(UserError) as caught:
        reader(path)
    message = str(caught.value)
    assert path.name in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize("new_format", [True, False])
def test_round_trip(saved, new_format):
    torch.save(content(), saved, _use_new_zipfile_serialization=new_format)
    found = read_checkpoint(str(saved))
    assert found["epoch"] == 3
    assert torch.equal(found["state_dict"]["w"], content()["state_dict"]["w"])


def read_by_torch_alone(path) -> bool:
    try:
        torch.load(path, weights_only=True)
    except Exception:
        return False
    return True


def test_a_flipped_byte_is_found_wherever_it_matters(saved):
    """torch.load itself reads most of these files, with other numbers, and says nothing."""
    good = saved.read_bytes()
    silent = 0
    for position in range(0, len(good), 7):
        damaged = bytearray(good)
        damaged[position] ^= 0x10
        saved.write_bytes(damaged)
        try:
            found = read_checkpoint(saved)
        except UserError:
            silent += read_by_torch_alone(saved)
        else:
            # Alignment bytes and timestamps of the archive carry nothing.
            assert torch.equal(found["state_dict"]["w"], content()["state_dict"]["w"])
            assert found["epoch"] == 3
    assert silent > 50


def test_truncated_and_empty(saved):
    good = saved.read_bytes()
    for length in (1, 3, 100, len(good) // 2, len(good) - 5):
        saved.write_bytes(good[:length])
        one_line(saved)
    saved.write_bytes(b"")
    assert "is empty" in one_line(saved)
    torch.save(content(), saved, _use_new_zipfile_serialization=False)
    saved.write_bytes(saved.read_bytes()[:-100])
    assert "damaged or truncated" in one_line(saved)


def test_not_a_checkpoint(tmp_path):
    path = tmp_path / "file.pt"
    for other in (b"epoch: 3\n", b"\x89PNG\r\n\x1a\n" + bytes(64), json.dumps({"a": 1}).encode()):
        path.write_bytes(other)
        assert "is not a checkpoint" in one_line(path)
    assert "No such file" in one_line(tmp_path / "nothing.pt")
    assert "best.pt" in one_line(tmp_path)


class Evil:
    """Runs code when unpickled the ordinary way."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('code was run')",))


@pytest.mark.parametrize("new_format", [True, False])
def test_code_is_never_run(tmp_path, new_format):
    path = tmp_path / "evil.pt"
    torch.save(
        {"state_dict": {"w": torch.zeros(2)}, "x": Evil()}, path, _use_new_zipfile_serialization=new_format
    )
    assert "could run code" in one_line(path)
    path.write_bytes(pickle.dumps(Evil(), protocol=2))
    one_line(path)


def test_numpy_inside_is_refused(tmp_path):
    path = tmp_path / "numpy.pt"
    torch.save({"score": np.float64(0.5)}, path)
    assert "besides tensors and plain values" in one_line(path)


@pytest.mark.parametrize("key", [None, "state_dict", "model", "model_state_dict"])
def test_the_state_dict_is_found(tmp_path, key):
    tensors = {"a.weight": torch.ones(2)}
    path = tmp_path / "x.pt"
    torch.save(tensors if key is None else {"epoch": 1, key: tensors}, path)
    assert read_tensors(path).keys() == tensors.keys()


def test_averaged_weights_come_first(tmp_path):
    path = tmp_path / "x.pt"
    states = {"state_dict": {"a": torch.zeros(2)}, "ema": {"updates": 4, "average": {"a": torch.ones(2)}}}
    torch.save(states, path)
    assert read_tensors(path)["a"].tolist() == [1, 1]
    torch.save(states | {"ema": None}, path)
    assert read_tensors(path)["a"].tolist() == [0, 0]


def test_safetensors(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({"a": torch.arange(4.0)}, path)
    assert read_tensors(path)["a"].tolist() == [0, 1, 2, 3]
    path.write_bytes(path.read_bytes()[:-4])
    assert "damaged" in one_line(path, read_tensors)
    path.write_bytes(b"not this")
    one_line(path, read_tensors)
    path.write_bytes(b"")
    assert "is empty" in one_line(path, read_tensors)


def test_no_tensors_inside(tmp_path):
    path = tmp_path / "x.pt"
    for nothing in ({"epoch": 3}, [1, 2], torch.zeros(3)):
        torch.save(nothing, path)
        assert "no named tensors" in one_line(path, read_tensors)
