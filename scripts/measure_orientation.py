"""What the masks of a folder say about which way is up, and what augmentation.orientation=auto makes of it.

    python scripts/measure_orientation.py FOLDER [FOLDER …] [--challenge | --kaggle] [--values 255:0 0:1] [--ignore 11]

For each folder (as dataset=folder takes it, or in the challenge's or kaggle_3m's layout) one Markdown row for random
subsets of 10, 20, 30, 50 and 100 images and one for all images. Medians over the subsets, each image by itself; and in
how many subsets the images are taken to have no up.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from unet_train.data.layouts.challenge import ChallengeSource
from unet_train.data.layouts.demo import DemoSource
from unet_train.data.layouts.folder import FolderSource
from unet_train.data.layouts.kaggle import KaggleSource
from unet_train.data.orientation import band_counts, decide, weigh
from unet_train.data.records import Source

SIZES = (10, 20, 30, 50, 100)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folders", nargs="*", help="folders of images and masks; none: the drawn demo")
    parser.add_argument(
        "--challenge", choices=("gold", "silver"), help="the challenge's layout, these labels"
    )
    parser.add_argument("--margin", type=int, default=50, help="of the challenge's field of interest")
    parser.add_argument("--kaggle", action="store_true", help="the layout of kaggle_3m")
    parser.add_argument("--values", nargs="+", help="pixel value:class id, as dataset.values")
    parser.add_argument("--ignore", type=int, help="pixel value, as dataset.ignore_value")
    parser.add_argument("--draws", type=int, default=100, help="random subsets of each size")
    options = parser.parse_args()
    print("| data | images | class | turned | found | by chance | at most | taken to have no up |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    if not options.folders:
        report("demo", DemoSource(images=200, test_images=0), options.draws)
    for folder in options.folders:
        report(Path(folder).name, open_source(folder, options), options.draws)


def open_source(folder: str, options: argparse.Namespace) -> Source:
    """The data set in a folder."""
    if options.kaggle:
        return KaggleSource(folder)
    if options.challenge:
        return ChallengeSource(folder, labels=options.challenge, margin=options.margin)
    pairs = [value.split(":") for value in options.values or []]
    values = {int(value): int(label) for value, label in pairs} or None
    return FolderSource(folder, values=values, ignore_value=options.ignore)


def report(name: str, source: Source, draws: int) -> None:
    """Print the rows of one data set."""
    names = source.classes
    records = [record for record in source.records() if record.trainable]
    counts = np.array([band_counts(source.read_truth(record).classes, len(names)) for record in records])
    rng = np.random.default_rng(0)
    for size in [size for size in SIZES if size < len(records)] + [len(records)]:
        found, free = [], 0
        for _ in range(draws if size < len(records) else 1):
            chosen = np.sort(rng.choice(len(records), size, replace=False))
            keys = [records[index].key for index in chosen]
            free += decide(counts[chosen], keys, names)[0] == "any"
            evidence = weigh(counts[chosen], keys)
            found += [] if evidence is None else [evidence]
        said = found[0] if len(found) == 1 else None
        medians = [np.median([getattr(one, key) for one in found]) for key in ("found", "chance", "bound")]
        what = f"{names[said.label]} | {said.turn}" if said else " | "
        shown = " | ".join(f"{value:.4f}" for value in medians)
        print(f"| {name} | {size} | {what} | {shown} | {free} of {draws if size < len(records) else 1} |")


if __name__ == "__main__":
    main()
