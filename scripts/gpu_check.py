"""The first epochs of the real-data recipes on a CUDA device under bf16, fp16 and fp32, and what each took.

Needs no network: weights are random, and recipes whose data is not there are named and left out. Called by
`make gpu-check`; by hand: python scripts/gpu_check.py [--epochs 2] [--recipes …] [--precisions …]
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent

# Recipe (and data set) → its folder's name in a collection of the original archives.
RECIPES = {"phc_u373": "PhC-C2DH-U373", "dic_hela": "DIC-C2DH-HeLa", "brain_mri": "kaggle_3m"}
PRECISIONS = ("bf16", "16", "32")
COLUMNS = ("train/loss", "val/loss", "val/iou/mean", "train/images_per_second")


def find_data(recipe: str) -> Path | None:
    """The folder of a recipe's data, where the package or the tests look for it; None if it is nowhere."""
    own = Path(os.environ.get("UNET_TRAIN_DATA", REPOSITORY / "data")) / recipe
    collections = [REPOSITORY.parent / "shared" / "data", REPOSITORY / "shared" / "data"]
    if "UNET_TRAIN_REAL_DATA" in os.environ:
        collections.insert(0, Path(os.environ["UNET_TRAIN_REAL_DATA"]))
    for folder in [own, *(collection / RECIPES[recipe] for collection in collections)]:
        if folder.is_dir() and any(folder.iterdir()):
            return folder
    return None


def train(recipe: str, data: Path, precision: str, epochs: int, folder: Path) -> dict[str, float]:
    """One short run in a process of its own; the last row of its metrics.csv and the seconds it took.

    Raises
    ------
    subprocess.CalledProcessError
        If the run fails; its output has been printed.
    """
    command = [
        *(sys.executable, "-c", "from unet_train.commands.train import main; main()"),
        f"experiment={recipe}",
        f"dataset.root={data}",
        "weights=random",
        "trainer.accelerator=cuda",
        f"trainer.precision={precision}",
        f"trainer.epochs={epochs}",
        "scheduler.warmup_steps=0",
        f"hydra.run.dir={folder}",
    ]
    path = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
    start = time.perf_counter()
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": path})
    seconds = time.perf_counter() - start
    with open(folder / "metrics.csv", newline="", encoding="utf-8") as file:
        last = list(csv.DictReader(file))[-1]
    return {"seconds": seconds} | {name: float(last[name]) for name in COLUMNS if last.get(name)}


def main() -> int:
    """Run all, print the table; 0 if all with data went through, 1 otherwise, 2 without a CUDA device."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    options = parser.parse_args()

    import torch

    if not torch.cuda.is_available():
        print("gpu-check: no CUDA device that this torch can use", file=sys.stderr)
        return 2
    rows, bad = [], []
    with tempfile.TemporaryDirectory() as temporary:
        for recipe in options.recipes:
            data = find_data(recipe)
            if data is None:
                bad.append(f"{recipe}: left out, no data (set UNET_TRAIN_DATA or UNET_TRAIN_REAL_DATA)")
                continue
            for precision in options.precisions:
                print(f"== {recipe}, trainer.precision={precision}", flush=True)
                folder = Path(temporary) / f"{recipe}-{precision}"
                try:
                    rows.append((recipe, precision, train(recipe, data, precision, options.epochs, folder)))
                except (subprocess.CalledProcessError, OSError, IndexError) as error:
                    bad.append(f"{recipe}, {precision}: failed ({type(error).__name__})")
    names = ("seconds", *COLUMNS)
    print(f"\n{options.epochs} epochs on {torch.cuda.get_device_name()}, torch {torch.__version__}")
    print(f"{'recipe':<12}{'precision':<11}" + "".join(f"{name:>25}" for name in names))
    for recipe, precision, values in rows:
        cells = "".join(f"{values[name]:>25.4g}" if name in values else f"{'-':>25}" for name in names)
        print(f"{recipe:<12}{precision:<11}{cells}")
    print("\n".join(bad))
    return 1 if any("failed" in line for line in bad) or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
