"""Objects out of probability maps: seeds, watershed, clean-up, and the choice of their thresholds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import cv2
import numpy as np
from scipy import ndimage
from skimage.morphology import local_maxima, reconstruction
from skimage.segmentation import expand_labels, watershed

from unet_train.data.distances import distance_to_zero
from unet_train.errors import UserError


@dataclass(frozen=True)
class PostprocessingParameters:
    """How objects are cut out of a foreground and a seed map; plain numbers, kept in the checkpoint.

    Attributes
    ----------
    threshold : float
        A pixel belongs to an object if its foreground probability is above this.
    seed_threshold : float
        Connected pixels whose seed probability is above this are the seed of one object.
    min_seed : int
        Seeds of fewer pixels are no seeds.
    split : float
        0: off. Else an object is cut in two where it has a neck: where the smaller of two lobes is wider than
        the neck by more than this share of the object's greatest half-width. 0.25 is a good try.
    close : int
        The foreground's gaps of up to twice as many pixels are closed before it is shared out (makes good for
        the gap that a target draws between touching objects; their seeds stay apart).
    open : int
        Parts of an object thinner than twice as many pixels are cut off: where the net is unsure, threads of
        foreground run from one object along the next.
    grow : int
        Objects are grown by this many pixels at last, into pixels of no object (makes good for outlines that
        were learnt too tight).
    min_size : int
        Objects of fewer pixels are dropped.
    fill_holes : bool
        Whether holes inside an object become part of it.
    """

    threshold: float = 0.5
    seed_threshold: float = 0.9
    min_seed: int = 10
    split: float = 0.0
    close: int = 0
    open: int = 0
    grow: int = 0
    min_size: int = 50
    fill_holes: bool = True

    def __post_init__(self) -> None:
        for name in ("threshold", "seed_threshold", "split"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"objects.{name}: must be in [0, 1), not {getattr(self, name)}")
        for name in ("min_seed", "close", "open", "grow", "min_size"):
            if getattr(self, name) < 0:
                raise UserError(f"objects.{name}: must not be negative, not {getattr(self, name)}")

    def to_dict(self) -> dict[str, Any]:
        """Plain types for the checkpoint; ``PostprocessingParameters(**values)`` is the way back."""
        return asdict(self)


DEFAULT_PARAMETERS = PostprocessingParameters()


def objects_from_maps(
    foreground: np.ndarray,
    seeds: np.ndarray,
    parameters: PostprocessingParameters = DEFAULT_PARAMETERS,
    *,
    margin: int = 0,
) -> np.ndarray:
    """Cut objects out of probability maps.

    Seeds are the connected regions (over edges, not corners) of high seed probability; the foreground around
    them is shared out by a watershed on the seed probability, so that borders run along its valleys.
    Foreground without a seed belongs to no object.

    Parameters
    ----------
    foreground, seeds : ndarray
        H×W float in [0, 1], from `Target.object_maps`.
    parameters : PostprocessingParameters
        Thresholds and sizes, in pixels of these maps.
    margin : int
        Objects that lie wholly within this many pixels of the border are dropped, those that reach into the
        field stay whole. A margin that would leave no field is not applied.

    Returns
    -------
    ndarray
        H×W int32, 0 for no object, ids 1..n without gaps.

    Raises
    ------
    ValueError
        If the maps are not of one H×W shape.
    """
    if foreground.ndim != 2 or foreground.shape != seeds.shape:
        raise ValueError(f"maps must be H×W and alike, not {foreground.shape} and {seeds.shape}")
    inside = foreground > parameters.threshold
    markers, n = ndimage.label((seeds > parameters.seed_threshold) & inside)
    if n == 0:
        return np.zeros(foreground.shape, np.int32)
    if parameters.min_seed > 1:
        big = np.bincount(markers.ravel()) >= parameters.min_seed
        big[0] = False
        markers *= big[markers]
    if parameters.close > 0:
        side = 2 * parameters.close + 1
        inside = (
            cv2.morphologyEx(inside.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((side, side), np.uint8)) > 0
        )
    objects = watershed(-seeds.astype(np.float32), markers, mask=inside).astype(np.int32)
    if parameters.split > 0:
        objects = split_at_necks(objects, parameters.split, parameters.min_size)
    if parameters.fill_holes:
        objects = _fill_holes(objects)
    if parameters.open > 0:
        objects = without_threads(objects, parameters.open)
    if parameters.grow > 0:
        objects = expand_labels(objects, parameters.grow)
    return _tidy(objects, parameters.min_size, margin)


def split_at_necks(objects: np.ndarray, depth: float, smallest: int = 0) -> np.ndarray:
    """Cut objects in two (or more) where they have a neck.

    The distance to the object's edge, smoothed, has a hill for each lobe. Two hills are two objects when the
    pass between them lies lower than the smaller by more than `depth` times the greatest height.

    Parameters
    ----------
    objects : ndarray
        H×W int32 ids.
    depth : float
        In (0, 1).
    smallest : int
        Objects of fewer pixels stay whole. An early network shows hundreds of specks, and each look costs.

    Returns
    -------
    ndarray
        H×W int32; the first part keeps its id, further ones get new ids.
    """
    result = objects.copy()
    last = int(objects.max(initial=0))
    for label, box in enumerate(ndimage.find_objects(objects), start=1):
        if box is None:
            continue
        # One pixel of frame on every side, except where the image ends: an object cut off by the image's edge
        # is not narrow there.
        own = objects[box] == label
        if np.count_nonzero(own) < smallest:
            continue
        distance = _distance(own, box, objects.shape)
        distance = cv2.GaussianBlur(distance, (0, 0), max(0.5, 0.15 * float(distance.max())))
        distance[~own] = 0
        low = reconstruction(distance - depth * distance.max(), distance, method="dilation")
        hills, n = ndimage.label(local_maxima(low, connectivity=2) & own, np.ones((3, 3)))
        if n < 2:
            continue
        parts = watershed(-distance, hills, mask=own)
        part = result[box]
        for extra in range(2, n + 1):
            last += 1
            part[parts == extra] = last
    return result


def without_threads(objects: np.ndarray, radius: int) -> np.ndarray:
    """Each object opened by a disc, and of the pieces the largest; one that would lose half of itself stays.

    Parameters
    ----------
    objects : ndarray
        H×W int32 ids.
    radius : int
        Of the disc, pixels. The edge of the image is no edge of an object.
    """
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    result = objects.copy()
    for label, box in enumerate(ndimage.find_objects(objects), start=1):
        if box is None:
            continue
        sides = _sides(box, objects.shape)
        own = np.pad((objects[box] == label).astype(np.uint8), sides)
        opened = cv2.morphologyEx(own, cv2.MORPH_OPEN, disc, borderType=cv2.BORDER_REPLICATE)
        count, pieces = cv2.connectedComponents(opened, connectivity=4)
        if count > 2:
            opened = pieces == 1 + np.bincount(pieces.ravel())[1:].argmax()
        if 2 * np.count_nonzero(opened) < np.count_nonzero(own):
            continue
        (above, below), (before, after) = sides
        inner = opened[above : opened.shape[0] - below, before : opened.shape[1] - after]
        result[box][(objects[box] == label) & (inner == 0)] = 0
    return result


def choose_parameters(
    maps: Sequence[tuple[np.ndarray, np.ndarray]],
    score: Callable[[Iterable[np.ndarray]], tuple[float, ...]],
    *,
    start: PostprocessingParameters = DEFAULT_PARAMETERS,
    stages: Sequence[Mapping[str, Sequence[Any]]] | None = None,
    seed_thresholds: Sequence[float] | None = None,
    objects: int = 100,
    margin: int = 0,
    progress: Callable[[str], None] | None = None,
) -> tuple[PostprocessingParameters, tuple[float, ...]]:
    """Choose the parameters on validation frames.

    Stage by stage, every combination of a stage's values is tried with the rest of the parameters as chosen so far.
    Of the first stage's candidates that come within `TOLERANCE` of its best the one that parts objects most readily
    is taken, and of those the one that is surest of a seed: images to come may show more contacts than these,
    and two merged objects are two lost. In later stages a value is left only for one that is better by more
    than `SMALLEST_GAIN` / `objects`, in the first score or, where that does not fall, in the second: what these frames
    cannot tell stays as it was.

    Parameters
    ----------
    maps : sequence of (foreground, seeds)
        H×W float each, one pair per frame.
    score : callable
        From one result per frame to a tuple that is compared element by element, for instance
        `metrics.challenge.scorer`: SEG first, then DET. (A function, because this folder knows no measures.)
    start : PostprocessingParameters
        Where to begin.
    stages : sequence of {field of PostprocessingParameters: values}, or None
        None: `STAGES`.
    seed_thresholds : sequence of float, or None
        In place of those of the stages: what suits the seed map (`Target.seed_thresholds`).
    objects : int
        How many true objects the frames hold: the fewer, the greater a gain must be to count.
    margin : int
        See `objects_from_maps`.
    progress : callable or None
        Called with a short line after every trial.

    Returns
    -------
    parameters : PostprocessingParameters
        The one found.
    score : tuple of float
        Its score.

    Raises
    ------
    ValueError
        Without frames.
    """
    if not maps:
        raise ValueError("no frames to choose the objects' parameters by")

    def trial(parameters: PostprocessingParameters) -> tuple[float, ...]:
        value = tuple(score([objects_from_maps(f, s, parameters, margin=margin) for f, s in maps]))
        if progress is not None:
            progress(f"{parameters}: {', '.join(f'{v:.4f}' for v in value)}")
        return value

    best, best_score = start, trial(start)
    for number, stage in enumerate(STAGES if stages is None else stages):
        if seed_thresholds is not None and "seed_threshold" in stage:
            stage = {**stage, "seed_threshold": seed_thresholds}
        tried = [
            (best, best_score),
            *((parameters, trial(parameters)) for parameters in _combinations(best, stage)),
        ]
        top = max(value for _, value in tried)
        if number == 0:
            good = [item for item in tried if item[1][0] >= top[0] - TOLERANCE]
            best, best_score = max(good, key=lambda item: tuple(getattr(item[0], name) for name in stage))
            continue
        for place in range(len(best_score)):
            no_worse = [item for item in tried if item[1][:place] >= best_score[:place]]
            parameters, value = max(no_worse, key=lambda item: item[1][place:])
            if value[place] > best_score[place] + SMALLEST_GAIN / max(objects, 1):
                best, best_score = parameters, value
                break
    return best, best_score


TOLERANCE = 0.01
"""What is given up on the validation frames for parting objects more readily: a cell in a hundred."""

SMALLEST_GAIN = 0.3
"""Of one object's Jaccard index, over all validation objects together. Smaller gains do not show on other images."""

STAGES: tuple[Mapping[str, Sequence[Any]], ...] = (
    {"seed_threshold": (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99), "min_seed": (10, 50, 200)},
    {"open": (0, 3, 6, 10)},
    {"threshold": (0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7)},
    {"split": (0.0, 0.15, 0.25, 0.35, 0.45)},
    {"min_size": (50, 100, 200, 400, 800)},
    {"grow": (0, 1, 2, 3)},
    {"close": (0, 1, 2)},
)
"""What `choose_parameters` tries by default: first how readily objects are parted, the higher the more.

About 50 candidates, 0.03 to 0.15 s each per frame of 512² pixels.
"""


def _combinations(
    parameters: PostprocessingParameters, stage: Mapping[str, Sequence[Any]]
) -> list[PostprocessingParameters]:
    """All candidates of a stage but `parameters` itself, those that differ least from it first."""
    candidates = [(0, parameters)]
    for name, values in stage.items():
        here = getattr(parameters, name)
        near = sorted(values, key=lambda value: abs(value - here))
        candidates = [
            (rank + i, replace(other, **{name: value}))
            for rank, other in candidates
            for i, value in enumerate(near)
        ]
    return [other for _, other in sorted(candidates, key=lambda pair: pair[0]) if other != parameters]


def _sides(box: tuple[slice, ...], shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """Pixels of frame to put around an object's box: one per side, none where the image ends and the object goes on."""
    return [(int(side.start > 0), int(side.stop < length)) for side, length in zip(box, shape, strict=True)]


def _distance(own: np.ndarray, box: tuple[slice, ...], shape: tuple[int, ...]) -> np.ndarray:
    """Distance of own pixels to the object's edge (float32); the edge of the image is none."""
    sides = _sides(box, shape)
    framed = np.pad(own, sides)
    if framed.all():
        return np.ones(own.shape, np.float32)
    distance = distance_to_zero(framed)
    return np.ascontiguousarray(
        distance[sides[0][0] : sides[0][0] + own.shape[0], sides[1][0] : sides[1][0] + own.shape[1]]
    )


def _fill_holes(objects: np.ndarray) -> np.ndarray:
    """Give the holes of each object to it, but no pixel of another object."""
    result = objects.copy()
    for label, box in enumerate(ndimage.find_objects(objects), start=1):
        if box is None:
            continue
        own = objects[box] == label
        holes = ndimage.binary_fill_holes(own) & ~own & (objects[box] == 0)
        result[box][holes] = label
    return result


def _tidy(objects: np.ndarray, min_size: int, margin: int) -> np.ndarray:
    """Drop what is too small or lies wholly in the margin, and number the rest 1..n."""
    keep = np.bincount(objects.ravel()) >= max(1, min_size)
    height, width = objects.shape
    field = objects[margin : height - margin, margin : width - margin] if margin > 0 else objects
    if field.size:
        # The same rule as in the challenge's measure (metrics.challenge), which this folder does not know.
        reaches = np.zeros(len(keep), bool)
        reaches[field.ravel()] = True
        keep &= reaches
    keep[0] = False
    return (np.cumsum(keep) * keep).astype(np.int32)[objects]
