"""Test-time augmentation: the mean over views of an image, which are some of the flips and quarter turns."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from unet_train.symmetries import SYMMETRIES


def average_over_views(
    network: Callable[[torch.Tensor], torch.Tensor], pixels: torch.Tensor, views: Sequence[str]
) -> torch.Tensor:
    """Predict each view of a batch, turn the results back and average them.

    Parameters
    ----------
    network : callable
        N×C×H×W → N×K×H×W for any H, W (quarter turns swap them).
    pixels : Tensor
        N×C×H×W.
    views : sequence of str
        At least one, of `SYMMETRIES`.

    Returns
    -------
    Tensor
        N×K×H×W, the mean.
    """
    total: torch.Tensor | None = None
    for view in views:
        flipped, turns = SYMMETRIES[view]
        seen = torch.rot90(pixels.flip(3) if flipped else pixels, turns, (2, 3))
        result = network(seen.contiguous(memory_format=torch.channels_last))
        result = torch.rot90(result, -turns, (2, 3))
        result = result.flip(3) if flipped else result
        total = result if total is None else total + result
    assert total is not None
    return total / len(views)
