"""The best start with few annotated images: DIC-HeLa 01 → 02 from 1, 2 and 8 gold frames; goes on where it stopped.

    python scripts/few_frames.py --hela data/dic_hela --u373 data/phc_u373 --output few_frames [--weights FILE]

Starts: random weights, ImageNet, ImageNet with a frozen encoder, and a model trained on PhC-U373, which is trained
first; at 8 frames also a tenth of the learning rate in an ImageNet encoder. Each run trains `--minutes` (4), its steps
counted by a trial on this machine. Of 8 frames two validate; fewer have no validation part, so that the last weights
and the default parameters of the objects are taken. `--weights FILE` gives the encoder's ImageNet weights without
network. Finished runs are not run again. The table and its figure (few_frames.png) are written after every run. Run it
alone.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from unet_train.config.compose import compose_train
from unet_train.config.plans import words_of
from unet_train.planning.choose import choose_length
from unet_train.planning.trial import try_steps
from unet_train.runs.factory import build_source

FRAMES = (1, 2, 8)
VALIDATED = 2  # of 8 frames
RANDOM, IMAGENET, U373 = "random", "ImageNet", "PhC-U373"
FROZEN, TENTH = "ImageNet, encoder frozen", "ImageNet, a tenth of the rate in the encoder"
STARTS: dict[str, list[str]] = {
    RANDOM: ["weights=random"],
    IMAGENET: [],
    FROZEN: ["weights.freeze_encoder=all"],
    U373: ["weights=file"],
    TENTH: ["optimizer.encoder_lr_factor=0.1"],
}
ONLY_MANY = (TENTH,)
"""Starts that are tried with the most frames alone."""


def command(name: str, words: Sequence[str]) -> None:
    """Run one of our commands in a process of its own."""
    subprocess.run([sys.executable, "-m", f"unet_train.commands.{name}", *words], check=True)


def train(run: Path, words: Sequence[str], minutes: float) -> None:
    """A run of so many minutes, or what is left of it."""
    if (run / "last.pt").is_file():
        command("train", [f"resume={run}"])
        return
    length = run.parent / f"{run.name}.json"
    if not length.is_file():
        trial = try_steps(words, keep_crop=True)
        validated = len(json.loads(split_of(words).read_text())["val"]) if split_of(words) else 1
        took = trial.seconds
        chosen = choose_length(
            minutes, took.step, took.image * validated, trial.batch_size, epoch_seconds=took.epoch
        )
        length.write_text(json.dumps(words_of({choice.key: choice.value for choice in chosen})))
    command("train", [*words, *json.loads(length.read_text()), f"hydra.run.dir={run}"])


def split_of(words: Sequence[str]) -> Path | None:
    """The split file among the words."""
    found = [word.partition("=")[2] for word in words if word.startswith("split.file=")]
    return Path(found[-1]) if found else None


def is_finished(run: Path) -> bool:
    """Whether a run came to its end: then its log says how to evaluate it."""
    log = run / "train.log"
    return log.is_file() and "evaluate it" in log.read_text(encoding="utf-8")


def write_splits(root: str, folder: Path) -> dict[int, Path]:
    """One split file for each number of frames: evenly spaced gold frames of 01, all gold frames of 02 for the test."""
    words = ["experiment=dic_hela", f"dataset.root={root}", "dataset.labels=gold", "weights=random"]
    records = build_source(compose_train(words).config.dataset).records()
    gold = sorted(record.key for record in records if record.group == "01" and record.trainable)
    test = sorted(record.key for record in records if record.group == "02" and record.scorable)
    files = {}
    for count in FRAMES:
        keys = [gold[(2 * index + 1) * len(gold) // (2 * count)] for index in range(count)]
        val = keys[1 :: count // VALIDATED] if count == max(FRAMES) else []
        parts = {"train": [key for key in keys if key not in val], "val": val, "test": test}
        files[count] = folder / f"{count}_frames.json"
        files[count].write_text(json.dumps(parts, indent=1))
    return files


def one(start: str, split: Path, seed: int, options: argparse.Namespace) -> dict[str, float]:
    """Scores on 02 of one start and seed, trained and evaluated unless that is done already."""
    run = options.output / f"{split.stem}-{start}-seed{seed}".replace(",", "").replace(" ", "_")
    words = ["experiment=dic_hela", f"dataset.root={options.hela}", "dataset.labels=gold", f"seed={seed}"]
    words += [f"split.file={split}", "split.val_fraction=0", *STARTS[start]]
    if start == U373:
        words.append(f"weights.path={options.output / 'u373'}")
    elif options.weights and start != RANDOM:
        words.append(f"weights.path={options.weights}")
    if not is_finished(run):
        train(run, words, options.minutes)
    results = run / "eval" / "metrics.json"
    if not results.is_file():
        command("eval", [f"ckpt={run / 'best.pt'}", "part=test", f"output={results.parent}"])
    return json.loads(results.read_text(encoding="utf-8"))


def table(found: dict[tuple[int, str], list[dict[str, float]]]) -> str:
    """SEG and IoU of each run, as Markdown."""
    lines = ["| frames | start | SEG | mean | IoU cell |", "| --- | --- | --- | --- | --- |"]
    for (count, start), runs in found.items():
        seg, iou = ([run[name] for run in runs] for name in ("seg", "iou/cell"))
        each, ious = (", ".join(f"{value:.3f}" for value in values) for values in (seg, iou))
        lines.append(f"| {count} | {start} | {each} | {statistics.mean(seg):.3f} | {ious} |")
    return "\n".join(lines)


def draw(found: dict[tuple[int, str], list[dict[str, float]]], path: Path) -> None:
    """SEG by the number of frames, one line per start, each run a point."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4))
    for colour, start in enumerate(STARTS):
        runs = {
            count: [run["seg"] for run in found[count, start]] for count in FRAMES if (count, start) in found
        }
        if runs:
            means = [statistics.mean(values) for values in runs.values()]
            axes.plot(list(runs), means, "-o", color=f"C{colour}", label=start)
        for count, values in runs.items():
            axes.plot([count] * len(values), values, ".", color=f"C{colour}", alpha=0.5)
    axes.set(xscale="log", xlabel="annotated frames", ylabel="SEG on the other sequence", ylim=(0, 1))
    axes.set_xticks(FRAMES, [str(count) for count in FRAMES], minor=False)
    axes.minorticks_off()
    axes.legend()
    figure.savefig(path, dpi=120, bbox_inches="tight")
    pyplot.close(figure)


def main() -> None:
    """Run what is missing, write and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--hela", required=True, help="folder of DIC-C2DH-HeLa")
    parser.add_argument("--u373", required=True, help="folder of PhC-C2DH-U373")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--minutes", type=float, default=4.0)
    parser.add_argument("--frames", type=int, nargs="+", choices=FRAMES, default=list(FRAMES))
    parser.add_argument("--weights", help="file of the encoder's ImageNet weights; downloaded if not given")
    parser.add_argument("--only", nargs="+", choices=list(STARTS), default=list(STARTS))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    splits = write_splits(options.hela, options.output)
    if U373 in options.only and not is_finished(options.output / "u373"):
        path = [f"weights.path={options.weights}"] if options.weights else []
        words = ["experiment=phc_u373", f"dataset.root={options.u373}", "split.val_fraction=0", *path]
        train(options.output / "u373", words, options.minutes)
    found: dict[tuple[int, str], list[dict[str, float]]] = {}
    for seed in options.seeds:
        for count in options.frames:
            for start in options.only:
                if start in ONLY_MANY and count != max(FRAMES):
                    continue
                found.setdefault((count, start), []).append(one(start, splits[count], seed, options))
                (options.output / "few_frames.md").write_text(table(found) + "\n")
                draw(found, options.output / "few_frames.png")
                print(table(found), flush=True)


if __name__ == "__main__":
    main()
