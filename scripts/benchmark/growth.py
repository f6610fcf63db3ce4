"""Row: memory and time by crop, batch, image size, classes and processes, with the power that they grow with."""

from __future__ import annotations

import csv
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import torch

import unet_train
from scripts.benchmark.measuring import Case, Measurement, command, interleaved, peak_mib, run_python
from scripts.benchmark.nets import OurStep
from unet_train.data.io.images import read_image, write_image
from unet_train.data.write_demo import write_demo

TITLE = "Growth"
ABOUT = """
Peak of resident memory of a whole process, libraries and validation included, and times, against the size of the task.
The net is the classic one with 16 features; classes are compared at crops of 128². Two processes share their steps by
gloo, by the clock on the wall: on one core they are at best as fast together as one. The number of files: see "Start".
"""

ROUNDS = 2
STEP_ROUNDS = 5
NET = ["encoder=unet", "encoder.init_features=16", "augmentation=light", "trainer.workers=0"]
ONE_STEP = ["trainer.epochs=1", "scheduler.warmup_steps=0", "trainer.pictures=0"]


@contextmanager
def images(side: int, count: int = 4) -> Iterator[Path]:
    """A folder of drawn images."""
    with tempfile.TemporaryDirectory() as temporary:
        yield write_demo(Path(temporary) / "data", groups=1, images=count, size=(side, side))


def training_peak(root: Path, crop: int, batch: int) -> float:
    """Peak MiB of a run of two steps and a validation."""
    with tempfile.TemporaryDirectory() as temporary:
        where = (f"dataset.root={root}", f"hydra.run.dir={temporary}/run", f"augmentation.crop_size={crop}")
        length = (f"trainer.batch_size={batch}", f"trainer.samples_per_epoch={2 * batch}")
        return peak_mib(command("train"), "dataset=folder", *where, *length, *NET, *ONE_STEP)


def measured(
    unit: str, sizes: dict[str, float], value: Callable[[float], float | None], rounds: int
) -> Measurement:
    """A value for each size."""
    values = interleaved({name: partial(value, size) for name, size in sizes.items()}, rounds, warm=0)
    return Measurement(unit, values, sizes=sizes)


def by_crop() -> Measurement:
    """Training memory by the side of the crops, batches of 2."""
    with images(512) as root:
        sizes = {f"crops of {side}²": float(side) for side in (128, 256, 512)}
        return measured("MiB", sizes, lambda side: training_peak(root, int(side), 2), ROUNDS)


def by_batch() -> Measurement:
    """Training memory by the number of crops of 128²."""
    with images(256) as root:
        sizes = {f"batches of {batch}": float(batch) for batch in (1, 4, 16)}
        return measured("MiB", sizes, lambda batch: training_peak(root, 128, int(batch)), ROUNDS)


def by_image() -> Measurement:
    """Training memory by the side of the images, two crops of 128²."""
    sides = (256, 1024, 2048)

    def peak(side: float) -> float:
        return training_peak(roots[side], 128, 2)

    with images(256) as small, images(1024) as middle, images(2048) as large:
        roots = dict(zip(map(float, sides), (small, middle, large), strict=True))
        return measured("MiB", {f"images of {side}²": float(side) for side in sides}, peak, ROUNDS)


def predicting(value: Callable[[Path, Path, Path], float | None], unit: str, rounds: int) -> Measurement:
    """Something of a prediction by the side of its image."""
    os.environ["UNET_TRAIN_CHECK_CACHE"] = "off"
    with images(256) as root, tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        where = ("dataset=folder", f"dataset.root={root}", f"hydra.run.dir={folder / 'run'}")
        short = ("augmentation.crop_size=64", "trainer.samples_per_epoch=80")
        ckpt = unet_train.train([*where, *short, *NET, *ONE_STEP]).checkpoint
        pixels = read_image(next((root / "images").iterdir()))
        sizes = {f"an image of {side}²": float(side) for side in (256, 1024, 2048)}
        for side in sizes.values():
            times = int(side) // 256
            write_image(folder / f"{side:.0f}.tif", np.tile(pixels, (times, times, 1)))
        return measured(
            unit, sizes, lambda side: value(ckpt, folder / f"{side:.0f}.tif", folder / "out"), rounds
        )


def prediction_peak(ckpt: Path, image: Path, output: Path) -> float:
    """Peak MiB of `unet-predict` on one image."""
    return peak_mib(
        command("predict"), f"ckpt={ckpt}", f"input={image}", f"output={output}", "overwrite=true"
    )


def prediction_seconds(ckpt: Path, image: Path, output: Path) -> None:
    """`unet-predict` on one image, in this process."""
    unet_train.predict(ckpt, image, output, overwrite=True)


def by_classes() -> Measurement:
    """A training step by the number of classes."""
    steps = {f"{count} classes": OurStep(NET, count, 4, 128) for count in (2, 10, 50, 150)}
    seconds = interleaved(steps, STEP_ROUNDS, warm=2)
    sizes = {name: float(name.split()[0]) for name in steps}
    return Measurement("ms", {n: [1000 * s for s in found] for n, found in seconds.items()}, sizes=sizes)


def by_processes() -> Measurement:
    """Milliseconds per image of a run with one and two processes on the CPU."""
    with images(256) as root:

        def run(processes: int) -> float:
            with tempfile.TemporaryDirectory() as temporary:
                where = (f"dataset.root={root}", f"hydra.run.dir={temporary}/run", "trainer.accelerator=cpu")
                length = ("trainer.epochs=2", "trainer.samples_per_epoch=48", "trainer.val_every=2")
                words = (*where, *length, f"trainer.devices={processes}", "augmentation.crop_size=128", *NET)
                run_python(command("train"), "dataset=folder", *words)
                with open(Path(temporary) / "run" / "metrics.csv", newline="", encoding="utf-8") as file:
                    return 1000 / float(list(csv.DictReader(file))[-1]["train/images_per_second"])

        values = interleaved({f"{n} process(es)": partial(run, n) for n in (1, 2)}, ROUNDS, warm=0)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    note = f"on {cores} core(s), {torch.get_num_threads()} thread(s) a process"
    return Measurement("ms an image", values, notes=[note])


CASES: dict[str, Case] = {
    "training memory by crop": by_crop,
    "step by classes": by_classes,
    "training memory by batch": by_batch,
    "processes": by_processes,
    "training memory by image": by_image,
    "prediction memory by image": partial(predicting, prediction_peak, "MiB", ROUNDS),
    "prediction time by image": partial(predicting, prediction_seconds, "s", ROUNDS),
}
