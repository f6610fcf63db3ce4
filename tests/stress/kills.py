"""Runs that are killed at random moments, in the middle of a save too, and resumed until they end."""

from __future__ import annotations

import csv
import importlib
import os
import random
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

CASES = 10
"""One for each of `NETS`."""

KILLS = 20
"""Of each run."""

IMPORTED = (
    *("unet_train.commands.train", "unet_train.runs.training", "unet_train.data.augmentation.pipeline"),
    *("torch._dynamo", "torch.utils.tensorboard", "torchvision", "scipy.ndimage", "skimage.segmentation"),
)
"""What a training imports, before it is forked off."""

COMMON = [
    *("experiment=smoke", "trainer.epochs=6", "trainer.samples_per_epoch=48", "trainer.precision=32"),
    *("trainer.val_every=2", "dataset.images=9"),
]

CLASSIC = ["encoder=unet", "encoder.init_features=4", "encoder.depth=2"]
EFFICIENTNET = ["encoder=efficientnet", "encoder.variant=b0", "augmentation.crop_size=32"]
DROPOUT = ["encoder._target_=tests.stress.kills.DropoutEncoder"]
PLATEAU = ["scheduler=plateau", "scheduler.patience=0", "scheduler.warmup_steps=0"]
EMA, ACCUMULATE, WORKERS = ["trainer.ema_decay=0.9"], ["trainer.accumulate=2"], ["trainer.workers=2"]
NO_EMA = ["trainer.ema_decay=null"]

NETS: list[tuple[list[str], int]] = [
    ([*CLASSIC, *NO_EMA], 1),
    ([*CLASSIC, *EMA, *PLATEAU, *ACCUMULATE, *WORKERS], 1),
    ([*EFFICIENTNET, *NO_EMA], 1),
    ([*EFFICIENTNET, *EMA, *ACCUMULATE], 1),
    ([*EFFICIENTNET, *EMA, *PLATEAU, *WORKERS], 1),
    ([*DROPOUT, *NO_EMA, *PLATEAU], 1),
    ([*DROPOUT, *EMA, *ACCUMULATE, *WORKERS], 1),
    ([*CLASSIC, *EMA, *ACCUMULATE, *WORKERS], 2),
    ([*EFFICIENTNET, *EMA], 2),
    ([*DROPOUT, *NO_EMA, *PLATEAU, *ACCUMULATE], 2),
]
"""Keys of a run, and its processes."""


PARTS = (
    "state_dict",
    "ema",
    "optimizer",
    "schedule",
    "state",
    "metrics",
    "epoch",
    "step",
    "split",
    "objects",
)
"""Of a checkpoint, which must not differ."""


class DropoutEncoder(nn.Module):
    """An encoder of a user's own, with dropout, that draws from NumPy's and Python's generators too."""

    channels = (4, 8)
    strides = (1, 2)

    def __init__(self, in_channels: int):
        super().__init__()
        self.in_channels = in_channels
        self.first = nn.Sequential(nn.Conv2d(in_channels, 4, 3, padding=1), nn.ReLU(), nn.Dropout2d(0.3))
        self.second = nn.Sequential(nn.Conv2d(4, 8, 3, padding=1, stride=2), nn.ReLU(), nn.Dropout(0.3))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Features of both levels."""
        import numpy as np

        fine = self.first(x)
        if self.training:
            fine = fine * (1 + 0.1 * random.random() + 0.1 * float(np.random.random()))  # noqa: NPY002
        return [fine, self.second(fine)]


def run(seed: int, folder: Path, kills: int = KILLS) -> str:
    """Train undisturbed, train with `kills` kills, and compare."""
    words, processes = NETS[seed % len(NETS)]
    rng = random.Random(seed)
    whole, parts = folder / "whole", folder / "parts"
    told = folder / "log.txt"
    # The undisturbed run saves at the ends of its epochs, the other after nearly every step.
    train = [*COMMON, *words]
    assert wait(start([*train, f"hydra.run.dir={whole}"], processes, told)) == 0, told.read_text()
    often = [*train, "checkpoint.every_minutes=0.0001", f"hydra.run.dir={parts}", "resume=auto"]
    for _ in range(kills):
        started = start(often, processes, told)
        before = saved(parts)
        if rng.random() < 0.2:  # anywhere from the start on: reading, checking, the first steps
            ended = sleep(started, lambda: False, rng.uniform(0, 2))
        else:
            ended = sleep(started, lambda before=before: saved(parts) != before, 60)
            ended = ended or sleep(started, lambda: False, rng.uniform(0, 0.15))
        if ended:
            break
        kill(started, rng)
    code = wait(start(often, processes, told))
    assert code == 0, told.read_text()
    compare(whole, parts)
    return f"{'alone' if processes == 1 else f'{processes} processes'}: the same"


# --- processes ----------------------------------------------------------------------------------------
def start(words: Sequence[str], processes: int, told: Path) -> list[int]:
    """Start a training as a process group of its own for each of its processes; their process ids.

    They are forked from this one, which has imported everything: an import takes longer than a run.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    for name in IMPORTED:
        importlib.import_module(name)
    sys.stdout.flush()
    sys.stderr.flush()
    return [
        _fork(words, {**shared, "RANK": str(rank)} if processes > 1 else {}, told)
        for rank in range(processes)
    ]


def _fork(words: Sequence[str], environment: dict[str, str], told: Path) -> int:
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.setsid()
        with open(told, "ab") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        os.environ.update(environment)
        torch.set_num_threads(1)
        from unet_train.commands import shell, train

        code = shell.run("train", train.train, list(words))
        sys.stdout.flush()
    finally:
        os._exit(code)


def sleep(processes: Sequence[int], until: Callable[[], bool], seconds: float) -> bool:
    """Wait so many seconds, or until something is so; True if the first process has ended by itself meanwhile."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not until():
        if _ended(processes[0]):
            return True
        time.sleep(0.002)
    return False


def _ended(process: int) -> bool:
    return os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def kill(processes: Sequence[int], rng: random.Random) -> None:
    """Kill them: with their loader workers, or (one in three) alone, which leaves the workers to notice it."""
    alone = rng.random() < 1 / 3
    for process in processes:
        if alone:
            os.kill(process, signal.SIGKILL)
        else:
            os.killpg(process, signal.SIGKILL)
    for process in processes:
        os.waitpid(process, 0)


def wait(processes: Sequence[int], seconds: float = 300) -> int:
    """Wait until all have ended; the first exit code that is not 0, or 0."""
    return next((code for code in ended_codes(processes, seconds) if code), 0)


def ended_codes(processes: Sequence[int], seconds: float = 300) -> list[int]:
    """Wait until all have ended; their exit codes."""
    end, codes = time.monotonic() + seconds, []
    for process in processes:
        while not _ended(process):
            assert time.monotonic() < end, f"process {process} hangs"
            time.sleep(0.01)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
    return codes


def saved(folder: Path) -> int:
    """A number that changes with each save."""
    try:
        return (folder / "last.pt").stat().st_mtime_ns
    except FileNotFoundError:
        return 0


# --- comparing ----------------------------------------------------------------------------------------
def compare(whole: Path, parts: Path) -> None:
    """Assert that two runs ended alike, to the last bit; what the clock says apart."""
    for name in ("last.pt", "best.pt"):
        a, b = (torch.load(folder / name, weights_only=True) for folder in (whole, parts))
        for part in PARTS:
            assert same(a.get(part), b.get(part)), f"{name}: {part}"
    assert rows(whole) == rows(parts)
    assert scalars(whole) == scalars(parts)


def same(a: Any, b: Any) -> bool:
    """Whether two values of a checkpoint are equal to the last bit."""
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(one, other) for one, other in zip(a, b, strict=True))
    return bool(a == b or (a != a and b != b))


def rows(folder: Path) -> list[dict[str, str]]:
    """metrics.csv without the speeds."""
    with open(folder / "metrics.csv", newline="", encoding="utf-8") as file:
        return [{k: v for k, v in row.items() if "per_second" not in k} for row in csv.DictReader(file)]


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """TensorBoard's scalars by name, without the speeds."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0}).Reload()
    return {
        name: [(event.step, event.value) for event in events.Scalars(name)]
        for name in sorted(events.Tags()["scalars"])
        if "per_second" not in name
    }
