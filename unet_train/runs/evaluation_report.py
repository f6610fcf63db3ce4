"""report.html of an evaluation: from its scores, its run and a few images predicted once more to draw them."""

from __future__ import annotations

import csv
import math
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from unet_train.atomic import replacing
from unet_train.checkpoint import Checkpoint, versions_here
from unet_train.data.description import DataDescription
from unet_train.data.loading.normaliser import Normaliser
from unet_train.data.records import IGNORE, Record, Source
from unet_train.metrics.challenge import drop_outside_field
from unet_train.metrics.intervals import basis
from unet_train.metrics.matching import MATCH_VALUES, THRESHOLDS
from unet_train.metrics.object_errors import ERRORS
from unet_train.metrics.segments import SEGMENT_SCORES
from unet_train.metrics.surface import SURFACE_SCORES
from unet_train.metrics.volume import VolumeScore
from unet_train.reporting.colours import class_colours
from unet_train.reporting.overlays import (
    ERROR_COLOURS,
    PREDICTION_COLOUR,
    TRUTH_COLOUR,
    Mark,
    displayable,
    fill_marks,
    filled_layer,
    outline_layer,
    picture_size,
)
from unet_train.reporting.plots import confusion_matrix_picture
from unet_train.reporting.report import (
    REPORT,
    GalleryItem,
    Picture,
    ReportContent,
    ScoreRow,
    ScoreTable,
    jpeg,
    png,
    render,
    svg,
)
from unet_train.reporting.report_plots import scores_by_class, scores_by_image, training_curves
from unet_train.reporting.tables import ABSENT, RATES, interval_text, number_text
from unet_train.runs.pictures import marks_of
from unet_train.symmetries import views_text
from unet_train.training.evaluation import Evaluation, ImageResult, Judged, never_predicted_line

Intervals = Mapping[str, tuple[float, float] | None]

SHORT_SIDE, LONG_SIDE = 480, 900
"""Of the pictures in the page, which shows them at some 350 points."""

MOST_ROWS = 200
"""Images that the page lists; per_image.csv has all."""

MOST_CLASS_ROWS = 12
"""Of more classes the diagram of single images shows the mean alone."""

MOST_SHOWN = 6
"""Of the worst, the middle and the best images each, so that the page stays a few MB."""

AMBER, BLUE, WHITE = (np.array(colour) for colour in (TRUTH_COLOUR, PREDICTION_COLOUR, (255, 255, 255)))


@dataclass
class Evaluated:
    """What an evaluation knows, for its report.

    Attributes
    ----------
    judged, checkpoint, path
        The model, its checkpoint and the file of it; or masks, None and their folder.
    source, records, normaliser
        What was scored.
    evaluation : Evaluation
    metrics : dict
        As in metrics.json.
    intervals : mapping of str to (low, high) or None
    patients : mapping of str to VolumeScore
    warnings : list of str
    words : sequence of str
        The command's words, as typed.
    """

    judged: Judged
    checkpoint: Checkpoint | None
    path: Path
    source: Source
    records: Sequence[Record]
    normaliser: Normaliser
    evaluation: Evaluation
    metrics: Mapping[str, Any]
    intervals: Intervals
    patients: Mapping[str, VolumeScore] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    words: Sequence[str] = ()


def write_evaluation_report(folder: Path, found: Evaluated, count: int) -> Path:
    """Write report.html into a folder; its path.

    Parameters
    ----------
    folder : Path
    found : Evaluated
    count : int
        How many of the worst, of the middle and of the best images are shown.
    """
    path = folder / REPORT
    with replacing(path) as temporary:
        temporary.write_text(render(_content(found, count)), encoding="utf-8", errors="replace")
    return path


def _content(found: Evaluated, count: int) -> ReportContent:
    evaluation, metrics = found.evaluation, found.metrics
    classes, scores = evaluation.classes, evaluation.scores()
    counted = classes[1 if evaluation.background else 0 :]
    part, data = metrics["part"], metrics["dataset"]
    which = "all images" if part == "all" else f"the {part} part"
    never = evaluation.never_predicted()
    lost = [never_predicted_line(never, classes)] if never else []
    columns = _image_columns(evaluation)
    ranked = evaluation.ranked()
    listed = [(i.key, i.group, [number_text(_image_score(i, name)) for name in columns]) for i in ranked]
    return ReportContent(
        title=f"{data}, {which}",
        question=f"How well {'does the model' if found.checkpoint else 'do the masks'} find "
        f"{'the class ' if len(counted) == 1 else ''}{_listed(counted)} in {which} of {data}?",
        facts=_facts(found),
        warnings=[_capital(f"{line}.") for line in (*found.warnings, *lost)],
        classes=_score_rows(found, scores),
        tables=_tables(found, scores),
        others=[
            (name, number_text(value), interval_text(found.intervals.get(name)))
            for name, value in metrics.items()
            if name in ("accuracy", "seg", "det", "op_csb", "pq", *MATCH_VALUES, *SEGMENT_SCORES)
            or name.startswith(("dice_per_patient", "objects/", *(f"{score}/" for score in SURFACE_SCORES)))
            if isinstance(value, int | float) and not math.isnan(value)
        ],
        patients=[
            (name, str(score.slices), number_text(score.dice), number_text(score.dice_largest))
            for name, score in sorted(
                found.patients.items(), key=lambda item: (math.isnan(item[1].dice), item[1].dice)
            )
        ],
        basis=_capital(basis(metrics["interval_n"], metrics["interval_unit"])),
        has_intervals=any(found.intervals.values()),
        by_class=_by_class(found, scores),
        by_image=_by_image(evaluation),
        confusion=png(
            confusion_matrix_picture(evaluation.counts, classes),
            "Confusion matrix, in shares of the true class.",
        ),
        curves=_curves(found),
        images=listed[:MOST_ROWS],
        image_columns=columns,
        images_left_out=max(0, len(listed) - MOST_ROWS),
        gallery=_gallery(found, _extremes(evaluation, min(count, MOST_SHOWN))),
        legend=_legend(found),
        command=shlex.join(
            [
                "unet-eval",
                *(
                    found.words
                    or [f"{'ckpt' if found.checkpoint else 'predictions'}={found.path}", f"part={part}"]
                ),
            ]
        ),
        folder=os.getcwd(),
        config=yaml.safe_dump(dict(found.checkpoint.config), sort_keys=False, allow_unicode=True)
        if found.checkpoint
        else "",
        versions=_versions(found.checkpoint),
    )


# --- words and numbers -----------------------------------------------------------------------------------
def _facts(found: Evaluated) -> list[tuple[str, str]]:
    """What was scored, with which model."""
    metrics, data = found.metrics, found.judged.data
    n, groups = metrics["n_images"], metrics["interval_n"]
    images = f"{n} image{'' if n == 1 else 's'}"
    if metrics["interval_unit"] != "images":
        unit = metrics["interval_unit"] if groups != 1 else metrics["interval_unit"].removesuffix("s")
        images += f" of {groups} {unit}"
    scored = "classes, pixel by pixel, on whole images at their own size"
    scored += "; objects one by one" if data.has_instances else ""
    scored += "; all slices of a patient together" if found.patients else ""
    facts = [
        (
            "data",
            f"{metrics['dataset']}, {metrics['root']}" if metrics["root"] != "None" else metrics["dataset"],
        ),
        ("part", f"{metrics['part']}: {images}"),
        (
            "scored",
            scored
            + (f", mean over {views_text(metrics['views'])}" if len(metrics.get("views", ())) > 1 else ""),
        ),
        *_origin(found),
    ]
    if metrics["n_empty"]:
        facts.insert(2, ("without any foreground", f"{metrics['n_empty']} of these images"))
    return facts


def _origin(found: Evaluated) -> list[tuple[str, str]]:
    """The model and its file, or where the masks lie."""
    checkpoint = found.checkpoint
    if checkpoint is None:
        missing = len(found.metrics["missing"])
        return [("predictions", f"{found.path}" + (f", {missing} missing" if missing else ""))]
    encoder = checkpoint.model.encoder
    named = ", ".join(
        f"{k} {v}" for k, v in encoder.items() if k not in ("kind", "_target_") and v is not None
    )
    return [
        ("model", f"{encoder.get('kind') or encoder.get('_target_')}" + (f" ({named})" if named else "")),
        ("checkpoint", f"{found.path}, epoch {checkpoint.epoch}" if checkpoint.epoch else str(found.path)),
    ]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _listed(names: Sequence[str]) -> str:
    """Names in a sentence."""
    if len(names) > 12:
        return f"{len(names)} classes"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _score_rows(found: Evaluated, scores: Mapping[str, float]) -> list[ScoreRow]:
    """The classes, then their mean."""
    evaluation = found.evaluation
    counts, data = evaluation.counts, found.judged.data
    total = max(1, int(counts.sum()))
    colours = _class_colours(found)
    rows = []
    for index, name in enumerate(evaluation.classes):
        filled = len(evaluation.classes) > 2 and not data.has_instances and (index or not data.has_background)
        rows.append(
            ScoreRow(
                name,
                *_score_cells(found.intervals, scores, name),
                f"{100 * counts[index].sum() / total:.1f} %",
                f"{100 * counts[:, index].sum() / total:.1f} %",
                _hex(colours[index]) if filled else "",
            )
        )
    over = scores["iou/mean_over"]
    kind = "foreground class" if evaluation.background else "class"
    rows.append(
        ScoreRow(
            f"mean over {over} {kind}{'' if over == 1 else 'es'}",
            *_score_cells(found.intervals, scores, "mean"),
        )
    )
    return rows


def _score_cells(intervals: Intervals, scores: Mapping[str, float], name: str) -> tuple[str, str, str, str]:
    """IoU, its interval, Dice, its interval."""
    return (*_cell(intervals, scores, f"iou/{name}"), *_cell(intervals, scores, f"dice/{name}"))


def _cell(intervals: Intervals, scores: Mapping[str, float], name: str) -> tuple[str, str]:
    """A score and its interval."""
    return number_text(scores[name]), interval_text(intervals.get(name))


def _tables(found: Evaluated, scores: Mapping[str, float]) -> list[ScoreTable]:
    """Precision, recall and specificity of every class; of objects average precision and F1 at every threshold."""
    rows = [
        (name, [_cell(found.intervals, scores, f"{kind}/{name}") for kind in RATES])
        for name in found.evaluation.classes
    ]
    tables = [ScoreTable("Precision, recall and specificity", ["class", *RATES], rows)]
    if f"ap{THRESHOLDS[0]}" in scores:
        rows = [
            (f"{t / 100:.2f}", [_cell(found.intervals, scores, f"{kind}{t}") for kind in ("ap", "f1_")])
            for t in THRESHOLDS
        ]
        tables.append(ScoreTable("Objects at a threshold", ["objects, IoU from", "AP", "F1"], rows))
    return tables


def _image_columns(evaluation: Evaluation) -> list[str]:
    names = [f"iou/{name}" for name in evaluation.classes[1 if evaluation.background else 0 :]]
    names = [*names, "iou/mean"] if len(names) > 1 else names
    names = names if len(names) <= MOST_CLASS_ROWS else ["iou/mean"]
    return [*names, "seg"] if evaluation.has_objects else names


def _image_score(image: ImageResult, name: str) -> float:
    return image.seg if name == "seg" else image.scores[name]


def _versions(checkpoint: Checkpoint | None) -> list[tuple[str, str, str]]:
    """Library, in training, here."""
    here = versions_here()
    trained = checkpoint.versions if checkpoint else {}
    names = dict.fromkeys([*here, *trained])
    return [(name, trained.get(name, ABSENT), here.get(name, ABSENT)) for name in names]


# --- diagrams ----------------------------------------------------------------------------------------------
def _by_class(found: Evaluated, scores: Mapping[str, float]) -> Picture:
    classes, bounds = found.evaluation.classes, found.intervals
    drawn = scores_by_class(
        classes,
        [scores[f"iou/{name}"] for name in classes],
        [scores[f"dice/{name}"] for name in classes],
        [bounds.get(f"iou/{name}") for name in classes],
        [bounds.get(f"dice/{name}") for name in classes],
    )
    return svg(drawn, "IoU and Dice of every class; the numbers are in the table of scores.")


def _by_image(evaluation: Evaluation) -> Picture | None:
    columns = _image_columns(evaluation)
    values = [[_image_score(image, name) for image in evaluation.images] for name in columns]
    if all(math.isnan(score) for row in values for score in row):
        return None
    label = "IoU (SEG for objects)" if "seg" in columns else "IoU"
    names = [name.upper() if name == "seg" else name.removeprefix("iou/") for name in columns]
    return svg(
        scores_by_image(names, values, label=label), f"{label} of single images, a row for each class."
    )


def _curves(found: Evaluated) -> Picture | None:
    """Curves of the run, from the metrics.csv beside the checkpoint."""
    if found.checkpoint is None:
        return None
    try:
        with open(found.path.parent / "metrics.csv", newline="", encoding="utf-8") as file:
            rows = [{k: float(v) if v else math.nan for k, v in row.items()} for row in csv.DictReader(file)]
    except (OSError, ValueError, csv.Error):
        return None
    monitor = found.checkpoint.section("checkpoint").get("monitor", "iou/mean")
    drawn = training_curves(rows, monitor, found.checkpoint.epoch) if rows and "epoch" in rows[0] else None
    alt = f"Loss and {monitor} of training and validation over {len(rows)} epochs."
    return svg(drawn, alt) if drawn else None


# --- gallery -----------------------------------------------------------------------------------------------
def _extremes(evaluation: Evaluation, count: int) -> list[tuple[str, ImageResult]]:
    """The `count` worst, middle and best images, each once, with their rank."""
    scored = [image for image in evaluation.ranked() if not math.isnan(evaluation.score_of(image))]
    n = len(scored)
    worst = list(range(min(count, n)))
    best = [i for i in range(n - 1, max(n - 1 - count, -1), -1) if i not in worst]
    middle = [i for i in range((n - count) // 2, (n - count) // 2 + count) if 0 <= i < n]
    middle = [i for i in middle if i not in worst and i not in best]
    chosen = [(f"worst {place + 1}", i) for place, i in enumerate(worst)]
    chosen += [("median" if len(middle) == 1 else f"median {place + 1}", i) for place, i in enumerate(middle)]
    chosen += [(f"best {place + 1}", i) for place, i in reversed(list(enumerate(best)))]
    return [(rank, scored[i]) for rank, i in chosen]


def _gallery(found: Evaluated, chosen: Sequence[tuple[str, ImageResult]]) -> list[GalleryItem]:
    records = {record.key: record for record in found.records}
    return [_item(found, records[image.key], image, rank) for rank, image in chosen]


def _item(found: Evaluated, record: Record, result: ImageResult, rank: str) -> GalleryItem:
    """An image with its layers: outlines for two classes and for objects, filled classes for more."""
    data = found.judged.data
    image = found.source.read_image(record)
    truth = found.source.read_truth(record, scoring=True)
    prediction = found.judged.predict_record(record, image, found.normaliser)
    size = picture_size(image.shape[:2], SHORT_SIDE, LONG_SIDE)
    shown = cv2.resize(
        displayable(image),
        size[::-1],
        interpolation=cv2.INTER_AREA if size[0] < image.shape[0] else cv2.INTER_NEAREST,
    )
    line = max(3, round(size[1] / 200))
    caption = f"IoU {number_text(result.scores['iou/mean'])}"
    instances = truth.instances if data.has_instances else None
    objects: np.ndarray | None = None
    of_truth: list[Mark] = []
    of_found: list[Mark] = []
    if instances is not None and result.errors is not None:
        caption = f"SEG {number_text(result.seg)}, {caption}"
        objects = drop_outside_field(found.judged.objects(prediction), data.margin)
        of_truth, of_found = marks_of(result.errors, instances, objects)
        caption += "; " + (
            ", ".join(mark.word for mark in of_truth + of_found) or "every object found one to one"
        )
    picture = jpeg(shown, f"{record.key}: {rank}, {caption}")
    unknown = truth.classes == IGNORE
    if _as_outlines(data):
        true, ignored = (truth.classes, IGNORE) if instances is None else (instances, None)
        predicted = prediction.classes if objects is None else objects
        true_layer = outline_layer(true, size, AMBER, width=3 * line, ignore=ignored, unknown=unknown)
        found_layer = outline_layer(predicted, size, BLUE, width=line)
        return GalleryItem(
            rank,
            record.key,
            caption,
            picture,
            # The ground truth's line is wider and lies below, so that it shows on both sides of the other.
            png(fill_marks(true_layer, of_truth)),
            png(fill_marks(found_layer, of_found)),
        )
    colours, clear = _class_colours(found), 0 if data.has_background else None
    return GalleryItem(
        rank,
        record.key,
        caption,
        picture,
        png(filled_layer(truth.classes, size, colours, clear=clear)),
        png(filled_layer(prediction.classes, size, colours, clear=clear)),
        png(outline_layer(truth.classes, size, WHITE, width=line // 2 + 1, ignore=IGNORE, unknown=unknown)),
    )


def _as_outlines(data: DataDescription) -> bool:
    """Outlines of the two for two classes and objects; of more classes fills, as in `pictures.compared`."""
    return len(data.classes) == 2 or data.has_instances


def _class_colours(found: Evaluated) -> np.ndarray:
    data = found.judged.data
    return class_colours(len(data.classes), data.palette, background=data.has_background)


def _hex(colour: Sequence[int] | np.ndarray) -> str:
    return "#{:02x}{:02x}{:02x}".format(*(int(value) for value in colour))


def _legend(found: Evaluated) -> list[tuple[str, str]]:
    data = found.judged.data
    if _as_outlines(data):
        return [
            ("ground truth", _hex(TRUTH_COLOUR)),
            ("prediction (on the other where both agree)", _hex(PREDICTION_COLOUR)),
            *([(kind, _hex(ERROR_COLOURS[kind])) for kind in ERRORS] if data.has_instances else []),
            ("darkened: unknown", ""),
        ]
    first = 1 if data.has_background else 0
    named = [(n, _hex(c)) for n, c in zip(data.classes, _class_colours(found), strict=True)][first:]
    named = named if len(named) <= 24 else [(f"{len(named)} classes in their colours", "")]
    return [*named, ("white line: ground truth, over the prediction", ""), ("darkened: unknown", "")]
