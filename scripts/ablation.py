"""Ablation on DIC-HeLa: the recipe, then one thing taken away at a time; can be stopped and goes on where it was.

    python scripts/ablation.py --root data/dic_hela --output ablation [--seeds 0 1] [--steps 400]

`--weights FILE` gives the encoder's ImageNet weights without network. Each variant is a `unet-train` run of its own
in the output folder, evaluated on the test sequence. Finished ones are not run again. The table, which goes into
docs/results.md, is printed after every run as far as it goes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

import yaml

from unet_train.config.tree import config_folder

SAMPLES_PER_EPOCH, BATCH = 200, 4
RECIPE = "the recipe"

# What is taken away → (overrides of training, overrides of evaluation).
VARIANTS: dict[str, tuple[list[str], list[str]]] = {
    RECIPE: ([], []),
    "random weights instead of ImageNet's": (["weights=random"], []),
    "no core class": (["dataset.target=foreground_border"], []),
    "neither core nor border class": (["dataset.target=classes", "dataset.target_params={}"], []),
    "border weights instead of both classes": (
        ["dataset.target=foreground", "dataset.target_params={gap:4}", "loss=border_weighted"],
        [],
    ),
    "no elastic deformation": (["augmentation=no_elastic"], []),
    "no scale jitter": (["augmentation=no_scale"], []),
    "gold labels only": (["dataset.labels=gold"], []),
    "no supervised ring in the margin": (["dataset.ring=0"], []),
    "no skip at full resolution": (["model.input_skip=0"], []),
    "no averaged weights": (["trainer.ema_decay=null"], []),
    "with test-time augmentation": ([], ["tta=true"]),
}


def command(name: str, words: list[str]) -> None:
    """Run one of our commands in a process of its own."""
    subprocess.run([sys.executable, "-m", f"unet_train.commands.{name}", *words], check=True)


def write_augmentations(folder: Path) -> None:
    """The recipe's augmentation without one of its transforms, as YAML groups of our own."""
    whole = yaml.safe_load((config_folder() / "augmentation" / "microscopy.yaml").read_text(encoding="utf-8"))
    steps = whole["transforms"]
    unscaled = [{k: v for k, v in step.items() if "scale" not in k and k != "keep_ratio"} for step in steps]
    group = folder / "augmentation"
    group.mkdir(parents=True, exist_ok=True)
    for name, transforms in {
        "no_elastic": [step for step in steps if step["name"] != "PaperElastic"],
        "no_scale": unscaled,
    }.items():
        (group / f"{name}.yaml").write_text(yaml.safe_dump({**whole, "transforms": transforms}))


def one(variant: str, seed: int, options: argparse.Namespace) -> dict[str, float]:
    """Scores of one variant and seed, trained and evaluated unless that is done already."""
    train, evaluation = VARIANTS[variant]
    # Variants that only evaluate otherwise share the recipe's run.
    run = options.output / f"{variant if train else RECIPE}-seed{seed}".replace(" ", "_").replace("'", "")
    results = run / ("eval" if not evaluation else "eval-" + "-".join(evaluation)) / "metrics.json"
    if not (run / "last.pt").is_file():
        epochs = max(1, round(options.steps * BATCH / SAMPLES_PER_EPOCH))
        length = [f"trainer.epochs={epochs}", f"trainer.samples_per_epoch={SAMPLES_PER_EPOCH}"]
        words = ["experiment=dic_hela", f"dataset.root={options.root}", f"seed={seed}", *length, *train]
        if options.weights and "weights=random" not in train:
            words.append(f"weights.path={options.weights}")
        command("train", [*words, f"hydra.run.dir={run}", "--config-dir", str(options.output / "configs")])
    elif not (run / "best.pt").is_file() or not finished(run):
        command("train", [f"resume={run}"])
    if not results.is_file():
        command("eval", [f"ckpt={run / 'best.pt'}", f"output={results.parent}", *evaluation])
    return json.loads(results.read_text(encoding="utf-8"))


def finished(run: Path) -> bool:
    """Whether a run came to its end: then its log says how to evaluate it."""
    log = run / "train.log"
    return log.is_file() and "evaluate it" in log.read_text(encoding="utf-8")


def table(found: dict[str, list[dict[str, float]]]) -> str:
    """Mean and spread (greatest minus least) over the seeds, as Markdown."""
    lines = ["| DIC-HeLa, 01 → 02 | SEG | spread | IoU cell | seeds |", "| --- | --- | --- | --- | --- |"]
    for variant, runs in found.items():
        seg = [run["seg"] for run in runs]
        iou = statistics.mean(run["iou/cell"] for run in runs)
        lines.append(
            f"| {variant} | {statistics.mean(seg):.3f} | {max(seg) - min(seg):.3f} | {iou:.3f} | {len(seg)} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Run what is missing, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--root", required=True, help="folder of DIC-C2DH-HeLa")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--weights", help="file of the encoder's ImageNet weights; downloaded if not given")
    parser.add_argument("--only", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    options = parser.parse_args()
    write_augmentations(options.output / "configs")
    found: dict[str, list[dict[str, float]]] = {}
    for seed in options.seeds:
        for variant in options.only:
            found.setdefault(variant, []).append(one(variant, seed, options))
            print(table(found), flush=True)


if __name__ == "__main__":
    main()
