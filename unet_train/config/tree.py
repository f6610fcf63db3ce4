"""The YAML of `configs/` and of a user's own folder: where it lies, what can be chosen, what a choice holds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml


def config_folder() -> Path:
    """Folder of the shipped YAML: inside an installed package, beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


def group_options(folders: Sequence[Path] = ()) -> dict[str, list[str]]:
    """Config groups and the names of their choices, shipped ones and those in the user's `folders`.

    A file whose name begins with ``_`` is no choice but what others of its group share.
    """
    options: dict[str, set[str]] = {}
    for folder in (config_folder(), *folders):
        for file in folder.glob("*/[!_]*.yaml"):
            options.setdefault(file.parent.name, set()).add(file.stem)
    return {group: sorted(names) for group, names in sorted(options.items())}


def read_choice(file: Path) -> dict[str, Any]:
    """The keys of a choice's YAML with those of the files of its group that it begins with."""
    content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    shared: dict[str, Any] = {}
    for entry in content.pop("defaults", []):
        if isinstance(entry, str) and entry != "_self_":
            base = file.with_name(f"{entry}.yaml")
            shared |= read_choice(base if base.is_file() else config_folder() / file.parent.name / base.name)
    return shared | content
