"""The contracting paths by name: the one registry that config and checkpoints look encoders up in."""

import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from unet_train.errors import UserError
from unet_train.nearest import nearest


def _classic() -> type[nn.Module]:
    from unet_train.models.encoders.classic import ClassicEncoder

    return ClassicEncoder


def _resnet() -> type[nn.Module]:
    from unet_train.models.encoders.resnet import ResNetEncoder

    return ResNetEncoder


def _efficientnet() -> type[nn.Module]:
    from unet_train.models.encoders.efficientnet import EfficientNetEncoder

    return EfficientNetEncoder


def _timm() -> type[nn.Module]:
    from unet_train.models.encoders.timm import TimmEncoder

    return TimmEncoder


# Each entry imports its file only when it is chosen: the classic net must not need torchvision or timm.
ENCODERS: dict[str, Callable[[], type[nn.Module]]] = {
    "unet": _classic,
    "resnet": _resnet,
    "efficientnet": _efficientnet,
    "timm": _timm,
}


def build_encoder(kind: str, in_channels: int, **params: Any) -> nn.Module:
    """Build the encoder that a config or a checkpoint names, with random weights.

    Parameters
    ----------
    kind
        A key of :data:`ENCODERS`.
    in_channels
        Channels of the image, 1 or more.
    **params
        What that encoder takes (``depth``, ``variant``, ``name``, …).

    Returns
    -------
    nn.Module
        ``forward(N×C×H×W) -> list of features, finest first``, with the attributes ``in_channels``,
        ``channels``, ``strides`` (of the features), ``stem`` (name of the first convolution), ``kind`` and
        ``params`` (as given here).

    Raises
    ------
    UserError
        Unknown kind or parameter, a value that the encoder refuses, or a missing library.
    """
    if kind not in ENCODERS:
        hint = nearest(kind, ENCODERS)
        raise UserError(f"encoder={kind} is not known{hint}: choose one of {', '.join(ENCODERS)}")
    if in_channels < 1:
        raise UserError(f"an encoder needs at least one input channel, not {in_channels}")
    encoder_class = ENCODERS[kind]()
    accepted = [name for name in inspect.signature(encoder_class).parameters if name != "in_channels"]
    for name in params:
        if name not in accepted:
            hint = nearest(name, accepted)
            raise UserError(
                f"encoder.{name} is not a key of encoder={kind}{hint}: it takes {', '.join(accepted)}"
            )
    encoder = encoder_class(in_channels, **params)
    encoder.kind = kind  # type: ignore[assignment]
    encoder.params = dict(params)  # type: ignore[assignment]
    return encoder
