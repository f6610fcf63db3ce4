"""Checkpoints that were damaged or made to do harm, through every door that takes one: one line, or a right load."""

from __future__ import annotations

import contextlib
import copy
import functools
import io
import json
import math
import os
import pickle
import random
import shutil
import signal
import string
import struct
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from PIL import Image

from unet_train.errors import LONGEST, UserError, one_line

CASES = 5000

RUN = Path(__file__).resolve().parent.parent / "fixtures" / "run_0.1" / "cells"
"""A finished run of tiny nets, with its images."""

SECONDS = 60
"""After which a case counts as hanging, on a machine that has other work too."""

MEGABYTES = 400
"""By which a case may raise the most memory this process ever had."""

ADDRESS_SPACE = 8 << 30
"""Left to a case, in bytes, so that a claim of gigabytes fails instead of filling the machine."""


def run(seed: int, folder: Path) -> str:
    """One mutated checkpoint through one door; the outcome in a word.

    Raises
    ------
    AssertionError
        If a promise is broken.
    """
    chance = random.Random(seed)
    torch.manual_seed(seed)
    case = folder / f"case_{seed}"
    shutil.rmtree(case, ignore_errors=True)
    case.mkdir(parents=True)
    canary = case / "executed"
    kind = chance.choice(list(MUTATIONS))
    door = chance.choice(DOORS)
    path = case / ("run/last.pt" if door is resume else f"x{chance.choice(['.pt', '.pt', '.pth', ''])}")
    path.parent.mkdir(exist_ok=True)
    with watched(f"seed {seed}, {kind}, {door.__name__}", canary):
        suffix = MUTATIONS[kind](
            chance, path, "last" if door is resume else chance.choice(["best", "last"]), canary
        )
        if suffix:
            path = path.rename(path.with_suffix(suffix))
            door = chance.choice([weights, predict])
        word = outcome(door, path)
    shutil.rmtree(case, ignore_errors=True)
    return f"{word} ({door.__name__})"


def outcome(door: Callable[[Path], None], path: Path) -> str:
    """Go through a door; what came of it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            door(path)
    except UserError as error:
        check_line(one_line(str(error)))
        return "refused"
    return "loaded"


def check_line(message: str) -> None:
    """A message for a person: one line of bearable length, and not the allocator's."""
    assert message.strip(), "an empty message"
    assert message.isprintable(), f"not one line: {message[:500]!r}"
    assert len(message) <= LONGEST, f"too long: {message[:500]!r}"
    assert "allocate" not in message, f"memory was asked for first: {message}"


@contextmanager
def watched(name: str, canary: Path) -> Iterator[None]:
    """Nothing executed, no hang, no memory beyond the limit, no error but a `UserError`."""

    def hangs(*_: Any) -> None:
        raise AssertionError(f"{name}: hangs")

    before, at_most = memory(), address_space()
    old = signal.signal(signal.SIGALRM, hangs) if hasattr(signal, "SIGALRM") else None
    if old is not None:
        signal.alarm(SECONDS)
    try:
        yield
    except AssertionError as error:
        raise AssertionError(f"{name}: {error}") from error
    except Exception as error:
        raise AssertionError(f"{name}: a traceback: {type(error).__name__}: {error}") from error
    finally:
        if old is not None:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, old)
        at_most()
    assert not canary.exists(), f"{name}: code from the file was run"
    assert memory() - before < MEGABYTES, f"{name}: {memory() - before:.0f} MB more"


def memory() -> float:
    """Most memory this process ever had, in MB; 0 where it is not told."""
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 1 << 20)


def address_space() -> Callable[[], None]:
    """Limit the address space to what is used and `ADDRESS_SPACE`; the way back."""
    if not sys.platform.startswith("linux"):
        return lambda: None
    import resource

    old = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + ADDRESS_SPACE, old[1]))
    return lambda: resource.setrlimit(resource.RLIMIT_AS, old)


# --- what is mutated ----------------------------------------------------------------------------------
@functools.cache
def original(name: str) -> dict[str, Any]:
    """The run's best or last checkpoint as today's code writes it."""
    from unet_train.checkpoint import Checkpoint
    from unet_train.inference.objects import DEFAULT_PARAMETERS
    from unet_train.models.files import plain

    found = Checkpoint.read(RUN / "run" / f"{name}.pt")
    found.config["dataset"]["root"] = str(RUN / "drawn")
    if name == "best":
        found.objects = DEFAULT_PARAMETERS
    return plain(found.to_dict())


def content_of(name: str) -> dict[str, Any]:
    return copy.deepcopy(original(name))


@functools.cache
def written(name: str) -> bytes:
    file = io.BytesIO()
    torch.save(original(name), file)
    return file.getvalue()


def damaged_bytes(chance: random.Random, path: Path, name: str, canary: Path) -> None:
    """Bytes flipped, taken out or put in, a cut, pieces exchanged."""
    data = bytearray(written(name))
    for _ in range(chance.choice([1, 1, 1, 3, 30])):
        # The first and the last kilobytes hold the pickle and the zip's directory.
        span = chance.choice([len(data), min(len(data), 3000), -min(len(data), 6000)])
        at = chance.randrange(span) if span > 0 else chance.randrange(len(data) + span, len(data))
        length = chance.choice([1, 1, 2, 8, 200])
        act = chance.randrange(4)
        if act == 0:
            for place in range(at, min(at + length, len(data))):
                data[place] ^= 1 << chance.randrange(8)
        elif act == 1:
            del data[at : at + length]
        elif act == 2:
            data[at:at] = chance.randbytes(length)
        else:
            data = data[: max(1, at)] if chance.random() < 0.3 else data[at:] + data[:at]
    path.write_bytes(bytes(data))


def damaged_pickle(chance: random.Random, path: Path, name: str, canary: Path) -> None:
    """A zip whose checksums are right around a pickle whose bytes are not."""
    data = bytearray(pickle_of(written(name)))
    for _ in range(chance.choice([1, 1, 2, 10])):
        at = chance.randrange(len(data))
        if chance.random() < 0.7:
            data[at] = chance.choice([chance.randrange(256), *b"(}]).|0e\x85\x86\x87Rqrhjuastbc"])
        else:
            data[at:at] = chance.choice(
                [b"]", b"}", b"(", b"0", b"K\x00", b"N", b"\x88", b"h\x01", chance.randbytes(3)]
            )
    with_pickle(path, written(name), bytes(data))


def other_structure(chance: random.Random, path: Path, name: str, canary: Path) -> None:
    """A value at any depth deleted, renamed, or replaced by one of another type, size or meaning."""
    content = content_of(name)
    for _ in range(chance.choice([1, 1, 1, 2, 5])):
        holder, key = place_in(chance, content)
        act = chance.random()
        if act < 0.2:
            del holder[key]
        elif act < 0.3 and isinstance(holder, dict):
            holder[chance.choice([f"{key}_", "_target_", 7, None, "x" * 300, "weight\n"])] = holder.pop(key)
        else:
            holder[key] = odd_value(chance, holder[key], canary)
        if not content:
            break
    torch.save(content, path, _use_new_zipfile_serialization=chance.random() < 0.8)


def odd_tensors(chance: random.Random, path: Path, name: str, canary: Path) -> None:
    """Tensors of other types, shapes, values, and such as claim more than they hold."""
    content = content_of(name)
    dicts = [content["state_dict"]]
    if name == "last":
        dicts += [content["ema"]["average"]] + [part for part in content["optimizer"]["state"].values()]
    tensors = chance.choice([part for part in dicts if part])
    names = list(tensors)
    chosen = names if chance.random() < 0.2 else [chance.choice(names)]
    change = chance.choice(TENSOR_CHANGES)
    for key in chosen:
        if isinstance(tensors[key], torch.Tensor):
            tensors[key] = change(tensors[key])
    torch.save(content, path)


TENSOR_CHANGES: list[Callable[[torch.Tensor], Any]] = [
    torch.Tensor.half,
    torch.Tensor.double,
    torch.Tensor.bfloat16,
    torch.Tensor.int,
    torch.Tensor.bool,
    lambda t: t.to(torch.complex64),
    lambda t: t.float() * math.nan,
    lambda t: t.float() / 0,
    lambda t: -t.float().abs() - 1,
    lambda t: t.float() * 1e30,
    lambda t: t[None],
    lambda t: t.reshape(-1),
    lambda t: torch.zeros(0),
    lambda t: torch.zeros(()),
    lambda t: t.flatten()[:1].expand(10**12) if t.numel() else t,
    lambda t: t.flatten()[:1].expand(*[1, 10**6, 10**6, 1]) if t.numel() else t,
    lambda t: t.float().to_sparse(),
    lambda t: torch.empty(10**6, 10**6, device="meta"),
    lambda t: torch.nn.Parameter(t.float()),
    lambda t: t.tolist(),
    lambda t: None,
]


def hostile_pickle(chance: random.Random, path: Path, name: str, canary: Path) -> None:
    """Objects that run code when they are unpickled, in either format of torch.save."""
    content = content_of(name)
    holder, key = place_in(chance, content)
    holder[key] = chance.choice(
        [Runs(canary), {Runs(canary): 1}, [Runs(canary)], Imports("os.system", f"touch {canary}")]
    )
    if chance.random() < 0.3:
        content = holder[key]
    if chance.random() < 0.2:
        path.write_bytes(pickle.dumps(content, protocol=chance.randrange(6)))
        return
    torch.save(content, path, _use_new_zipfile_serialization=chance.random() < 0.7)


class Runs:
    """Unpickled, writes a file."""

    def __init__(self, canary: Path):
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, (f"touch '{self.canary}'",))


class Imports:
    """Unpickled, calls whatever it names."""

    def __init__(self, name: str, argument: str):
        self.name, self.argument = name, argument

    def __reduce__(self) -> tuple[Any, ...]:
        return (
            eval,
            (f"__import__('{self.name.split('.')[0]}').{self.name.split('.')[1]}({self.argument!r})",),
        )


def pickle_bomb(chance: random.Random, path: Path, name: str, canary: Path) -> None:
    """Pickles that nest, refer to themselves, or multiply."""
    many = chance.choice([50, 3000, 200_000])
    opcodes = chance.choice(
        [
            b"\x80\x02}" + b")" + b"\x85" * many + b"K\x01s.",  # a deep tuple as a key
            b"\x80\x02" + b")" + b"\x85" * many + b".",
            b"\x80\x02" + b"]" * many + b"a" * (many - 1) + b".",
            b"\x80\x02]q\x00h\x00a.",  # a list in itself
            b"\x80\x02}q\x00X\x06\x00\x00\x00formatK\x01sX\x05\x00\x00\x00modelh\x00s.",
            b"\x80\x02]q\x00"
            + b"".join(
                b"](" + b"h" + bytes([i]) + b"h" + bytes([i]) + b"eq" + bytes([i + 1]) for i in range(60)
            )
            + b".",
            b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"1234.",
            b"\x80\x02\x8a\xff" + b"\x7f" * 255 + b".",
            b"\x80\x02X" + struct.pack("<I", 2**32 - 1) + b"abc.",
            b"\x80\x02cbuiltins\nset\n]\x85R.",
            b"\x80\x02ccollections\nOrderedDict\n)R}X\x05\x00\x00\x00itemsK\x01sb.",
            b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.",
            b"\x80\x02" + b"(" * many + b".",
        ]
    )
    if chance.random() < 0.2:
        path.write_bytes(opcodes)
    else:
        with_pickle(path, written(name), opcodes)


def zip_bomb(chance: random.Random, path: Path, name: str, canary: Path) -> None:
    """Zips whose members claim, or unpack to, far more than the file."""
    data = written(name)
    act = chance.randrange(5)
    if act == 0:  # compressed
        with (
            zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new,
            zipfile.ZipFile(io.BytesIO(data)) as old,
        ):
            for member in old.infolist():
                new.writestr(member.filename, old.read(member))
            new.writestr("best/data/999", bytes(8 << 20))
    elif act == 1:  # sizes in the directory
        changed = bytearray(data)
        at = -1
        places = []
        while (at := changed.find(b"PK\x01\x02", at + 1)) >= 0:
            places.append(at)
        for at in chance.sample(places, chance.randint(1, len(places))):
            changed[at + 20 : at + 28] = struct.pack("<II", *[chance.choice([2**32 - 2, 2**31, 10**9])] * 2)
        path.write_bytes(changed)
    elif act == 2:  # a member twice
        with zipfile.ZipFile(path, "w") as new, zipfile.ZipFile(io.BytesIO(data)) as old:
            for member in old.infolist():
                for _ in range(chance.choice([1, 2])):
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore")
                        new.writestr(member.filename, old.read(member))
    elif act == 3:  # names that leave the folder
        with zipfile.ZipFile(path, "w") as new, zipfile.ZipFile(io.BytesIO(data)) as old:
            for member in old.infolist():
                new.writestr(f"../../{member.filename}", old.read(member))
    else:  # no checkpoint's members
        with zipfile.ZipFile(path, "w") as new:
            new.writestr(
                chance.choice(["data.pkl", "x/data.pkl", "x/version", "x/constants.pkl"]),
                chance.randbytes(40),
            )


def another_project(chance: random.Random, path: Path, name: str, canary: Path) -> None:
    """What other programs save."""
    state = content_of(name)["state_dict"]
    path_dict = {
        "lightning": {
            "state_dict": {f"model.{k}": v for k, v in state.items()},
            "pytorch-lightning_version": "2.0",
            "epoch": 1,
            "hyper_parameters": {"lr": 1},
        },
        "ddp": {f"module.{k}": v for k, v in state.items()},
        "nnunet": {"network_weights": state, "init_args": {"plans": {}}, "trainer_name": "x"},
        "mmseg": {"meta": {"CLASSES": ["a"]}, "state_dict": state},
        "ours by half": {
            "format": 1,
            "model": {"encoder": {"kind": "unet"}},
            "data": {},
            "state_dict": state,
        },
        "newer": content_of(name)
        | {"format": chance.choice([2, 99, 10**30, 1.5, True, "1", None, -1, 0, math.nan])},
        "tensor": torch.zeros(3),
        "list": [state],
        "text": "best.pt",
        "empty": {},
    }
    chosen = path_dict[chance.choice(list(path_dict))]
    torch.save(chosen, path, _use_new_zipfile_serialization=chance.random() < 0.7)


def safetensors_file(chance: random.Random, path: Path, name: str, canary: Path) -> str:
    """safetensors, whole, damaged, or with headers that claim absurd things."""
    from safetensors.torch import save

    state = {k: v.contiguous() for k, v in content_of(name)["state_dict"].items()}
    data = save(state)
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    act = chance.randrange(5)
    if act == 0:
        data = struct.pack("<Q", chance.choice([0, 1, 10**12, 2**63, 2**64 - 1, length + 1])) + data[8:]
    elif act in (1, 2):
        key = chance.choice([k for k in header if k != "__metadata__"])
        header[key] |= chance.choice(
            [
                {"shape": [10**12]},
                {"shape": [-1]},
                {"shape": [2**40, 2**40]},
                {"data_offsets": [0, 10**12]},
                {"data_offsets": [8, 0]},
                {"dtype": "F128"},
                {"dtype": "F16"},
                {"shape": "x"},
            ]
        )
        text = json.dumps(header).encode()
        data = struct.pack("<Q", len(text)) + text + data[8 + length :]
    elif act == 3:
        changed = bytearray(data)
        for _ in range(3):
            changed[chance.randrange(min(len(changed), 4000))] = chance.randrange(256)
        data = bytes(changed)
    path.write_bytes(data)
    return ".safetensors"


def onnx_file(chance: random.Random, path: Path, name: str, canary: Path) -> str:
    """Bytes that begin as an ONNX file does, with a field that claims gigabytes."""
    path.write_bytes(
        b"\x08\x08\x12\x07pytorch:\xff\xff\xff\xff\x0f" + chance.randbytes(chance.choice([0, 10, 5000]))
    )
    return ".onnx"


def untouched(chance: random.Random, path: Path, name: str, canary: Path) -> None:
    """The file as it is."""
    path.write_bytes(written(name))


MUTATIONS: dict[str, Callable[[random.Random, Path, str, Path], str | None]] = {
    **{f"structure {i}": other_structure for i in range(6)},
    "bytes": damaged_bytes,
    "bytes again": damaged_bytes,
    "pickle": damaged_pickle,
    "pickle again": damaged_pickle,
    "tensors": odd_tensors,
    "tensors again": odd_tensors,
    "hostile": hostile_pickle,
    "bomb": pickle_bomb,
    "zip": zip_bomb,
    "another": another_project,
    "safetensors": safetensors_file,
    "onnx": onnx_file,
    "untouched": untouched,
}


def pickle_of(data: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.read(next(name for name in archive.namelist() if name.endswith("data.pkl")))


def with_pickle(path: Path, data: bytes, opcodes: bytes) -> None:
    """The zip of a checkpoint with another pickle in it."""
    with zipfile.ZipFile(path, "w") as new, zipfile.ZipFile(io.BytesIO(data)) as old:
        for member in old.infolist():
            new.writestr(member, opcodes if member.filename.endswith("data.pkl") else old.read(member))


def place_in(chance: random.Random, content: Any) -> tuple[Any, Any]:
    """A random container at any depth and one of its keys, the parts that describe more often than the tensors."""
    holder, key = content, chance.choice(list(content))
    if key in ("state_dict", "rng", "optimizer") and chance.random() < 0.7:
        key = chance.choice([k for k in content if k not in ("state_dict", "rng", "optimizer")] or [key])
    while isinstance(holder[key], dict | list) and holder[key] and chance.random() < 0.85:
        holder = holder[key]
        key = chance.choice(list(holder)) if isinstance(holder, dict) else chance.randrange(len(holder))
    return holder, key


def odd_value(chance: random.Random, value: Any, canary: Path) -> Any:
    """A value of another type, size or meaning."""
    if type(value) in (int, float) and chance.random() < 0.4:
        return chance.choice(
            [
                -value,
                value + 1,
                value * 2,
                0,
                10**6,
                10**12,
                2**63,
                10**400 if type(value) is int else 1e300,
                -1,
            ]
        )
    target = {"_target_": "os.system", "command": f"touch {canary}"}
    choices: list[Any] = [
        None,
        True,
        0,
        -1,
        3,
        1.5,
        math.nan,
        math.inf,
        10**12,
        2**70,
        "",
        "x",
        "os.system",
        f"touch {canary}",
        "${oc.env:HOME}",
        "../../../etc/passwd",
        "a\nb\x1b[31m\x00",
        "".join(chance.choices(string.printable, k=20)),
        "y" * 100_000,
        [],
        {},
        [1, [2, [3]]],
        {"a": {"b": {}}},
        {1: 2},
        list(range(50_000)),
        functools.reduce(lambda inner, _: [inner], range(90), 1),
        functools.reduce(lambda inner, _: {"a": inner}, range(400), 1),
        target,
        [target],
        {"kind": "custom", "target": "os.system", "command": f"touch {canary}"},
        {"kind": "timm", "name": "hf-hub:stranger/net"},
        torch.zeros(2),
        torch.zeros(1).expand(10**12),
        torch.zeros(2).to_sparse(),
        (1, 2),
        b"bytes",
        1 + 2j,
    ]
    return chance.choice(choices)


# --- the doors ----------------------------------------------------------------------------------------
@functools.cache
def images() -> Path:
    """Images to predict: one of the run's own, cut small."""
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="unet-train-stress-"))
    Image.fromarray(np.asarray(Image.open(RUN / "drawn" / "images" / "im_2.png"))[:20, :20]).save(
        folder / "a.png"
    )
    return folder


@functools.cache
def config_of(command: str) -> Any:
    from unet_train.config.compose import compose_command

    words = {
        "predict": ["ckpt=x", f"input={images()}", "accelerator=cpu", "precision=32", "output=x"],
        "eval": ["ckpt=x", "accelerator=cpu", "precision=32", "overlays=0", "output=x"],
        "export": ["ckpt=x", "format=safetensors", "output=x"],
    }
    return compose_command(command, words[command]).config


def predict(path: Path) -> None:
    """`unet-predict ckpt=`."""
    from unet_train.runs import prediction

    output = path.parent / "out"
    with mock.patch.object(prediction, "log_to"):
        done = prediction.predict_run(replace(config_of("predict"), ckpt=str(path), output=str(output)))
    assert not done.bad, f"loaded, but then: {done.bad}"
    classes = [file for file in (output / "classes").glob("*.tif") if not file.name.startswith(".")]
    assert len(classes) == 1


def evaluate(path: Path) -> None:
    """`unet-eval ckpt=`."""
    from unet_train.runs import evaluation

    output = path.parent / "out"
    picture = np.zeros((4, 4, 3), np.uint8)
    with (
        mock.patch.object(evaluation, "log_to"),
        mock.patch.object(evaluation, "confusion_matrix_picture", return_value=picture),
    ):
        evaluation.eval_run(replace(config_of("eval"), ckpt=str(path), output=str(output)))
    assert json.loads((output / "metrics.json").read_text(encoding="utf-8"))["n_images"] > 0


def export(path: Path) -> None:
    """`unet-export ckpt=`."""
    from unet_train.runs import export as exporting

    with mock.patch.object(exporting, "log_to"):
        exporting.export_run(replace(config_of("export"), ckpt=str(path), output=str(path.parent / "out")))


def weights(path: Path) -> None:
    """`unet-train weights=file weights.path=`."""
    from unet_train.models.spec import ModelSpec, build_model
    from unet_train.models.weights import load_file

    description = original("best")["model"]
    model = build_model(ModelSpec.from_dict(description))
    load_file(model, path)
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())


class Resumed(Exception):
    """The training would begin here."""


@functools.cache
def resumable() -> tuple[Any, Any]:
    """The config of the run to resume, and its data."""
    import tempfile

    from unet_train.config.compose import compose_resume
    from unet_train.runs import training

    folder = Path(tempfile.mkdtemp(prefix="unet-train-stress-")) / "run"
    shutil.copytree(RUN / "run", folder)
    # Two more epochs, so that there is something left to do.
    composed = compose_resume(f"resume={folder}", [f"dataset.root={RUN / 'drawn'}", "trainer.epochs=4"])
    found: list[Any] = []
    reading = training.read_data

    def read(*arguments: Any, **keywords: Any) -> Any:
        found.append(reading(*arguments, **keywords))
        raise Resumed

    try:
        with mock.patch.object(training, "read_data", read), mock.patch.object(training, "log_to"):
            training.train_run(copy.deepcopy(composed))
    except Resumed:
        pass
    return composed, found[0]


def resume(path: Path) -> None:
    """`unet-train resume=`."""
    from unet_train.runs import training

    composed, data = resumable()
    composed = copy.deepcopy(composed)
    (path.parent / "best.pt").write_bytes(written("best"))
    (path.parent / "config.yaml").write_text("", encoding="utf-8")
    composed.run_folder = str(path.parent)

    def read(config: Any, context: Any, split: Callable[[list[Any]], Any], **_: Any) -> Any:
        split(list(data.split.train + data.split.val + data.split.test))
        return data

    def stop(*_: Any, **__: Any) -> None:
        raise Resumed

    with contextlib.ExitStack() as stack:
        for name in ("log_to", "tell_run", "tell_resume"):
            stack.enter_context(mock.patch.object(training, name))
        stack.enter_context(mock.patch.object(training, "read_data", read))
        stack.enter_context(mock.patch.object(training, "train", stop))
        stack.enter_context(contextlib.suppress(Resumed))
        training.train_run(composed)


DOORS: list[Callable[[Path], None]] = [
    *([predict] * 6),
    *([weights] * 5),
    *([resume] * 4),
    *([evaluate] * 2),
    export,
]
