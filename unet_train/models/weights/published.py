"""Where the published ImageNet weights of an encoder lie, as its own file says."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from unet_train.models.encoders.libraries import torchvision_models


class PublishedWeights(NamedTuple):
    """An encoder's ImageNet weights, and the normalisation they were trained with.

    `read` is for weights that their library loads itself: from whether to show a bar to the tensors by name.
    Without it the file behind the URL is fetched and read.
    """

    url: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    read: Callable[[bool], dict[str, Tensor]] | None = None


def of_torchvision(name: str) -> PublishedWeights:
    """torchvision's default weights of one of its nets.

    Raises
    ------
    UserError
        If torchvision cannot be imported.
    """
    weights = torchvision_models().get_model_weights(name).DEFAULT
    transforms = weights.transforms()
    return PublishedWeights(weights.url, tuple(transforms.mean), tuple(transforms.std))
