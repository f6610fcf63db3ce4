"""Stored values → pixels: ink to light, the number of channels, uint8 or float32 in [0, 1]."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from unet_train.errors import UserError


def fit_channels(array: np.ndarray, channels: int, path: str | Path) -> np.ndarray:
    """H×W×C with the declared number of channels: grey repeated, equal channels made one.

    Raises
    ------
    UserError
        Another number of channels.
    """
    found = array.shape[2]
    if found == channels:
        return array
    if channels == 3 and found == 1:
        return np.repeat(array, 3, axis=2)
    if channels == 1 and found == 3 and (array == array[:, :, :1]).all():
        return array[:, :, :1]
    raise UserError(f"{path}: {found} channels where dataset.channels is {channels}")


def scale(array: np.ndarray, intensity_range: tuple[float, float] | None, path: str | Path) -> np.ndarray:
    """uint8 or float32 in [0, 1], by the rule that `unet_train.data.io.images` tells.

    Raises
    ------
    UserError
        Values without a rule, NaN or infinity, 8 bits where the range is one of more.
    """
    if np.issubdtype(array.dtype, np.complexfloating):
        raise UserError(f"{path}: complex numbers are not an image")
    if array.dtype == bool:
        array = array.astype(np.uint8) * np.uint8(255)
    floating = np.issubdtype(array.dtype, np.floating)
    if floating and not np.isfinite(array).all():
        raise UserError(f"{path}: holds NaN or infinite values")
    if intensity_range is not None:
        low, high = (float(value) for value in intensity_range)
        if not low < high:
            raise UserError(
                f"dataset.intensity_range=[{low:g}, {high:g}]: the first value must be the smaller"
            )
        if array.dtype == np.uint8 and high > 2 * 255:
            raise UserError(
                f"{path}: an image of 8 bits, where values of {low:g} to {high:g} become 0 and 1; save it with as many "
                "bits as the others, or say dataset.intensity_range=[0,255]"
            )
        scaled = (array.astype(np.float64) - low) / (high - low)
        return np.clip(scaled, 0.0, 1.0).astype(np.float32)
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.uint16:
        return array.astype(np.float32) / np.float32(65535)
    low, high = float(array.min()), float(array.max())
    if floating and low >= 0.0 and high <= 1.0:
        return array.astype(np.float32)
    raise UserError(
        f"{path}: {array.dtype} values from {low:g} to {high:g} have no rule; "
        "say dataset.intensity_range=[LOW, HIGH], the values that become 0 and 1"
    )


def light_of_ink(ink: np.ndarray) -> np.ndarray:
    """CMYK as RGB: each colour's ink and the black take away light, as Pillow converts it.

    Parameters
    ----------
    ink : ndarray
        H×W×4 or more, unsigned integers: cyan, magenta, yellow, black; what follows is dropped.

    Returns
    -------
    ndarray
        H×W×3 of the same dtype.
    """
    most = np.iinfo(ink.dtype).max
    white = (most - ink[:, :, 3:4]).astype(np.uint64)
    taken = (ink[:, :, :3].astype(np.uint64) * white + most // 2) // most
    return (white - taken).astype(ink.dtype)
