"""The one door from a prepared image to its probabilities: whole or in tiles, with or without symmetries."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from unet_train.inference import tiled
from unet_train.inference.forward import evaluating, make_forward, memory_advice
from unet_train.inference.tiled import Tiling
from unet_train.preprocessing.intensity import check_image, image_statistics
from unet_train.symmetries import IDENTITY

WHOLE = Tiling()


def predict_probabilities(
    model: nn.Module,
    image: np.ndarray,
    *,
    mean: np.ndarray | Sequence[float] | None = None,
    std: np.ndarray | Sequence[float] | None = None,
    device: torch.device | str = "cpu",
    autocast_dtype: torch.dtype | None = None,
    tiling: Tiling = WHOLE,
    views: tuple[str, ...] = (IDENTITY,),
) -> np.ndarray:
    """Predict the probabilities of the model's outputs for every pixel of one image as the network sees it.

    The way there from an image as it was read, and back, is `preprocessing.Preprocessing`.

    Parameters
    ----------
    model : Module
        Takes ``model(x, mean, std)`` with x N×C×H×W uint8 or float32 in [0, 1], gives logits N×K×H×W, and has
        ``model.probabilities(logits)``. Must already be on `device`. It is put into evaluation mode for the
        call and back afterwards.
    image : ndarray
        H×W×C, uint8 or float32 in [0, 1], at the working resolution.
    mean, std : sequence of C floats or None
        Normalisation of this image in [0, 1] units; None: the model's own buffers, or, for a model that is
        normalised per image, mean and standard deviation of `image`.
    device : device or str
        Where the network runs.
    autocast_dtype : dtype or None
        Lower precision of the network (bfloat16, float16); probabilities are made in float32 all the same.
    tiling : Tiling
        Tiles in pixels of `image`, blended (see `tiled.predict_tiled`), or the whole image at once.
    views : tuple of str
        Flips and quarter turns of the image (`symmetries`) that are averaged over.

    Returns
    -------
    ndarray
        K×H×W float32 at the size of `image`, over the model's outputs, in [0, 1].

    Raises
    ------
    ValueError
        On an image that is not H×W×C uint8 or float32, or an empty one.
    UserError
        When the accelerator runs out of memory; names the key ``tile.size``.
    """
    image = check_image(image)
    if mean is None and getattr(getattr(model, "normalisation", None), "mode", None) == "image":
        # Left alone, the model would normalise what it sees: each tile by itself.
        statistics = image_statistics(image)
        mean, std = statistics.mean, statistics.std
    forward = make_forward(model, mean, std, device=device, autocast_dtype=autocast_dtype, views=views)
    with evaluating(model), memory_advice(image.shape[:2]):
        tile = tiling.size
        if tile == "auto":
            tile = tiled.choose_tile(model, image.shape, device=device, autocast_dtype=autocast_dtype)
        if tile is None:
            return forward(image[None])[0]
        return tiled.predict_tiled(
            forward,
            image,
            tile=int(tile),
            overlap=tiling.overlap,
            batch=tiling.batch,
            multiple=tiled.stride_of(model),
        )
