"""The parts that every level of every net is made of, and how their weights are drawn."""

from math import sqrt

import torch
from torch import Tensor, nn

from unet_train.errors import UserError

NORMS = ("batch", "group", "instance", "none")


def make_norm(norm: str, channels: int) -> nn.Module:
    """Build the layer that follows a convolution.

    Parameters
    ----------
    norm
        ``batch``, ``group`` (at most 8 groups, fewer where the channels do not divide; never fewer than
        two channels per group, so that a 1×1 map still has something to normalise over), ``instance``
        (each channel of each image by itself, with a learnt scale and shift) or ``none``.
    channels
        Channels of the map.

    Raises
    ------
    UserError
        For another name.
    """
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    if norm == "group":
        groups = next((count for count in (8, 4, 2) if channels % (2 * count) == 0), 1)
        return nn.GroupNorm(groups, channels)
    if norm == "instance":
        # What InstanceNorm2d(affine=True) computes; as a group norm it has the names and the start of the others.
        return nn.GroupNorm(channels, channels)
    if norm == "none":
        return nn.Identity()
    raise UserError(f"model.norm={norm} is not known: choose one of {', '.join(NORMS)}")


class DoubleConv(nn.Module):
    """Twice: 3×3 convolution (padding 1), norm, ReLU; at the end, a dropout. N×I×H×W → N×O×H×W.

    The convolutions have a bias only where no norm follows that would take it out again.
    """

    def __init__(
        self, in_channels: int, out_channels: int, norm: str = "batch", dropout: float = 0.0
    ) -> None:
        super().__init__()
        bias = norm == "none"
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=bias)
        self.norm1 = make_norm(norm, out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=bias)
        self.norm2 = make_norm(norm, out_channels)
        self.activation = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Apply the two convolutions."""
        x = self.activation(self.norm1(self.conv1(x)))
        return self.dropout(self.activation(self.norm2(self.conv2(x))))


@torch.no_grad()
def initialise(module: nn.Module, *, relu_follows: bool = True) -> None:
    """Draw the weights of our own layers anew, in place.

    A 3×3 convolution followed by a ReLU: N(0, √(2/N)), N the inputs of one neuron, as the U-Net paper
    prescribes (Ronneberger et al. 2015, section 3, after He et al. 2015, arXiv:1502.01852, eq. 10). The
    layers without a ReLU behind them, the transposed convolutions (of which each output pixel sees one
    tap, so N = input channels) and the head (`relu_follows` False), get N(0, √(1/N)) by the same reasoning.
    Biases are 0, norms start as the identity.
    """
    for part in module.modules():
        if isinstance(part, nn.ConvTranspose2d):
            nn.init.normal_(part.weight, 0.0, 1.0 / sqrt(part.in_channels))
        elif isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu" if relu_follows else "linear")
        elif isinstance(part, nn.BatchNorm2d | nn.GroupNorm):
            part.reset_parameters()
            continue
        else:
            continue
        if part.bias is not None:
            nn.init.zeros_(part.bias)
