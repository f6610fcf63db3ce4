"""Row: how long a person waits: for help, for an error, and from Enter to the first step."""

from __future__ import annotations

import tempfile
from functools import cache, partial
from itertools import count
from pathlib import Path

from scripts.benchmark.measuring import Case, Measurement, command, interleaved, run_python
from unet_train.data.io.images import write_image, write_labels

TITLE = "Start"
ABOUT = """
Seconds of a process from its start: until it ends (`--help`, a misspelt key), or until its first training step is done
(crops of 32² through a net with 4 features). The files are images of 32² with masks, all different, and the folder is
listed, paired, checked and split as any other. "First" reads them all, "again" is the next run on the same folder,
which finds in the user's cache what the first one has seen. The operating system has read all files just before.
"""

ROUNDS = 5
FILES = {"30 files": 30, "1,000 files": 1000, "10,000 files": 10_000, "100,000 files": 100_000}
FILE_ROUNDS = 2
"""But for the largest, which is started once, and not again."""

STOP_AFTER_A_STEP = """
import os
from unet_train.training import loop
update = loop.update
def once(*args, **kwargs):
    update(*args, **kwargs)
    os._exit(0)
loop.update = once
"""

SMALL = ["encoder.init_features=4", "encoder.depth=2", "augmentation.crop_size=32", "trainer.workers=0"]


def measure_words() -> Measurement:
    """What needs no data."""
    train = command("train")
    runs = {
        "python that imports torch": partial(run_python, "import torch"),
        "python alone": partial(run_python, "pass"),
        "unet-train --help": partial(run_python, train, "--help"),
        "unet-train with a misspelt key": partial(run_python, train, "trainer.epoch=3", expected=2),
    }

    def silent(name: str) -> None:
        runs[name]()

    return Measurement("s", interleaved({name: partial(silent, name) for name in runs}, ROUNDS))


def write_files(root: Path, number: int) -> None:
    """Images and masks of 32², `number` of each, all different: the number of the file is drawn into the pixels."""
    import numpy as np

    rng = np.random.default_rng(0)
    noise = rng.integers(0, 200, (64, 32, 32), dtype=np.uint8)
    rows, columns = np.indices((32, 32))
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for index in range(number):
        mask = ((rows - 16) ** 2 + (columns - 16) ** 2 < 20 + index % 150).astype(np.uint8) * 255
        image = noise[index % 64] + mask // 5
        image[0, :4] = np.frombuffer(index.to_bytes(4, "little"), np.uint8)
        write_image(root / "images" / f"{index:06d}.png", image)
        write_labels(root / "masks" / f"{index:06d}.png", mask)


@cache
def folder(name: str) -> tuple[Path, tempfile.TemporaryDirectory[str]]:
    """A data set of that size, kept while this process lives."""
    temporary = tempfile.TemporaryDirectory()
    root = Path(temporary.name) / "data"
    write_files(root, FILES[name])
    return root, temporary


def measure_files(again: bool) -> Measurement:
    """Enter to the first step, by the number of files."""
    *smaller, largest = FILES
    chosen = smaller if again else list(FILES)
    roots = {name: folder(name)[0] for name in chosen}
    code = f"{STOP_AFTER_A_STEP}\n{command('train')}"
    with tempfile.TemporaryDirectory() as temporary:
        names = (Path(temporary) / str(number) for number in count())

        def start(name: str, remembered: Path) -> None:
            words = ("dataset=folder", f"dataset.root={roots[name]}", f"hydra.run.dir={next(names)}", *SMALL)
            run_python(code, *words, cache=remembered)

        def first(name: str) -> None:
            start(name, next(names))

        def second(name: str) -> None:
            start(name, Path(temporary) / "cache")

        run = second if again else first
        values = interleaved({n: partial(run, n) for n in smaller}, FILE_ROUNDS, warm=1 if again else 0)
        if not again:
            values |= interleaved({largest: partial(run, largest)}, 1, warm=0)
    return Measurement("s", values, sizes={name: float(FILES[name]) for name in values})


CASES: dict[str, Case] = {
    "without data": measure_words,
    "Enter to the first step, first": partial(measure_files, False),
    "Enter to the first step, again": partial(measure_files, True),
}
