"""Flips and quarter turns that training shows a net: the views of an image that a prediction may average over."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import albumentations as A

from unet_train.data.augmentation.pipeline import is_foreign
from unet_train.symmetries import ALL_VIEWS, group_of

_FLIPS: dict[type, tuple[str, ...]] = {
    A.HorizontalFlip: ("horizontal_flip",),
    A.VerticalFlip: ("vertical_flip",),
    A.Transpose: ("transpose",),
    A.RandomRotate90: ("rotation_90",),
    A.D4: ALL_VIEWS,
}
"""Transform → the views it makes."""


def training_views(transforms: Sequence[Any]) -> tuple[tuple[str, ...], list[str]]:
    """The views that occur in training, closed to a group, and the transforms of which nothing is known.

    A rotation whose range reaches 90 degrees both ways gives the quarter turns. A transform that is never applied
    (``p: 0``, also inside a container) gives nothing; neither does one of the user's own, which may do anything.

    Parameters
    ----------
    transforms : sequence
        Built albumentations transforms, as `pipeline.Augmentation` holds them.

    Returns
    -------
    views : tuple of str
        Of `symmetries.SYMMETRIES`, in that order, the identity first.
    unknown : list of str
        Names of the transforms that could not be judged.
    """
    applied = list(_applied(transforms))
    views = [view for transform in applied for view in _made_by(transform) or ()]
    unknown = [type(transform).__name__ for transform in applied if _made_by(transform) is None]
    return group_of(views), list(dict.fromkeys(unknown))


def _applied(transforms: Iterable[Any], chosen: bool = False) -> Iterator[Any]:
    """Transforms that may be applied, also in containers; `chosen`: their container applies them whatever their p."""
    for transform in transforms:
        inner: Any = getattr(transform, "transforms", None)
        if isinstance(transform, A.OneOrOther):
            shares = (
                transform.p,
                1 - transform.p,
            )  # p is the share of the first, and one of them is applied always
            yield from _applied((one for one, share in zip(inner, shares, strict=True) if share > 0), True)
        elif transform.p <= 0 and not chosen:
            continue
        elif isinstance(transform, A.SelectiveChannelTransform):
            yield transform
        elif inner is not None:
            yield from _applied(inner)
        else:
            yield transform


def _made_by(transform: Any) -> tuple[str, ...] | None:
    """The views a transform makes; None where that cannot be known."""
    for kind, views in _FLIPS.items():
        if isinstance(transform, kind):
            return views
    if isinstance(transform, A.Affine | A.Rotate):
        low, high = transform.limit if hasattr(transform, "limit") else transform.rotate
        return ("rotation_90",) if _reaches(low, high, 90) and _reaches(low, high, -90) else ()
    if isinstance(transform, A.SelectiveChannelTransform):
        return None  # moves some channels and no mask
    return None if is_foreign(transform) else ()


def _reaches(low: float, high: float, angle: float) -> bool:
    """Whether a range of degrees holds an angle, or the angle and full turns."""
    return (angle - low) % 360 <= high - low
