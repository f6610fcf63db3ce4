"""The one door from an image to its probabilities: working resolution, tiles, symmetries are chosen here."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import nn

from unet_train.inference import tiled
from unet_train.inference.forward import evaluating, make_forward, memory_advice
from unet_train.preprocessing.intensity import image_statistics
from unet_train.preprocessing.resampling import resample_image


def predict_probabilities(
    model: nn.Module,
    image: np.ndarray,
    *,
    mean: np.ndarray | Sequence[float] | None = None,
    std: np.ndarray | Sequence[float] | None = None,
    scale: float = 1.0,
    device: torch.device | str = "cpu",
    autocast_dtype: torch.dtype | None = None,
    tile: int | str | None = None,
    overlap: int | None = None,
    mirror: int = 0,
    batch: int = 1,
    tta: bool = False,
) -> np.ndarray:
    """Predict the probabilities of the model's outputs for every pixel of one image.

    Parameters
    ----------
    model : Module
        Takes ``model(x, mean, std)`` with x N×C×H×W uint8 or float32 in [0, 1], gives logits N×K×H×W, and has
        ``model.probabilities(logits)``. Must already be on `device`. It is put into evaluation mode for the
        call and back afterwards.
    image : ndarray
        H×W×C, uint8 or float32 in [0, 1].
    mean, std : sequence of C floats or None
        Normalisation of this image in [0, 1] units; None: the model's own buffers, or, for a model that is
        normalised per image, mean and standard deviation of `image`.
    scale : float
        Working resolution: the network sees the image resampled by this factor (antialiased when < 1); the
        probabilities come back at native size, interpolated bilinearly.
    device : device or str
        Where the network runs.
    autocast_dtype : dtype or None
        Lower precision of the network (bfloat16, float16); probabilities are made in float32 all the same.
    tile : int, "auto" or None
        None: the whole image at once. int: square tiles of this side in *network* pixels, blended (see
        `tiled.predict_tiled`). "auto": whole if it fits into the free memory, else the largest that does.
    overlap : int or None
        Pixels that neighbouring tiles share at least; None: a quarter of the tile.
    mirror : int
        Width in network pixels of a frame of mirrored context added around the image and cut off again,
        for whole and tiled inference alike; 0 leaves the image edge to the network.
    batch : int
        Tiles per step.
    tta : bool
        Average over the 8 flips and quarter turns of the image.

    Returns
    -------
    ndarray
        K×H×W float32 at the size of `image`, over the model's outputs, in [0, 1].

    Raises
    ------
    ValueError
        On an image that is not H×W×C uint8 or float32, an empty one, or a scale that is not positive.
    UserError
        When the accelerator's memory does not suffice; it names the key ``tile.size``.
    """
    image = check_image(image)
    if not scale > 0:
        raise ValueError(f"scale must be positive, not {scale}")
    small = resample_image(image, scale)
    if mirror > 0:
        small = mirror_frame(small, mirror)
    if mean is None and getattr(getattr(model, "normalisation", None), "mode", None) == "image":
        # Left alone, the model would normalise what it sees: each tile, each mirrored frame by itself.
        statistics = image_statistics(image)
        mean, std = statistics.mean, statistics.std
    forward = make_forward(model, mean, std, device=device, autocast_dtype=autocast_dtype, tta=tta)
    with evaluating(model), memory_advice(small.shape[:2]):
        if tile == "auto":
            tile = tiled.choose_tile(model, small.shape, device=device, autocast_dtype=autocast_dtype)
        if tile is None:
            probabilities = forward(small[None])[0]
        else:
            probabilities = tiled.predict_tiled(
                forward,
                small,
                tile=int(tile),
                overlap=overlap,
                batch=batch,
                multiple=tiled.stride_of(model),
            )
    if mirror > 0:
        probabilities = probabilities[:, mirror:-mirror, mirror:-mirror]
    return resample_probabilities(probabilities, (image.shape[0], image.shape[1]))


def check_image(image: np.ndarray) -> np.ndarray:
    """The image, once it is sure to be H×W×C uint8 or float32 and not empty.

    Raises
    ------
    ValueError
        Otherwise.
    """
    image = np.asarray(image)
    if image.ndim != 3 or image.size == 0 or image.dtype not in (np.uint8, np.float32):
        raise ValueError(
            f"an image must be H×W×C, uint8 or float32, not empty; got {image.shape} {image.dtype}"
        )
    return image


def resample_probabilities(probabilities: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bring probabilities to another size, bilinearly (averaging areas where they shrink).

    Parameters
    ----------
    probabilities : ndarray
        K×h×w float32.
    size : tuple of int
        Height and width wanted.

    Returns
    -------
    ndarray
        K×H×W float32, C-contiguous.
    """
    if probabilities.shape[1:] == tuple(size):
        return np.ascontiguousarray(probabilities)
    way = cv2.INTER_AREA if size[0] * size[1] < probabilities[0].size else cv2.INTER_LINEAR
    planes = [
        cv2.resize(np.ascontiguousarray(plane), (size[1], size[0]), interpolation=way)
        for plane in probabilities
    ]
    return np.stack(planes)


def mirror_frame(image: np.ndarray, width: int) -> np.ndarray:
    """Add a frame of mirrored pixels (edge pixel not repeated) of `width` on all four sides of H×W×C."""
    return np.pad(image, ((width, width), (width, width), (0, 0)), mode="reflect")
