"""A plan (`plan=FILE`): keys laid under those of the command line."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unet_train.config.checks import expand
from unet_train.config.command_line import quoted
from unet_train.config.schema import CUSTOM, PATH_KEYS, SECTIONS
from unet_train.config.yaml_files import read_yaml
from unet_train.errors import UserError

AUTO_PLAN = "auto"
"""`plan=auto`: made before the run."""

_GO_BY_THE_ENCODER = ("encoder", "weights", "model")


def plan_named(overrides: Sequence[str]) -> str | None:
    """The value of ``plan=`` on a command line, or None."""
    given = [o.partition("=")[2].strip("'\"") for o in overrides if o.partition("=")[0] == "plan"]
    return given[-1] if given and given[-1] not in ("", "null") else None


def lay_plan(overrides: Sequence[str]) -> list[str]:
    """The command line with the keys of its plan, unless it says something else itself.

    A section chosen otherwise than in the plan (``encoder=resnet``) takes none of the plan's keys; another encoder
    takes neither its weights nor its keys of the model.

    Raises
    ------
    UserError
        No such file, or one that is no plan; it names the file.
    """
    named = plan_named(overrides)
    if named is None:
        return list(overrides)
    plan = read_plan(expand(named))
    typed = {name.lstrip("+~"): value for name, _, value in (o.partition("=") for o in overrides)}
    anew = {section for section in SECTIONS if section in typed and typed[section] != str(plan.get(section))}
    anew |= {section for section in CUSTOM if f"{section}._target_" in typed}
    if "encoder" in anew:
        anew |= set(_GO_BY_THE_ENCODER)
    kept = {
        key: value for key, value in plan.items() if key not in typed and key.partition(".")[0] not in anew
    }
    return [*words_of(kept), *overrides]


def from_plan(message: str, overrides: Sequence[str]) -> str:
    """`` (in plan=FILE)`` if the first key that a message names was set by the plan and not typed; else nothing."""
    named = plan_named(overrides)
    if named is None or f"plan={named}" in message:
        return ""
    typed = {o.partition("=")[0].lstrip("+~") for o in overrides}
    keys = typed | {word.partition("=")[0] for word in lay_plan(overrides)}
    places = {}
    for key in keys:
        found = re.search(rf"(?<![\w.]){re.escape(key)}(?![\w.]*\w)", message)
        if found:
            places[key] = found.start()
    first = min(places, key=places.__getitem__, default=None)
    return "" if first is None or first in typed else f" (in plan={named})"


def minutes_of(text: str) -> float:
    """A number of minutes.

    Raises
    ------
    UserError
        For no number, or one that is not above 0.
    """
    try:
        minutes = float(text)
    except ValueError:
        minutes = math.nan
    if not 0 < minutes < math.inf:
        raise UserError(f"minutes={text}: a number above 0 is needed")
    return minutes


def read_plan(path: Path) -> dict[str, Any]:
    """The keys of a plan.

    Raises
    ------
    UserError
        Names the file and what is wrong with it.
    """
    try:
        content = read_yaml(path, f"plan={path}")
    except OSError as error:
        raise UserError(
            f"plan={path}: {error.strerror or error}; make one: unet-data plan dataset.root=FOLDER output={path}"
        ) from None
    if not isinstance(content, dict) or not content:
        raise UserError(f"plan={path}: holds no keys such as dataset.root: FOLDER")
    for key, value in content.items():
        section = str(key).partition(".")[0]
        nested = isinstance(value, dict) and "." not in str(key)
        if not isinstance(key, str) or nested or key in ("plan", "resume"):
            hint = " (a run's config.yaml is taken up by resume=FOLDER)" if nested else ""
            raise UserError(
                f"plan={path}: {section} is no key of a plan, which are written as on a command line{hint}"
            )
    return content


def words_of(keys: Mapping[str, Any]) -> list[str]:
    """Keys and values in plain types as the words of a command line."""
    return [f"{key}={_typed(key, value)}" for key, value in keys.items()]


def _typed(key: str, value: Any) -> str:
    """A value in Hydra's grammar."""
    if isinstance(value, str):
        return value if key in PATH_KEYS or value.isidentifier() else quoted(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{_typed('', k)}:{_typed('', v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_typed("", item) for item in value) + "]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
