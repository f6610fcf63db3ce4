"""Python's keyword arguments as the words of a command line: ``epochs=5`` is ``trainer.epochs=5``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from unet_train.config.messages import near
from unet_train.config.plans import words_of
from unet_train.config.schema import COMMANDS, SECTIONS, mapping_keys
from unet_train.config.tree import group_options
from unet_train.errors import UserError
from unet_train.keys import schema_fields

RUN_FOLDER = {"folder": "hydra.run.dir"}
"""What a keyword cannot be spelled like."""


def keyword_words(command: str, keys: Mapping[str, Any]) -> list[str]:
    """The words that keyword arguments stand for.

    Parameters
    ----------
    command : str
        Whose keys they are: ``train``, ``eval`` or ``predict``.
    keys : mapping of str to value
        By the whole name, or by its last word where only one section has such a key. A mapping stands for several keys
        of a section, a path for its text.

    Raises
    ------
    UserError
        For a name that no section has, or several; with the names that could be meant.
    """
    named: dict[str, Any] = {}
    for name, value in keys.items():
        full = _full_name(command, name)
        if isinstance(value, Mapping) and full not in mapping_keys():
            named |= {f"{full}.{key}": item for key, item in value.items()}
        else:
            named[full] = value
    return words_of({name: _plain(value) for name, value in named.items()})


def _full_name(command: str, name: str) -> str:
    """The whole name of a key that may be given by its last word."""
    own = schema_fields(COMMANDS[command])
    if command == "train" and name in RUN_FOLDER:
        return RUN_FOLDER[name]
    if name in own or "." in name or (command == "train" and name in group_options()):
        return name
    sections = [section for section in own if section in SECTIONS]
    meant = [
        f"{section}.{name}"
        for section in sections
        if any(name in schema_fields(schema) for schema in SECTIONS[section][1].values())
    ]
    if len(meant) == 1:
        return meant[0]
    if meant:
        said = " or ".join(f"{full.partition('.')[0]}={{{name!r}: …}}" for full in meant)
        raise UserError(f"{name}: several sections have such a key; say {said}")
    known = [n for s in sections for schema in SECTIONS[s][1].values() for n in schema_fields(schema)]
    raise UserError(f"{name}: no such key{near(name, [*own, *known])}")


def _plain(value: Any) -> Any:
    """A value in the types that a command line has."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value.item() if hasattr(value, "item") else value
