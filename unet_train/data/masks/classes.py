"""The classes of a data set's masks: names, values, background, and how the masks are read; by keys, or found out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from unet_train.data.masks.background import (
    FIRST_CLASS,
    NO_BACKGROUND,
    choose_background,
    describe_background,
    unknown_name,
)
from unet_train.data.masks.colours import declared_colours
from unet_train.data.masks.legend import Legend
from unet_train.data.masks.reading import MaskReader, MaskSample, find_reader
from unet_train.data.masks.values import (
    declared_values,
    discover_values,
    refuse_gaps,
    refuse_object_numbers,
)
from unet_train.errors import UserError


@dataclass(frozen=True)
class MasksRule:
    """What is said about the masks.

    Attributes
    ----------
    classes : sequence of str, optional
        Class names by id. None: named after what is found.
    background : str, optional
        Which class is the background, as in `choose_background`.
    values : mapping of int to int, optional
        Pixel value → class id. None: discovered, see `discover_values`.
    colors : mapping of str to colour, optional
        Class name → colour, in the order of the class ids.
    threshold : int, optional
        Grey value from which a pixel is foreground.
    ignore_value : int, optional
        Pixel value that counts in no loss and no metric.
    instances : bool
        The masks hold one number (or colour, or page) per object instead of classes: two classes then.

    Raises
    ------
    UserError
        Keys that exclude one another, fewer than two names.
    """

    classes: Sequence[str] | None = None
    background: str | None = None
    values: Mapping[int, int] | None = None
    colors: Mapping[str, Any] | None = None
    threshold: int | None = None
    ignore_value: int | None = None
    instances: bool = False

    def __post_init__(self) -> None:
        given = [name for name in ("values", "colors", "threshold") if getattr(self, name) is not None]
        if self.instances and (given or (self.classes is not None and len(self.classes) != 2)):
            raise UserError(
                "dataset.instances=true: the masks' numbers are objects of one class; leave dataset.values, "
                "dataset.colors and dataset.threshold out, and name two classes or none"
            )
        if len(given) > 1:
            raise UserError(f"dataset.{given[0]} and dataset.{given[1]}: give one of the two, not both")
        if self.colors is not None and self.classes is not None:
            raise UserError("dataset.classes: dataset.colors names the classes already; leave it out")
        if self.classes is not None and (
            len(self.classes) < 2 or len(set(map(str, self.classes))) < len(self.classes)
        ):
            raise UserError("dataset.classes: give two or more different names")


@dataclass
class MaskClasses:
    """What the masks of a data set mean.

    Attributes
    ----------
    names : tuple of str
        By class id.
    values : dict of int to int
        Number in a mask, once read → class id; empty for objects.
    has_background : bool
    reader : MaskReader
    notes : list of str
        What was found out, one sentence each.
    """

    names: tuple[str, ...]
    values: dict[int, int]
    has_background: bool
    reader: MaskReader
    notes: list[str] = field(default_factory=list)


def find_classes(
    rule: MasksRule, samples: Callable[[], Sequence[MaskSample]], legend: Legend | None = None
) -> MaskClasses:
    """Find out what the keys leave open.

    Parameters
    ----------
    rule : MasksRule
    samples : callable
        Reads some masks; called only where they have to be looked at.
    legend : Legend, optional
        A file that names values or colours.

    Raises
    ------
    UserError
        Where keys must say what the masks mean.
    """
    names = tuple(str(name) for name in rule.classes) if rule.classes is not None else None
    if rule.instances:
        if rule.background not in (None, FIRST_CLASS):
            raise UserError(
                f"dataset.background={rule.background}: with dataset.instances=true value 0 is the background; leave "
                "the key out"
            )
        return MaskClasses(names or ("background", "object"), {}, True, MaskReader(objects=True))
    values = rule.values
    if names is not None and rule.background != FIRST_CLASS:
        names, values = _without_unknown(names, values, rule.ignore_value)
    if values is not None:
        return _classes(declared_values(values, names), names, rule, MaskReader(), [])
    looked = samples()
    reading = find_reader(
        looked,
        threshold=rule.threshold,
        colours=declared_colours(rule.colors) if rule.colors is not None else None,
        legend=legend,
    )
    notes = list(reading.notes)
    if reading.names is not None:
        values = {index: index for index in range(len(reading.names))}
        names = reading.names
        if rule.background != FIRST_CLASS:
            names, values = _without_unknown(names, values, rule.ignore_value)
        return _classes(dict(values or {}), names, rule, reading.reader, notes)
    found = [(sample.path, reading.values(sample)) for sample in looked]
    if names is None and legend is not None and legend.values:
        names, values = _from_legend(legend, rule.ignore_value)
        notes.append(f"classes named by {legend.path}")
        return _classes(values, names, rule, reading.reader, notes)
    if names is None:
        refuse_gaps(found, rule.ignore_value)
        refuse_object_numbers(found, rule.ignore_value)
    mapping, note = discover_values(
        found,
        classes=len(names) if names else None,
        ignore_value=rule.ignore_value,
        background_is_known=rule.background is not None,
    )
    if names is not None and rule.background != FIRST_CLASS and rule.ignore_value in mapping:
        raise UserError(
            f"dataset.ignore_value={rule.ignore_value} has a name in dataset.classes too ({names[rule.ignore_value]}); "
            "leave that name out"
        )
    if note and rule.background in (None, NO_BACKGROUND, FIRST_CLASS):
        notes.append(note)
    return _classes(mapping, names, rule, reading.reader, notes)


def outlined_classes(rule: MasksRule, found: Sequence[str]) -> MaskClasses:
    """The classes of outlined objects: a background and those that the annotation files name.

    Parameters
    ----------
    rule : MasksRule
        Names, in another order if wished; with `instances` all are objects of one class.
    found : sequence of str
        The annotation files' classes.

    Raises
    ------
    UserError
        Keys that are about masks of pixels, names that are not the files' own.
    """
    for name in ("values", "colors", "threshold", "ignore_value"):
        if getattr(rule, name) is not None:
            raise UserError(
                f"dataset.{name}: the objects are outlined in annotation files; leave it out, or say "
                "dataset.annotations=none if there are masks"
            )
    if rule.background not in (None, FIRST_CLASS, "background"):
        raise UserError(
            f"dataset.background={rule.background}: where nothing is outlined is the background; leave the key out"
        )
    names = tuple(str(name) for name in rule.classes) if rule.classes is not None else None
    if rule.instances:
        return MaskClasses(names or ("background", "object"), {}, True, MaskReader())
    if names is None:
        names = ("background", *found)
    elif set(names[1:]) != set(found) and len(found) > 1:
        raise UserError(
            f"dataset.classes: the annotations name {', '.join(found)}; give these in the order wanted, after a "
            "name for the background, or say dataset.instances=true to make one class of all"
        )
    if len(names) < 2:
        raise UserError("dataset.root: the annotations outline no object of any class; nothing to learn")
    note = f"class 0, {names[0]}, is where nothing is outlined, and does not count in iou/mean"
    return MaskClasses(names, {}, True, MaskReader(), [note])


def outline_ids(names: Sequence[str], found: Sequence[str]) -> dict[str, int]:
    """Class id of each class of the annotation files; 1 for all where there is one class of objects."""
    if len(names) == 2:
        return dict.fromkeys(found, 1)
    return {name: names.index(name, 1) for name in found}


def _classes(
    values: dict[int, int],
    names: tuple[str, ...] | None,
    rule: MasksRule,
    reader: MaskReader,
    notes: list[str],
) -> MaskClasses:
    found = choose_background(values, names, rule.background)
    said = describe_background(found, rule.background)
    return MaskClasses(
        found.names, dict(found.values), found.has_background, reader, [*notes, said] if said else notes
    )


def _from_legend(legend: Legend, ignore: int | None) -> tuple[tuple[str, ...], dict[int, int]]:
    """Names in the order of their values, without one that means "not annotated" if its value is ignored."""
    named = {name: value for name, value in legend.values.items() if value != ignore}
    names = tuple(sorted(named, key=named.__getitem__))
    index = unknown_name(names)
    if index is not None:
        raise UserError(
            f"{legend.path}: {names[index]} sounds like pixels that are not annotated; say "
            f"dataset.ignore_value={named[names[index]]}, or give dataset.classes if it is a class"
        )
    if len(names) < 2:
        raise UserError(f"{legend.path}: names {len(names)} classes; give two or more, with the background")
    return names, {named[name]: position for position, name in enumerate(names)}


def _without_unknown(
    names: tuple[str, ...], values: Mapping[int, int] | None, ignore: int | None
) -> tuple[tuple[str, ...], Mapping[int, int] | None]:
    """Names and values without the class that means "not annotated", whose value `ignore_value` must say."""
    index = unknown_name(names)
    if index is None:
        return names, values
    value = index
    if values is not None:
        value = next((int(v) for v, i in values.items() if int(i) == index), index)
    if ignore is None:
        raise UserError(
            f"dataset.classes: {names[index]} sounds like pixels that are not annotated; say "
            f"dataset.ignore_value={value} (if that is their mask value), or call it otherwise if it is a class"
        )
    if values is None and ignore != index and ignore in range(len(names)):
        raise UserError(
            f"dataset.classes: {names[index]} stands at {index}, but dataset.ignore_value={ignore}, which "
            f"would be {names[ignore]}; names are listed by mask value: put {names[index]} there"
        )
    kept = (*names[:index], *names[index + 1 :])
    if len(kept) < 2:
        raise UserError(f"dataset.classes: without {names[index]} one class is left; give two or more")
    if values is None and ignore == index:
        # The names are listed by mask value.
        values = {v: v for v in range(len(names)) if v != index}
    if values is None:
        return kept, None
    moved = {int(v): int(i) - (int(i) > index) for v, i in values.items() if int(i) != index}
    return kept, moved
