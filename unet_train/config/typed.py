"""A composed tree checked against the schemas and turned into their dataclasses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from unet_train.config.messages import first_line, flat_keys, near, not_a_group
from unet_train.config.schema import COMMANDS, CUSTOM, SECTIONS
from unet_train.errors import UserError
from unet_train.keys import REQUIRED, check_values, schema_fields

OPTIONAL = ("dataset", "encoder", "split", "weights")
"""Sections that may be null in commands that go by a checkpoint: then its own count."""


def typed(command: str, tree: DictConfig | dict[str, Any]) -> Any:
    """Check a composed tree against the schemas and turn it into dataclasses.

    Raises
    ------
    UserError
        Naming the key: unknown, of a wrong type, missing, or outside its choices.
    """
    tree = OmegaConf.create(tree) if isinstance(tree, dict) else tree
    schema = COMMANDS[command]
    known = schema_fields(schema)
    for name in map(str, tree):
        if name not in known:
            raise UserError(f"{name}: no such key{near(name, [*known, *flat_keys(tree)])}")
    values: dict[str, Any] = {}
    needed = OPTIONAL if command in ("train", "data") else ()
    for name, (hint, _) in known.items():
        if name in SECTIONS:
            values[name] = _typed_section(name, tree, needed)
        elif name not in tree or OmegaConf.is_missing(tree, name):
            raise UserError(f"{name} is missing: set {name}=…")
        else:
            values[name] = _checked_scalar(name, tree[name], hint)
    config = schema(**values)
    message = check_values(config)
    if message:
        raise UserError(message)
    return config


def _typed_section(section: str, tree: DictConfig, needed: Sequence[str]) -> Any:
    if section in OPTIONAL and tree.get(section) is None and section not in needed:
        return None
    node = tree.get(section)
    if not isinstance(node, DictConfig):
        raise UserError(not_a_group(section, node))
    if section in CUSTOM and "_target_" in node:
        return OmegaConf.to_container(node)
    tag, kinds = SECTIONS[section]
    kind = node.get(tag, "") if tag else ""
    if kind not in kinds:
        raise UserError(f"{section}.{tag}={kind}: choose one of {', '.join(kinds)}")
    schema = kinds[kind]
    known = schema_fields(schema)
    for name in map(str, node):
        if name not in known:
            raise UserError(
                f"{section}.{name}: no such key{near(name, known)}; {section} has {', '.join(known)}"
            )
    try:
        merged = OmegaConf.merge(OmegaConf.structured(schema), node)
        for name, (_, described) in known.items():
            if OmegaConf.is_missing(merged, name) and described.metadata["before"] is not REQUIRED:
                OmegaConf.update(merged, name, described.metadata["before"])
            if OmegaConf.is_missing(merged, name):
                raise UserError(f"{section}.{name} is missing: set {section}.{name}=…")
        return OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        name = f"{section}.{getattr(error, 'full_key', None) or getattr(error, 'key', '')}"
        hint = known.get(name.split(".")[1].split("[")[0], (None,))[0]
        wanted = f", expected {_type_name(hint)}" if hint is not None else ""
        raise UserError(f"{name}: {first_line(error)}{wanted}") from error


def _checked_scalar(name: str, value: Any, hint: Any) -> Any:
    if isinstance(value, DictConfig) or OmegaConf.is_list(value):
        value = OmegaConf.to_container(value)
    wrong = UserError(f"{name}={value}: wrong type, expected {_type_name(hint)}")
    allowed: dict[str, Any] = {"int": int, "float": (int, float), "bool": bool, "str": str}
    optional, base = _optional(hint)
    if value is None:
        if optional or base is Any:
            return None
        raise wrong
    expected = allowed.get(getattr(base, "__name__", ""))
    if expected and (not isinstance(value, expected) or (isinstance(value, bool) and base is not bool)):
        if base is str and isinstance(value, (int, float)):
            return str(value)
        raise wrong
    return value


def _optional(hint: Any) -> tuple[bool, Any]:
    arguments = getattr(hint, "__args__", ())
    if type(None) in arguments:
        return True, next(a for a in arguments if a is not type(None))
    return False, hint


def _type_name(hint: Any) -> str:
    optional, base = _optional(hint)
    name = getattr(base, "__name__", str(base))
    plain = {
        "str": "text",
        "int": "a whole number",
        "float": "a number",
        "bool": "true or false",
        "list": "a list",
    }
    return plain.get(name, name) + (" or null" if optional else "")
