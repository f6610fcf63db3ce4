"""A composed tree checked against the schemas and turned into their dataclasses."""

from __future__ import annotations

from collections.abc import Sequence
from types import UnionType
from typing import Any, TypeVar, get_args

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from unet_train.config.messages import first_line, flat_keys, near, not_a_group, told_in_one_line
from unet_train.config.schema import CUSTOM, SECTIONS, DataConfig, TrainConfig
from unet_train.errors import UserError
from unet_train.keys import REQUIRED, check_values, schema_fields

OPTIONAL = ("dataset", "encoder", "split", "weights")
"""Sections that may be null in commands that go by a checkpoint: then its own count."""


Config = TypeVar("Config")


@told_in_one_line()
def typed(schema: type[Config], tree: DictConfig | dict[str, Any]) -> Config:
    """Check a composed tree against the schema of a command and turn it into that dataclass.

    Raises
    ------
    UserError
        Naming the key: unknown, of a wrong type, missing, or outside its choices.
    """
    tree = OmegaConf.create(tree) if isinstance(tree, dict) else tree
    known = schema_fields(schema)
    for name in map(str, tree):
        if name not in known:
            raise UserError(f"{name}: no such key{near(name, [*known, *flat_keys(tree)])}")
    values: dict[str, Any] = {}
    needed = OPTIONAL if schema in (TrainConfig, DataConfig) else ()
    for name, (hint, described) in known.items():
        if name in SECTIONS:
            values[name] = _typed_section(name, tree, needed)
        elif name not in tree or OmegaConf.is_missing(tree, name):
            if described.metadata["before"] is REQUIRED:
                raise UserError(f"{name} is missing: set {name}=…")
            values[name] = described.metadata["before"]
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
    kinds: dict[str, Any] = {"int": int, "float": (int, float), "bool": bool, "str": str, "list": list}
    optional, bases = _optional(hint)
    if value is None:
        if optional or Any in bases:
            return None
        raise wrong
    expected = [kinds.get(getattr(base, "__name__", ""), object) for base in bases]
    if not any(isinstance(value, kind) for kind in expected) or (
        isinstance(value, bool) and not {bool, Any} & set(bases)
    ):
        if str in bases and isinstance(value, (int, float)):
            return str(value)
        raise wrong
    return value


def _optional(hint: Any) -> tuple[bool, list[Any]]:
    """Whether null is allowed, and the types that are."""
    arguments = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    return type(None) in arguments, [one for one in arguments if one is not type(None)]


def _type_name(hint: Any) -> str:
    optional, bases = _optional(hint)
    plain = {
        "str": "text",
        "int": "a whole number",
        "float": "a number",
        "bool": "true or false",
        "list": "a list",
    }
    names = [getattr(base, "__name__", str(base)) for base in bases]
    return " or ".join([plain.get(name, name) for name in names] + (["null"] if optional else []))
