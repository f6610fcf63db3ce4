"""A plan against the plain defaults, at equal minutes, on folders written from the data sets that results.md uses.

    python scripts/compare_plan.py DATA --minutes 4 --seeds 0 --output OUT [--weights FILE] [--only dic_hela …]

DATA holds DIC-C2DH-HeLa, PhC-C2DH-U373, kaggle_3m, isbi2012 and camvid. Each set is written to OUT as a folder with
train, val and test parts, so that both trainings see the same images. The defaults get their number of steps from a
trial on the same machine, as the plan does. Prints one Markdown row per run: scores of the test part, the minutes of
the training command, and those after which the validation first reached 95 % of its last score. Run it alone, with
OMP_NUM_THREADS=1 for one core.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from unet_train.data.io.images import read_image, read_labels, write_image, write_labels

DEFAULTS = {
    "encoder": "unet",
    "weights": "random",
    "augmentation": "light",
    "loss": "cross_entropy_batch_dice",
    "dataset.intensity_range": "null",
    "dataset.scale": "1.0",
    "dataset.target": "classes",
    "dataset.target_params": "{}",
    "dataset.normalisation": "auto",
    "model.decoder_channels": "null",
    "model.input_skip": "0",
    "trainer.batch_size": "4",
}
"""Every key that a plan may choose, at its default."""


def main() -> None:
    """Write, train, evaluate, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--weights", help="ImageNet weights of an encoder, for the plan")
    parser.add_argument("--only", nargs="+", choices=list(SETS), default=list(SETS))
    options = parser.parse_args()
    print("| data | seed | | steps | IoU mean | SEG | training minutes | minutes to 95 % |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for seed in options.seeds:
        for name in options.only:
            root = options.output / "data" / name
            if not root.exists():
                SETS[name](options.data, root)
            for kind in ("defaults", "plan"):
                print(one_run(options, name, root, kind, seed), flush=True)


def one_run(options: argparse.Namespace, name: str, root: Path, kind: str, seed: int) -> str:
    """Plan, train and evaluate; the row."""
    folder = options.output / f"{name}-{kind}-{seed}"
    shutil.rmtree(folder, ignore_errors=True)
    plan = options.output / f"{name}-{kind}.yaml"
    words = [f"dataset.root={root}", f"minutes={options.minutes:g}", f"output={plan}", *KEYS.get(name, [])]
    if kind == "defaults":
        words += [f"{key}={value}" for key, value in DEFAULTS.items()]
    elif options.weights:
        words.append(f"weights.path={options.weights}")
    run("data", "plan", *words)
    started = time.monotonic()
    run("train", f"plan={plan}", f"seed={seed}", f"hydra.run.dir={folder}")
    minutes = (time.monotonic() - started) / 60
    run("eval", f"ckpt={folder}", "overlays=0", f"output={folder}/test")
    metrics = json.loads((folder / "test/metrics.json").read_text())
    with open(folder / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    scored = [(int(row["step"]), float(row["val/iou/mean"])) for row in rows if row.get("val/iou/mean")]
    reached = next((step for step, score in scored if score >= 0.95 * scored[-1][1]), scored[-1][0])
    seg = f"{metrics['seg']:.3f}" if metrics.get("seg") is not None else ""
    return (
        f"| {name} | {seed} | {kind} | {rows[-1]['step']} | {metrics['iou/mean']:.3f} | {seg} | "
        f"{minutes:.1f} | {minutes * reached / scored[-1][0]:.1f} |"
    )


def run(command: str, *words: str) -> None:
    """One of our commands, in a process of its own."""
    subprocess.run(
        [sys.executable, "-m", f"unet_train.commands.{command}", *words],
        check=True,
        stdout=subprocess.DEVNULL,
    )


def write_pair(root: Path, part: str, name: str, image: np.ndarray, labels: np.ndarray) -> None:
    """One image with its mask."""
    write_image(root / part / "images" / f"{name}.png", image)
    write_labels(root / part / "masks" / f"{name}.png", labels)


def part_of(index: int, train: bool) -> str:
    """Every sixth of the training images validates."""
    return ("val" if index % 6 == 5 else "train") if train else "test"


def dic_hela(data: Path, root: Path) -> None:
    """Object numbers from the silver masks: 01 trains, every fourth frame of 02 tests."""
    for sequence, step in (("01", 3), ("02", 4)):
        masks = sorted((data / f"DIC-C2DH-HeLa/{sequence}_ST/SEG").glob("*.tif"))[::step]
        for index, mask in enumerate(masks):
            frame = mask.stem.removeprefix("man_seg")
            image = read_image(data / f"DIC-C2DH-HeLa/{sequence}/t{frame}.tif")
            labels = read_labels(mask).astype(np.uint16)
            write_pair(root, part_of(index, sequence == "01"), f"{sequence}_{frame}", image, labels)


def phc_u373(data: Path, root: Path) -> None:
    """Object numbers from the gold masks: 01 trains, 02 tests."""
    for sequence in ("01", "02"):
        for index, mask in enumerate(sorted((data / f"PhC-C2DH-U373/{sequence}_GT/SEG").glob("*.tif"))):
            frame = mask.stem.removeprefix("man_seg")
            image = read_image(data / f"PhC-C2DH-U373/{sequence}/t{frame}.tif")
            labels = read_labels(mask).astype(np.uint16)
            write_pair(root, part_of(index, sequence == "01"), f"{sequence}_{frame}", image, labels)


def brain(data: Path, root: Path) -> None:
    """Slices of 22 patients: 14 train, 4 validate, 4 test."""
    for index, patient in enumerate(sorted(path for path in (data / "kaggle_3m").iterdir() if path.is_dir())):
        part = "test" if index % 11 in (4, 9) else "val" if index % 11 in (2, 7) else "train"
        for mask in sorted(patient.glob("*_mask.tif")):
            stem = mask.stem.removesuffix("_mask")
            image = read_image(patient / f"{stem}.tif")
            write_pair(root, part, stem, image, read_labels(mask).astype(np.uint8))


def isbi2012(data: Path, root: Path) -> None:
    """Sections 00 to 19 train, 20 to 23 validate, 24 to 29 test."""
    for index, path in enumerate(sorted((data / "isbi2012/images").iterdir())):
        part = "train" if index < 20 else "val" if index < 24 else "test"
        mask = next((data / "isbi2012/masks").glob(f"{path.stem}.*"))
        write_pair(root, part, path.stem, read_image(path), read_labels(mask).astype(np.uint8))


def camvid(data: Path, root: Path) -> None:
    """The film 0006R0 tests, 0001TP validates, 0016E5 trains."""
    parts = {"0016E5": "train", "0001TP": "val", "0006R0": "test"}
    for path in sorted((data / "camvid/images").iterdir()):
        mask = next((data / "camvid/masks").glob(f"{path.stem}.*"))
        part = parts[path.stem.split("_")[0]]
        write_pair(root, part, path.stem, read_image(path), read_labels(mask).astype(np.uint8))


SETS: dict[str, Callable[[Path, Path], None]] = {
    "dic_hela": dic_hela,
    "phc_u373": phc_u373,
    "brain": brain,
    "isbi2012": isbi2012,
    "camvid": camvid,
}
KEYS = {
    "dic_hela": ["dataset.instances=true"],
    "phc_u373": ["dataset.instances=true"],
    "isbi2012": ["dataset.values={255:0,0:1}", "dataset.classes=[interior,membrane]"],
    "camvid": ["dataset.ignore_value=11", "dataset.background=none"],
}
"""What the folder does not tell by itself."""

if __name__ == "__main__":
    main()
