"""Training targets by name: what the model learns, made from the data set's labels, and the way back.

A target is one file in this folder with one class that follows `Target`; other packages register theirs by an entry
point in the group ``unet_train.targets`` that names the class. No file is imported before its target is asked for.
"""

from __future__ import annotations

import inspect
import pkgutil
from typing import TYPE_CHECKING, Any, Protocol

from unet_train.errors import UserError
from unet_train.nearest import nearest
from unet_train.registry import Registry

if TYPE_CHECKING:
    import numpy as np


WIDEST = 1000
"""Native pixels of a gap or border; wider ones only cost memory."""


class Target(Protocol):
    """What a target offers. Widths are stated in native pixels and shrink with the working resolution.

    Attributes
    ----------
    seed_thresholds : tuple of float
        Those that make sense for its seed map (`object_maps`), from which validation images choose.
    """

    seed_thresholds: tuple[float, ...]

    def outputs(self, dataset_classes: tuple[str, ...]) -> tuple[str, ...]:
        """Names of the model's outputs; the index is the value in the target map."""

    def make(self, classes: np.ndarray, instances: np.ndarray | None, scale: float = 1.0) -> np.ndarray:
        """H×W uint8 target from class ids (H×W uint8) and instances (H×W int32 or None); 255 stays."""

    def class_probabilities(self, probabilities: np.ndarray, scale: float = 1.0) -> np.ndarray:
        """P×H×W float32 over the data set's classes, from K×H×W over the outputs, both at native size."""

    def object_maps(self, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Foreground and seed probability, H×W float32 each, for the object step."""


def _find() -> None:
    """The file ``foreground_core.py`` is the target of that name and holds the class ``ForegroundCoreTarget``."""
    for module in pkgutil.iter_modules(__path__):
        words = "".join(word.title() for word in module.name.split("_"))
        TARGETS.register_lazily(module.name, f"{__name__}.{module.name}:{words}Target")


TARGETS: Registry[type[Target]] = Registry("unet_train.targets", type, _find)


def get_target(name: str, **params: Any) -> Target:
    """Build the target of that name.

    Parameters
    ----------
    name : str
        A name of `TARGETS`.
    **params
        Its arguments (``gap``, ``width``, …), checked against its signature.

    Raises
    ------
    UserError
        Unknown name (with the nearest one) or argument.
    """
    if name not in TARGETS:
        hint = nearest(name, TARGETS)
        raise UserError(
            f"dataset.target={name}: there is no such target{hint}; choose one of {', '.join(TARGETS)}"
        )
    known = inspect.signature(TARGETS[name]).parameters
    unknown = sorted(set(params) - set(known))
    if unknown:
        allowed = ", ".join(known) or "no arguments"
        raise UserError(
            f"dataset.target={name} has no argument '{unknown[0]}', it takes {allowed}; "
            "dataset.target_params={} drops those of a recipe"
        )
    for argument, value in params.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise UserError(f"dataset.target_params.{argument}={value}: must be a number")
        if not abs(value) <= WIDEST:
            raise UserError(f"dataset.target_params.{argument}={value}: must not be above {WIDEST} pixels")
    return TARGETS[name](**params)
