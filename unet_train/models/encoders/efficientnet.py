"""EfficientNet as the contracting path, layer names as torchvision's so that its published weights fit."""

from torch import Tensor, nn

from unet_train.models.encoders.depthwise import use_float32_where_bf16_is_slow
from unet_train.models.encoders.libraries import torchvision_models
from unet_train.models.weights.published import PublishedWeights, of_torchvision


class EfficientNetEncoder(nn.Module):
    """EfficientNet (arXiv:1905.11946) or EfficientNetV2 (arXiv:2104.00298) without head and classifier.

    Features of strides 2, 4, 8, 16 and 32: the last block of each stride.

    Parameters
    ----------
    in_channels
        Channels of the image; other than 3, the first convolution is replaced.
    variant
        ``b0`` … ``b7``, ``v2_s``, ``v2_m`` or ``v2_l``.
    """

    stem = "features.0.0"

    def __init__(self, in_channels: int, variant: str = "b0") -> None:
        super().__init__()
        net = torchvision_models().get_model(f"efficientnet_{variant}", weights=None)
        self.in_channels = in_channels
        stem = net.features[0][0]
        if in_channels != 3:
            net.features[0][0] = nn.Conv2d(in_channels, stem.out_channels, 3, stride=2, padding=1, bias=False)
            nn.init.kaiming_normal_(net.features[0][0].weight, mode="fan_out")
        # The last entry is the 1×1 convolution of the classifier, 4 to 5 times as wide as what it sees.
        self.features = net.features[:-1]
        use_float32_where_bf16_is_slow(self.features)
        self.channels: list[int] = []
        self.strides: list[int] = []
        self._taps: list[int] = []
        stride = 1
        for index, stage in enumerate(self.features):
            convolutions = [part for part in stage.modules() if isinstance(part, nn.Conv2d)]
            stride *= max(int(part.stride[0]) for part in convolutions)
            if self.strides and self.strides[-1] == stride:
                self.channels.pop(), self.strides.pop(), self._taps.pop()
            self.channels.append(convolutions[-1].out_channels)
            self.strides.append(stride)
            self._taps.append(index)
        starts = [0, *(tap + 1 for tap in self._taps)]
        self.stages = [
            [f"features.{index}" for index in range(start, tap + 1)]
            for start, tap in zip(starts, self._taps, strict=False)
        ]

    def forward(self, x: Tensor) -> list[Tensor]:
        """Features of N×C×H×W pixels, finest first; H and W multiples of 32."""
        features: list[Tensor] = []
        for index, stage in enumerate(self.features):
            x = stage(x)
            if index in self._taps:
                features.append(x)
        return features


def published_weights(variant: str = "b0") -> PublishedWeights:
    """torchvision's ImageNet weights."""
    return of_torchvision(f"efficientnet_{variant}")
