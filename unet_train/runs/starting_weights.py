"""The weights a net starts from: fetched before any image is read, loaded into the net once it is built."""

from __future__ import annotations

from unet_train.config.checks import expand
from unet_train.config.schema import TrainConfig
from unet_train.models.unet import UNet
from unet_train.models.weights import load_brain_mri, load_file, load_imagenet, published_weights
from unet_train.models.weights.brain_mri import BRAIN_MRI_URL
from unet_train.models.weights.downloads import fetch
from unet_train.runs.factory import encoder_params


def fetch_weights(config: TrainConfig) -> None:
    """Have published weights in the cache before any image is read: without network this fails at once.

    Raises
    ------
    UserError
    """
    weights = config.weights
    if weights.kind == "brain_mri" and not weights.path:
        fetch(BRAIN_MRI_URL)
    if weights.kind == "imagenet" and not weights.path:
        published = published_weights(**encoder_params(config.encoder))
        if published.read is None:
            fetch(published.url)


def load_weights(model: UNet, config: TrainConfig) -> list[str]:
    """Load what the run starts from; what was loaded, in words."""
    weights = config.weights
    path = str(expand(weights.path)) if weights.path else None
    if weights.kind == "imagenet":
        return load_imagenet(model, path).summary()
    if weights.kind == "file":
        return load_file(model, str(path)).summary()
    if weights.kind == "brain_mri":
        return load_brain_mri(model, path).summary()
    return []
