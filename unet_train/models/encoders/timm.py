"""Any convolutional net of timm as the contracting path (the extra ``[timm]``)."""

import torch
from torch import Tensor, nn

from unet_train.errors import UserError
from unet_train.models.encoders.depthwise import use_float32_where_bf16_is_slow
from unet_train.models.encoders.libraries import timm_library
from unet_train.models.encoders.same_padding import SameConv2d
from unet_train.nearest import nearest


class TimmEncoder(nn.Module):
    """A net of timm, by name, as a list of features.

    Parameters
    ----------
    in_channels
        Channels of the image.
    name
        timm's name of the net, for instance ``tf_efficientnet_lite0`` or ``convnext_tiny``. It must take
        images of any size, so window and patch transformers are refused.
    """

    def __init__(self, in_channels: int, name: str = "tf_efficientnet_lite0") -> None:
        super().__init__()
        timm = timm_library()
        if not timm.is_model(name):
            hint = nearest(name, timm.list_models(), count=5) or "; timm.list_models() names them"
            raise UserError(f"encoder.name={name} is not a net of timm{hint}")
        self.in_channels = in_channels
        self.channels, self.strides = _probe(name, in_channels)
        self.net = timm.create_model(name, pretrained=False, features_only=True, in_chans=in_channels)
        for part in self.net.modules():
            if type(part).__name__ == "Conv2dSame":
                part.__class__ = SameConv2d
        use_float32_where_bf16_is_slow(self.net)
        first = next(key for key, part in self.net.named_modules() if isinstance(part, nn.Conv2d))
        self.stem = f"net.{first}"

    def forward(self, x: Tensor) -> list[Tensor]:
        """Features of N×C×H×W pixels, finest first; H and W multiples of the largest stride."""
        return list(self.net(x))


def _probe(name: str, in_channels: int) -> tuple[list[int], list[int]]:
    """Channels and strides of the features, read off a forward pass without memory or arithmetic."""
    height, width = 64, 96
    try:
        with torch.device("meta"):
            net = timm_library().create_model(
                name, pretrained=False, features_only=True, in_chans=in_channels
            )
            features = net.eval()(torch.zeros(1, in_channels, height, width))
    # timm's nets refuse with whatever their authors chose: assertions, RuntimeError, AttributeError, …
    except Exception as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise UserError(
            f"encoder.name={name} cannot be the encoder of a U-Net ({reason}): choose a convolutional net"
        ) from error
    channels = [int(feature.shape[1]) for feature in features]
    strides = [height // max(1, int(feature.shape[2])) for feature in features]
    fits = all(
        feature.ndim == 4 and tuple(feature.shape[2:]) == (height // stride, width // stride)
        for feature, stride in zip(features, strides, strict=True)
    )
    if not fits or channels != list(net.feature_info.channels()) or sorted(set(strides)) != strides:
        raise UserError(
            f"encoder.name={name} cannot be the encoder of a U-Net (its features do not shrink step by step "
            "in halves): choose a convolutional net"
        )
    return channels, strides
