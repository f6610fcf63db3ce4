"""An evaluation told top to bottom: a checkpoint, or masks that are there already, data set, scores, files."""

from __future__ import annotations

import csv
import json
import math
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from unet_train.atomic import replacing, writing
from unet_train.checkpoint import Checkpoint
from unet_train.config.checks import check_dataset, expand
from unet_train.config.command_line import lay_over
from unet_train.config.folds import FOLDS, holds_folds, with_folds
from unet_train.config.schema import EvalConfig, TrainConfig
from unet_train.config.typed import typed
from unet_train.data.check import format_problems, image_digest
from unet_train.data.description import DataDescription
from unet_train.data.io.images import write_image
from unet_train.data.layouts import AUTO, DatasetKeys
from unet_train.data.layouts.custom import CustomKeys
from unet_train.data.loading.normaliser import Normaliser
from unet_train.data.records import Record, Source
from unet_train.errors import UserError, one_line
from unet_train.inference.predictor import Ensemble, Predictor, check_alike
from unet_train.log import LOGGER, log_to
from unet_train.metrics.challenge import SEG_LINE, drop_outside_field
from unet_train.metrics.intervals import basis, values_statistic
from unet_train.metrics.intervals import intervals as bootstrap_intervals
from unet_train.metrics.object_errors import ERRORS
from unet_train.metrics.surface import without_distance
from unet_train.metrics.volume import SUMMARISED, VolumeScore, summarise_volumes
from unet_train.overrides import as_override
from unet_train.reporting.plots import confusion_matrix_picture
from unet_train.reporting.tables import format_rows, format_table, interval_text
from unet_train.runs.check_files import check_files
from unet_train.runs.checkpoint_files import PredictorSettings, load_predictor, tell_views
from unet_train.runs.counts_file import COUNTS, write_counts
from unet_train.runs.evaluation_report import Evaluated, write_evaluation_report
from unet_train.runs.factory import build_source, build_split, class_palette
from unet_train.runs.knobs import Knobs
from unet_train.runs.patient_scores import Patients
from unet_train.runs.pictures import compared, compared_objects
from unet_train.runs.predicted_masks import PredictedMasks, find_predicted_masks
from unet_train.training.evaluation import Evaluation, ImageResult, Judged, evaluate, never_predicted_line
from unet_train.training.run_folder import write_json

UNFIT = re.compile(r"^\.+|[^\w. -]+")
"""What is not taken over into the name of a folder: separators, control characters, dots at the start."""


def eval_run(config: EvalConfig, overrides: Sequence[str] = (), words: Sequence[str] = ()) -> dict[str, Any]:
    """Evaluate a checkpoint, write the results, and say the table.

    Parameters
    ----------
    config : EvalConfig
    overrides : sequence of str
        Single keys (``dataset.root=…``) laid over the run's own data set and split.
    words : sequence of str
        All words of the command, for the report.

    Returns
    -------
    dict
        What metrics.json holds, with the folder under ``output``.

    Raises
    ------
    UserError
    """
    log_to(None)
    if config.predictions is not None:
        return score_masks(config, words)
    predictor, checkpoint, path = load_judged(config)
    source, records, part, dataset, own = choose_records(config, overrides, checkpoint)
    if tuple(source.classes) != tuple(predictor.data.classes):
        raise UserError(
            f"the data set's classes ({', '.join(source.classes)}) are not the checkpoint's "
            f"({', '.join(predictor.data.classes)}); set dataset.classes"
        )
    refuse_other_values(source, predictor.data)
    hashes = checked_hashes(source, records)
    for note in [*source.notes, *tell_views(config.tta, [predictor])]:
        LOGGER.info(one_line(note))
    if source.has_background != predictor.data.has_background:
        says = f"{predictor.data.classes[0]} is" if predictor.data.has_background else "no class is"
        LOGGER.info(f"what counts goes by the checkpoint, though: there {says} the background")
    trained_on = set(checkpoint.image_hashes.values())
    seen = [record.key for record in records if hashes.get(record.key) in trained_on]
    warnings = [trained_on_line(seen, len(records))] if seen else []
    judges = chosen_on(checkpoint, records) if own else []
    if judges:
        warnings.append(chosen_on_line(checkpoint, len(judges), len(records)))
    about = {
        "chosen_on": len(judges),
        "ckpt": str(path),
        "epoch": checkpoint.epoch,
        "tta": config.tta,
        "views": list(predictor.views),
        "settings": PredictorSettings.of(config).knobs.words,
        "trained_on": len(seen),
        "trained_on_images": seen,
    }
    scored = Scored(predictor, checkpoint, path, source, records, part, dataset, about, warnings)
    return score(config, scored, words)


def score_masks(config: EvalConfig, words: Sequence[str] = ()) -> dict[str, Any]:
    """Score the masks of a folder as a model's, and name the images without one.

    Parameters
    ----------
    config : EvalConfig
        With `predictions` and a data set.
    words : sequence of str
        All words of the command, for the report.

    Returns
    -------
    dict
        As `eval_run`, with the images without a prediction under ``missing``.

    Raises
    ------
    UserError
    """
    refuse_models_keys(config)
    source, records, part, dataset = choose_labelled(config)
    checked_hashes(source, records)
    masks = find_predicted_masks(
        str(config.predictions), source, dataset.root, describe_truth(dataset, source, records[0])
    )
    for note in [*source.notes, *masks.notes]:
        LOGGER.info(one_line(note))
    missing = masks.missing(records)
    warnings = [missing_line(missing, len(records))] if missing else []
    about = {"predictions": str(config.predictions), "missing": missing, "chosen_on": 0, "trained_on": 0}
    path = expand(str(config.predictions))
    return score(config, Scored(masks, None, path, source, records, part, dataset, about, warnings), words)


@dataclass
class Scored:
    """What goes into an evaluation.

    Attributes
    ----------
    judged : Judged
        A model, or masks.
    checkpoint : Checkpoint or None
        The model's.
    path : Path
        Of the checkpoint, or the folder of the masks.
    source, records, part, dataset
        What it is scored on.
    about : dict
        What metrics.json says of its origin.
    warnings : list of str
    """

    judged: Predictor | PredictedMasks
    checkpoint: Checkpoint | None
    path: Path
    source: Source
    records: list[Record]
    part: str
    dataset: DatasetKeys
    about: dict[str, Any]
    warnings: list[str]


def score(config: EvalConfig, scored: Scored, words: Sequence[str]) -> dict[str, Any]:
    """Score, write the results and say the table; what metrics.json holds, with the folder under ``output``.

    Raises
    ------
    UserError
    """
    judged, source, records = scored.judged, scored.source, scored.records
    dataset, part, warnings = scored.dataset, scored.part, scored.warnings
    name, root = dataset.name, str(dataset.root)
    normaliser = Normaliser(source, judged.data.normalisation)
    patients = Patients(records) if source.volumes and judged.data.has_background else None
    started = time.monotonic()
    evaluation = evaluate(
        judged,
        source,
        tqdm(records, desc="evaluating", disable=None, leave=False, unit="image"),
        normaliser=normaliser,
        look=patients.look if patients else None,
        objects=judged.data.has_instances,
        boundary=None if dataset.boundary is None else tuple(source.classes).index(dataset.boundary),
        surface_tolerance=config.surface_tolerance if config.surface else None,
    )
    per_patient = summarise_volumes(patients.scores) if patients else {}
    scores: dict[str, Any] = evaluation.scores() | per_patient
    pooled = evaluation.pooled()
    unit = "patients" if source.volumes else pooled.unit
    intervals = pooled.intervals() | (patient_intervals(patients.scores) if patients else {})
    objects = evaluation.object_counts()
    metrics = (
        scores
        | objects
        | {
            "intervals": intervals,
            "interval_unit": unit,
            "interval_n": len(pooled.groups),
            "background": evaluation.background,
            "n_images": len(evaluation.images),
            "n_empty": sum(image.empty for image in evaluation.images),
            "part": part,
            "dataset": name,
            "root": root,
            "classes_never_predicted": evaluation.never_predicted(),
            "seconds": round(time.monotonic() - started, 2),
        }
        | scored.about
    )
    folder = (
        results_folder(config, scored.path, f"{name}-{part}", root)
        if scored.checkpoint is not None
        else results_folder(config, Path("predictions"), f"{name}-{part}-{scored.path.name}", root)
    )
    picture = confusion_matrix_picture(evaluation.counts, evaluation.classes, title=f"{name}, {part}")
    with writing(folder):
        write_per_image(folder / "per_image.csv", evaluation.images)
        if patients:
            write_per_patient(folder / "per_patient.csv", patients.scores)
        write_image(folder / "confusion_matrix.png", picture)
        drawn = draw_extremes(
            folder / "overlays", judged, source, records, evaluation, normaliser, config.overlays
        )
        write_counts(folder / COUNTS, evaluation.image_counts(), evaluation.classes)
        report_path = None
        if config.report:
            found = Evaluated(
                judged,
                scored.checkpoint,
                scored.path,
                source,
                records,
                normaliser,
                evaluation,
                metrics,
                intervals,
                patients.scores if patients else {},
                warnings,
                words,
            )
            report_path = write_evaluation_report(folder, found, config.overlays)
        # The last one: where it stands, the others are of the same evaluation, and whole.
        write_json(folder / "metrics.json", metrics)
    title = f"{name}, {part} part: {len(evaluation.images)} images, pixels of all images together"
    LOGGER.info(
        format_table(
            evaluation.scores(),
            counts=evaluation.counts,
            title=title,
            background=evaluation.background,
            intervals=intervals,
        )
    )
    if not math.isnan(scores.get("seg", math.nan)):
        LOGGER.info(SEG_LINE)
    if objects:
        LOGGER.info(objects_line(objects))
    LOGGER.info(basis(len(pooled.groups), unit))
    for line in without_distance_lines(evaluation):
        LOGGER.info(line)
    for warning in warnings:
        LOGGER.info(one_line(f"warning: {warning}"))
    if evaluation.never_predicted():
        LOGGER.info(never_predicted_line(evaluation.never_predicted(), evaluation.classes))
    if patients:
        LOGGER.info(patients_table(patients.scores, intervals))
        for note in patients.notes:
            LOGGER.info(one_line(note))
    if report_path is not None:
        LOGGER.info(f"report    {report_path}")
    LOGGER.info(f"results   {folder}")
    if drawn:
        LOGGER.info(f"overlay   {drawn[-1]}")
    return metrics | {"output": str(folder)}


def checked_hashes(source: Source, records: Sequence[Record]) -> Mapping[str, str]:
    """Content hashes of the images, by key; the data's problems are listed.

    Raises
    ------
    UserError
        If there are any.
    """
    report = check_files(source, records)
    if report.problems:
        LOGGER.info(format_problems(report, "unet-data check … output=FOLDER writes them"))
        raise UserError(
            f"{len(report.problems)} problem(s) in the data, listed above, the first: {report.problems[0]}"
        )
    return report.hashes


def refuse_models_keys(config: EvalConfig) -> None:
    """Refuse what tells a model how to predict where there is none.

    Raises
    ------
    UserError
    """
    given = [*Knobs.of(config).words, *([as_override("tta", config.tta)] if config.tta else [])]
    if given:
        raise UserError(
            f"{given[0]}: is for a model, and predictions={config.predictions} needs none; leave it out"
        )


def choose_labelled(config: EvalConfig) -> tuple[Source, list[Record], str, DatasetKeys]:
    """Source, scorable records, part and section of the data set that masks are scored on.

    Raises
    ------
    UserError
        No data set, or a part that is not there.
    """
    dataset = config.dataset
    assert dataset is not None, "refused before"
    check_dataset(dataset)
    if dataset.intensity_range == AUTO:
        dataset.intensity_range = None  # for pictures alone
    source = build_source(dataset)
    records = source.records()
    part = config.part or "all"
    if part == "all":
        chosen = records
    elif config.split is None and any(record.part for record in records):
        chosen = [record for record in records if record.part == part]
    elif config.split is None:
        raise UserError(f"part={part}: this data set names no parts; leave it out to score all images")
    else:
        chosen = build_split(config.split, dataset, records).parts[part]
    chosen = [record for record in chosen if record.scorable]
    if not chosen:
        raise UserError(f"part={part}: no image to score")
    return source, chosen, part, dataset


def describe_truth(dataset: DatasetKeys, source: Source, first: Record) -> DataDescription:
    """What an evaluation must know of a data set on which nothing was trained."""
    return DataDescription(
        name=dataset.name,
        classes=tuple(source.classes),
        channels=source.channels,
        normalisation="fixed",
        margin=source.margin,
        has_instances=source.read_truth(first, scoring=True).instances is not None,
        has_background=source.has_background,
        palette=class_palette(source),
    )


def missing_line(missing: Sequence[str], images: int) -> str:
    """What stands under the table where images have no prediction."""
    named = ", ".join(missing[:10]) + (", …" if len(missing) > 10 else "")
    return f"{len(missing)} of the {images} images have no prediction and count as wrong everywhere: {named}"


def load_judged(config: EvalConfig) -> tuple[Predictor, Checkpoint, Path]:
    """The model that is scored, its checkpoint, and the path of its file.

    A folder of folds is the mean of its models; the checkpoint is then the first one's, with the training images of all
    of them, and the file is the folder's folds.json.

    Raises
    ------
    UserError
        As `load_predictor`, and if a fold is missing or the models do not go together.
    """
    assert config.ckpt is not None, "refused before"
    settings = PredictorSettings.of(config)
    if not holds_folds(config.ckpt):
        return load_predictor(config.ckpt, settings, encoder=config.encoder)
    names = with_folds([config.ckpt])
    loaded = [load_predictor(name, settings, encoder=config.encoder) for name in names]
    members = [predictor for predictor, _, _ in loaded]
    check_alike(members, names)
    hashes = {key: value for _, checkpoint, _ in loaded for key, value in checkpoint.image_hashes.items()}
    return (
        Ensemble.of(members),
        replace(loaded[0][1], image_hashes=hashes, epoch=None),
        expand(config.ckpt) / FOLDS,
    )


def without_distance_lines(evaluation: Evaluation) -> list[str]:
    """One line for every class that has an outline on one side alone in some images, so that there is no distance."""
    scores = [image.scores for image in evaluation.images]
    lost = {name: without_distance(scores, name) for name in evaluation.classes}
    return [
        f"{name}: no distances in {count} of {len(scores)} images, which have an outline of it in the ground truth "
        "alone or in the prediction alone; their NSD is 0"
        for name, count in lost.items()
        if count
    ]


def trained_on_line(seen: Sequence[str], images: int) -> str:
    """What stands under the table where images were trained on."""
    named = ", ".join(seen[:3]) + (", …" if len(seen) > 3 else "")
    return (
        f"{len(seen)} of the {images} images were trained on, by their pixels ({named}): the scores say too "
        "little about new images"
    )


def refuse_other_values(source: Source, data: DataDescription) -> None:
    """Refuse masks whose values mean other classes than they did in training.

    Raises
    ------
    UserError
        With the table of the training, to be declared.
    """
    trained, here = data.mask_values, source.values
    if not trained or not here:
        return
    for value, index in here.items():
        # A value that training did not have says nothing: other data may write 1 where those wrote 255.
        if value in trained and trained[value] != index:
            was = data.classes[trained[value]]
            keys = {"dataset.values": trained, "dataset.classes": data.classes}
            raise UserError(
                f"mask value {value} is {data.classes[index]} here and was {was} in training; to read the masks as "
                f"then, add {' '.join(as_override(key, given) for key, given in keys.items())}"
            )


def chosen_on(checkpoint: Checkpoint, records: Sequence[Record]) -> list[Record]:
    """Those of the run's own records that the checkpoint's epoch, or its objects' parameters, were chosen on."""
    judged_by = set(checkpoint.split.parts.get("val", ()))
    if checkpoint.training is not None and checkpoint.objects is None:
        return []  # last.pt: the last epoch, whatever its score
    return [record for record in records if record.key in judged_by]


def chosen_on_line(checkpoint: Checkpoint, chosen: int, scored: int) -> str:
    """One line on what was chosen on the images that are scored."""
    what = [] if checkpoint.training is not None else ["the epoch"]
    what += [] if checkpoint.objects is None else ["the objects' parameters"]
    which = "these images" if chosen == scored else f"{chosen} of these {scored} images"
    return f"{which} chose {' and '.join(what)} of this checkpoint, so that its scores on them are optimistic"


def choose_records(
    config: EvalConfig, overrides: Sequence[str], checkpoint: Checkpoint
) -> tuple[Source, list[Record], str, DatasetKeys, bool]:
    """Source, scorable records, part and data set's section, and whether they are the run's own data or another.

    Raises
    ------
    UserError
        For a part that is not there.
    """
    run = typed(TrainConfig, lay_over(checkpoint.config, overrides) | {"resume": None})
    if config.dataset is None and isinstance(run.dataset, CustomKeys):
        raise UserError(
            "the run's data set is a class of your own, which a checkpoint never imports by itself: "
            f"add the override {_own_dataset(run.dataset)}"
        )
    dataset: DatasetKeys = config.dataset or run.dataset
    other = config.dataset is not None and not _same_class(config.dataset, run.dataset)
    check_dataset(dataset)
    if dataset.intensity_range == AUTO:
        trained = checkpoint.data.intensity_range
        dataset.intensity_range = None if trained is None else list(trained)
    source = build_source(dataset)
    records = source.records()
    if not other and _other_content(source, records, checkpoint, overrides):
        other = True
        LOGGER.info("the images are not those of the run, so all of them are scored (part=… chooses)")
    own_split = not other and not any(o.startswith(("split.", "dataset.test_groups")) for o in overrides)
    if own_split:
        by_key = {record.key: record for record in records}
        parts = {
            part: [by_key[k] for k in keys if k in by_key] for part, keys in checkpoint.split.parts.items()
        }
        lost = sum(len(keys) - len(parts[part]) for part, keys in checkpoint.split.parts.items())
        if lost:
            raise UserError(f"dataset.root: {lost} images of the run's split are not in this data set")
    elif other and config.split is None and any(record.part for record in records):
        # The layout says the parts; other data need none to train on.
        parts = {part: [r for r in records if r.part == part] for part in ("train", "val", "test")}
    elif other and config.split is None and not dataset.test_groups and config.part in (None, "all"):
        parts = {"test": []}  # all of it is scored, which needs no split, and of one image there is none
    else:
        parts = build_split(config.split or run.split, dataset, records).parts
    # The run's shares are not meant for other data: all of it is new, unless it names a test part itself.
    named = config.split is not None or dataset.test_groups or any(record.part for record in records)
    default = "all" if other and not (named and parts["test"]) else ("test" if parts["test"] else "val")
    part = config.part or default
    chosen = [r for r in (records if part == "all" else parts[part]) if r.scorable]
    if not chosen:
        there = [p for p in parts if any(r.scorable for r in parts[p])]
        raise UserError(f"part={part}: no image to score; there are {', '.join(there) or 'none at all'}")
    return source, chosen, part, dataset, not other


def _other_content(
    source: Source, records: Sequence[Record], checkpoint: Checkpoint, overrides: Sequence[str]
) -> bool:
    """Whether another folder was named and holds none of the images that the run was trained on.

    Names say nothing: many cameras count from img_0001. A moved or copied folder of the run's own data has at least
    one of its training images under the same key.
    """
    if not checkpoint.image_hashes or not any(o.startswith("dataset.root=") for o in overrides):
        return False
    known = [record for record in records if record.key in checkpoint.image_hashes]
    for record in known:
        try:
            if image_digest(source.read_image(record)) == checkpoint.image_hashes[record.key]:
                return False
        except UserError:
            continue  # the data check reports unreadable files
    return True


def _same_class(dataset: DatasetKeys, of_the_run: DatasetKeys) -> bool:
    """Whether the user named the run's own class of data set again."""
    if dataset.layout != "custom" or of_the_run.layout != "custom":
        return False
    names = ("_target_", "arguments")
    return all(getattr(dataset, name) == getattr(of_the_run, name) for name in names)


def _own_dataset(dataset: CustomKeys) -> str:
    """The words that name a data set class of the user's own again."""
    keys = {"dataset._target_": dataset._target_, "dataset.root": dataset.root}
    keys |= {f"dataset.arguments.{name}": value for name, value in dataset.arguments.items()}
    words = [as_override(key, value) for key, value in keys.items() if value is not None]
    return " ".join(["dataset=custom", *words])


def results_folder(config: EvalConfig, checkpoint: Path, name: str, root: str) -> Path:
    """An empty folder for the results; an earlier evaluation of the same part is replaced, and that is said.

    One of other data that go by the same name, as all of dataset=folder do, is not: the folder's name follows.
    """
    name = UNFIT.sub("_", name)  # of a checkpoint that may be anybody's
    if config.output:
        folder = expand(config.output)
    else:
        run = checkpoint.parent
        is_run = any((run / file).is_file() for file in ("config.yaml", FOLDS))
        folder = (run if is_run else Path()) / "eval" / name
        if _evaluated(folder) not in (None, root):
            folder = folder.with_name(f"{name}-{Path(root).name}")
    if (folder / "metrics.json").is_file():
        LOGGER.info(f"replacing the earlier results in {folder}")
        with writing(folder):
            (folder / "metrics.json").unlink()
        shutil.rmtree(folder / "overlays", ignore_errors=True)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be written ({error.strerror or error}); set output=FOLDER"
        ) from error
    return folder


def _evaluated(folder: Path) -> str | None:
    """The root of the data whose results lie in a folder, or None."""
    try:
        return str(json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["root"])
    except (OSError, ValueError, KeyError):
        return None


def write_per_image(path: Path, images: Sequence[ImageResult]) -> None:
    """One row per image: key, group, and its own scores; empty where a class is absent.

    With objects also SEG and, by `ERRORS`, how many objects went wrong.
    """
    names = list(images[0].scores)
    with_objects = any(image.objects is not None for image in images)
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["key", "group", *names, "empty_mask", *(["seg", *ERRORS] if with_objects else [])])
        for image in images:
            cells: list[object] = [_cell(image.scores[name]) for name in names]
            if with_objects:
                errors = image.errors
                counts = ["" if errors is None else len(getattr(errors, kind)) for kind in ERRORS]
                writer.writerow([image.key, image.group, *cells, int(image.empty), _cell(image.seg), *counts])
            else:
                writer.writerow([image.key, image.group, *cells, int(image.empty)])


def write_per_patient(path: Path, scores: Mapping[str, VolumeScore]) -> None:
    """One row per patient: its slices and voxels, and its Dice, also of the largest part alone."""
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["patient", "slices", "true_voxels", "predicted_voxels", "dice", "dice_largest"])
        for patient, score in scores.items():
            sizes = [score.slices, score.true_voxels, score.predicted_voxels]
            writer.writerow([patient, *sizes, _cell(score.dice), _cell(score.dice_largest)])


def patient_intervals(scores: Mapping[str, VolumeScore]) -> dict[str, tuple[float, float] | None]:
    """95 % intervals of mean and median over patients, under the names of `summarise_volumes`."""
    found: dict[str, tuple[float, float] | None] = {}
    for name, field in SUMMARISED.items():
        values = np.array([getattr(score, field) for score in scores.values()], float)
        bounds = bootstrap_intervals(values_statistic(values), len(values))
        found |= {f"{name}/{what}": pair for what, pair in bounds.items()}
    return found


def patients_table(
    scores: Mapping[str, VolumeScore], intervals: Mapping[str, tuple[float, float] | None]
) -> str:
    """Dice of every patient, as it is and of the largest three-dimensional part, with mean and median.

    Under these two their 95 % intervals, where there are any.
    """
    rows: list[list[object]] = [[name, s.slices, s.dice, s.dice_largest] for name, s in scores.items()]
    summary = summarise_volumes(scores)
    for what in ("mean", "median"):
        values = [summary[f"{name}/{what}"] for name in SUMMARISED]
        rows.append([what, "", *values])
        bounds = [interval_text(intervals.get(f"{name}/{what}")) for name in SUMMARISED]
        rows += [["  95 %", "", *bounds]] if any(bounds) else []
    return format_rows(
        ["patient", "slices", "Dice", "Dice, largest part"],
        rows,
        title=f"{len(scores)} patients, all slices of a patient together",
    )


def _cell(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"


def draw_extremes(
    folder: Path,
    judged: Judged,
    source: Source,
    records: Sequence[Record],
    evaluation: Evaluation,
    normaliser: Normaliser,
    count: int,
) -> list[Path]:
    """Overlays of the best and the worst images, by SEG for objects, else by mean IoU; the worst last."""
    by_key = {record.key: record for record in records}
    scored = [image for image in evaluation.ranked() if not math.isnan(evaluation.score_of(image))]
    ranked = scored[::-1]
    best = [(f"best_{n + 1}", image) for n, image in enumerate(ranked[:count])]
    rest = ranked[len(best) :][::-1][:count]
    worst = [(f"worst_{n + 1}", image) for n, image in enumerate(rest)]
    paths = []
    for rank, result in [*best, *worst[::-1]]:
        record = by_key[result.key]
        image = source.read_image(record)
        truth = source.read_truth(record, scoring=True)
        prediction = judged.predict_record(record, image, normaliser)
        caption = f"{record.key}  IoU {result.scores['iou/mean']:.3f}"
        if result.errors is not None and truth.instances is not None:
            caption = f"{record.key}  SEG {result.seg:.3f}  IoU {result.scores['iou/mean']:.3f}"
            found = drop_outside_field(judged.objects(prediction), judged.data.margin)
            picture = compared_objects(image, truth.instances, found, result.errors, caption=caption)
        else:
            picture = compared(judged.data, image, truth.classes, prediction.classes, caption=caption)
        name = re.sub(r"[^\w.-]+", "_", record.key)
        path = folder / f"{rank}_{name}.png"
        write_image(path, picture)
        paths.append(path)
    return paths


def objects_line(counts: Mapping[str, int]) -> str:
    """One line on what became of the objects."""
    by_name = {name.removeprefix("objects/"): number for name, number in counts.items()}
    errors = ", ".join(f"{by_name[kind]} {kind}" for kind in ERRORS if kind != "invented")
    return (
        f"objects: {by_name['true']} true, of these {by_name['matched']} found one to one, {errors}; "
        f"{by_name['invented']} invented"
    )
