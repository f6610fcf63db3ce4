"""Data layouts by name, with the keys of every data set. A layout is one file in this folder that registers itself."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from unet_train.data.targets import TARGETS
from unet_train.keys import key
from unet_train.registry import NamesAnd, Registry

if TYPE_CHECKING:
    from unet_train.data.records import Source


AUTO = "auto"
"""`dataset.intensity_range`, `dataset.target`, `dataset.scale`: settled by the training images and their masks."""


@dataclass(frozen=True)
class Layout:
    """What is known of a layout before a data set is read. Other packages register theirs by entry point.

    Attributes
    ----------
    schema : type
        Its keys, a dataclass based on `DatasetKeys`.
    source : callable
        Makes the `unet_train.data.records.Source`. It is called with the schema's own keys, and of ``root`` (a folder),
        ``name`` and ``intensity_range`` with those that it takes.
    folder : {"needed", "optional", "none"}
        Whether there is a folder to be named by ``dataset.root``.
    how_to_get : str
        Said where that folder is missing; ``{name}`` stands for the data set's name.
    """

    schema: type[DatasetKeys]
    source: Callable[..., Source]
    folder: Literal["needed", "optional", "none"] = "needed"
    how_to_get: str = "set dataset.root to the folder that holds images/ and masks/"


def _find() -> None:
    """Import the files of this folder: those that hold a layout register it."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")


LAYOUTS: Registry[Layout] = Registry("unet_train.layouts", Layout, _find)


@dataclass
class DatasetKeys:
    """Keys of every data set."""

    name: str = key("name in run folders and reports; to choose a data set say dataset=NAME")
    layout: str = key("how the files lie", choices=LAYOUTS)
    root: str | None = key("folder of the data; null: data/<name>, or $UNET_TRAIN_DATA/<name>")
    target: str = key(
        "what the net learns; auto: a target that parts objects where the masks tell them apart, else classes",
        choices=NamesAnd(TARGETS, AUTO),
    )
    target_params: dict[str, Any] = key("widths of the target's gaps and borders, in native pixels")
    scale: Any = key(
        "working resolution: 0.5 halves the image before the net; auto: 0.5 or 0.25 for large objects, else 1",
        at_least=0.01,
        at_most=100,
    )
    normalisation: str = key(
        "what the z-score runs over; auto: by the weights, else image; brain: the volume, cut to the brain",
        choices=("auto", "fixed", "image", "volume", "brain"),
    )
    mean: list[float] | None = key("per channel, of pixels in 0..1, for normalisation=fixed")
    std: list[float] | None = key("per channel, of pixels in 0..1, for normalisation=fixed")
    intensity_range: Any = key(
        "pixel values mapped to 0 and 1; auto: those of the training images, except in 8 bits; null: the range of the "
        "file's type"
    )
    boundary: str | None = key(
        "the class between segments, such as a membrane: unet-eval scores what it encloses (v_rand, v_info); "
        "null: none",
        before=None,
    )
    test_groups: list[str] = key("groups (sequences, patients, …) kept for the test")
