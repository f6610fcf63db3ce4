"""Overrides as a person types them, made into what Hydra's grammar takes, or laid over a config that is there."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from unet_train.config.messages import flat_keys, near, told_in_one_line
from unet_train.config.schema import CUSTOM, PATH_KEYS, SECTIONS, mapping_keys
from unet_train.errors import UserError
from unet_train.keys import REQUIRED, schema_fields


def quote_paths(overrides: Iterable[str]) -> list[str]:
    """Quote the values of path keys, so that Hydra's grammar takes file names as they are typed.

    Hydra reads commas, brackets, quotes, spaces and ``=`` in a value as grammar. A value that is a list, or
    quoted already, is left alone unless a file of just that name exists.
    """
    return [_quote_path(override) for override in overrides]


def _quote_path(override: str) -> str:
    name, equals, value = override.partition("=")
    if not equals or name.lstrip("+") not in PATH_KEYS or value in ("", "null", "???"):
        return override
    exists = os.path.lexists(os.path.expanduser(value))
    if not exists and value[0] == value[-1] and value[0] in "'\"" and len(value) > 1:
        return override
    if not exists and name == "ckpt" and value.startswith("[") and value.endswith("]"):
        return f"{name}=[{','.join(quoted(item.strip()) for item in value[1:-1].split(','))}]"
    return f"{name}={quoted(value)}"


def quoted(value: str) -> str:
    """`value` as a single-quoted string of Hydra's grammar."""
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        return value
    # A backslash escapes only where it stands before a quote, or at the end: there it is doubled.
    value = re.sub(r"(\\*)'", lambda m: m.group(1) * 2 + "\\'", value)
    value = re.sub(r"(\\+)$", lambda m: m.group(1) * 2, value)
    return f"'{value}'"


def open_mappings(overrides: Iterable[str]) -> list[str]:
    """Mark keys inside a user's own mapping (``dataset.target_params.width=3``) as new for Hydra.

    Hydra takes a key that the YAML does not have only with ``+`` before it; here any key may stand.
    """
    free = mapping_keys()
    opened = []
    for override in overrides:
        name, _, value = override.partition("=")
        inside = any(name.startswith(f"{mapping}.") for mapping in free)
        opened.append(f"++{override}" if inside or (name in free and value.startswith("{")) else override)
    return opened


def replace_mappings(composed: DictConfig, overrides: Iterable[str]) -> None:
    """Let ``dataset.target_params={}`` mean just that; Hydra would add what stands there to what YAML says."""
    free = mapping_keys()
    for override in overrides:
        name, _, value = override.partition("=")
        if name.lstrip("+") in free and value.startswith("{"):
            parsed = OverridesParser.create().parse_override(override).value()
            OmegaConf.update(composed, name.lstrip("+"), parsed, merge=False)


def take_own_sections(overrides: Sequence[str]) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """Part ``encoder._target_=package.Class encoder.width=8`` from the rest: it replaces the whole section.

    Raises
    ------
    UserError
        For an override that cannot be read.
    """
    rest, own = list(overrides), {}
    for section in CUSTOM:
        keys = [o for o in rest if o.lstrip("+").startswith(f"{section}.")]
        chosen = any(o.partition("=")[0] == section for o in rest)
        if chosen or not any(o.lstrip("+").startswith(f"{section}._target_=") for o in keys):
            continue
        rest = [o for o in rest if o not in keys]
        tree = OmegaConf.create()
        for override in keys:
            try:
                parsed = OverridesParser.create().parse_override(override)
                OmegaConf.update(tree, parsed.key_or_group, parsed.value())
            except (HydraException, OmegaConfBaseException):
                raise UserError(f"{override}: cannot be read as key=value") from None
        own[section] = OmegaConf.to_container(tree)[section]  # type: ignore[index, call-overload]
    return rest, own  # type: ignore[return-value]


def refuse_common_slips(command: str, overrides: Sequence[str], options: dict[str, list[str]]) -> None:
    """Overrides that Hydra would take, or refuse, with a misleading word."""
    refuse_expanded_braces(overrides)
    for override in overrides:
        name, equals, value = override.partition("=")
        refuse_other_commands_words(command, override)
        if name.startswith("-"):
            raise UserError(f"{name}: no such option; keys are set as key=value (see --help)")
        if not equals and not name.startswith("~"):
            raise UserError(f"{override}: keys are set as key=value, for example dataset=folder (see --help)")
        if name in FILE_OF and value not in options.get(name, ()) and _looks_like_a_path(value):
            instead = FILE_OF[name] if command in ("train", "data") else "ckpt={path}"
            raise UserError(f"{override} is a path; say {instead.format(path=value)}")
        if name in options and value.startswith("_"):
            raise UserError(f"{override}: no such choice; {name} is one of {', '.join(options[name])}")
        group, dot, last = name.lstrip("+").partition(".")
        if dot and last in ("kind", "layout") and group in options:
            raise UserError(f"{override}: choose with {group}={value} (one of {', '.join(options[group])})")
        if name == "dataset.name" and value in options["dataset"]:
            raise UserError(f"{override} only renames; to choose the data set: dataset={value}")


FILE_OF = {
    "weights": "weights=file weights.path={path}",
    "dataset": "dataset=folder dataset.root={path}",
}
"""Group → what takes a path in its place."""


def _looks_like_a_path(value: str) -> bool:
    """Whether a value can only be meant as a file or folder."""
    return "/" in value or "\\" in value or os.path.exists(value) or value.endswith((".pt", ".pth"))


def refuse_other_commands_words(command: str, override: str) -> None:
    """Refuse ``ckpt=…`` where a training starts, and ``input=…`` and ``output=…``, which it has no use for.

    Raises
    ------
    UserError
        With the keys that unet-train has for it.
    """
    name, _, value = override.partition("=")
    value = value.strip("'\"")
    instead = {
        "ckpt": f"to start from its weights, say weights=file weights.path={value}; to go on with its run, "
        "resume=RUN_FOLDER",
        "input": "the images and masks to train on are dataset=folder dataset.root=FOLDER",
        "output": f"the run folder is hydra.run.dir={value}",
    }
    if command == "train" and name in instead:
        raise UserError(f"{name}={value}: unet-train has no {name}; {instead[name]}")


def refuse_expanded_braces(overrides: Sequence[str]) -> None:
    """Refuse the pieces into which a shell cuts ``dataset.values={0:0,255:1}`` without quotes.

    Raises
    ------
    UserError
        With the quotes.
    """
    for name in mapping_keys():
        pieces = [o.partition("=")[2] for o in overrides if o.partition("=")[0] == name]
        if len(pieces) > 1 and all(":" in piece and not piece.startswith("{") for piece in pieces):
            raise UserError(
                f"{name}={pieces[0]}: the shell has taken the braces apart; put quotes around it: "
                f"'{name}={{{','.join(pieces)}}}'"
            )


def split_partial(overrides: Sequence[str], sections: Sequence[str]) -> tuple[list[str], list[str]]:
    """Part overrides that set single keys of a section from the rest, unless the section's group is chosen too.

    ``unet-eval ckpt=… dataset.root=moved/here`` lays one key over the checkpoint's own data set;
    ``dataset=folder dataset.root=…`` chooses another.
    """
    chosen = {o.partition("=")[0] for o in overrides}
    partial = [o for o in overrides if o.partition(".")[0] in sections and o.partition(".")[0] not in chosen]
    return [o for o in overrides if o not in partial], partial


@told_in_one_line()
def lay_over(tree: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """A copy of a plain config tree with ``section.key=value`` overrides laid over it.

    Raises
    ------
    UserError
        For a key the tree does not have, with the nearest name; one that came later than the tree may be added.
    """
    config = OmegaConf.create(tree)
    parser = OverridesParser.create()
    for override in quote_paths(overrides):
        try:
            parsed = parser.parse_override(override)
        except HydraException:
            raise UserError(f"{override}: cannot be read as key=value") from None
        name = parsed.key_or_group
        known = flat_keys(config)
        if name not in known and not _came_later(name, tree):
            raise UserError(f"{override}: no such key{near(name, known)}")
        OmegaConf.update(config, name, parsed.value())
    return OmegaConf.to_container(config)  # type: ignore[return-value]


def _came_later(name: str, tree: dict[str, Any]) -> bool:
    """Whether a key of a section's schema has a value for trees that were written before there was one."""
    section, _, key = name.partition(".")
    if section not in SECTIONS or not isinstance(tree.get(section), dict):
        return False
    tag, kinds = SECTIONS[section]
    schema = kinds.get(tree[section].get(tag, "") if tag else "")
    known = schema_fields(schema) if schema is not None else {}
    return key in known and known[key][1].metadata["before"] is not REQUIRED
