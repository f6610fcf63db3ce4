"""Overlap-tile inference: images larger than the memory, in tiles whose seams cannot be seen.

Tiles start at multiples of the network's largest stride (a network with pooling is equivariant to no other
shifts), are spread evenly over the image and blended where they overlap. Of an overlap, the 3/8 next to a
tile's own edge count for (nearly) nothing in that tile and the middle quarter is a linear ramp. So the result
equals whole-image inference once 3/8 of the overlap reach as far as the network looks to one side, and below
that the worst pixels of a tile, those at its edge, are the ones that weigh least.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import nn

from unet_train.errors import UserError
from unet_train.inference.forward import Forward

SMALLEST_WEIGHT = 1e-6
"""Weight of a pixel at a tile's edge. Not zero: where there is no better tile, it counts whole."""

DEFAULT_STRIDE = 32
"""Assumed of a model that does not tell its strides: the largest stride of the encoders shipped here."""

_NEEDS: WeakKeyDictionary[nn.Module, dict[tuple[Any, ...], float]] = WeakKeyDictionary()
"""Bytes per pixel as measured, by model; then by channels, device and autocast type."""


@dataclass(frozen=True)
class Tiling:
    """How images are cut.

    Attributes
    ----------
    size : int, "auto" or None
        Side of the square tiles in *network* pixels. None: the whole image at once. "auto": whole if it fits into
        the free memory, else the largest that does.
    overlap : int or None
        Pixels that neighbouring tiles share at least; None: a quarter of the tile.
    batch : int
        Tiles per step.
    """

    size: int | str | None = None
    overlap: int | None = None
    batch: int = 1


def tile_starts(length: int, tile: int, overlap: int, multiple: int = 1) -> list[int]:
    """Where tiles begin along one axis: spread evenly, first at 0, last ending at `length`.

    Parameters
    ----------
    length : int
        Pixels along the axis, a multiple of `multiple`.
    tile : int
        Side of a tile, a multiple of `multiple`.
    overlap : int
        Pixels that neighbours share at least, smaller than `tile`.
    multiple : int
        All starts are multiples of it.

    Returns
    -------
    list of int
        Increasing; ``[0]`` if one tile covers the axis.

    Raises
    ------
    ValueError
        If a length is not a multiple, or the overlap leaves no step.
    """
    if length % multiple or tile % multiple:
        raise ValueError(f"length {length} and tile {tile} must be multiples of {multiple}")
    if length <= tile:
        return [0]
    step = (tile - overlap) // multiple
    if overlap < 0 or step < 1:
        raise ValueError(f"an overlap of {overlap} leaves no step to tiles of {tile} (multiple {multiple})")
    way = (length - tile) // multiple
    gaps = math.ceil(way / step)
    return [multiple * (i * way // gaps) for i in range(gaps + 1)]


def axis_weights(starts: Sequence[int], tile: int) -> list[np.ndarray]:
    """Blending weights of the tiles along one axis; at every pixel they sum to one.

    The weight of a tile in the plane is the product of its two axis weights, and the products sum to one too,
    so no sum of weights has to be kept beside the image.

    Parameters
    ----------
    starts : sequence of int
        From `tile_starts`.
    tile : int
        Side of a tile (of the axis, where one tile covers it).

    Returns
    -------
    list of ndarray
        One float32 array of `tile` weights in (0, 1] per start.
    """
    length = starts[-1] + tile
    raw = []
    for i, start in enumerate(starts):
        weight = np.ones(tile)
        if i > 0:
            weight = np.minimum(weight, _ramp(tile, starts[i - 1] + tile - start))
        if i + 1 < len(starts):
            weight = np.minimum(weight, _ramp(tile, start + tile - starts[i + 1])[::-1])
        raw.append(np.maximum(weight, SMALLEST_WEIGHT))
    total = np.zeros(length)
    for start, weight in zip(starts, raw, strict=True):
        total[start : start + tile] += weight
    return [
        (weight / total[start : start + tile]).astype(np.float32)
        for start, weight in zip(starts, raw, strict=True)
    ]


def _ramp(tile: int, overlap: int) -> np.ndarray:
    """Weights rising from an inner tile edge: 0 over 3/8 of the overlap, then linear over 1/4, then 1."""
    if overlap <= 0:
        return np.ones(tile)
    return np.clip((np.arange(tile) + 0.5 - 0.375 * overlap) / (0.25 * overlap), 0.0, 1.0)


def tile_geometry(tile: int, overlap: int | None, multiple: int) -> tuple[int, int]:
    """Tile side and overlap as they will be used: the side rounded to the network's stride.

    Parameters
    ----------
    tile : int
        Wanted side; rounded down to a multiple of `multiple`, but at least one.
    overlap : int or None
        Wanted overlap; None: a quarter of the tile.
    multiple : int
        The network's largest stride.

    Returns
    -------
    tuple of int
        Side and overlap.

    Raises
    ------
    UserError
        If side or overlap are not possible; it names ``tile.size``, ``tile.overlap``.
    """
    if tile < 1:
        raise UserError(f"tile.size: must be at least 1 pixel, not {tile}")
    side = max(multiple, tile // multiple * multiple)
    if overlap is None:
        overlap = side // 4 if side > multiple else 0
    if overlap < 0 or side - overlap < multiple:
        raise UserError(
            f"tile.overlap: {overlap} does not fit tiles of {side} pixels (the step between tiles must be at "
            f"least {multiple}, the network's stride): choose 0..{side - multiple}, or a larger tile.size"
        )
    return side, overlap


def predict_tiled(
    forward: Forward,
    image: np.ndarray,
    *,
    tile: int,
    overlap: int | None = None,
    batch: int = 1,
    multiple: int = DEFAULT_STRIDE,
) -> np.ndarray:
    """Predict an image tile by tile, blending the overlaps.

    Parameters
    ----------
    forward : callable
        N×h×w×C → N×K×h×w float32 (see `forward.make_forward`).
    image : ndarray
        H×W×C uint8 or float32. Up to a multiple of `multiple` it is continued by mirroring at the bottom and
        on the right, as the network itself does it.
    tile, overlap, multiple : int
        See `tile_geometry`.
    batch : int
        Tiles per call of `forward`.

    Returns
    -------
    ndarray
        K×H×W float32.

    Raises
    ------
    UserError
        If tile and overlap are not possible.
    """
    if batch < 1:
        raise UserError(f"tile.batch: must be at least 1, not {batch}")
    side, overlap = tile_geometry(tile, overlap, multiple)
    height, width = image.shape[:2]
    full = [math.ceil(length / multiple) * multiple for length in (height, width)]
    image = extend(image, (full[0], full[1]))
    sides = [min(side, length) for length in full]
    starts = [
        tile_starts(length, s, min(overlap, s - 1), multiple) for length, s in zip(full, sides, strict=True)
    ]
    weights = [axis_weights(begins, s) for begins, s in zip(starts, sides, strict=True)]
    places = [(i, j) for i in range(len(starts[0])) for j in range(len(starts[1]))]
    total: np.ndarray | None = None
    for first in range(0, len(places), batch):
        chosen = places[first : first + batch]
        corners = [(starts[0][i], starts[1][j]) for i, j in chosen]
        stack = np.stack([image[r : r + sides[0], c : c + sides[1]] for r, c in corners])
        for (i, j), (r, c), result in zip(chosen, corners, forward(stack), strict=True):
            if total is None:
                total = np.zeros((result.shape[0], *full), np.float32)
            window = weights[0][i][:, None] * weights[1][j][None]
            total[:, r : r + sides[0], c : c + sides[1]] += result * window
    assert total is not None  # there is always a first tile
    return total[:, :height, :width]


def extend(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Continue an image at the bottom and on the right, exactly as the network itself pads.

    Parameters
    ----------
    image : ndarray
        H×W×C.
    size : (int, int)
        At least H and W. The image is mirrored (edge pixel not repeated) as far as it reaches, and its first
        row or column repeated beyond.

    Returns
    -------
    ndarray
        size[0]×size[1]×C.
    """
    for axis, length in enumerate(size):
        here = image.shape[axis]
        if here != length:
            source = (here - 1) - np.abs(np.arange(length) - (here - 1))
            image = np.take(image, np.maximum(source, 0), axis)
    return image


def stride_of(model: nn.Module) -> int:
    """The largest stride of a model's encoder: tiles must start at multiples of it."""
    strides = getattr(getattr(model, "encoder", None), "strides", None)
    return max(int(stride) for stride in strides) if strides else DEFAULT_STRIDE


def choose_tile(
    model: nn.Module,
    shape: tuple[int, ...],
    *,
    device: torch.device | str = "cpu",
    autocast_dtype: torch.dtype | None = None,
    free_bytes: int | None = None,
) -> int | None:
    """Tile side that fits into the free memory, or None if the whole image does.

    The need per pixel is measured, not guessed: a small image goes through the network, once per model, and the
    sizes of what all its layers put out are added up. Half of that sum is taken to be alive at one time (in the classic
    network about a third is), and the network may use half of the free memory.

    Parameters
    ----------
    model : Module
        On `device`, in evaluation mode.
    shape : tuple of int
        (H, W, C) of the image at the working resolution.
    device, autocast_dtype
        As in `whole.predict_probabilities`.
    free_bytes : int or None
        Free memory; None: asked of the device.

    Returns
    -------
    int or None
        Side in pixels, a multiple of the model's stride, at least four of them; None for "whole".
    """
    device = torch.device(device)
    free = free_memory(device) if free_bytes is None else free_bytes
    needs = _NEEDS.setdefault(model, {})
    key = (shape[2], device, autocast_dtype)
    if key not in needs:
        needs[key] = bytes_per_pixel(model, shape[2], device=device, autocast_dtype=autocast_dtype)
    pixels = free / 2 / needs[key]
    if shape[0] * shape[1] <= pixels:
        return None
    stride = stride_of(model)
    return max(4 * stride, int(math.sqrt(pixels)) // stride * stride)


def bytes_per_pixel(
    model: nn.Module,
    channels: int,
    *,
    device: torch.device | str = "cpu",
    autocast_dtype: torch.dtype | None = None,
) -> float:
    """Estimate of the memory that inference needs per input pixel, the image and result included."""
    device = torch.device(device)
    side = max(64, 2 * stride_of(model))
    total = 0

    def count(_module: nn.Module, _inputs: object, output: object) -> None:
        nonlocal total
        if isinstance(output, torch.Tensor):
            total += output.numel() * output.element_size()

    leaves = [module for module in model.modules() if not any(True for _ in module.children())]
    hooks = [module.register_forward_hook(count) for module in leaves]
    try:
        with (
            torch.inference_mode(),
            torch.autocast(device.type, dtype=autocast_dtype, enabled=autocast_dtype is not None),
        ):
            pixels = torch.zeros(1, channels, side, side, dtype=torch.uint8, device=device)
            mean = torch.zeros(1, channels, device=device)
            logits = model(pixels, mean, mean + 1)  # given, because a model normalised per volume has none
    finally:
        for hook in hooks:
            hook.remove()
    return 0.5 * total / side**2 + 4 * channels + 3 * 4 * logits.shape[1]


def free_memory(device: torch.device | str) -> int:
    """Free bytes of a device; where it cannot be asked, a careful two gibibytes."""
    device = torch.device(device)
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return _smallest_known([_meminfo, _cgroup]) if os.name == "posix" else 2 << 30


def _smallest_known(askers: Sequence[Callable[[], int]]) -> int:
    known = []
    for ask in askers:
        try:
            known.append(ask())
        except (OSError, ValueError, StopIteration):
            continue
    return min(known) if known else 2 << 30


def _meminfo() -> int:
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))


def _cgroup() -> int:
    # A container may be allowed less than the machine has ("max" is no number: then only the machine counts).
    limit = int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii"))
    return max(0, limit - int(Path("/sys/fs/cgroup/memory.current").read_text(encoding="ascii")))
