"""The contracting path of the U-Net as published, with a norm after each convolution."""

from torch import Tensor, nn
from torch.nn import functional

from unet_train.models.blocks import DoubleConv, initialise


class ClassicEncoder(nn.Module):
    """Levels of two 3×3 convolutions with 2×2 max pooling between them; the width doubles at each level.

    Ronneberger et al. 2015 (arXiv:1505.04597), here with padded convolutions so that an image keeps its
    size. Weights are drawn as the paper says, see :func:`unet_train.models.blocks.initialise`.

    Parameters
    ----------
    in_channels
        Channels of the image.
    init_features
        Width of the first level (the paper: 64).
    depth
        Number of poolings, 1 to 6 (the paper: 4). The net then has ``depth + 1`` levels and pads images
        to a multiple of ``2**depth``.
    norm
        ``batch``, ``group`` or ``none``.
    dropout
        Share of the values set to 0 in training after each of the two coarsest levels (the paper has dropout "at the
        end of the contracting path").

    Attributes
    ----------
    channels, strides
        Of the features that :meth:`forward` returns, finest first.
    stem
        Name of the convolution that sees the image.
    stages
        Names of the parts that each feature adds to those before it.
    """

    stem = "levels.0.conv1"

    def __init__(
        self,
        in_channels: int,
        init_features: int = 32,
        depth: int = 4,
        norm: str = "batch",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.channels = [init_features * 2**level for level in range(depth + 1)]
        self.strides = [2**level for level in range(depth + 1)]
        self.stages = [[f"levels.{level}"] for level in range(depth + 1)]
        self.levels = nn.ModuleList(
            DoubleConv(before, after, norm, dropout if level >= depth - 1 else 0.0)
            for level, (before, after) in enumerate(
                zip([in_channels, *self.channels], self.channels, strict=False)
            )
        )
        initialise(self)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Features of N×C×H×W pixels, finest first; H and W multiples of the largest stride."""
        features: list[Tensor] = []
        for index, level in enumerate(self.levels):
            x = level(functional.max_pool2d(x, 2) if index else x)
            features.append(x)
        return features
