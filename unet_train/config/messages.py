"""One line for what is wrong with a config, with the nearest valid name."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import yaml
from hydra import compose
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from unet_train.config.schema import SECTIONS
from unet_train.errors import UserError
from unet_train.keys import schema_fields
from unet_train.nearest import nearest


def near(name: str, candidates: Iterable[str]) -> str:
    """`` (did you mean …?)`` with the nearest of `candidates`, or nothing."""
    names = [n for n in candidates if n != name and n.rsplit(".", 1)[-1] not in ("kind", "layout")]
    elsewhere = [n for n in names if n.rsplit(".", 1)[-1] == name.rsplit(".", 1)[-1]]
    return nearest(name, names, cutoff=0.55) or "".join(f" (did you mean {n}?)" for n in elsewhere[:1])


def flat_keys(config: Any, prefix: str = "") -> list[str]:
    """Dotted names of all keys of a composed config."""
    if not isinstance(config, DictConfig):
        return []
    names = []
    for key in config:  # which a mapping of the user's own may have as numbers
        dotted = prefix + str(key)
        names.append(dotted)
        node = config._get_node(key)
        if isinstance(node, DictConfig) and not node._is_none() and not node._is_missing():
            names += flat_keys(node, dotted + ".")
    return names


def not_a_group(section: str, value: Any) -> str:
    if section == "tile":
        return f"tile={value} is no key: say tile.size={value}"
    return (
        f"{section} is {value!r} instead of a group of keys: choose it by {section}=NAME on the command line, "
        f"or 'override /{section}: NAME' in a YAML's defaults list"
    )


def from_experiment(message: str, overrides: Sequence[str]) -> str:
    """Whose key it is that another choice does not have: ``experiment=smoke dataset=folder``."""
    found = re.match(r"([\w.]+): no such key", message)
    experiment = next((o for o in overrides if o.startswith("experiment=")), None)
    if not found or not experiment or any(o.partition("=")[0].lstrip("+") == found[1] for o in overrides):
        return ""
    section = found[1].partition(".")[0]
    chosen = next((o for o in overrides if o.startswith(f"{section}=")), None)
    return f"; {experiment} sets it, " + (
        f"which does not go with {chosen}" if chosen else "or it was misspelt there"
    )


def first_line(error: BaseException) -> str:
    """What an error says first, in one line; its kind where it says nothing."""
    return " ".join(str(error).strip().split("\n")[0].split()) or type(error).__name__


@contextlib.contextmanager
def told_in_one_line(file: str = "") -> Iterator[None]:
    """Tell what OmegaConf finds wrong with a tree: an interpolation, a value it does not know, a tree without end.

    Raises
    ------
    UserError
        Beginning with `file`, where one is named.
    """
    try:
        yield
    except UserError as error:
        raise UserError(f"{file}: {error}" if file else str(error)) from error
    except (OmegaConfBaseException, RecursionError, ValueError) as error:
        said = first_line(error)
        raise UserError(f"{file}: {said}" if file else said) from error


def explain(
    command: str,
    overrides: Sequence[str],
    options: dict[str, list[str]],
    searchpath: Sequence[str],
    error: Exception,
) -> str:
    """One line for what Hydra or OmegaConf said, with the nearest valid name."""
    text = str(error)
    if isinstance(error, yaml.YAMLError):
        return f"a YAML file cannot be read: {' '.join(text.split())}"
    if "Ambiguous value" in text:
        return f"{first_line(error)}: several values are a sweep, say -m before them"
    for override in overrides:
        name, _, value = override.partition("=")
        if name in options and value in ("null", "") and "Config group override" in text:
            return f"{override}: choose one of {', '.join(options[name])}"
    own = next((o for o in overrides if o.lstrip("+~").startswith("hydra=")), None)
    if own and "Config group override" in text:
        return f"{own}: hydra is a section; set its keys, such as hydra.run.dir=FOLDER"
    unreadable = re.match(r"(.*) at input|mismatched input|token recognition|extraneous input", text)
    if unreadable or "grammar" in text:
        bad = next((o for o in overrides if not _parses(o)), text.split("\n")[0]).lstrip("+")
        return f"{bad}: cannot be read as key=value; put quotes around a value with special characters"
    missing = re.search(r"Could not find '([^']+)/([^/']+)'", text)
    if missing:
        group, choice = missing.group(1).lstrip("/"), missing.group(2)
        choices = options.get(group, [])
        return (
            f"{group}={choice}: no such choice{near(choice, choices)}; {group} is one of {', '.join(choices)}"
        )
    candidates: list[str] = list(options)
    groups = [o for o in overrides if o.partition("=")[0].lstrip("+") in options]
    with contextlib.suppress(HydraException, OmegaConfBaseException, ValueError):
        candidates += flat_keys(compose(command, [*groups, *searchpath]))
    unknown = re.search(r"Could not override '([^']+)'", text) or re.search(r"full_key: (\S+)", text)
    if not unknown:
        unknown = re.search(r"No match in the defaults list[^']*'([^']+)'", text)
    if unknown:
        name = unknown.group(1)
        typed_as = next((o for o in overrides if o.partition("=")[0].lstrip("+") == name), name).lstrip("+")
        if name in options:
            return f"{typed_as}: {name} cannot be chosen for unet-{command}"
        section, _, key = name.partition(".")
        only = SECTIONS.get(section, ("", {}))[1].get("")
        if only is not None and key in schema_fields(only):
            # A YAML of the user's own, written before there was this key.
            return (
                f"{typed_as}: the chosen {section} YAML has no {key} yet; write it there, or say +{typed_as}"
            )
        has = [k for k in candidates if k.startswith(section + ".") and k.count(".") == 1]
        known = f"; {section} has {', '.join(k.partition('.')[2] for k in has)}" if has else ""
        return f"{typed_as}: no such key{near(name, candidates)}{known}"
    return first_line(error)


def _parses(override: str) -> bool:
    try:
        OverridesParser.create().parse_override(override)
    except HydraException:
        return False
    return True
