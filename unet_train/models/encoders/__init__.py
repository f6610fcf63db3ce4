"""The contracting paths by name, with their keys: the one registry that config and checkpoints look encoders up in.

No torch here: ``--help`` and the check of a config read this file. A net is imported when it is built, so the classic
one needs neither torchvision nor timm.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from unet_train.errors import UserError
from unet_train.keys import key, schema_fields, wrong_value
from unet_train.nearest import nearest
from unet_train.registry import Registry, load

if TYPE_CHECKING:
    from torch import nn


@dataclass
class EncoderKeys:
    """Keys of every encoder."""

    kind: str = key("chosen by encoder=…")


@dataclass(frozen=True)
class Encoder:
    """What is known of an encoder before its net is imported. Other packages register theirs by entry point.

    Attributes
    ----------
    schema : type
        Its keys, a dataclass based on `EncoderKeys`; each is an argument of the net.
    net : str
        ``package.module:Class``, a module that is made by ``Class(in_channels, **keys)`` and has ``in_channels``,
        ``channels`` and ``strides`` (of the features) and ``stem`` (name of the first convolution); ``stages``, for
        each feature the names of the parts computed before it and after the one before, lets
        ``weights.freeze_encoder`` count (without it: all or none);
        ``forward(N×C×H×W) -> list of features, finest first``.
    imagenet : str, optional
        ``package.module:function`` from the keys to `unet_train.models.weights.published.PublishedWeights`; without
        it ``weights=imagenet`` is refused.
    """

    schema: type[EncoderKeys]
    net: str
    imagenet: str | None = None


@dataclass
class ClassicKeys(EncoderKeys):
    """The U-Net's own contracting path."""

    init_features: int = key("channels of the first level; doubled at each level below", at_least=1)
    depth: int = key("how many times the image is halved", at_least=1, at_most=6)
    dropout: float = key(
        "share of the values set to 0 in training after each of the two coarsest levels; 0: none",
        at_least=0,
        below=1,
        before=0.0,
    )


@dataclass
class ResNetKeys(EncoderKeys):
    """torchvision's ResNet."""

    depth: int = key("which ResNet", choices=(18, 34, 50, 101, 152))


@dataclass
class EfficientNetKeys(EncoderKeys):
    """torchvision's EfficientNet."""

    variant: str = key(
        "size of the EfficientNet",
        choices=("b0", "b1", "b2", "b3", "b4", "b5", "b6", "b7", "v2_s", "v2_m", "v2_l"),
    )


@dataclass
class TimmKeys(EncoderKeys):
    """Any timm model that gives features (needs the extra: pip install 'unet-train[timm]')."""

    name: str = key("a name from timm.list_models()")


ENCODERS: Registry[Encoder] = Registry("unet_train.encoders", Encoder)
ENCODERS.register("unet", Encoder(ClassicKeys, "unet_train.models.encoders.classic:ClassicEncoder"))
ENCODERS.register(
    "resnet",
    Encoder(
        ResNetKeys,
        "unet_train.models.encoders.resnet:ResNetEncoder",
        "unet_train.models.encoders.resnet:published_weights",
    ),
)
ENCODERS.register(
    "efficientnet",
    Encoder(
        EfficientNetKeys,
        "unet_train.models.encoders.efficientnet:EfficientNetEncoder",
        "unet_train.models.encoders.efficientnet:published_weights",
    ),
)
ENCODERS.register(
    "timm",
    Encoder(
        TimmKeys,
        "unet_train.models.encoders.timm:TimmEncoder",
        "unet_train.models.weights.timm:published_weights",
    ),
)


def with_imagenet_weights() -> list[str]:
    """Names of the encoders that have ImageNet weights."""
    return [name for name, encoder in ENCODERS.available().items() if encoder.imagenet]


def find_encoder(kind: str) -> Encoder:
    """The registered encoder of that name.

    Raises
    ------
    UserError
        If there is none, with the nearest name.
    """
    if kind not in ENCODERS:
        raise UserError(
            f"encoder={kind} is not known{nearest(kind, ENCODERS)}: choose one of {', '.join(ENCODERS)}"
        )
    return ENCODERS[kind]


def encoder_arguments(kind: str) -> list[str]:
    """What the net of an encoder is made with, the input channels aside.

    Raises
    ------
    UserError
        Unknown kind, or a missing library.
    """
    return [
        name for name in inspect.signature(load(find_encoder(kind).net)).parameters if name != "in_channels"
    ]


def build_encoder(kind: str, in_channels: int, **params: Any) -> nn.Module:
    """Build the encoder that a config or a checkpoint names, with random weights.

    Parameters
    ----------
    kind
        A name of :data:`ENCODERS`.
    in_channels
        Channels of the image, 1 or more.
    **params
        What that encoder takes (``depth``, ``variant``, ``name``, …).

    Returns
    -------
    nn.Module
        See `Encoder.net`; with the attributes ``kind`` and ``params`` (as given here) besides.

    Raises
    ------
    UserError
        Unknown kind or parameter, a value that the schema or the encoder refuses, or a missing library.
    """
    accepted, described = encoder_arguments(kind), schema_fields(find_encoder(kind).schema)
    if in_channels < 1:
        raise UserError(f"an encoder needs at least one input channel, not {in_channels}")
    for name, value in params.items():
        if name not in accepted:
            raise UserError(
                f"encoder.{name} is not a key of encoder={kind}{nearest(name, accepted)}: "
                f"it takes {', '.join(accepted)}"
            )
        message = wrong_value(f"encoder.{name}", value, described[name][1]) if name in described else None
        if message:
            raise UserError(message)
    encoder = load(find_encoder(kind).net)(in_channels, **params)
    encoder.kind = kind
    encoder.params = dict(params)
    return encoder
