"""`unet-data`: check, fetch or draw a data set, or plan a training on it."""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from unet_train.commands import shell
from unet_train.config.checks import check_dataset, dataset_root, expand
from unet_train.config.compose import compose_command
from unet_train.config.messages import near
from unet_train.config.plans import minutes_of
from unet_train.errors import UserError, one_line

if TYPE_CHECKING:
    from unet_train.data.check import Report
    from unet_train.data.records import Record, Source
    from unet_train.data.splits import Split

SHEET = "sheet.png"
PLAN_KEYS = {"minutes": "30", "output": "plan.yaml"}
"""What `unet-data plan` takes beside the keys of a training, with its defaults."""
LAYOUTS = ("folder", "challenge", "kaggle_3m")


def main() -> None:
    """Entry point of the console script."""
    shell.main("data", data)


def data(arguments: shell.Arguments) -> int:
    """Do what the first word says; the exit code."""
    shell.refuse_sweeps(arguments, "data")
    words = arguments.overrides
    actions = {"check": check, "plan": plan, "fetch": fetch, "demo": demo}
    shell.action(arguments, "data", list(actions))
    if words[0] in ("check", "plan"):
        return actions[words[0]](words[1:], arguments.config_dir)  # type: ignore[operator]
    return actions[words[0]](words[1:])  # type: ignore[operator]


def check(overrides: Sequence[str], config_dir: str | None = None) -> int:
    """Read every file of a data set; 1 if something is wrong with it, listed by file."""
    config = compose_command("data", overrides, config_dir).config
    check_dataset(config.dataset)
    shell.tell_loading()
    from unet_train.config.checks import refuse_without_background
    from unet_train.data.check import (
        find_copies,
        format_facts,
        format_problems,
        missing_classes,
    )
    from unet_train.data.intensities import has_own_range
    from unet_train.runs.check_files import check_files
    from unet_train.runs.data_report import output_folder
    from unet_train.runs.factory import (
        build_source,
        build_split,
        settle_intensity_range,
        unset_keys,
    )
    from unet_train.training.run_folder import FIGURES

    root = dataset_root(config.dataset)
    folder = output_folder(config.output, root) if config.output else None

    source = build_source(config.dataset)
    if not source.has_background:
        why = "the data set has no background class"
        refuse_without_background(config.dataset, "softmax", why, ", or name one by dataset.background")
    records = source.records()
    told = settle_intensity_range(config.dataset, source, records)
    if told and not has_own_range(source, records):
        source = build_source(config.dataset)  # else the files' own values are told
    report = check_files(source, records, keys=unset_keys(config.dataset))
    for note in [*source.notes, *([told] if told else []), *report.notes]:
        print(one_line(note))
    print(format_facts(report))
    for warning in report.warnings:
        print(one_line(f"warning: {warning}"))
    if report.problems:
        all_in = str(folder / FIGURES) if folder else f"output=FOLDER writes them into FOLDER/{FIGURES}"
        print(format_problems(report, all_in))
        split = None
        with contextlib.suppress(UserError, ValueError):  # told first is what is wrong with the files
            split = build_split(config.split, config.dataset, records)
        _write(folder, source, records, report, split, root)
        return 1
    try:
        split = build_split(config.split, config.dataset, records)
    except UserError:
        _write(folder, source, records, report, None, root)
        raise
    for note in split.notes:
        print(one_line(note))
    parts = {"train": split.train, "val": split.val, "test": split.test}
    keys = {part: [record.key for record in found] for part, found in parts.items()}
    for warning in [*missing_classes(report, source.classes, keys), *find_copies(report, keys)]:
        print(one_line(f"warning: {warning}"))
    print(f"split     {len(split.train)} train, {len(split.val)} val, {len(split.test)} test images")
    _write(folder, source, records, report, split, root)
    print("no problem found")
    return 0


def plan(overrides: Sequence[str], config_dir: str | None = None) -> int:
    """Write a plan for a training."""
    own = _keys([o for o in overrides if o.partition("=")[0] in PLAN_KEYS], PLAN_KEYS)
    words = [o for o in overrides if o.partition("=")[0] not in PLAN_KEYS]
    minutes = minutes_of(own["minutes"])
    output = expand(own["output"])
    root = _root(words, config_dir)
    if root is not None and output.resolve().is_relative_to(root.resolve()):
        raise UserError(f"output={output}: lies in the data folder {root}; plans are written elsewhere")
    if output.is_dir():
        raise UserError(f"output={output}: is a folder; name a file in it, as output={output / 'plan.yaml'}")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"output={output}: {output.parent} cannot be made ({error.strerror})") from None
    shell.tell_loading()
    from unet_train.atomic import replacing
    from unet_train.planning.make import make_plan

    text = make_plan(words, minutes, config_dir)
    if output.exists():
        print(f"replacing the earlier {output}")
    with replacing(output) as temporary:
        temporary.write_text(text, encoding="utf-8")
    print(text, end="")
    print(f"written to {output}; train it: unet-train plan={shlex.quote(str(output))}")
    return 0


def _root(words: Sequence[str], config_dir: str | None) -> Path | None:
    """The data folder of a training's words."""
    about = [word for word in words if word.lstrip("+~").partition("=")[0].partition(".")[0] == "dataset"]
    if not any(word.startswith("dataset=") for word in about):
        about.insert(0, "dataset=folder")
    return dataset_root(compose_command("data", about, config_dir).config.dataset)


def _write(
    folder: Path | None,
    source: Source,
    records: list[Record],
    report: Report,
    split: Split | None,
    root: Path | None,
) -> None:
    """Write data.json and sheet.png, if that is wanted, and say so."""
    if folder is None:
        return
    from unet_train.data.summary import summarise
    from unet_train.runs.data_report import draw_sheet, write_report
    from unet_train.training.run_folder import FIGURES

    earlier = [name for name in (FIGURES, SHEET) if (folder / name).exists()]
    if earlier:
        print(f"replacing the earlier {' and '.join(earlier)} in {folder}")
    summary = summarise(source, records, report, split, root)
    written = write_report(folder, summary, draw_sheet(source, records, report, summary), SHEET)
    print(f"written   {', '.join(str(path) for path in written)}")


def fetch(words: Sequence[str]) -> int:
    """Download a data set, or say how to get it."""
    keys = _keys(words[1:], {"root": ""})
    if not words or "=" in words[0]:
        raise UserError("fetch which? unet-data fetch phc_u373, dic_hela or brain_mri")
    from unet_train.data.fetch import fetch as fetch_dataset

    base = Path(os.environ.get("UNET_TRAIN_DATA", "data"))
    print(fetch_dataset(words[0], expand(keys["root"]) if keys["root"] else base / words[0]))
    return 0


def demo(words: Sequence[str]) -> int:
    """Draw the demo images into a folder."""
    keys = _keys(words, {"output": "", "layout": "folder", "seed": "0"})
    if not keys["output"]:
        raise UserError("output is missing: unet-data demo output=FOLDER")
    if keys["layout"] not in LAYOUTS:
        raise UserError(f"layout={keys['layout']}: choose one of {', '.join(LAYOUTS)}")
    if not keys["seed"].isdecimal():
        raise UserError(f"seed={keys['seed']}: a whole number")
    folder = expand(keys["output"])
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"output={folder}: there is something already; name a new folder")
    from unet_train.data.write_demo import write_demo

    write_demo(folder, layout=keys["layout"], seed=int(keys["seed"]))
    name = {"folder": "folder", "challenge": "dic_hela", "kaggle_3m": "brain_mri"}[keys["layout"]]
    print(f"written to {folder}; try: unet-data check dataset={name} dataset.root={shlex.quote(str(folder))}")
    return 0


def _keys(words: Sequence[str], defaults: dict[str, str]) -> dict[str, str]:
    values = dict(defaults)
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or name not in defaults:
            raise UserError(f"{word}: no such key{near(name, defaults)}; there are {', '.join(defaults)}")
        values[name] = value
    return values


if __name__ == "__main__":
    main()
