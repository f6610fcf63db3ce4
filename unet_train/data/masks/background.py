"""Which class of a folder's masks is the background, if any, and which is no class at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from unet_train.errors import UserError
from unet_train.nearest import nearest

NO_BACKGROUND = "none"
"""`dataset.background=none`: class 0 is a class like the others."""

FIRST_CLASS = "first"
"""Class 0 is the background whatever its name: what run folders mean that were written before the key."""

UNKNOWN_NAMES = ("void", "unlabelled", "unlabeled", "ignore", "ignored")
"""Names that data sets give to pixels that are not annotated."""


@dataclass(frozen=True)
class Classes:
    """The classes of a folder's masks.

    Attributes
    ----------
    names : tuple of str
        By class id.
    values : mapping of int to int
        Pixel value → class id.
    has_background : bool
        Whether class 0 is the background.
    """

    names: tuple[str, ...]
    values: Mapping[int, int]
    has_background: bool


def choose_background(
    values: Mapping[int, int], names: Sequence[str] | None, background: str | None
) -> Classes:
    """Put the background first, or find that there is none.

    Parameters
    ----------
    values : mapping of int to int
        Pixel value → class id, as declared or found.
    names : sequence of str or None
        Class names by id; None: none were declared.
    background : str or None
        As `dataset.background`: a class name, a pixel value, `NO_BACKGROUND`, `FIRST_CLASS`, or None for the
        rule: class 0 is the background of two classes, and where it is unnamed or named background; else there
        is none.

    Returns
    -------
    Classes
        With the background as class 0 and the others in ascending order.

    Raises
    ------
    UserError
        If `background` is no class and no pixel value.
    """
    count = len(names) if names is not None else max(values.values()) + 1
    if background is not None and background.casefold() == NO_BACKGROUND:
        background = NO_BACKGROUND
    if background is None:
        _refuse_named_elsewhere(names)
        has_background = count == 2 or names is None or names[0].casefold() == "background"
    else:
        has_background = background != NO_BACKGROUND
    order = list(range(count))
    if background not in (None, NO_BACKGROUND, FIRST_CLASS):
        first = _class_id(values, names or _default_names(count, True), str(background))
        order.remove(first)
        order.insert(0, first)
    named = _default_names(count, has_background) if names is None else tuple(names[old] for old in order)
    new = {old: index for index, old in enumerate(order)}
    return Classes(named, {value: new[old] for value, old in values.items()}, has_background)


def describe_background(classes: Classes, asked: str | None) -> str:
    """One sentence on what counts as the background, and the key that changes it; "" for old run folders."""
    if asked == FIRST_CLASS:
        return ""
    if not classes.has_background:
        return (
            f"no class is the background: all {len(classes.names)} count in iou/mean "
            f"(dataset.background=NAME would leave one out)"
        )
    from_values = sorted(value for value, index in classes.values.items() if index == 0)
    where = f" (mask value {from_values[0]})" if len(from_values) == 1 else ""
    if asked is None:
        return (
            f"class 0, {classes.names[0]}{where}, is the background and does not count in iou/mean; "
            "dataset.background=none makes it count, dataset.background=NAME or a mask value chooses another"
        )
    table = sorted((index, value) for value, index in classes.values.items())
    shown = ", ".join(f"{value} is {classes.names[index]}" for index, value in table[:10])
    more = ", …" if len(table) > 10 else ""
    return (
        f"class 0, {classes.names[0]}{where}, is the background and does not count in iou/mean; mask values: "
        f"{shown}{more}"
    )


def unknown_name(names: Sequence[str]) -> int | None:
    """Index of a class name that means "not annotated", or None."""
    return next((index for index, name in enumerate(names) if name.casefold() in UNKNOWN_NAMES), None)


def _class_id(values: Mapping[int, int], names: Sequence[str], background: str) -> int:
    for index, name in enumerate(names):
        if name == background:
            return index
    if background.lstrip("-").isdecimal() and int(background) in values:
        return values[int(background)]
    hint = nearest(background, names)
    known = ", ".join(str(value) for value in sorted(values)[:20])
    raise UserError(
        f"dataset.background={background}: no class and no mask value has that name{hint}; choose a class "
        f"({', '.join(names[:20])}), a mask value ({known}), or none"
    )


def _refuse_named_elsewhere(names: Sequence[str] | None) -> None:
    """A class called background that is not class 0: which of the two is meant must be said."""
    for name in (names or ())[1:]:
        if name.casefold() == "background":
            raise UserError(
                f"dataset.classes: {name} is not the first class; say dataset.background={name}, or "
                "dataset.background=none if all classes count"
            )


def _default_names(count: int, has_background: bool) -> tuple[str, ...]:
    if not has_background:
        return tuple(f"class_{index}" for index in range(count))
    return (
        "background",
        *(["foreground"] if count == 2 else [f"class_{index}" for index in range(1, count)]),
    )
