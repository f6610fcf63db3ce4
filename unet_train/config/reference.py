"""The reference of all keys as a Markdown page, read off the schema and the YAML, so that it says what is so."""

from __future__ import annotations

import itertools
import re
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import yaml

from unet_train.config.schema import COMMANDS, CUSTOM, SECTIONS
from unet_train.config.tree import config_folder, group_options, read_choice
from unet_train.keys import choice_words, schema_fields

INTRO = """# Reference

<!-- Written by scripts/write_reference.py (make reference) from the schema and the YAML of configs/: edit those. -->

Every key, with its type, its default, and what it means. A choice takes a whole file of values (`encoder=resnet`), a
key sets one of them (`trainer.epochs=50`). `null` is no value. Where the choices of a group have different defaults,
each is given with its choices. `unet-train --help` shows the keys on the command line.
"""

TAGS = ("kind", "layout", "_target_")
"""Keys that the choice of a group sets, which nobody types."""

LONGEST_DEFAULT = 60
"""Of a longer one, the file that holds it is named."""


def reference_page() -> str:
    """The whole page, Markdown."""
    lines = [INTRO, *_groups(), "## Sections", ""]
    for section in SECTIONS:
        lines += _section(section)
    for command, schema in COMMANDS.items():
        lines += _command(command, schema)
    return "\n".join(lines).rstrip() + "\n"


# --- groups ---------------------------------------------------------------------------------------------
def _groups() -> Iterator[str]:
    """A table of choices for each group, with the first comment of each file."""
    yield from ("## Choices", "")
    for group, names in group_options().items():
        yield from (f"### Choices of {group}", "", f"| {group}= | |", "| --- | --- |")
        for name in names:
            text = (config_folder() / group / f"{name}.yaml").read_text(encoding="utf-8")
            yield f"| `{name}` | {_cell(first_sentence(text))} |"
        yield ""


def first_sentence(text: str) -> str:
    """What the comment at the head of a YAML file says first, without the command that often ends it."""
    lines = itertools.takewhile(lambda line: line.startswith("#"), text.splitlines())
    comment = " ".join(line.lstrip("# ") for line in lines if not line.startswith("# @")).replace("`", "")
    return re.split(r"(?<=\.) (?=[A-Z])|:? unet-train ", comment)[0]


# --- sections -------------------------------------------------------------------------------------------
def _section(section: str) -> Iterator[str]:
    """Keys that all kinds of a section share, then those of each kind."""
    tag, kinds = SECTIONS[section]
    values = _values(section)
    # A registry's own order is that of the imports.
    fields = {kind: _keys(kinds[kind]) for kind in sorted(kinds)}
    several = len({kinds[kind] for kind in kinds}) > 1
    common = set.intersection(*(set(own) for own in fields.values()))
    # A name that means something else in each kind, as encoder.depth does, is not shared.
    shared = {
        name: found
        for name, found in next(iter(fields.values())).items()
        if name in common and len({own[name][1].metadata["meaning"] for own in fields.values()}) == 1
    }
    yield from (f"### {section}", "")
    yield from _table(section, shared, values)
    for kind in fields if several else ():
        own = {name: found for name, found in fields[kind].items() if name not in shared}
        if own:
            yield from (f"#### {section}: {kind}", "", _sentence(kinds[kind]), "")
            yield from _table(section, own, {n: v for n, v in values.items() if v.get(tag) == kind})
    if section in CUSTOM:
        yield from (f"`{section}._target_` names a class of your own, with its arguments beside it.", "")


def _values(section: str) -> dict[str, dict[str, Any]]:
    """Choice → its values; a section without a group has one, without a name."""
    if section in group_options():
        folder = config_folder() / section
        return {name: read_choice(folder / f"{name}.yaml") for name in group_options()[section]}
    return {"": _root("train").get(section) or {}}


def _root(command: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((config_folder() / f"{command}.yaml").read_text(encoding="utf-8"))
    return loaded


def _keys(schema: type) -> dict[str, tuple[Any, Any]]:
    return {name: found for name, found in schema_fields(schema).items() if name not in TAGS}


def _table(
    section: str, keys: Mapping[str, tuple[Any, Any]], values: Mapping[str, Mapping[str, Any]]
) -> Iterator[str]:
    if not keys:
        return
    yield from ("| key | type | default | meaning |", "| --- | --- | --- | --- |")
    for name, (hint, field) in keys.items():
        dotted = f"{section}.{name}" if section else name
        default = _default({choice: content[name] for choice, content in values.items() if name in content})
        yield f"| `{dotted}` | {_type(hint)} | {default} | {_cell(_meaning(field))} |"
    yield ""


def _default(by_choice: Mapping[str, Any]) -> str:
    """One value, or where the choices differ each with its choices."""
    said: dict[str, list[str]] = {}
    for choice, value in by_choice.items():
        said.setdefault(_shown(value), []).append(choice)
    if len(said) <= 1:
        return next(iter(said), "")
    return "; ".join(f"{value} ({', '.join(choices)})" for value, choices in said.items())


def _shown(value: Any) -> str:
    if value == "???":
        return "to be given"
    text = yaml.safe_dump(value, default_flow_style=True, width=1000, sort_keys=False).strip()
    text = text.removesuffix("...").strip()
    return "in its file" if len(text) > LONGEST_DEFAULT else f"`{_cell(text)}`"


def _type(hint: Any) -> str:
    """``int | None`` as a reader says it: whole number or null."""
    words = {
        int: "whole number",
        float: "number",
        bool: "true or false",
        str: "text",
        type(None): "`null`",
        Any: "various",
    }
    if hint in words:
        return words[hint]
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_type(one) for one in arguments)
    if origin is list:
        plural = {int: "whole numbers", float: "numbers", str: "texts"}.get(arguments[0])
        return f"list of {plural}" if plural else "list"
    return "mapping"


def _meaning(field: Any) -> str:
    """What it means, what it may be, and its range."""
    text, choices = field.metadata["meaning"], field.metadata["choices"]
    if choices:
        text += f" [{', '.join(choice_words(choices))}]"
    bounds = [f"{name.replace('_', ' ')} {bound}" for name, bound in field.metadata["bounds"].items()]
    return f"{text} ({', '.join(bounds)})" if bounds else text


def _sentence(schema: type) -> str:
    return str(schema.__doc__).partition("\n")[0]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


# --- commands -------------------------------------------------------------------------------------------
def _command(command: str, schema: type) -> Iterator[str]:
    """Keys at the top of a command; the sections that it takes are named."""
    keys = {name: found for name, found in _keys(schema).items() if name not in SECTIONS}
    taken = [name for name in schema_fields(schema) if name in SECTIONS]
    assert is_dataclass(schema)
    yield from (f"## unet-{command}", "", _sentence(schema), "")
    if taken:
        yield from ("Sections: " + ", ".join(f"[{name}](#{name})" for name in taken) + ".", "")
    yield from _table("", keys, {"": _root(command)})


def write_reference(path: Path) -> None:
    """Write the page into a file."""
    path.write_text(reference_page(), encoding="utf-8", newline="\n")
