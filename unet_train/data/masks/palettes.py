"""Masks in indexed colour: what counts is the colour a pixel shows, not the index that a program gave it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from unet_train.data.io.images import Stored
from unet_train.data.masks.colours import Colour, hex_of
from unet_train.errors import UserError


@dataclass(frozen=True)
class PaletteRule:
    """How the masks of a data set turn indices into values.

    Attributes
    ----------
    values : mapping of Colour to int, or None
        Value of each colour, where the colour decides. None: the index is the value.
    colours : mapping of int to Colour
        The colour that each index had in the masks looked at.
    """

    values: Mapping[Colour, int] | None = None
    colours: Mapping[int, Colour] = field(default_factory=dict)

    def labels(self, path: str, stored: Stored) -> np.ndarray:
        """The values of one mask, H×W.

        Raises
        ------
        UserError
            A colour that the other masks do not have, or one that has another index there.
        """
        if stored.palette is None:
            return stored.array
        used = used_colours(stored)
        if self.values is None:
            for index, colour in used.items():
                if self.colours.get(index, colour) != colour:
                    raise UserError(
                        f"{path}: index {index} has the colour {hex_of(colour)} here and {hex_of(self.colours[index])} "
                        "in the other masks; save all masks with one palette"
                    )
            return stored.array
        table = np.zeros(256, np.uint8)
        for index, colour in used.items():
            if colour not in self.values:
                known = ", ".join(hex_of(other) for other in self.values)
                raise UserError(
                    f"{path}: the colour {hex_of(colour)} is in none of the masks looked at first ({known}); save all "
                    "masks with one palette"
                )
            table[index] = self.values[colour]
        return table[stored.array]


def find_palette_rule(masks: Iterable[tuple[str, Stored]]) -> tuple[PaletteRule, str]:
    """Tell whether indices or colours are meant.

    Indices stay where every mask gives an index the same colour and, of greys, a greater index is brighter; else
    colours decide: greys by their brightness, others by the index in the first mask that shows them.

    Parameters
    ----------
    masks : iterable of (path, Stored)
        The masks looked at; those without a palette say nothing.

    Returns
    -------
    (PaletteRule, str)
        And one sentence for the user, "" where indices stay.
    """
    colours: dict[int, Colour] = {}
    first_index: dict[Colour, int] = {}
    consistent = True
    for _, stored in masks:
        if stored.palette is None:
            continue
        for index, colour in used_colours(stored).items():
            consistent &= colours.setdefault(index, colour) == colour
            first_index.setdefault(colour, index)
    grey = all(red == green == blue for red, green, blue in first_index)
    brightness = [colour[0] for _, colour in sorted(colours.items())]
    if consistent and not (grey and brightness != sorted(brightness)):
        return PaletteRule(None, colours), ""
    if grey:
        return (
            PaletteRule({colour: colour[0] for colour in first_index}),
            "masks in indexed colour: the brightness of a palette's greys is taken as the value, not the index",
        )
    values = first_index
    if len(set(values.values())) < len(values):  # two colours had one index in different masks
        values = {colour: position for position, colour in enumerate(first_index)}
    listed = ", ".join(f"{hex_of(colour)} is {value}" for colour, value in list(values.items())[:10])
    return (
        PaletteRule(values),
        f"masks in indexed colour with different palettes: the colour counts, not the index ({listed})",
    )


def used_colours(stored: Stored) -> dict[int, Colour]:
    """Colour of each index that occurs in a mask of indexed colour."""
    assert stored.palette is not None
    found: dict[int, Colour] = {}
    for index in np.flatnonzero(np.bincount(stored.array.ravel())).tolist():
        if index < len(stored.palette):
            red, green, blue = stored.palette[index].tolist()
            found[index] = (red, green, blue)
    return found
