"""All of a prediction as one graph of tensor operations, to be exported: raw pixels in, probabilities out."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from unet_train.data.targets import Target
from unet_train.data.targets.classes import ClassesTarget
from unet_train.data.targets.foreground import ForegroundTarget
from unet_train.data.targets.foreground_border import ForegroundBorderTarget
from unet_train.inference.predictor import Predictor
from unet_train.models.spec import ModelSpec
from unet_train.models.unet import UNet
from unet_train.preprocessing.intensity import SMALLEST_STD
from unet_train.preprocessing.resampling import round_half_up, working_fraction

PIXELS = {"uint8": torch.uint8, "uint16": torch.uint16, "float32": torch.float32}
"""Types of the pixels that can go in."""

GREATEST = {"uint8": 255.0, "uint16": 65535.0, "float32": 1.0}
"""What stands for 1 where the data set declares no range."""


class PredictionGraph(nn.Module):
    """What a `Predictor` does with whole images, without NumPy and without a branch on a value or a size.

    Parameters
    ----------
    predictor : Predictor
        In float32, on the CPU; its tiling and test-time augmentation are left out.
    pixels : str
        Type of the pixels that go in, see `PIXELS`. A model that is normalised per volume takes float32.

    Attributes
    ----------
    per_volume : bool
        Whether `forward` wants mean and std.
    has_outputs : bool
        Whether the network's own outputs come out beside the classes, because its target is another.
    """

    model: UNet

    def __init__(self, predictor: Predictor, pixels: str = "uint8") -> None:
        super().__init__()
        data = predictor.data
        self.predictor = predictor
        self.model = cast(UNet, predictor.model)
        self.pixels = pixels
        self.per_volume = data.preprocessing.per_volume
        self.per_image = data.normalisation == "image"
        self.intensity_range = None if self.per_volume else data.intensity_range
        self.scale = working_fraction(data.scale)
        self.target = predictor.target
        self.gap = _reach(self.target, data.scale)
        self.has_outputs = not isinstance(self.target, ClassesTarget)

    @property
    def spec(self) -> ModelSpec:
        """Description of the network."""
        return cast(ModelSpec, self.model.spec)

    def forward(
        self, image: Tensor, mean: Tensor | None = None, std: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Probabilities of a batch.

        Parameters
        ----------
        image
            N×C×H×W pixels as in the file; per volume: float32, clipped and stretched to [0, 1] as the
            volume's statistics say.
        mean, std
            N×C float32, of the volume.

        Returns
        -------
        tuple of Tensor
            N×P×H×W float32, probabilities of the data set's classes; with `has_outputs` also N×K×H×W, of the
            network's outputs.
        """
        x = image.to(torch.float32)
        if self.intensity_range is not None:
            low, high = self.intensity_range
            x = ((x - low) / (high - low)).clamp(0, 1)
        elif not self.per_volume:
            x = x / GREATEST[self.pixels]
        if self.per_image:
            mean = x.mean((2, 3))
            std = (x - mean[..., None, None]).square().mean((2, 3)).sqrt().clamp_min(SMALLEST_STD)
        height, width = x.shape[2:]
        if self.scale != 1:
            x = self._to_working_size(x)
        outputs = self.model.probabilities(self.model(x, mean, std))
        if self.scale != 1:
            way = linear_weights if self.scale < 1 else area_weights
            outputs = _separable(outputs, way(outputs.shape[2], height), way(outputs.shape[3], width))
        classes = self._classes(outputs)
        return (classes, outputs) if self.has_outputs else (classes,)

    def _to_working_size(self, x: Tensor) -> Tensor:
        sizes = [_scaled(size, self.scale) for size in x.shape[2:]]
        way = area_weights if self.scale < 1 else linear_weights
        small = _separable(x, way(x.shape[2], sizes[0]), way(x.shape[3], sizes[1]))
        if self.pixels == "uint8" and self.intensity_range is None and not self.per_volume:
            # 8-bit images are resampled to 8 bits, in training too.
            small = (small * 255 + 0.5).floor() / 255
        return small

    def _classes(self, outputs: Tensor) -> Tensor:
        if isinstance(self.target, ForegroundBorderTarget):
            return torch.cat((outputs[:, :1], outputs[:, 1:].sum(1, keepdim=True)), 1)
        if isinstance(self.target, ForegroundTarget):
            side = 2 * self.gap + 1
            grown = functional.max_pool2d(outputs[:, 1:], side, 1, self.gap)
            closed = -functional.max_pool2d(-grown, side, 1, self.gap)
            background = (1 - closed.sum(1, keepdim=True)).clamp_min(0)
            every = torch.cat((background, closed), 1)
            return every / every.sum(1, keepdim=True)
        return outputs


def exportable(target: Target) -> bool:
    """Whether the way from a target's outputs to the classes is known here."""
    return isinstance(target, ClassesTarget | ForegroundTarget | ForegroundBorderTarget)


def _reach(target: Target, scale: float) -> int:
    return target.closing_reach(scale) if isinstance(target, ForegroundTarget) else 0


def _scaled(size: int, scale: Fraction) -> Any:
    """`resampling.working_size` of one axis, which a graph can carry for any size."""
    return torch.sym_max(1, round_half_up(size, scale))


def area_weights(size: int, new: int) -> Tensor:
    """new×size matrix that takes means over areas, as OpenCV's INTER_AREA makes an image smaller."""
    step = size / new
    begin = torch.arange(new, dtype=torch.float32)[:, None] * step
    pixel = torch.arange(size, dtype=torch.float32)[None]
    shared = torch.minimum(begin + step, pixel + 1) - torch.maximum(begin, pixel)
    return shared.clamp_min(0) / step


def linear_weights(size: int, new: int) -> Tensor:
    """new×size matrix that interpolates linearly, as OpenCV's INTER_LINEAR makes an image larger."""
    position = (torch.arange(new, dtype=torch.float32) + 0.5) * (size / new) - 0.5
    position = torch.minimum(position.clamp_min(0), torch.full_like(position, size - 1))
    pixel = torch.arange(size, dtype=torch.float32)[None]
    return (1 - (position[:, None] - pixel).abs()).clamp_min(0)


def _separable(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """N×C×H×W by one matrix per axis."""
    return torch.matmul(torch.matmul(rows, x), columns.T)
