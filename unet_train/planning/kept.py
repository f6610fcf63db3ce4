"""Keys that a plan leaves as they are: each with the figures that speak for leaving it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from unet_train.planning.choose import MANY_CONTACTS, Choice
from unet_train.planning.figures import DataFigures


def kept_choices(data: DataFigures, values: Mapping[str, Any], decided: set[str]) -> list[Choice]:
    """The choices among `values` that are not decided already.

    Parameters
    ----------
    data : DataFigures
    values : mapping of str to Any
        Every key of the training as it is composed, in plain types: ``dataset.scale``.
    decided : set of str
        Keys chosen or given.

    Returns
    -------
    list of Choice
        Of the keys in `REASONS`, in that order; of them those that the data set has.
    """
    return [
        Choice(key, values[key], reason(data, values))
        for key, reason in REASONS.items()
        if key in values and key not in decided
    ]


def _instances(data: DataFigures, values: Mapping[str, Any]) -> str:
    if data.objects:
        return f"masks tell {data.objects} objects apart"
    names = ", ".join(f"{name} {share:.1%}" for name, share in data.shares.items())
    return f"masks are read as classes, not as numbers of objects: {names} of the pixels"


def _intensity(data: DataFigures, values: Mapping[str, Any]) -> str:
    if set(data.dtypes) == {"uint8"}:
        return "8-bit images: 0 to 255 as they are"
    return "more than 8 bits: as the data set has it"


def _scale(data: DataFigures, values: Mapping[str, Any]) -> str:
    scale, crop = values["dataset.scale"], values.get("augmentation.crop_size")
    if not data.diameter:
        return (
            f"no objects whose size would speak for another resolution; images of {data.height}×{data.width}"
        )
    across = data.diameter * scale
    room = f"; a crop of {crop} takes {crop / across:.1f} side by side" if isinstance(crop, int) else ""
    return f"objects are {across:.0f} pixels across at this resolution{room}"


def _target(data: DataFigures, values: Mapping[str, Any]) -> str:
    if not data.objects:
        return "the classes themselves: masks tell no objects apart"
    if data.contacts < MANY_CONTACTS:
        return f"the classes themselves: {data.contacts:.1%} of the objects touch another, too few to be parted by it"
    return f"as the data set has it; {data.contacts:.0%} of the objects touch another"


def _normalisation(data: DataFigures, values: Mapping[str, Any]) -> str:
    if values["dataset.normalisation"] != "auto":
        return "as the data set has it"
    channels = f"{data.channels} channel{'s' * (data.channels != 1)}"
    return f"{channels}: by the statistics of the weights if they have any, else by each image's own"


def _split(data: DataFigures, values: Mapping[str, Any]) -> str:
    return (
        f"{data.validation_images} of {data.images} images validate, of {data.groups} groups; where the data set names "
        "its parts this share is not used"
    )


def _crop(data: DataFigures, values: Mapping[str, Any]) -> str:
    scale = values["dataset.scale"]
    return f"the default, from images of {data.height * scale:.0f}×{data.width * scale:.0f} at the working resolution"


def _accumulate(data: DataFigures, values: Mapping[str, Any]) -> str:
    return f"{values['trainer.batch_size']} crops fit into memory at once"


REASONS: Mapping[str, Callable[[DataFigures, Mapping[str, Any]], str]] = {
    "dataset.instances": _instances,
    "dataset.intensity_range": _intensity,
    "dataset.scale": _scale,
    "dataset.target": _target,
    "dataset.normalisation": _normalisation,
    "split.val_fraction": _split,
    "augmentation.crop_size": _crop,
    "trainer.accumulate": _accumulate,
}
"""Keys that every plan says, and what is said of those that stay."""
