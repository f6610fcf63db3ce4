"""A data set class of the user's own, named by ``dataset._target_`` and called with ``dataset.arguments``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from unet_train.data.layouts import LAYOUTS, DatasetKeys, Layout
from unet_train.keys import key
from unet_train.own_objects import call_target

if TYPE_CHECKING:
    from unet_train.data.records import Source


@dataclass
class CustomKeys(DatasetKeys):
    """A data set class of one's own, with the methods of unet_train.data.records.Source."""

    _target_: str = key("dotted name of the class")
    arguments: dict[str, Any] = key("what the class is called with; root is passed where it takes it")


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
        If it cannot be imported, or does not take the arguments.
    """
    offered = {"name": name, "intensity_range": intensity_range}
    offered |= {"root": root} if root is not None else {}
    return call_target(_target_, "dataset", arguments, offered, "dataset.arguments")


LAYOUTS.register("custom", Layout(CustomKeys, own_source, folder="optional"))
