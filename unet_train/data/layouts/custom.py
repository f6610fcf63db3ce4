"""A data set class of the user's own, named by ``dataset._target_`` and called with ``dataset.arguments``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from unet_train.data.layouts import LAYOUTS, DatasetKeys, Layout
from unet_train.data.records import Record, Source, Truth
from unet_train.errors import UserError
from unet_train.keys import key
from unet_train.own_objects import call_target


@dataclass
class CustomKeys(DatasetKeys):
    """A data set class of one's own, with the methods of unet_train.data.records.Source."""

    _target_: str = key("dotted name of the class")
    arguments: dict[str, Any] = key("what the class is called with; root is passed where it takes it")


def _optional(name: str) -> Any:
    """A property: the wrapped object's attribute, or the default of `Source`."""
    default = getattr(Source, name)
    return property(lambda self: getattr(self.own, name, default))


class DuckSource(Source):
    """An object with the methods of `Source` that is none: what it does not say has the defaults of `Source`.

    Parameters
    ----------
    own : object
        Has ``classes``, ``channels``, ``records``, ``read_image`` and ``read_truth``.
    name : str
        Name of the data set, where the object has none.

    Raises
    ------
    UserError
        If it lacks one of them.
    """

    def __init__(self, own: Any, name: str) -> None:
        missing = [needed for needed in sorted(Source.__abstractmethods__) if not hasattr(own, needed)]
        if missing:
            raise UserError(
                f"dataset={name}: {type(own).__name__} has no {', '.join(missing)}; base it on "
                "unet_train.data.records.Source, which says what a data set must have"
            )
        self.own = own
        self.name = getattr(own, "name", name)

    notes = _optional("notes")
    margin = _optional("margin")
    has_background = _optional("has_background")
    volumes = _optional("volumes")
    one_size_per_group = _optional("one_size_per_group")
    orientation = _optional("orientation")
    palette = _optional("palette")
    pairing = _optional("pairing")
    left_out = _optional("left_out")

    @property
    def values(self) -> Mapping[int, int] | None:  # type: ignore[override]
        """Where it is a table: an object may mean something else by the word."""
        values = getattr(self.own, "values", None)
        return values if isinstance(values, Mapping) else None

    @property
    def classes(self) -> tuple[str, ...]:
        """As the object has it."""
        return tuple(self.own.classes)

    @property
    def channels(self) -> int:
        """As the object has it."""
        return int(self.own.channels)

    def records(self) -> list[Record]:
        """As the object lists them."""
        return list(self.own.records())

    def read_image(self, record: Record) -> np.ndarray:
        """As the object reads it."""
        return self.own.read_image(record)

    def read_truth(self, record: Record, *, scoring: bool = False) -> Truth:
        """As the object reads it."""
        return self.own.read_truth(record, scoring=scoring)

    def layout_problems(self) -> list[tuple[str, str]]:
        """As the object finds them, if it looks for any."""
        return self.own.layout_problems() if hasattr(self.own, "layout_problems") else []


def own_source(
    _target_: str,
    arguments: dict[str, Any],
    name: str,
    intensity_range: tuple[float, float] | None,
    root: str | None = None,
) -> Source:
    """What `_target_` names, called.

    Raises
    ------
    UserError
        If it cannot be imported, does not take the arguments, or makes something that is no data set.
    """
    offered = {"name": name, "intensity_range": intensity_range}
    offered |= {"root": root} if root is not None else {}
    return as_source(call_target(_target_, "dataset", arguments, offered, "dataset.arguments"), name)


def as_source(own: Any, name: str) -> Source:
    """`own` itself, or wrapped in a `DuckSource` called `name` where it is not based on `Source`.

    Raises
    ------
    UserError
        As `DuckSource`.
    """
    return own if isinstance(own, Source) else DuckSource(own, name)


LAYOUTS.register("custom", Layout(CustomKeys, own_source, folder="optional"))
