"""The ImageNet weights of timm's nets, through timm's own loader."""

import urllib.error
import urllib.request
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from torch import Tensor

from unet_train.errors import UserError
from unet_train.models.encoders.libraries import timm_library
from unet_train.models.weights.downloads import NETWORK_TIMEOUT, fetch, offline_message
from unet_train.models.weights.published import PublishedWeights


def published_weights(name: str = "tf_efficientnet_lite0") -> PublishedWeights:
    """timm's weights for a net of that name.

    Raises
    ------
    UserError
        If timm publishes none, or is missing.
    """
    config = timm_library().get_pretrained_cfg(name)
    if config is None or not (config.hf_hub_id or config.url):
        raise UserError(f"timm publishes no weights for encoder.name={name}: use weights=random")
    url = _url(config)
    return PublishedWeights(url, tuple(config.mean), tuple(config.std), partial(_tensors, name))


def _url(config: Any) -> str:
    if not config.hf_hub_id:
        return str(config.url)
    from huggingface_hub import constants

    repository, _, revision = config.hf_hub_id.partition("@")
    name = config.hf_hub_filename or "model.safetensors"
    return f"{constants.ENDPOINT}/{repository}/resolve/{revision or 'main'}/{name}"


def _tensors(name: str, progress: bool) -> dict[str, Tensor]:
    """The weights of a whole timm net, through timm's own loader, which knows each file's old names."""
    timm = timm_library()
    config = timm.get_pretrained_cfg(name)
    url = _url(config)
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
