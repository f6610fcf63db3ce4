"""Which pretrained encoder there is: by a file that was named, in a cache, or to be fetched."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unet_train.errors import UserError

CANDIDATES: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("timm", {"name": "tf_efficientnet_lite0"}),
    ("efficientnet", {"variant": "b0"}),
    ("resnet", {"depth": 34}),
)
"""Encoders with ImageNet weights, the one that learnt fastest on a CPU first (docs/results.md)."""

_SECONDS = 3.0  # that a server may take to answer


@dataclass(frozen=True)
class Pretrained:
    """An encoder with weights.

    Attributes
    ----------
    encoder : str
        As ``encoder=…`` names it.
    keys : mapping
        Keys of the encoder beside that.
    path : str or None
        The file, if it was named.
    where : str
        Where the weights are, for the plan's reader.
    """

    encoder: str
    keys: Mapping[str, Any] = field(default_factory=dict)
    path: str | None = None
    where: str = ""


def find_pretrained(
    path: str | None,
    encoder: str | None,
    keys: Mapping[str, Any] | None = None,
    answers: Callable[[str], bool] | None = None,
) -> Pretrained | None:
    """The encoder to start from.

    Parameters
    ----------
    path : str or None
        A file of weights that was named.
    encoder : str or None
        The encoder that was chosen already: only its weights are looked for.
    keys : mapping, optional
        Keys of that encoder; None: as in `CANDIDATES`.
    answers : callable, optional
        Whether a URL can be fetched; None: asks the server.

    Returns
    -------
    Pretrained or None
        None where there is none at hand.

    Raises
    ------
    UserError
        For a named file that cannot be read, or fits none of `CANDIDATES`.
    """
    if path is not None:
        kind, found = (encoder, keys or {}) if encoder else _encoder_of(path)
        return Pretrained(kind, found, path, f"the weights named: {path}")
    known = CANDIDATES
    if encoder is not None:
        known = ((encoder, dict(CANDIDATES).get(encoder, {}) if keys is None else keys),)
    urls = [(kind, found, _url(kind, found)) for kind, found in known]
    for kind, found, url in urls:
        if url is not None and _cached(url):
            return Pretrained(kind, found, where=f"its ImageNet weights are in the cache: {Path(url).name}")
    for kind, found, url in urls:
        if url is not None and (answers or _answers)(url):
            return Pretrained(kind, found, where=f"its ImageNet weights can be fetched: {url}")
    return None


def _url(kind: str, keys: Mapping[str, Any]) -> str | None:
    from unet_train.models.weights import published_weights

    try:
        return published_weights(kind, **keys).url
    except UserError:  # the library is not installed
        return None


def _cached(url: str) -> bool:
    from unet_train.models.weights.downloads import cache_path

    if cache_path(url).is_file():
        return True
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return False
    parts = url.split("/")
    return "resolve" in parts and isinstance(
        try_to_load_from_cache("/".join(parts[3:5]), parts[-1], revision=parts[6]), str
    )


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=_SECONDS).close()
    except urllib.error.HTTPError as error:
        return error.code < 400
    except OSError:
        return False
    return True


def _encoder_of(path: str) -> tuple[str, Mapping[str, Any]]:
    """The encoder whose published names a file has."""
    from unet_train.models.files import read_tensors

    names = set(read_tensors(path))
    marks = {
        "timm": "_conv_stem.weight",
        "efficientnet": "features.0.0.weight",
        "resnet": "layer1.0.conv1.weight",
    }
    for kind, keys in CANDIDATES:
        if marks[kind] in names:
            return kind, keys
    raise UserError(
        f"weights.path={path}: say which encoder it is for, as in encoder=resnet encoder.depth=50"
    )
