"""Test-time augmentation: the mean over the eight flips and quarter turns of the square."""

from __future__ import annotations

from collections.abc import Callable

import torch


def average_over_symmetries(
    network: Callable[[torch.Tensor], torch.Tensor], pixels: torch.Tensor
) -> torch.Tensor:
    """Predict all eight orientations of a batch, turn the results back and average them.

    Parameters
    ----------
    network : callable
        N×C×H×W → N×K×H×W for any H, W (quarter turns swap them).
    pixels : Tensor
        N×C×H×W.

    Returns
    -------
    Tensor
        N×K×H×W, the mean.
    """
    total: torch.Tensor | None = None
    for flipped in (False, True):
        for turns in range(4):
            seen = torch.rot90(pixels.flip(3) if flipped else pixels, turns, (2, 3))
            result = network(seen.contiguous(memory_format=torch.channels_last))
            result = torch.rot90(result, -turns, (2, 3))
            result = result.flip(3) if flipped else result
            total = result if total is None else total + result
    assert total is not None
    return total / 8
