"""The published ImageNet weights of an encoder, and the normalisation that belongs to them."""

from pathlib import Path
from typing import Any

from torch import nn

from unet_train.errors import UserError
from unet_train.models.encoders import ENCODERS, with_imagenet_weights
from unet_train.models.files import read_tensors
from unet_train.models.weights.downloads import fetch, read_cached
from unet_train.models.weights.match_state_dict import LoadReport, load_tensors, shorten
from unet_train.models.weights.published import PublishedWeights
from unet_train.registry import load


def published_weights(kind: str, **params: Any) -> PublishedWeights:
    """The ImageNet weights of an encoder, as its registration names them.

    Raises
    ------
    UserError
        If that encoder has none, with those that do.
    """
    published = ENCODERS[kind].imagenet if kind in ENCODERS else None
    if published is None:
        others = " or ".join(f"encoder={name}" for name in with_imagenet_weights())
        raise UserError(f"encoder={kind} has no ImageNet weights: choose {others}, or weights=random")
    return load(published)(**params)


def imagenet_normalisation(
    kind: str, *, in_channels: int = 3, **params: Any
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The mean and std, in [0, 1] units, that belong to an encoder's ImageNet weights. No network.

    For other than three channels: those of the RGB channels each one stands for in :func:`adapt_channels`,
    averaged where several fall together.

    Raises
    ------
    UserError
        If that encoder has no ImageNet weights.
    """
    published = published_weights(kind, **params)
    return for_channels(published.mean, in_channels), for_channels(published.std, in_channels)


def for_channels(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    """One value per channel, by the channels that each stands for in :func:`adapt_channels`."""
    if channels >= len(values):
        return tuple(values[index % len(values)] for index in range(channels))
    groups = [values[start::channels] for start in range(channels)]
    return tuple(sum(group) / len(group) for group in groups)


def load_imagenet(model: nn.Module, path: str | Path | None = None, *, progress: bool = True) -> LoadReport:
    """Fill a model's encoder (or an encoder) with its published ImageNet weights, in place.

    Parameters
    ----------
    model
        A :class:`~unet_train.models.unet.UNet`, or an encoder.
    path
        The published file where it is at hand already; otherwise torch.hub's cache, otherwise a download.
    progress
        Show a bar.

    Returns
    -------
    LoadReport
        ``left_out`` holds the classifier.

    Raises
    ------
    UserError
        Without network, at once, with URL, cache path and key; if the encoder has no such weights; if the
        file does not fill the whole encoder. Never falls back to random weights.
    """
    encoder = getattr(model, "encoder", model)
    kind, params = getattr(encoder, "kind", "custom"), getattr(encoder, "params", {})
    published = published_weights(kind, **params)
    if path is not None:
        source, tensors = str(path), read_tensors(path)
    elif published.read is not None:
        source, tensors = published.url, published.read(progress)
    else:
        file = fetch(published.url, progress=progress)
        source, tensors = str(file), read_cached(file)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    report = load_tensors(encoder, tensors, source)
    missing = [name for name in report.missing if not name.endswith("num_batches_tracked")]
    if missing:
        encoder.load_state_dict(before)
        raise UserError(
            f"{source} does not fit encoder={kind} ({', '.join(f'{k}={v}' for k, v in params.items())}): "
            f"it lacks {shorten(missing, 3)}"
        )
    return report
