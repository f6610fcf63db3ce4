"""A key of the config: type, meaning, choices and range are said once, in its schema; values are checked by it here."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import Field, field, fields, is_dataclass
from typing import Any, get_type_hints

from unet_train.nearest import nearest

REQUIRED = object()

BOUNDS: dict[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "at_least": ("small", lambda value, bound: value >= bound),
    "above": ("small", lambda value, bound: value > bound),
    "at_most": ("large", lambda value, bound: value <= bound),
    "below": ("large", lambda value, bound: value < bound),
}
"""Bound → what a value beyond it is too much of, and whether a value keeps within it."""


def key(
    meaning: str,
    *,
    choices: Collection[str | int] = (),
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    before: Any = REQUIRED,
) -> Any:
    """A field without a default: its one-line meaning and what it may be; the YAML gives the value.

    Parameters
    ----------
    meaning
        What ``--help`` says.
    choices
        The values there are; a registry, whose names they are then.
    at_least, above, at_most, below
        The range of a number, or of each number of a list.
    before
        For a key that came later: what a config stands for that was written before there was one, so that run
        folders and checkpoints stay usable.
    """
    bounds = {"at_least": at_least, "above": above, "at_most": at_most, "below": below}
    return field(
        metadata={
            "meaning": meaning,
            "choices": choices,
            "bounds": {name: bound for name, bound in bounds.items() if bound is not None},
            "before": before,
        }
    )


def choice_words(choices: Iterable[Any]) -> list[str]:
    """The choices of a key as they are typed: true and false in lower case."""
    return [str(one).lower() if isinstance(one, bool) else str(one) for one in choices]


def schema_fields(schema: type) -> dict[str, tuple[Any, Field[Any]]]:
    """Name → (resolved type, field) of a schema."""
    hints = get_type_hints(schema)
    return {f.name: (hints[f.name], f) for f in fields(schema)}


def wrong_value(name: str, value: Any, described: Field[Any]) -> str | None:
    """What is wrong with the value of a key, by its choices and range, as a message; None if nothing is.

    Parameters
    ----------
    name
        What the message calls the key.
    value
        None passes: whether a key may be null is a matter of its type.
    described
        A field that `key` made.
    """
    choices = described.metadata["choices"]
    if value is None:
        return None
    if choices and value not in choices:
        words = choice_words(choices)
        return f"{name}={value}: choose one of {', '.join(words)}{nearest(value, words)}"
    for number in value if isinstance(value, list) else [value]:
        if isinstance(number, str):
            continue  # a word in a number's place, such as auto: for whoever knows which there are
        if described.metadata["bounds"] and not isinstance(number, int | float):
            return f"{name}={value}: must be a number{_or_null(described)}"
        for word, bound in described.metadata["bounds"].items():
            much, keeps = BOUNDS[word]
            if not keeps(number, bound):
                return f"{name}={value} is too {much}: {word.replace('_', ' ')} {bound}{_or_null(described)}"
    return None


def check_values(config: Any, prefix: str = "") -> str | None:
    """First value outside its choices or its range, as a message; None when all are well.

    Parameters
    ----------
    config
        An instance of a schema.
    prefix
        Dotted name of the section the instance stands in.
    """
    for f in fields(config):
        value, name = getattr(config, f.name), f"{prefix}.{f.name}" if prefix else f.name
        message = check_values(value, name) if is_dataclass(value) else wrong_value(name, value, f)
        if message:
            return message
    return None


def _or_null(described: Field[Any]) -> str:
    return ", or null" if "None" in str(described.type) else ""
