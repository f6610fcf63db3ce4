"""How pixels were normalised for the weights of a file, as far as the file or its publisher says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unet_train.errors import UserError
from unet_train.models.encoders import ENCODERS
from unet_train.models.weights.imagenet import for_channels, published_weights


@dataclass(frozen=True)
class PixelRule:
    """How pixels were normalised.

    Attributes
    ----------
    mode : str
        As ``dataset.normalisation``: fixed, image, volume or brain.
    mean, std : tuple of float, or None
        In units of [0, 1], one per channel of the weights; for ``fixed`` alone.
    """

    mode: str
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def for_channels(self, channels: int) -> "PixelRule":
        """The same for images of other channels, as the first convolution is adapted to them."""
        if self.mean is None or self.std is None:
            return self
        return PixelRule(self.mode, for_channels(self.mean, channels), for_channels(self.std, channels))

    def agrees(self, mode: str, mean: Sequence[float] | None, std: Sequence[float] | None) -> bool:
        """Whether a normalisation is this one, for the same channels."""
        if mode != self.mode or self.mean is None or self.std is None:
            return mode == self.mode
        given, own = [*(mean or ()), *(std or ())], [*self.mean, *self.std]
        return len(given) == len(own) and max(abs(a - b) for a, b in zip(given, own, strict=True)) < 1e-4

    def __str__(self) -> str:
        if self.mean is None or self.std is None:
            return self.mode
        mean, std = (" ".join(f"{value:.4g}" for value in values) for values in (self.mean, self.std))
        return f"{self.mode} (mean {mean}, std {std})"


def published_rule(kind: str, **params: Any) -> PixelRule | None:
    """Of an encoder's ImageNet weights; None where there are none."""
    if kind not in ENCODERS or ENCODERS[kind].imagenet is None:
        return None
    try:
        published = published_weights(kind, **params)
    except UserError:  # timm publishes none for this net
        return None
    return PixelRule("fixed", tuple(published.mean), tuple(published.std))


def rule_of_file(tensors: Mapping[str, Tensor], kind: str, **params: Any) -> PixelRule | None:
    """Of the weights in a file without a description; None where nobody knows.

    A state dict of ours has its mean and std; the published brain MRI net and milesial/Pytorch-UNet have a rule of
    their own; whatever else fits an encoder with ImageNet weights is taken to be trained as these were.
    """
    for name, mean in tensors.items():
        if name.endswith("normalisation.mean"):
            std = tensors.get(name.removesuffix("mean") + "std", torch.ones_like(mean))
            if not mean.any() and bool(
                (std == 1).all()
            ):  # what a model by the image's own statistics has there
                return None
            return PixelRule("fixed", tuple(mean.flatten().tolist()), tuple(std.flatten().tolist()))
    if any(name.endswith("encoder1.enc1conv1.weight") for name in tensors):
        return PixelRule("brain")
    for name, weight in tensors.items():
        if name.endswith("inc.double_conv.0.weight") and weight.ndim == 4:
            return PixelRule("fixed", (0.0,) * weight.shape[1], (1.0,) * weight.shape[1])
    return published_rule(kind, **params)
