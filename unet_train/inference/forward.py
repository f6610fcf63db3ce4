"""The net as a plain function from image stacks to probability stacks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from unet_train.errors import UserError
from unet_train.inference.tta import average_over_views
from unet_train.symmetries import IDENTITY

Forward = Callable[[np.ndarray], np.ndarray]
"""Probabilities of a stack of equal images: N×H×W×C uint8 or float32 → N×K×H×W float32."""


def make_forward(
    model: nn.Module,
    mean: np.ndarray | Sequence[float] | None = None,
    std: np.ndarray | Sequence[float] | None = None,
    *,
    device: torch.device | str = "cpu",
    autocast_dtype: torch.dtype | None = None,
    views: tuple[str, ...] = (IDENTITY,),
) -> Forward:
    """Wrap a model as a plain function from image stacks to probability stacks.

    Parameters are those of `whole.predict_probabilities`. The model is *not* put into evaluation mode here (use
    `evaluating` around the calls).

    Returns
    -------
    callable
        N×H×W×C uint8 or float32 in [0, 1] → N×K×H×W float32, both in ordinary memory.

    Raises
    ------
    ValueError
        If only one of `mean` and `std` is given.
    """
    device = torch.device(device)
    if (mean is None) != (std is None):
        raise ValueError("mean and std belong together: give both or neither")
    per_image = None
    if mean is not None and std is not None:
        per_image = tuple(
            torch.as_tensor(np.asarray(v, np.float32)).reshape(1, -1).to(device) for v in (mean, std)
        )

    def network(pixels: torch.Tensor) -> torch.Tensor:
        n = pixels.shape[0]
        with torch.autocast(device.type, dtype=autocast_dtype, enabled=autocast_dtype is not None):
            if per_image is None:
                logits = model(pixels)
            else:
                logits = model(pixels, per_image[0].expand(n, -1), per_image[1].expand(n, -1))
        return model.probabilities(logits).float()  # type: ignore[operator]

    def forward(images: np.ndarray) -> np.ndarray:
        # N×H×W×C seen as N×C×H×W is already what PyTorch calls channels_last: no copy, and the fast layout.
        pixels = torch.from_numpy(np.require(images, requirements=("C", "W"))).permute(0, 3, 1, 2).to(device)
        with torch.inference_mode():
            result = network(pixels) if views == (IDENTITY,) else average_over_views(network, pixels, views)
        return result.contiguous().cpu().numpy()

    return forward


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside the block, every module's own mode again after it."""
    training = [module for module in model.modules() if module.training]
    if training:
        model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def memory_advice(size: tuple[int, ...]) -> Iterator[None]:
    """Turn "out of memory" inside the block into one line that says what to do."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"out of memory on the accelerator while predicting {size[0]}×{size[1]} pixels: "
            "set tile.size to a smaller number (for example tile.size=512)"
        ) from error
