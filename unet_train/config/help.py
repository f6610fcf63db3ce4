"""The `--help` page: groups, their choices and every key with its meaning and value, without torch or Hydra."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import yaml

from unet_train.config.chosen import Chosen, choice_file, choose
from unet_train.config.completion import SHELLS
from unet_train.config.schema import COMMANDS, SECTIONS
from unet_train.config.tree import config_folder, group_options, read_choice
from unet_train.keys import REQUIRED, choice_words, schema_fields

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
  unet-eval ckpt=best.pt dataset=folder dataset.root=other_images part=all
  unet-eval predictions=masks dataset=folder dataset.root=other_images""",
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

NO_CHOICE = {(command, "encoder") for command in ("eval", "predict", "export")}
"""Sections that are no choice of a command."""

HIDDEN = ("kind", "layout", "_target_")
"""Keys that a choice sets."""

FROM_CHECKPOINT = "…"
"""Stands for the value that a run had."""

LONGEST_DEFAULT = 40
"""Characters."""

EXITS = (
    "Exit codes: 0 done; 1 finished with some inputs bad, the last save failed, or an internal error;\n"
    "2 bad input or config; 128 + signal (130 Ctrl-C, 143 SIGTERM) stopped by a signal, saved first.\n"
)


def help_page(command: str, folders: Sequence[Path] = (), words: Sequence[str] = ()) -> str:
    """The text of ``unet-<command> --help``.

    Parameters
    ----------
    command : str
    folders : sequence of Path
        The user's own folders of YAML, whose choices are shown too.
    words : sequence of str
        What stands beside ``--help``: the keys and defaults are those of the groups and the experiment chosen there.
    """
    root = yaml.safe_load((config_folder() / f"{command}.yaml").read_text(encoding="utf-8"))
    chosen = choose(root, folders, words)
    options = group_options(folders)
    # Elsewhere the checkpoint knows its encoder; only one's own has to be named, by keys.
    groups = [group for group in chosen.groups if group in options and (command, group) not in NO_CHOICE]
    lines = [INTRO[command], *(["", "Groups: choose with group=choice", ""] if groups else [])]
    for group in sorted(groups):
        named = ONLY.get((command, group), options[group])
        listed = ", ".join(f"[{name}]" if name == chosen.groups[group] else name for name in named)
        lines += _entry(group, listed)
    lines += ["", "Keys: set with key=value; the value here is the default", ""]
    for name, (_, field) in schema_fields(COMMANDS[command]).items():
        if name in SECTIONS and (command, name) not in NO_CHOICE:
            lines += _section(command, name, chosen, root, folders)
        else:
            lines += _entry(f"{name}={_shown(chosen.recipe.get(name, root.get(name)))}", _meaning(field))
    sweeps = "-m, --multirun sweeps; " if command == "train" else ""
    completes = f"--completion {'|'.join(SHELLS)} prints what makes the shell complete keys.\n"
    lines += ["", f"{sweeps}--config-dir DIR adds a folder of your own YAML; --version.", completes]
    return "\n".join(lines) + "\n" + EXITS


def _section(
    command: str, section: str, chosen: Chosen, root: dict[str, Any], folders: Sequence[Path]
) -> list[str]:
    """Keys of a section as it is chosen, and the names of those that other choices have beside them."""
    tag, kinds = SECTIONS[section]
    lines: list[str] = [""]

    def schema_of(content: dict[str, Any]) -> Any:
        schema = kinds.get(content.get(tag, "") if tag else "")
        return schema if schema is not None and is_dataclass(schema) else None

    file = choice_file(section, chosen.groups.get(section), folders)
    content = root.get(section) or (read_choice(file) if file else None)
    shown: set[str] = set(HIDDEN)
    schema = schema_of(content) if content is not None else None
    if schema is None and "" in kinds:  # a section that the checkpoint gives: its keys have no default here
        schema, content = kinds[""], {name: FROM_CHECKPOINT for name in schema_fields(kinds[""])}
    if schema is not None and content is not None:
        values = content | (chosen.recipe.get(section) or {})
        for name, (_, field) in schema_fields(schema).items():
            if name not in HIDDEN:
                before = field.metadata["before"]
                value = values.get(name, None if before is REQUIRED else before)
                lines += _entry(f"{section}.{name}={_shown(value)}", _meaning(field))
                shown.add(name)
    if section not in chosen.groups or section in root:
        return lines
    for choice in ONLY.get((command, section), group_options(folders)[section]):
        other = choice_file(section, choice, folders)
        values = read_choice(other) if other else {}
        other_schema = schema_of(values)
        names = [name for name in schema_fields(other_schema) if name not in shown] if other_schema else []
        if names and choice != chosen.groups[section]:
            # Where nothing is chosen the checkpoint's own values count, so that those of the YAML are no defaults.
            is_default = chosen.groups[section] is not None
            listed = ", ".join(
                f"{section}.{name}" + (f"={_shown(values.get(name))}" if is_default else "") for name in names
            )
            lines += _entry(
                f"with {section}={choice}", f"{listed} (unet-{command} {section}={choice} --help)"
            )
    return lines


def _meaning(field: Any) -> str:
    choices = field.metadata.get("choices")
    return field.metadata["meaning"] + (f" [{'|'.join(choice_words(choices))}]" if choices else "")


def _shown(value: Any) -> str:
    """A default as it would be typed; a long one is only hinted at."""
    if value is None:
        return "null"
    if value == "???":
        return "…"
    if isinstance(value, list):
        text = f"[{','.join(map(_shown, value))}]"
        return text if len(text) <= LONGEST_DEFAULT else "[…]"
    if isinstance(value, dict):
        text = "{" + ",".join(f"{key}:{_shown(item)}" for key, item in value.items()) + "}"
        return text if len(text) <= LONGEST_DEFAULT else "{…}"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _entry(name: str, text: str, width: int = 36) -> list[str]:
    wrapped = textwrap.wrap(text, 100 - width) or [""]
    first = f"  {name:<{width - 2}}" if len(name) < width - 3 else f"  {name}"
    lines = [first + wrapped[0]] if len(name) < width - 3 else [first, " " * width + wrapped[0]]
    return [*lines, *(" " * width + line for line in wrapped[1:])]
