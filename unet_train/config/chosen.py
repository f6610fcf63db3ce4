"""Which choices of the groups a command line has, read off the YAML: for --help and completion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from unet_train.config.tree import config_folder

ENCODER_KEYS = ("decoder_channels", "input_skip")
"""Keys of the model that fit one encoder and not another."""


@dataclass(frozen=True)
class Chosen:
    """What a command line chooses, as far as it goes.

    Attributes
    ----------
    groups : dict of str to str or None
        Group → its choice; None where the command leaves it to the checkpoint.
    recipe : dict
        Keys of the experiment, by section, but for those of a group that the words choose otherwise.
    """

    groups: dict[str, str | None]
    recipe: dict[str, Any]


def choose(root: dict[str, Any], folders: Sequence[Path], words: Sequence[str]) -> Chosen:
    """Groups as the root YAML, the experiment and the words choose them, each over the one before."""
    listed = [entry for entry in root["defaults"] if isinstance(entry, dict)]
    groups = {name: choice for entry in listed for name, choice in entry.items()}
    groups = {name: choice for name, choice in groups.items() if not name.startswith("override ")}
    typed = {name: value for name, equals, value in (word.partition("=") for word in words) if equals}
    recipe: dict[str, Any] = {}
    if "experiment" in groups and (file := choice_file("experiment", typed.get("experiment"), folders)):
        recipe = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
        for entry in recipe.pop("defaults", []):
            for name, choice in entry.items() if isinstance(entry, dict) else ():
                groups[name.removeprefix("override").strip().lstrip("/")] = choice
    for name, choice in typed.items():
        if name in groups and choice_file(name, choice, folders):
            if groups[name] != choice and name != "experiment":
                recipe.pop(name, None)  # meant for the recipe's own choice
                if name == "encoder":
                    model = recipe.get("model") or {}
                    recipe["model"] = {k: v for k, v in model.items() if k not in ENCODER_KEYS}
            groups[name] = choice
    return Chosen(groups, recipe)


def choice_file(group: str, choice: str | None, folders: Sequence[Path]) -> Path | None:
    """The YAML of a choice; None if there is none."""
    files = [folder / group / f"{choice}.yaml" for folder in (config_folder(), *folders)]
    return next((file for file in files if file.is_file()), None)
