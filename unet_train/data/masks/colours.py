"""Masks in colour: which colour is which class."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unet_train.errors import UserError

Colour = tuple[int, int, int]
"""Red, green, blue, 0 to 255."""

BLACK: Colour = (0, 0, 0)


def colour_codes(array: np.ndarray) -> np.ndarray:
    """Colours as numbers, H×W int32: red·65536 + green·256 + blue.

    Parameters
    ----------
    array : ndarray
        H×W×3 uint8, or H×W grey.
    """
    if array.ndim == 2:
        return array.astype(np.int32) * 0x010101
    red, green, blue = (array[..., channel].astype(np.int32) for channel in range(3))
    return (red << 16) | (green << 8) | blue


def colour_of(code: int) -> Colour:
    """The colour of a number of `colour_codes`."""
    return code >> 16, (code >> 8) & 255, code & 255


def declared_colours(colors: Mapping[str, Any]) -> dict[str, Colour]:
    """``dataset.colors`` as class name → colour.

    Parameters
    ----------
    colors : mapping of str to (red, green, blue) or str
        Strings are ``#rrggbb``.

    Raises
    ------
    UserError
        No colour, fewer than two, or one for two classes.
    """
    found = {str(name): _colour(str(name), given) for name, given in colors.items()}
    if len(found) < 2:
        raise UserError(f"dataset.colors: {len(found)} colours; give two or more, with the background")
    twice = [colour for colour, count in Counter(found.values()).items() if count > 1]
    if twice:
        names = ", ".join(name for name, colour in found.items() if colour == twice[0])
        raise UserError(f"dataset.colors: {names} have the same colour, {hex_of(twice[0])}")
    return found


def ids_of_colours(path: str, array: np.ndarray, ids: Mapping[Colour, int]) -> np.ndarray:
    """Class ids of a mask in colour, H×W uint8.

    Raises
    ------
    UserError
        A colour that is none of these, with its share.
    """
    codes = colour_codes(array)
    found, inverse = np.unique(codes, return_inverse=True)
    unknown = [colour_of(int(code)) for code in found if colour_of(int(code)) not in ids]
    if unknown:
        missing = np.isin(codes, [(r << 16) | (g << 8) | b for r, g, b in unknown])
        listed = ", ".join(hex_of(colour) for colour in unknown[:5]) + (", …" if len(unknown) > 5 else "")
        raise UserError(
            f"{path}: {missing.mean():.1%} of the pixels have colours of no class ({listed}); correct the mask, or add "
            "them to dataset.colors"
        )
    table = np.array([ids[colour_of(int(code))] for code in found], np.uint8)
    return table[inverse.reshape(codes.shape)]


def suggest_colours(counts: Mapping[Colour, int]) -> str:
    """``dataset.colors`` with every colour that occurs, the most frequent first, to be completed with names."""
    total = sum(counts.values())
    ordered = sorted(counts, key=lambda colour: (-counts[colour], colour))
    names = [
        "background" if colour == BLACK else f"class_{position}" for position, colour in enumerate(ordered)
    ]
    shares = ", ".join(f"{hex_of(colour)} {counts[colour] / total:.1%}" for colour in ordered)
    key = ",".join(
        f"{name}:[{','.join(map(str, colour))}]" for name, colour in zip(names, ordered, strict=True)
    )
    return f"the colours are {shares}; name their classes: 'dataset.colors={{{key}}}'"


def nearly_grey(array: np.ndarray, limit: int = 24) -> bool:
    """Whether the three channels hardly differ: black and white that went through JPEG in colour."""
    if array.ndim == 2:
        return True
    low, high = array.min(axis=-1), array.max(axis=-1)
    return float(((high.astype(int) - low) <= limit).mean()) > 0.99


def hex_of(colour: Sequence[int]) -> str:
    """``#ff0000``."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _colour(name: str, given: Any) -> Colour:
    if isinstance(given, str) and re.fullmatch(r"#?[0-9a-fA-F]{6}", given.strip()):
        code = int(given.strip().lstrip("#"), 16)
        return colour_of(code)
    try:
        values = [int(value) for value in given]
    except (TypeError, ValueError):
        values = []
    if isinstance(given, str) or len(values) != 3 or not all(0 <= value <= 255 for value in values):
        raise UserError(
            f"dataset.colors: {name}={given} is no colour; write [red,green,blue] from 0 to 255, or '#rrggbb'"
        )
    return values[0], values[1], values[2]
