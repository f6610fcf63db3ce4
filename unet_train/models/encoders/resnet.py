"""ResNet as the contracting path, layer names as torchvision's so that its published weights fit."""

from torch import Tensor, nn

from unet_train.models.encoders.libraries import torchvision_models
from unet_train.models.weights.published import PublishedWeights, of_torchvision


class ResNetEncoder(nn.Module):
    """ResNet (He et al. 2016, arXiv:1512.03385) without its classifier.

    Features of strides 2 (after the stem), 4, 8, 16 and 32 (after the four layers).

    Parameters
    ----------
    in_channels
        Channels of the image; other than 3, the first convolution is replaced.
    depth
        18, 34, 50, 101 or 152.
    """

    stem = "conv1"
    stages = (("conv1", "bn1"), ("layer1",), ("layer2",), ("layer3",), ("layer4",))

    def __init__(self, in_channels: int, depth: int = 34) -> None:
        super().__init__()
        net = torchvision_models().get_model(f"resnet{depth}", weights=None)
        self.in_channels = in_channels
        if in_channels != 3:
            net.conv1 = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)
            nn.init.kaiming_normal_(net.conv1.weight, mode="fan_out", nonlinearity="relu")
        self.conv1, self.bn1, self.relu, self.maxpool = net.conv1, net.bn1, net.relu, net.maxpool
        self.layer1, self.layer2, self.layer3, self.layer4 = net.layer1, net.layer2, net.layer3, net.layer4
        last = net.fc.in_features
        self.channels = [64, last // 8, last // 4, last // 2, last]
        self.strides = [2, 4, 8, 16, 32]

    def forward(self, x: Tensor) -> list[Tensor]:
        """Features of N×C×H×W pixels, finest first; H and W multiples of 32."""
        features = [self.relu(self.bn1(self.conv1(x)))]
        x = self.maxpool(features[0])
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
            features.append(x)
        return features


def published_weights(depth: int = 34) -> PublishedWeights:
    """torchvision's ImageNet weights."""
    return of_torchvision(f"resnet{depth}")
