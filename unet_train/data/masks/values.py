"""Which pixel value of a mask is which class, told by the values that occur; object numbers are recognised."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from unet_train.data.records import IGNORE
from unet_train.errors import UserError

MOST_CLASSES = 32
"""More distinct values in undeclared masks are grey levels or object numbers, not classes."""


def discover_values(
    masks: Iterable[tuple[str, Sequence[int]]],
    *,
    classes: int | None = None,
    ignore_value: int | None = None,
    background_is_known: bool = False,
) -> tuple[dict[int, int], str]:
    """Tell which pixel value is which class, from the values that occur.

    In this order: values that are ids already (0, 1, 2, …; all below `classes`, or below 32) stay; {0, 255}
    and any other *two* values become 0 and 1; as many values as classes are declared are taken in ascending
    order. Everything else is refused: more values than classes, more than 32 distinct values (grey levels of
    an anti-aliased or JPEG mask, object numbers), several values with gaps and no declaration, undeclared values
    without a 0, unless it is known which of them is the background.

    Parameters
    ----------
    masks : iterable of (path, distinct values)
        The masks looked at.
    classes : int, optional
        Number of classes declared.
    ignore_value : int, optional
        Value left out of all this.
    background_is_known : bool
        Whether the user said which value is the background, or that there is none.

    Returns
    -------
    (dict, str)
        Pixel value → class id, and a sentence for the user ("" where values stay as they are).

    Raises
    ------
    UserError
        Names the values and a file.
    """
    limit = classes or MOST_CLASSES
    first_file: dict[int, str] = {}
    masks = list(masks)
    for path, values in masks:
        for value in values:
            first_file.setdefault(int(value), path)
        own = [value for value in values if value != ignore_value]
        if len(own) > limit:
            raise _too_many(path, own, classes)
    found = sorted(value for value in first_file if value != ignore_value)
    if len(found) > limit:
        raise _too_many(first_file[found[-1]], found, classes)
    text = list_values(found)
    if found and found[0] < 0:
        raise UserError(f"{first_file[found[0]]}: negative mask values ({text}); declare dataset.values")
    if found and found[-1] < limit and (len(found) > 1 or classes is not None):
        if classes is None and found[0] > 0:
            if not background_is_known:
                raise UserError(
                    f"{first_file[found[0]]}: mask values {text} have no 0; which of them is the background? Say "
                    f"dataset.background={found[0]} (or another value), or dataset.background=none if all are classes"
                )
            return _in_order(found)
        count = classes or found[-1] + 1
        absent = sorted(set(range(count)) - set(found))
        note = f"mask values are class ids; {list_values(absent)} did not occur" if absent else ""
        return {value: value for value in range(count)}, note
    if len(found) < 2:
        where = f" ({next(iter(first_file.values()))} and the others)" if first_file else ""
        raise UserError(
            f"the masks hold one value only, {text or 'none'}{where}: nothing to learn; "
            "look at the masks, or declare dataset.values"
        )
    if found == [0, 1, 255] and classes in (None, 2) and ignore_value is None and _mixed_scales(masks):
        return {
            0: 0,
            1: 1,
            255: 1,
        }, "some masks hold 0 and 1, others 0 and 255: both 1 and 255 are taken as class 1"
    if found == [0, 255] and classes in (None, 2):
        return {0: 0, 255: 1}, "mask values 0 and 255 are taken as classes 0 and 1"
    if (classes is None and len(found) == 2) or len(found) == classes:
        return _in_order(found)
    holders = {value: sum(value in values for _, values in masks) for value in found}
    odd = first_file[min(found, key=holders.__getitem__)]  # the file that shows what is wrong
    way_out = _threshold_too(found)
    if classes is not None:
        raise UserError(
            f"{odd}: mask values {text} are not the ids 0 to {classes - 1} of the classes; "
            f"declare {_example(found, classes)}{way_out}"
        )
    if ignore_value is None and found[-1] == 255 and found[-2] < MOST_CLASSES:
        raise UserError(
            f"{odd}: mask values {text} in all the masks: is 255 a class or not annotated? Say "
            f"dataset.ignore_value=255, or {_example(found)}{way_out}"
        )
    raise UserError(
        f"{odd}: mask values {text} in all the masks are neither class ids nor two values (anti-aliased or JPEG?); "
        f"save class ids, or declare {_example(found)}{way_out}"
    )


def _threshold_too(found: Sequence[int]) -> str:
    """A hint where all values are nearly black or nearly white."""
    top = found[-1]
    near = all(value <= 0.2 * top or value >= 0.8 * top for value in found)
    return (
        f", or dataset.threshold={round(top / 2)} if they mean black and white" if top >= 100 and near else ""
    )


def _mixed_scales(masks: Iterable[tuple[str, Sequence[int]]]) -> bool:
    """Whether no mask holds both 1 and 255, though both occur: two programs wrote the foreground differently."""
    return not any(1 in values and 255 in values for _, values in masks)


def refuse_gaps(masks: Sequence[tuple[str, Sequence[int]]], ignore_value: int | None) -> None:
    """Numbers with gaps that are others in each file are object numbers, or classes that want names."""
    sets = [frozenset(int(v) for v in values if v > 0 and v != ignore_value) for _, values in masks]
    union = frozenset().union(*sets)
    # Two numbers for the foreground, or class ids of which each file shows most, are no object numbers.
    if len(sets) < 3 or len(union) < 5 or len(union) == max(union):
        return
    shown = sum(map(len, sets)) / (len(sets) * len(union))
    if len(set(sets)) > len(sets) // 2 and shown < 0.6:
        first, second = masks[0], next(m for m, s in zip(masks, sets, strict=True) if s != sets[0])
        raise UserError(
            f"the mask values differ from file to file, with gaps ({first[0]}: {list_values(first[1])}; {second[0]}: "
            f"{list_values(second[1])}): is that one number per object? Say dataset.instances=true; if they are "
            "classes, name them in dataset.classes or declare dataset.values"
        )


def refuse_object_numbers(masks: Sequence[tuple[str, Sequence[int]]], ignore_value: int | None) -> None:
    """Masks that count 0, 1, … up to another number in each file hold objects, not classes."""
    last = {}
    for path, values in masks:
        own = sorted(int(value) for value in values if value != ignore_value)
        if own != list(range(len(own))):
            return
        last[path] = own[-1] if own else 0
    if len(set(last.values())) >= 3 and max(last.values()) >= 5:
        few, many = min(last, key=last.__getitem__), max(last, key=last.__getitem__)
        raise UserError(
            f"the masks count up to another number in each file ({few} to {last[few]}, {many} to {last[many]}): "
            "is that one number per object? Say dataset.instances=true; if they are classes, name them in "
            "dataset.classes"
        )


def _in_order(found: Sequence[int]) -> tuple[dict[int, int], str]:
    pairs = ", ".join(f"{value} is class {index}" for index, value in enumerate(found))
    return {value: index for index, value in enumerate(found)}, f"mask values in ascending order: {pairs}"


def _too_many(path: str, found: Sequence[int], classes: int | None) -> UserError:
    listed = f"{path}: {len(found)} mask values ({list_values(found)})"
    objects = "object numbers need dataset.instances=true"
    levels = "an anti-aliased or JPEG mask has to be saved as class ids"
    if classes is None:
        return UserError(
            f"{listed} where at most {MOST_CLASSES} can be classes without dataset.classes naming them; {levels}, or "
            f"dataset.values declared; {objects}"
        )
    return UserError(
        f"{listed} where dataset.classes names {classes}; name every class, or say dataset.ignore_value={found[-1]} if "
        f"{found[-1]} means not annotated; {objects}, and {levels}"
    )


def declared_values(values: Mapping[int, int], names: tuple[str, ...] | None) -> dict[int, int]:
    try:
        mapping = {int(value): int(index) for value, index in values.items()}
    except (TypeError, ValueError):
        raise UserError(
            f"dataset.values: {values!r} does not map pixel values to class ids, as {{0: 0, 255: 1}} does"
        ) from None
    used = sorted(set(mapping.values()))
    count = len(names) if names else (used[-1] + 1 if used else 0)
    if not used or used[0] < 0 or used[-1] >= min(count, IGNORE) or count < 2:
        raise UserError(
            f"dataset.values: class ids {list_values(used)} do not fit {count} classes (0 to {count - 1})"
        )
    skipped = sorted(set(range(count)) - set(used)) if names is None else []
    if skipped:
        raise UserError(
            f"dataset.values: no pixel value for class id {list_values(skipped)}; number the classes 0, 1, 2, … or "
            "give their names by dataset.classes"
        )
    return mapping


def distinct(labels: np.ndarray) -> list[int]:
    if labels.dtype == np.int32:
        return [int(value) for value in np.unique(labels)]
    return [int(value) for value in np.flatnonzero(np.bincount(labels.ravel()))]


def list_values(values: Sequence[int]) -> str:
    """``0, 3, 7, …, 255``: at most ten of them."""
    texts = [str(value) for value in values]
    return ", ".join(texts if len(texts) <= 10 else [*texts[:8], "…", texts[-1]])


def _example(found: Sequence[int], classes: int | None = None) -> str:
    """``'dataset.values={0:0,255:1}'``: in quotes, because a shell takes braces apart."""
    ids = [str(index) if classes is None or index < classes else "?" for index in range(len(found))]
    pairs = [f"{value}:{index}" for value, index in zip(found, ids, strict=True)]
    return f"'dataset.values={{{','.join(pairs[:6] + (['…'] if len(pairs) > 6 else []))}}}'"
