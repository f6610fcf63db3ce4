"""The published ImageNet weights of an encoder, and the normalisation that belongs to them."""

import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlparse

from torch import Tensor, nn

from unet_train.errors import UserError
from unet_train.models.encoders.libraries import timm_library, torchvision_models
from unet_train.models.files import read_tensors
from unet_train.models.weights.downloads import NETWORK_TIMEOUT, fetch, offline_message, read_cached
from unet_train.models.weights.match_state_dict import LoadReport, load_tensors, shorten


class PublishedWeights(NamedTuple):
    """Where an encoder's ImageNet weights lie, and the normalisation they were trained with."""

    url: str
    mean: tuple[float, ...]
    std: tuple[float, ...]


def published_weights(kind: str, **params: Any) -> PublishedWeights:
    """The ImageNet weights of an encoder: torchvision's default ones, or timm's for that name.

    Raises
    ------
    UserError
        If that encoder has none, with those that do.
    """
    if kind == "resnet":
        name = f"resnet{params.get('depth', 34)}"
    elif kind == "efficientnet":
        name = f"efficientnet_{params.get('variant', 'b0')}"
    elif kind == "timm":
        config = timm_library().get_pretrained_cfg(params.get("name", "tf_efficientnet_lite0"))
        if config is None or not (config.hf_hub_id or config.url):
            raise UserError(
                f"timm publishes no weights for encoder.name={params.get('name')}: use weights=random"
            )
        return PublishedWeights(_timm_url(config), tuple(config.mean), tuple(config.std))
    else:
        raise UserError(
            f"encoder={kind} has no ImageNet weights: choose encoder=resnet, encoder=efficientnet or "
            "encoder=timm, or weights=random"
        )
    weights = torchvision_models().get_model_weights(name).DEFAULT
    transforms = weights.transforms()
    return PublishedWeights(weights.url, tuple(transforms.mean), tuple(transforms.std))


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
    return _for_channels(published.mean, in_channels), _for_channels(published.std, in_channels)


def _for_channels(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
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
    elif kind == "timm":
        source, tensors = published.url, _timm_tensors(params.get("name", "tf_efficientnet_lite0"), progress)
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


def _timm_url(config: Any) -> str:
    if not config.hf_hub_id:
        return str(config.url)
    from huggingface_hub import constants

    repository, _, revision = config.hf_hub_id.partition("@")
    name = config.hf_hub_filename or "model.safetensors"
    return f"{constants.ENDPOINT}/{repository}/resolve/{revision or 'main'}/{name}"


def _timm_tensors(name: str, progress: bool) -> dict[str, Tensor]:
    """The weights of a whole timm net, through timm's own loader, which knows each file's old names."""
    timm = timm_library()
    config = timm.get_pretrained_cfg(name)
    url = _timm_url(config)
    if not config.hf_hub_id:
        overlay = {"file": str(fetch(url, progress=progress))}
    else:
        from huggingface_hub import constants, try_to_load_from_cache

        repository, _, revision = config.hf_hub_id.partition("@")
        cached = try_to_load_from_cache(repository, Path(urlparse(url).path).name, revision=revision or None)
        overlay = {"file": cached} if isinstance(cached, str) else {}
        if not overlay:
            # huggingface_hub tries for 45 seconds before it says that there is no network.
            try:
                request = urllib.request.Request(url, method="HEAD")
                urllib.request.urlopen(request, timeout=NETWORK_TIMEOUT).close()
            except urllib.error.HTTPError:
                pass  # the server answers; what the file is called there is timm's business
            except OSError as error:
                raise UserError(offline_message(url, Path(constants.HF_HUB_CACHE), error)) from error
    try:
        net = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay)
    # Whatever the hub's client, the file or timm's own checks raise.
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(
            f"timm could not load the weights {url} ({reason}): name a file by weights.path=FILE"
        ) from error
    return dict(net.state_dict())
