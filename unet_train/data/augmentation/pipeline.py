"""Random transforms from YAML lists; the only place (with our own transforms) that knows albumentations.

Three surprises of albumentations 2.0.8 are kept from the user here, each with a test that tells its story:
worker processes replay the same draws, `Compose.set_random_seed` gives every transform the same draws as its
neighbours, and a misspelt argument only warns.
"""

from __future__ import annotations

import importlib
import inspect
import os
import random
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unet_train.data.records import IGNORE
from unet_train.errors import UserError
from unet_train.nearest import nearest

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # its import would ask the network for its version

import albumentations as A
import cv2

from unet_train.data.augmentation.elastic import PaperElastic

OWN_TRANSFORMS: dict[str, type] = {"PaperElastic": PaperElastic}
"""Transforms of this package, by the name they have in YAML."""

_MASKS = 8
_BORDERS = {
    "constant": cv2.BORDER_CONSTANT,
    "replicate": cv2.BORDER_REPLICATE,
    "reflect": cv2.BORDER_REFLECT,
    "reflect_101": cv2.BORDER_REFLECT_101,
    "wrap": cv2.BORDER_WRAP,
}
_INTERPOLATIONS = {
    "nearest": cv2.INTER_NEAREST,
    "linear": cv2.INTER_LINEAR,
    "cubic": cv2.INTER_CUBIC,
    "area": cv2.INTER_AREA,
    "lanczos": cv2.INTER_LANCZOS4,
}
_WORDS = {
    "border_mode": _BORDERS,
    "interpolation": _INTERPOLATIONS,
    "mask_interpolation": {"nearest": cv2.INTER_NEAREST},
}
_KEY = "augmentation.transforms"


class Augmentation:
    """A list of transforms, applied to an image and the maps that belong to it.

    Parameters
    ----------
    transforms : sequence
        Built albumentations transforms, see `build_augmentation`.

    Attributes
    ----------
    warps : bool
        Whether a transform may fetch pixels from beyond the edge, so that a larger cut-out helps.
    turns : bool
        Whether height may become width, so that what is not square has to be cut from a square.
    """

    def __init__(self, transforms: Sequence[Any]):
        self.transforms = list(transforms)
        self._names = [f"mask_{i}" for i in range(_MASKS)]
        self._compose = self._make(self.transforms)
        self.warps = any(_warps(transform) for transform in self.transforms)
        self.turns = any(_turns(transform) for transform in self.transforms)
        self._foreign = any(is_foreign(transform) for transform in self.transforms)

    def _make(self, transforms: list[Any]) -> A.Compose:
        # mask_interpolation is set again in every transform: no configuration may interpolate labels.
        return A.Compose(
            transforms,
            additional_targets=dict.fromkeys(self._names, "mask"),
            mask_interpolation=cv2.INTER_NEAREST,
        )

    def __call__(
        self, image: np.ndarray, masks: Mapping[str, np.ndarray], seed: int | Sequence[int]
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Transform an image and its maps alike.

        Parameters
        ----------
        image : ndarray
            H×W×C, uint8 or float32 in [0, 1].
        masks : mapping of str to ndarray
            Up to eight maps H×W: labels as uint8, uint16 or int32, weights as float32. None is interpolated.
        seed : int or sequence of int
            Everything random is a function of it.

        Returns
        -------
        image : ndarray
        masks : dict of str to ndarray
            Under the same names, with the same dtypes.
        """
        if not self.transforms:
            return image, dict(masks)
        return self._run(self._compose, image, masks, seed)

    def _run(
        self,
        compose: A.Compose,
        image: np.ndarray,
        masks: Mapping[str, np.ndarray],
        seed: int | Sequence[int],
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        # Not set_random_seed: that hands the same seed to every transform, and two flips of p=0.5 would
        # always happen together. One generator that all share is as reproducible, and keeps them apart.
        generator = np.random.default_rng(seed)
        compose.set_random_state(generator, random.Random(int(generator.integers(2**63))))
        if self._foreign:
            # A transform of the user's own may draw from the global generators, whose states go by whatever ran before.
            seed = int(generator.integers(2**32))
            np.random.seed(seed)  # noqa: NPY002
            random.seed(seed)
        given = dict(zip(self._names, masks.values(), strict=False))
        moved = compose(image=image, **given)
        return moved["image"], {
            name: moved[slot] for name, slot in zip(masks, self._names[: len(masks)], strict=True)
        }

    def check(self, channels: int = 1, dtype: Any = np.uint8, size: int = 96) -> None:
        """Try every transform on a small picture, so that what cannot work fails before any image is read.

        Parameters
        ----------
        channels : int
        dtype : uint8 or float32
        size : int
            Height and width of the picture.

        Raises
        ------
        UserError
            A transform that fails, changes the size, the number of channels or the dtype, or makes labels
            that were not there.
        """
        rng = np.random.default_rng(0)
        labels = rng.choice(np.array([3, 7], np.uint8), (size // 8, size // 8)).repeat(8, 0).repeat(8, 1)
        labels = np.ascontiguousarray(labels[:size, :size])
        weights = np.linspace(0, 1, labels.size, dtype=np.float32).reshape(labels.shape)
        image = rng.integers(0, 256, (*labels.shape, channels), dtype=np.uint8)
        image = image if dtype == np.uint8 else (image / 255).astype(np.float32)
        for number, transform in enumerate(self.transforms):
            where = f"{_KEY}[{number}] {type(transform).__name__}"
            compose = self._make([transform])
            probability, transform.p = transform.p, 1.0
            try:
                for seed in range(4):
                    out, masks = self._run(compose, image.copy(), {"target": labels, "weight": weights}, seed)
                    _check_result(where, image, out, labels, masks["target"])
            except UserError:
                raise
            except Exception as error:
                raise UserError(
                    f"{where}: fails on a {size}×{size} image of {channels} channels {image.dtype}: "
                    f"{_one_line(error)}"
                ) from error
            finally:
                transform.p = probability
        self._compose = self._make(self.transforms)


def build_augmentation(
    transforms: Sequence[Mapping[str, Any]], *, channels: int = 1, check: bool = True
) -> Augmentation:
    """Build a pipeline from plain mappings, as the YAML files in ``configs/augmentation`` hold them.

    Parameters
    ----------
    transforms : sequence of mapping
        Each with ``name`` (a class of albumentations, or `PaperElastic`) or ``_target_`` (the dotted path of
        any albumentations transform), and its arguments. ``border_mode`` and the interpolations may be words
        (``reflect_101``, ``linear``, …). ``OneOf``, ``SomeOf`` and ``Sequential`` take a list ``transforms``
        of the same form. Where nothing is said of the border, image and masks are reflected; where a constant
        border is asked for, masks are filled with `IGNORE`: neither makes false background.
    channels : int
        Of the images; for the trial.
    check : bool
        Try every transform on a small uint8 picture.

    Returns
    -------
    Augmentation

    Raises
    ------
    UserError
        Unknown transform or argument (with the nearest name), wrong value, or a transform that fails.
    """
    built = Augmentation([_build(item, f"{_KEY}[{number}]") for number, item in enumerate(transforms)])
    if check:
        built.check(channels)
    return built


_UPRIGHT = ("VerticalFlip", "RandomRotate90", "Transpose")
_DROPPED = {"any": (), "upright": _UPRIGHT, "fixed": (*_UPRIGHT, "HorizontalFlip", "D4")}
ORIENTATIONS = tuple(_DROPPED)
"""What ``augmentation.orientation`` may be once it is decided, see `oriented`."""
_ROTATED = {"Affine": "rotate", "Rotate": "limit", "SafeRotate": "limit", "ShiftScaleRotate": "rotate_limit"}
STEEPEST = 15.0
"""Degrees of rotation that leave up where it is."""


def oriented(transforms: Sequence[Mapping[str, Any]], orientation: str) -> list[dict[str, Any]]:
    """What ``augmentation.orientation`` leaves of a list of transforms.

    ``any`` leaves all of them. With ``upright`` up stays where it is: ``VerticalFlip``, ``RandomRotate90`` and
    ``Transpose`` go; of the eight ways to lay a square (``D4``) the ``HorizontalFlip`` is left, in half of the cases;
    rotations (``Affine.rotate``, ``Rotate.limit``, ``SafeRotate.limit``, ``ShiftScaleRotate.rotate_limit``) stay
    within ±15 degrees. With ``fixed`` left stays where it is too: ``HorizontalFlip`` and ``D4`` go as well.
    Containers are looked into, and go if nothing is left. In one that chooses, a ``NoOp`` takes the place of what
    goes, so that what it stood beside is not chosen more often. Everything else, transforms of one's own too, is
    taken to keep up and left where they are.

    Parameters
    ----------
    transforms : sequence of mapping
        As for `build_augmentation`, which is to have accepted them; they are not changed.
    orientation : str
        Of `ORIENTATIONS`.

    Returns
    -------
    list of dict
    """
    if orientation == "any":
        return [dict(item) for item in transforms]
    kept = (_oriented(item, orientation) for item in transforms)
    return [item for item in kept if item is not None]


def _oriented(item: Mapping[str, Any], orientation: str) -> dict[str, Any] | None:
    made_by = _find(str(item["name"]), _KEY) if "name" in item else _load(str(item["_target_"]), _KEY)
    kinds = [kind.__name__ for kind in inspect.getmro(made_by)] if isinstance(made_by, type) else []
    dropped = _DROPPED[orientation]
    kind = next((name for name in kinds if name in (*dropped, "D4", *_ROTATED)), None)
    if kind in dropped:
        return None
    if kind == "D4":
        return {"name": "HorizontalFlip", "p": 0.5 * _argument(item, made_by, "p")}
    if kind is not None:
        angle = _ROTATED[kind]
        return {**item, angle: _level(_argument(item, made_by, angle), symmetric=kind != "Affine")}
    if not isinstance(item.get("transforms"), Sequence):
        return dict(item)
    inner = [(one, _oriented(one, orientation)) for one in item["transforms"]]
    if all(found is None for _, found in inner):
        return None
    if "Sequential" in kinds:
        return {**item, "transforms": [found for _, found in inner if found is not None]}
    return {**item, "transforms": [found or _nothing(one) for one, found in inner]}


def _nothing(item: Mapping[str, Any]) -> dict[str, Any]:
    """A transform that does nothing, as likely to be chosen as this one."""
    made_by = _find(str(item["name"]), _KEY) if "name" in item else _load(str(item["_target_"]), _KEY)
    return {"name": "NoOp", "p": _argument(item, made_by, "p")}


def _argument(item: Mapping[str, Any], made_by: Any, name: str) -> Any:
    return item[name] if name in item else inspect.signature(made_by).parameters[name].default


def _level(angles: Any, symmetric: bool) -> list[float]:
    """A range of angles in degrees cut to ±15; no rotation where all of it lies beyond."""
    if isinstance(angles, int | float):
        # albumentations takes one number as a range in both directions, but for Affine as the angle itself.
        angles = (-angles, angles) if symmetric else (angles, angles)
    low, high = max(min(angles), -STEEPEST), min(max(angles), STEEPEST)
    return [float(low), float(high)] if low <= high else [0.0, 0.0]


def _build(item: Any, where: str) -> Any:
    if not isinstance(item, Mapping) or ("name" in item) == ("_target_" in item):
        raise UserError(
            f"{where}: needs a mapping with either name (of albumentations) or _target_, not {item!r}"
        )
    arguments = {str(k): v for k, v in item.items() if k not in ("name", "_target_")}
    if "name" in item:
        where = f"{where} {item['name']}"
        made_by = _find(str(item["name"]), where)
    else:
        where = f"{where} {item['_target_']}"
        made_by = _load(str(item["_target_"]), where)
    parameters = _parameters(made_by)
    for argument in arguments:
        if parameters is not None and argument not in parameters:
            hint = nearest(argument, parameters) or f"; it takes {', '.join(parameters)}"
            raise UserError(f"{where} has no argument '{argument}'{hint}")
    _read_words(arguments, where)
    if parameters is not None and "border_mode" in parameters:
        if "border_mode" not in arguments:
            arguments["border_mode"] = cv2.BORDER_REFLECT_101
        elif arguments["border_mode"] == cv2.BORDER_CONSTANT and "fill_mask" in parameters:
            arguments.setdefault("fill_mask", IGNORE)
    if isinstance(arguments.get("transforms"), Sequence):
        arguments["transforms"] = [
            _build(inner, f"{where}.transforms[{i}]") for i, inner in enumerate(arguments["transforms"])
        ]
    plain = {k: tuple(v) if isinstance(v, list) and k != "transforms" else v for k, v in arguments.items()}
    try:
        with warnings.catch_warnings():
            # An argument that slips through the check above would only warn, and be ignored.
            warnings.filterwarnings("error", message=r".*not valid for transform")
            transform = made_by(**plain)
    except Exception as error:
        raise UserError(f"{where}: {_one_line(error)}") from error
    if not isinstance(transform, A.BasicTransform | A.BaseCompose):
        raise UserError(f"{where} is a {type(transform).__name__}, not an albumentations transform")
    return transform


def _find(name: str, where: str) -> Any:
    known = {
        key: value
        for key, value in vars(A).items()
        if isinstance(value, type)
        and issubclass(value, A.BasicTransform | A.BaseCompose)
        and not inspect.isabstract(value)
    } | OWN_TRANSFORMS
    if name not in known:
        hint = nearest(name, known) or "; see the list at albumentations.ai/docs"
        raise UserError(f"{where}: there is no such transform{hint}")
    return known[name]


def _load(path: str, where: str) -> Any:
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, ValueError, AttributeError) as error:
        raise UserError(f"{where}: cannot be imported ({_one_line(error)})") from error


def _parameters(made_by: Any) -> list[str] | None:
    """Names of the arguments; None where any is taken."""
    try:
        signature = inspect.signature(made_by)
    except (TypeError, ValueError):
        return None
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in signature.parameters.values()):
        return None
    return list(signature.parameters)


def _read_words(arguments: dict[str, Any], where: str) -> None:
    for key, words in _WORDS.items():
        value = arguments.get(key)
        if isinstance(value, str):
            if value not in words:
                raise UserError(f"{where}: {key}={value} is not one of {', '.join(words)}")
            arguments[key] = words[value]


def _warps(transform: Any) -> bool:
    inner = getattr(transform, "transforms", None)
    if inner is not None:
        return any(_warps(one) for one in inner)
    return hasattr(transform, "border_mode")


def is_foreign(transform: Any) -> bool:
    """Whether a built transform, or one inside it, is neither albumentations' nor ours."""
    if any(is_foreign(one) for one in getattr(transform, "transforms", None) or ()):
        return True
    return type(transform).__module__.partition(".")[0] not in ("albumentations", __name__.partition(".")[0])


def _turns(transform: Any) -> bool:
    """Whether a transform may lay an image on its side; of one that is not known, yes."""
    inner = getattr(transform, "transforms", None)
    if inner is not None:
        return any(_turns(one) for one in inner)
    if isinstance(transform, A.Affine | A.Rotate):
        angles = transform.limit if isinstance(transform, A.Rotate) else transform.rotate
        return max(map(abs, angles)) > STEEPEST
    level = (A.ImageOnlyTransform, A.HorizontalFlip, A.VerticalFlip, A.NoOp, PaperElastic)
    return not isinstance(transform, level)


def _check_result(
    where: str, image: np.ndarray, moved: np.ndarray, labels: np.ndarray, moved_labels: np.ndarray
) -> None:
    if moved.shape != image.shape or moved_labels.shape != labels.shape:
        raise UserError(
            f"{where} changes the image from {image.shape} to {moved.shape}; crops are cut by "
            "augmentation.crop_size, transforms have to keep the size"
        )
    if moved.dtype != image.dtype:
        raise UserError(
            f"{where} changes the image from {image.dtype} to {moved.dtype}; transforms keep the dtype"
        )
    new = sorted(set(np.unique(moved_labels).tolist()) - set(np.unique(labels).tolist()) - {IGNORE})
    if new:
        raise UserError(f"{where} makes labels {new} that no mask has; masks have to be moved, not changed")


def _one_line(error: Exception) -> str:
    """First complaint of an exception; of pydantic's lines the second and third say it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(lines) > 2 and "validation error" in lines[0]:
        return f"{lines[1].split('.')[0]}: {lines[2].split(' [type=')[0]}"
    return lines[0] if lines else type(error).__name__
