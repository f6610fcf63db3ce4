"""What the masks of a folder say about which way is up, and what augmentation.orientation=auto makes of it.

    python scripts/measure_orientation.py FOLDER [FOLDER …] [--challenge | --kaggle] [--by-group] [--values 255:0 0:1]

For each folder (as dataset=folder takes it, or in the challenge's or kaggle_3m's layout) one Markdown row for random
subsets of 5 to 100 images (--by-group: of whole patients or sequences, without saying which images belong together)
and one for all. Medians over the subsets, and in how many of them the images are taken to have no up.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from unet_train.data.augmentation.orientation import band_counts, decide, weigh
from unet_train.data.layouts.challenge import Annotation, ChallengeSource
from unet_train.data.layouts.demo import DemoSource
from unet_train.data.layouts.folder import folder_source
from unet_train.data.layouts.kaggle import KaggleSource
from unet_train.data.records import Source

SIZES = (5, 10, 20, 30, 50, 100)
GROUPS = (1, 2, 3, 5, 8, 12, 18)


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
    parser.add_argument("--by-group", action="store_true", help="subsets of whole groups")
    options = parser.parse_args()
    print("| data | images | class | turned | found | by chance | at most | taken to have no up |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    if not options.folders:
        report("demo", DemoSource(images=200, test_images=0), options.draws, options.by_group)
    for folder in options.folders:
        report(Path(folder).name, open_source(folder, options), options.draws, options.by_group)


def open_source(folder: str, options: argparse.Namespace) -> Source:
    """The data set in a folder."""
    if options.kaggle:
        return KaggleSource(folder)
    if options.challenge:
        return ChallengeSource(folder, Annotation(labels=options.challenge, margin=options.margin))
    pairs = [value.split(":") for value in options.values or []]
    values = {int(value): int(label) for value, label in pairs} or None
    return folder_source(folder, values=values, ignore_value=options.ignore)


def report(name: str, source: Source, draws: int, by_group: bool) -> None:
    """Print the rows of one data set."""
    names = source.classes
    records = [record for record in source.records() if record.trainable]
    counts = np.array([band_counts(source.read_truth(record).classes, len(names)) for record in records])
    units = [record.group if by_group else record.key for record in records]
    kinds = np.array(list(dict.fromkeys(units)))
    rng = np.random.default_rng(0)
    for size in [size for size in (GROUPS if by_group else SIZES) if size < len(kinds)] + [len(kinds)]:
        found, free, times = [], 0, draws if size < len(kinds) else 1
        for _ in range(times):
            chosen = np.flatnonzero(np.isin(units, rng.choice(kinds, size, replace=False)))
            keys = [records[index].key for index in chosen]
            free += decide(counts[chosen], keys, names)[0] == "any"
            evidence = weigh(counts[chosen], keys)
            found += [] if evidence is None else [evidence]
        what = f"{names[found[0].label]} | {found[0].turn}" if times == 1 else " | "
        medians = [np.median([getattr(one, key) for one in found]) for key in ("found", "chance", "bound")]
        shown = " | ".join(f"{value:.4f}" for value in medians)
        print(f"| {name} | {size}{' groups' if by_group else ''} | {what} | {shown} | {free} of {times} |")


if __name__ == "__main__":
    main()
