"""The `--help` page: groups, their choices and every key with its meaning and value, without torch or Hydra."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import yaml

from unet_train.config.schema import COMMANDS, SECTIONS
from unet_train.config.tree import config_folder, group_options, read_choice
from unet_train.keys import schema_fields

INTRO = {
    "train": """Train a U-Net. Without arguments: on drawn demo images.

  unet-train dataset=folder dataset.root=my_images
  unet-train encoder=efficientnet weights=imagenet dataset=folder dataset.root=my_images
  unet-train experiment=phc_u373 dataset.root=data/phc_u373
  unet-train resume=runs/demo/…                     go on with a run
  unet-train -m seed=0,1,2                          one run per value""",
    "eval": """Measure a checkpoint per class, on whole images.

  unet-eval ckpt=runs/demo/…/best.pt
  unet-eval ckpt=runs/demo/… part=val
  unet-eval ckpt=best.pt dataset=folder dataset.root=other_images part=all""",
    "predict": """Predict masks for new images.

  unet-predict ckpt=runs/demo/…/best.pt input=new_images output=masks
  unet-predict ckpt=[a.pt,b.pt] input='new_images/*.tif' output=masks
  unet-predict weights=brain_mri input=patients output=masks
  unet-predict ckpt=runs/dic_hela/… input=data/dic_hela/02 output=02_RES format=ctc""",
    "export": """Write a trained model as a file that other programs run, with a card that describes it.

  unet-export ckpt=runs/demo/…/best.pt output=exported                       ONNX
  unet-export ckpt=runs/demo/… format=torch_export output=exported
  unet-export ckpt=runs/demo/… format=safetensors output=exported            weights alone
  unet-export weights=brain_mri output=exported                              the published brain MRI model""",
    "data": """Look after data sets.

  unet-data check dataset=folder dataset.root=my_images     read every file, list every problem
  unet-data check dataset.root=my_images output=report      and write figures (data.json) and a picture (sheet.png)
  unet-data plan dataset.root=my_images minutes=30          choose every key for this data and machine, with reasons
  unet-data fetch phc_u373                                   download into data/phc_u373
  unet-data fetch brain_mri                                  how to get it
  unet-data demo output=demo_images layout=folder            draw the demo images (folder, challenge, kaggle_3m)""",
    "runs": """Compare runs: what differs between them, their scores, and how sure these are.

  unet-runs list                                            every run below the folder runs
  unet-runs compare runs/sweeps/… csv=table.csv             seeds and folds together, differences to the first
  unet-runs compare runs/a runs/b score=dice/mean part=test plot=scores.png
  unet-runs best runs/sweeps/…                              the folder of the best, by its validation""",
}

ONLY = {("predict", "weights"): ["brain_mri"]}
"""Where a command takes only some choices of a group."""

EXITS = (
    "Exit codes: 0 done; 1 finished with some inputs bad, the last save failed, or an internal error;\n"
    "2 bad input or config; 128 + signal (130 Ctrl-C, 143 SIGTERM) stopped by a signal, saved first.\n"
)


def help_page(command: str, folders: Sequence[Path] = ()) -> str:
    """The text of ``unet-<command> --help``, with the choices in the user's own `folders` of YAML."""
    root = yaml.safe_load((config_folder() / f"{command}.yaml").read_text(encoding="utf-8"))
    chosen = {k: v for entry in root["defaults"] if isinstance(entry, dict) for k, v in entry.items()}
    groups = {g: o for g, o in group_options(folders).items() if g in chosen}
    lines = [INTRO[command], *(["", "Groups: choose with group=choice", ""] if groups else [])]
    for group, options in groups.items():
        options = ONLY.get((command, group), options)
        listed = ", ".join(f"[{name}]" if name == chosen[group] else name for name in options)
        lines += _entry(group, listed)
    lines += ["", "Keys: set with key=value; the value here is the default", ""]
    for name, (_, field) in schema_fields(COMMANDS[command]).items():
        if name in SECTIONS:
            lines += _section(name, chosen.get(name), root, folders)
        else:
            lines += _entry(f"{name}={_shown(root.get(name))}", _meaning(field))
    lines += ["", "-m, --multirun sweeps; --config-dir DIR adds a folder of your own YAML; --version."]
    return "\n".join(lines) + "\n\n" + EXITS


def _section(section: str, choice: str | None, root: dict[str, Any], folders: Sequence[Path]) -> list[str]:
    """Keys of one section, of its default choice first, then what other choices add."""
    tag, kinds = SECTIONS[section]
    lines: list[str] = [""]
    said: set[str] = set()
    values: list[tuple[str | None, dict[str, Any]]]
    if section in root:
        values = [(None, root[section] or {})]
    else:
        files = [f for folder in (config_folder(), *folders) for f in (folder / section).glob("[!_]*.yaml")]
        files.sort(key=lambda f: (f.stem != choice, f.stem))
        values = [(f.stem, read_choice(f)) for f in files]
    for stem, content in values:
        schema = kinds.get(content.get(tag, "") if tag else "")
        if schema is None or not is_dataclass(schema):
            continue
        for name, (_, field) in schema_fields(schema).items():
            if name in said or name in ("kind", "layout", "_target_"):
                continue
            said.add(name)
            only = f"  ({section}={stem})" if stem and choice and stem != choice else ""
            lines += _entry(f"{section}.{name}={_shown(content.get(name))}", _meaning(field) + only)
    return lines


def _meaning(field: Any) -> str:
    choices = field.metadata.get("choices")
    return field.metadata["meaning"] + (f" [{'|'.join(map(str, choices))}]" if choices else "")


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, list | dict):
        return ("[…]" if isinstance(value, list) else "{…}") if value else str(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _entry(name: str, text: str, width: int = 36) -> list[str]:
    wrapped = textwrap.wrap(text, 100 - width) or [""]
    first = f"  {name:<{width - 2}}" if len(name) < width - 3 else f"  {name}"
    lines = [first + wrapped[0]] if len(name) < width - 3 else [first, " " * width + wrapped[0]]
    return [*lines, *(" " * width + line for line in wrapped[1:])]
