"""A checkpoint from anybody is as safe to open as a picture: one line, nothing run, no memory for what is not there."""

import io
import math
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from unet_train import checkpoint
from unet_train.checkpoint import Checkpoint
from unet_train.config.yaml_files import read_yaml
from unet_train.data.description import DataDescription
from unet_train.errors import LONGEST, UserError, one_line
from unet_train.models.files import read_checkpoint, write_checkpoint
from unet_train.models.spec import ModelSpec, build_model
from unet_train.models.weights import load_tensors

SPEC = ModelSpec(encoder={"kind": "unet", "init_features": 2, "depth": 1}, in_channels=1, outputs=["a", "b"])


def content() -> dict:
    data = DataDescription("drawn", ("a", "b"), 1)
    config = {"dataset": {"channels": 1}, "seed": 0}
    return Checkpoint(SPEC, data, build_model(SPEC).state_dict(), config=config).to_dict()


def refusal(call, *arguments) -> str:
    with pytest.raises(UserError) as caught:
        call(*arguments)
    said = str(caught.value)
    assert "\n" not in said
    return said


def opened(path: Path):
    return Checkpoint.read(path).to_predictor()


def with_pickle(path: Path, opcodes: bytes) -> Path:
    """A zip as torch.save writes it, with another pickle."""
    buffer = io.BytesIO()
    torch.save(content(), buffer)
    with zipfile.ZipFile(buffer) as old, zipfile.ZipFile(path, "w") as new:
        for member in old.infolist():
            new.writestr(member, opcodes if member.filename.endswith("data.pkl") else old.read(member))
    return path


DEEP = b"\x80\x02}" + b")" + b"\x85" * 200_000 + b"K\x01s."
"""A dict whose key is a tuple in a tuple in a tuple …: hashing it exhausts the stack of the interpreter itself."""
LAUGHS = b"\x80\x02]q\x00" + b"".join(
    b"](h" + bytes([i]) + b"h" + bytes([i]) + b"eq" + bytes([i + 1]) for i in range(60)
)
"""A list of two times a list of two times …, 2^60 in all."""


@pytest.mark.parametrize(
    "opcodes",
    [DEEP, LAUGHS + b".", b"\x80\x02]q\x00h\x00a.", b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R."],
    ids=["deep", "many", "in itself", "code"],
)
@pytest.mark.parametrize("bare", [False, True])
def test_pickles_that_harm_are_refused(tmp_path, opcodes, bare):
    path = tmp_path / "x.pt"
    if bare:
        path.write_bytes(opcodes)
    else:
        with_pickle(path, opcodes)
    assert str(path) in refusal(read_checkpoint, path)


def test_a_dict_filled_in_many_portions_is_not_deep(tmp_path):
    """torch.save fills a dict by a thousand keys at a time."""
    torch.save({"a": {str(i): i for i in range(110_000)}}, tmp_path / "x.pt")
    assert len(read_checkpoint(tmp_path / "x.pt")["a"]) == 110_000


def test_a_zip_that_unpacks_to_more_than_the_file_is_refused(tmp_path):
    write_checkpoint(tmp_path / "x.pt", content())
    with zipfile.ZipFile(tmp_path / "y.pt", "w", zipfile.ZIP_DEFLATED) as new:
        with zipfile.ZipFile(tmp_path / "x.pt") as old:
            for name in old.namelist():
                new.writestr(name, old.read(name))
        new.writestr("archive/data/99", bytes(10_000_000))
    assert "claims" in refusal(read_checkpoint, tmp_path / "y.pt")


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(1).expand(10**12),
        torch.sparse_coo_tensor(torch.zeros(1, 1), torch.ones(1), (10**12,), check_invariants=True),
        torch.empty(10**6, 10**6, device="meta"),
    ],
    ids=["expanded", "sparse", "meta"],
)
def test_a_tensor_that_claims_more_than_the_file_holds_is_refused(tmp_path, tensor):
    torch.save({"encoder.levels.0.conv1.weight": tensor}, tmp_path / "x.pt")
    assert "refused" in refusal(read_checkpoint, tmp_path / "x.pt")


def test_a_dict_whose_methods_were_overwritten_is_a_dict_again(tmp_path):
    text = b"X\x05\x00\x00\x00items"
    opcodes = b"\x80\x02ccollections\nOrderedDict\n)R" + b"}" + text + b"K\x01sb" + text + b"K\x02s."
    assert list(read_checkpoint(with_pickle(tmp_path / "x.pt", opcodes)).items()) == [("items", 2)]


def changed(path, *keys_and_value):
    """A checkpoint with the value at a place in it replaced."""
    whole = content()
    holder = whole
    *keys, last, value = keys_and_value
    for key in keys:
        holder = holder[key]
    holder[last] = value
    torch.save(whole, path)
    return path


@pytest.mark.parametrize(
    ("place", "value", "named"),
    [
        (["format"], "1", "format"),
        (["format"], 0, "format"),
        (["format"], math.nan, "format"),
        (["model", "in_channels"], 1.0, "in_channels"),
        (["model", "outputs"], "ab", "outputs"),
        (["model", "normalisation"], {"mode": "fixed", "mean": [math.nan], "std": [1.0]}, "mean"),
        (["model", "in_channels"], 10**12, "channels"),
        (["model", "encoder", "init_features"], 10**6, "1000000"),
        (["model", "encoder", "depth"], 6, "missing"),
        (["model", "decoder_channels"], [10**9], "channels"),
        (["model", "input_skip"], 10**9, "channels"),
        (["model", "encoder"], {"kind": "custom", "target": "os.system", "command": "true"}, "_target_"),
        (["model", "encoder"], {"kind": "timm", "name": "hf-hub:stranger/net"}, "hf-hub"),
        (["data", "scale"], 1e9, "scale"),
        (["data", "scale"], math.nan, "scale"),
        (["data", "channels"], 3, "channels"),
        (["data", "target"], "foreground_border", "outputs"),
        (["data", "target_params"], {"gap": 1e9}, "gap"),
        (["data", "classes"], ["a", "\x1b[31m"], "name"),
        (["data", "intensity_range"], [0.0, math.inf], "intensity_range"),
        (["config"], [1], "config"),
        (["config", "dataset"], {"root": "${oc.env:HOME}"}, "${"),
        (["config", "dataset"], torch.zeros(2), "Tensor"),
        (["objects"], torch.zeros(2), "objects"),
        (["split"], {"train": [1]}, "train"),
        (["image_hashes"], {"a": 1}, "image_hashes"),
        (["state_dict", "head.weight"], None, "head.weight"),
        (["state_dict", "head.bias"], torch.full((2,), math.nan), "head.bias"),
        (["state_dict", "head.bias"], torch.zeros(2, dtype=torch.int32), "int32"),
        (["state_dict", "head.bias"], torch.zeros(2, dtype=torch.complex64), "complex64"),
        (["state_dict", "encoder.levels.0.norm1.running_var"], -torch.ones(2), "running_var"),
    ],
)
def test_a_value_that_cannot_be_is_refused(tmp_path, place, value, named):
    path = changed(tmp_path / "x.pt", *place, value)
    said = refusal(opened, path)
    assert said.startswith(str(path))
    assert named in said


def test_a_key_that_a_config_lacks_is_named(tmp_path):
    section = Checkpoint.read(changed(tmp_path / "x.pt", "config", "trainer", {"epochs": 1})).section(
        "trainer"
    )
    assert section["epochs"] == 1
    assert section.get("devices") is None
    said = refusal(lambda: section["devices"])
    assert said.startswith(str(tmp_path / "x.pt"))
    assert "trainer.devices" in said


def test_memory_is_given_for_what_the_file_holds_alone(tmp_path, monkeypatch):
    """The net that is described is compared with the tensors before it is built."""
    wide = torch.zeros(3000)
    path = changed(tmp_path / "x.pt", "state_dict", "head.bias", wide)
    whole = read_checkpoint(path)
    whole["model"]["encoder"] = {"kind": "unet", "init_features": 3000, "depth": 6}
    torch.save(whole, path)
    devices = []

    def build(spec, custom=None):
        devices.append(torch.empty(0).device.type)
        return build_model(spec, custom)

    monkeypatch.setattr(checkpoint, "build_model", build)
    assert "encoder.levels.0.conv1.weight" in refusal(opened, path)
    assert devices == ["meta"]


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_precision_are_right(tmp_path, kind):
    whole = content()
    path = tmp_path / "x.pt"
    torch.save(
        whole
        | {
            "state_dict": {
                k: v.to(kind) if v.is_floating_point() else v for k, v in whole["state_dict"].items()
            }
        },
        path,
    )
    weight = opened(path).model.head.weight
    assert weight.dtype == torch.float32
    torch.testing.assert_close(weight.detach(), whole["state_dict"]["head.weight"].to(kind).float())


def test_weights_that_are_no_numbers_start_no_training():
    model = build_model(SPEC)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    state["head.bias"][0] = math.inf
    assert "head.bias" in refusal(load_tensors, model, state, "x.pt")


def test_a_message_is_one_line_that_no_terminal_obeys():
    said = one_line("x.pt: \x1b[31mred\x07 größe\n" + "y" * 100_000 + " end")
    assert said.startswith("x.pt: \\x1b[31mred\\x07 größe ")
    assert said.endswith("end")
    assert said.isprintable()
    assert len(said) <= LONGEST


def test_results_stay_in_their_folder(tmp_path, monkeypatch):
    """A data set's name, which stands in the checkpoint, is no path."""
    from unet_train.config.compose import compose_command
    from unet_train.runs.evaluation import results_folder

    monkeypatch.chdir(tmp_path)
    config = compose_command("eval", ["ckpt=x.pt"]).config
    folder = results_folder(config, Path("x.pt"), "../../a/b-test", "root")
    assert folder.resolve().parent == tmp_path / "eval"
    assert results_folder(replace(config), Path("x.pt"), "folder-test", "root").name == "folder-test"


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [*a]",
        "a: &a [1,1]\n"
        + "".join(f"{chr(c)}: &{chr(c)} [*{chr(c - 1)},*{chr(c - 1)}]\n" for c in range(98, 122)),
        "[" * 500,
        "a: " * 60,
        "x: !!python/object/apply:os.system ['true']",
        "a: " + "9" * 6000,
        "a: 2020-99-99",
        "\x00",
    ],
    ids=["in itself", "many", "deep", "no keys", "code", "digits", "date", "zero"],
)
def test_yaml_that_harms_is_refused(tmp_path, text):
    (tmp_path / "x.yaml").write_text(text, encoding="utf-8")
    assert str(tmp_path / "x.yaml") in refusal(read_yaml, tmp_path / "x.yaml")
