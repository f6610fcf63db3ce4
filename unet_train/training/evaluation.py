"""A model measured on whole images of a data set: integer counts per image, divided once at the end."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import torch

from unet_train.data.description import DataDescription
from unet_train.data.loading.normaliser import Normaliser
from unet_train.data.records import IGNORE, Record, Source, Truth
from unet_train.errors import UserError
from unet_train.inference.objects import PostprocessingParameters, choose_parameters
from unet_train.inference.predictor import Prediction, Predictor
from unet_train.metrics.challenge import ChallengeCounts, drop_outside_field, scorer
from unet_train.metrics.confusion import (
    confusion_counts,
    first_counted,
    never_predicted,
    scores_from_counts,
)
from unet_train.metrics.matching import MATCH_SUMS, MATCH_VALUES, ObjectMatches, match_objects, match_scores
from unet_train.metrics.object_errors import ObjectErrors, count_errors, object_errors
from unet_train.metrics.pooled import ImageCounts, PooledCounts
from unet_train.metrics.segments import segment_scores
from unet_train.metrics.surface import surface_scores
from unet_train.nearest import nearest
from unet_train.training.distributed import DistributedContext
from unet_train.training.losses import Loss


@dataclass
class ImageResult:
    """One scored image.

    Attributes
    ----------
    key, group : str
    counts : ndarray
        K×K int64 pixel counts, ``[true, predicted]``.
    scores : dict
        The image's own scores; a class that neither stands in the image nor was predicted is NaN.
    empty : bool
        No class that counts stands in the ground truth.
    loss : float
        NaN if none was asked for.
    objects : ChallengeCounts or None
        What SEG and DET are made of, where objects were asked for and the truth has them.
    errors : ObjectErrors or None
        What became of each object, likewise.
    matches : ObjectMatches or None
        The same objects matched one to one, likewise.
    values : dict
        Those of the `scores` whose mean over the images is the score of all of them.
    """

    key: str
    group: str
    counts: np.ndarray
    scores: dict[str, float]
    empty: bool
    loss: float = float("nan")
    objects: ChallengeCounts | None = None
    errors: ObjectErrors | None = None
    matches: ObjectMatches | None = None
    values: dict[str, float] = field(default_factory=dict)

    @property
    def seg(self) -> float:
        """SEG of this image; NaN without objects."""
        return self.objects.scores().get("seg", math.nan) if self.objects is not None else math.nan

    def add_values(self, values: Mapping[str, float]) -> None:
        """Add scores that are means over images."""
        self.values |= values
        self.scores |= values


@dataclass
class Evaluation:
    """All scored images, and the scores of their sum."""

    classes: tuple[str, ...]
    images: list[ImageResult] = field(default_factory=list)
    background: bool = True
    """Whether class 0 is the background, over which the means do not run."""

    @property
    def counts(self) -> np.ndarray:
        """K×K int64 sum over the images."""
        k = len(self.classes)
        return sum((image.counts for image in self.images), np.zeros((k, k), np.int64))

    def scores(self) -> dict[str, float]:
        """``iou/<class>``, ``iou/mean``, ``dice/…``, ``accuracy`` over all pixels of all images.

        With the scores of objects, over all objects of all images, as far as their truth is there, and those that are
        means over the images that have them.
        """
        return self.pooled().scores()

    @property
    def has_objects(self) -> bool:
        """Whether objects were scored in any image."""
        return any(image.objects is not None for image in self.images)

    def score_of(self, image: ImageResult) -> float:
        """The score of an image by which it is ranked; NaN if it has none."""
        return image.seg if self.has_objects else image.scores["iou/mean"]

    def ranked(self) -> list[ImageResult]:
        """All images, the worst first, by SEG where there are objects, else by mean IoU; those without a score last."""
        return sorted(self.images, key=lambda image: (math.isnan(self.score_of(image)), self.score_of(image)))

    def object_counts(self) -> dict[str, int]:
        """``objects/true``, ``objects/matched``, ``objects/merged``, …; empty where no objects were scored."""
        errors = [image.errors for image in self.images if image.errors is not None]
        return count_errors(errors) if errors else {}

    def image_counts(self) -> list[ImageCounts]:
        """The sums that the scores are made of, per image."""
        return [
            ImageCounts.of(
                i.key, i.group, i.counts, i.objects, i.matches.sums if i.matches else None, i.values
            )
            for i in self.images
        ]

    def pooled(self) -> PooledCounts:
        """The same, per group."""
        return PooledCounts.of(self.image_counts(), self.classes, background=self.background)

    def never_predicted(self) -> list[str]:
        """Classes that stand in the ground truth of these images and were predicted in none of them."""
        return never_predicted(self.counts, self.classes)

    def loss(self) -> float:
        """Mean over images of the loss, NaN if none was given."""
        losses = [image.loss for image in self.images if np.isfinite(image.loss)]
        return float(np.mean(losses)) if losses else float("nan")


def never_predicted_line(never: Sequence[str], classes: Sequence[str]) -> str:
    """One line for the log on the classes that `Evaluation.never_predicted` names."""
    return f"never predicted: {', '.join(never)} ({len(never)} of {len(classes)} classes)"


def check_monitor(monitor: str, scores: Mapping[str, float]) -> None:
    """Refuse to choose the best epoch by a score that is not there.

    Raises
    ------
    UserError
        With the nearest name.
    """
    if monitor not in scores:
        hint = nearest(monitor, scores)
        raise UserError(
            f"checkpoint.monitor={monitor}: no such validation score{hint}; there are {', '.join(scores)}"
        )


class Judged(Protocol):
    """What is scored: a model (`inference.predictor.Predictor`), or masks that are there already."""

    @property
    def data(self) -> DataDescription:
        """Classes, margin, and whether there are a background and objects."""

    def predict_record(self, record: Record, image: np.ndarray, normaliser: Normaliser) -> Prediction:
        """What was predicted for one image; `IGNORE` where there is no prediction."""

    def objects(self, prediction: Prediction) -> np.ndarray:
        """Instance ids, H×W int32, 0 for background."""


Look = Callable[[Record, np.ndarray, Truth, Prediction], None]
"""What `evaluate` shows of each image to whoever draws or measures more: image, truth and prediction."""


def evaluate(
    predictor: Judged,
    source: Source,
    records: Iterable[Record],
    *,
    normaliser: Normaliser | None = None,
    loss: Loss | None = None,
    look: Look | None = None,
    objects: bool = False,
    boundary: int | None = None,
    surface_tolerance: float | None = None,
    context: DistributedContext | None = None,
) -> Evaluation:
    """Predict every record whole, at native size, and count pixels against its scoring truth.

    Parameters
    ----------
    predictor : Judged
    source : Source
    records : iterable of Record
        Scorable ones; gone through once, so that a bar may be around them.
    normaliser : Normaliser or None
        Kept by the caller so that volumes are read once; made here otherwise.
    loss : Loss or None
        Also computed, on the probabilities at native size; for a `Predictor` alone.
    look : callable or None
        Called with each image, truth and prediction.
    objects : bool
        Also cut out objects and count them as the Cell Tracking Challenge does.
    boundary : int or None
        The class between segments: score those as the ISBI 2012 challenge does.
    surface_tolerance : float or None
        Also measure the distances between outlines, with this tolerance in pixels.
    context : DistributedContext or None
        Records are shared out over the processes; every process gets the whole result.

    Raises
    ------
    UserError
        For an image that cannot be read or has other channels than the model.
    """
    context = context or DistributedContext()
    normaliser = normaliser or Normaliser(source, predictor.data.normalisation)
    classes, background = tuple(predictor.data.classes), predictor.data.has_background
    results: list[tuple[int, ImageResult]] = []
    for place, record in enumerate(records):
        if place % context.size != context.rank:
            continue
        image = source.read_image(record)
        truth = source.read_truth(record, scoring=True)
        prediction = predictor.predict_record(record, image, normaliser)
        absent = bool((prediction.classes == IGNORE).all())
        answered = wrong_where_unanswered(prediction.classes, truth.classes, len(classes))
        prediction = replace(prediction, classes=answered)
        counts = confusion_counts(prediction.classes, truth.classes, len(classes))
        result = ImageResult(
            key=record.key,
            group=record.group,
            counts=counts,
            scores=scores_from_counts(counts, classes, background=background),
            empty=not counts[first_counted(background) :].any(),
        )
        if loss is not None:
            assert isinstance(predictor, Predictor), "a loss needs probabilities"
            result.loss = _loss(loss, predictor, prediction, truth)
        if objects and truth.instances is not None:
            found, margin = predictor.objects(prediction), predictor.data.margin
            result.objects = ChallengeCounts()
            result.objects.add(found, truth.instances, truth.markers, margin=margin)
            unknown = truth.classes == IGNORE
            result.errors = object_errors(
                drop_outside_field(found, margin), truth.instances, unknown=unknown, markers=truth.markers
            )
            result.matches = match_objects(
                found, truth.instances, unknown=unknown, markers=truth.markers, margin=margin
            )
            result.scores |= match_scores(result.matches.sums)
            result.add_values(result.matches.values())
        elif objects:  # no truth of objects: the scores are there, and empty
            result.scores |= match_scores(np.zeros(len(MATCH_SUMS)))
            result.add_values(dict.fromkeys(MATCH_VALUES, float("nan")))
        results.append((place, result))
        if boundary is not None:
            segments = segment_scores(prediction.classes, truth.classes, boundary)
            result.add_values(dict.fromkeys(segments, 0.0) if absent else segments)
        if surface_tolerance is not None:
            # The classes that stand in for a missing prediction have no outlines.
            outlined = np.full_like(prediction.classes, IGNORE) if absent else prediction.classes
            first = first_counted(background)
            distances = surface_scores(
                outlined, truth.classes, classes, first=first, tolerance=surface_tolerance
            )
            result.add_values(distances)
        if look is not None:
            look(record, image, truth, prediction)
    gathered = sorted(
        (found for part in context.gather(results) for found in part), key=lambda found: found[0]
    )
    return Evaluation(classes, [result for _, result in gathered], background)


def wrong_where_unanswered(predicted: np.ndarray, truth: np.ndarray, classes: int) -> np.ndarray:
    """A prediction in which every pixel without an answer has a class that is not the true one.

    Of more than two classes the wrong ones take turns from pixel to pixel, so that none of them bears it all.

    Parameters
    ----------
    predicted, truth : ndarray
        H×W uint8 class ids; `IGNORE` where nothing was predicted, or nothing is known.
    classes : int
        Number of classes K.

    Returns
    -------
    ndarray
        H×W uint8, `predicted` itself where every pixel has an answer.
    """
    unanswered = predicted == IGNORE
    if not unanswered.any():
        return predicted
    turn = 1 + np.arange(predicted.size).reshape(predicted.shape) % (classes - 1)
    wrong = (np.where(truth == IGNORE, 0, truth).astype(np.int64) + turn) % classes
    return np.where(unanswered, wrong, predicted).astype(np.uint8)


def choose_postprocessing(
    predictor: Predictor, source: Source, records: Sequence[Record], *, normaliser: Normaliser | None = None
) -> tuple[PostprocessingParameters, dict[str, float]]:
    """Choose how objects are cut out, on validation records: by SEG, then DET.

    A record without a truth to score against is judged by its training labels.

    Returns
    -------
    parameters : PostprocessingParameters
    scores : dict
        ``seg`` and, where there are markers, ``det`` of these on these records.
    """
    maps, references, markers = [], [], []
    normaliser = normaliser or Normaliser(source, predictor.data.normalisation)
    for record in records:
        image = source.read_image(record)
        truth = source.read_truth(record, scoring=record.scorable)
        if truth.instances is not None:
            prediction = predictor.predict(image, normaliser.statistics(record, image))
            maps.append(predictor.target.object_maps(prediction.outputs))
            references.append(truth.instances)
            markers.append(truth.markers)
    margin = predictor.data.margin
    parameters, (seg, det) = choose_parameters(
        maps,
        scorer(references, markers, margin=margin),
        seed_thresholds=predictor.target.seed_thresholds,
        objects=sum(int(np.count_nonzero(np.unique(reference))) for reference in references),
        margin=margin,
    )
    return parameters, {"seg": seg} | ({"det": det} if det >= 0 else {})


def _loss(loss: Loss, predictor: Predictor, prediction: Prediction, truth: Truth) -> float:
    """The training loss of one whole image; the log of probabilities is a softmax's logits."""
    target = predictor.target.make(truth.classes, truth.instances, 1.0)
    logits = torch.from_numpy(np.log(np.clip(prediction.outputs, 1e-7, 1.0)))[None]
    labels = torch.from_numpy(target)[None]
    # The weight map belongs to training; validation weighs every pixel alike.
    return float(loss(logits, labels, torch.ones(labels.shape)))
