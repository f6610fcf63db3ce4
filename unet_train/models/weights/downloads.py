"""Fetching published files once, checked, and failing at once where there is no network."""

import hashlib
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlparse

import torch

from unet_train.errors import UserError
from unet_train.models.files import read_tensors

# Seconds without an answer after which a server counts as out of reach; torch.hub itself would wait for ever.
NETWORK_TIMEOUT = 15.0


def cache_path(url: str) -> Path:
    """Where torch.hub keeps the file of a URL (``TORCH_HOME`` moves it)."""
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name


def fetch(url: str, *, progress: bool = True) -> Path:
    """Download a published file into torch.hub's cache, unless it is there, and check its sha256.

    The sum's beginning is in the file's name, by torch.hub's rule (``unet-e012d006.pt``).

    Raises
    ------
    UserError
        Without network, at once: URL, cache path and the key ``weights.path``. For a wrong checksum.
    """
    path = cache_path(url)
    found = re.search(r"-([0-9a-f]{8,})\.", path.name)
    if path.is_file():
        if found and not file_sha256(path).startswith(found.group(1)):
            raise UserError(
                f"{path}: is not the published file (its sha256 does not begin with {found.group(1)}): delete it to "
                "download it again, or name another file by weights.path=FILE"
            )
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _network_timeout():
            torch.hub.download_url_to_file(url, str(path), found and found.group(1), progress=progress)
    except RuntimeError as error:
        raise UserError(
            f"{url} arrived with a wrong checksum ({str(error).partition(chr(10))[0]}): download it again"
        ) from error
    except (OSError, HTTPException) as error:
        raise UserError(offline_message(url, path, error)) from error
    return path


def file_sha256(path: Path) -> str:
    """The sum of a file's bytes, as hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_cached(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a file in the cache; one that does not read has to be deleted to be fetched again.

    Raises
    ------
    UserError
        As :func:`unet_train.models.files.read_tensors`.
    """
    try:
        return read_tensors(path)
    except UserError as error:
        raise UserError(f"{error} (it is the cached copy of a download: delete it first)") from error


def offline_message(url: str, cache: Path, error: Exception) -> str:
    """What to do where the network is out of reach."""
    reason = getattr(error, "reason", None) or error
    return (
        f"cannot download {url} ({reason}): fetch it on another machine and put it at {cache}, "
        "or name the file by weights.path=FILE"
    )


@contextmanager
def _network_timeout() -> Iterator[None]:
    """A server that does not answer counts as no network."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(NETWORK_TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
