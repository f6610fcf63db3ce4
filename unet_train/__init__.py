"""unet-train: train, evaluate and apply U-Nets on your own images."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

__all__ = ["__version__", "evaluate", "load", "predict", "train", "unet"]


def __getattr__(name: str) -> Any:
    """The functions of `unet_train.api`, imported (and torch with them) when first used."""
    if name in __all__:
        return getattr(import_module("unet_train.api"), name)
    raise AttributeError(f"module 'unet_train' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
