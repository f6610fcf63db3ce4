"""Cross-validation put together: every image scored by the one model that did not see it, all of them pooled."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from unet_train.atomic import replacing, writing
from unet_train.checkpoint import Checkpoint
from unet_train.config.checks import expand
from unet_train.config.compose import compose_command, read_run_config
from unet_train.config.folds import trained_folds
from unet_train.config.schema import EvalConfig, TrainConfig
from unet_train.config.typed import typed
from unet_train.data.layouts.custom import CustomKeys
from unet_train.errors import UserError
from unet_train.log import LOGGER, log_to
from unet_train.metrics.intervals import basis
from unet_train.metrics.pooled import ImageCounts, PooledCounts
from unet_train.metrics.volume import SUMMARISED
from unet_train.reporting.tables import format_rows, interval_text
from unet_train.runs.counts_file import COUNTS, write_counts
from unet_train.runs.evaluation import choose_records, eval_run
from unet_train.runs.run_records import EvaluationRecord, PatientScores, read_run
from unet_train.training.run_folder import write_json

PART = "test"
"""Folds share their other parts: only here does every image stand once."""

MOST_COLUMNS = 10
"""Of more folds the table shows none by itself."""


@dataclass(frozen=True)
class Pooled:
    """The scores of all folds' images together.

    Attributes
    ----------
    scores : dict of str to float
        Under the names of metrics.json.
    intervals : dict of str to (low, high) or None
        95 %, over groups, images or patients.
    unit : str
        Which of these.
    groups : int
        How many.
    """

    scores: dict[str, float]
    intervals: dict[str, tuple[float, float] | None]
    unit: str
    groups: int


def eval_folds(config: EvalConfig, overrides: Sequence[str], words: Sequence[str]) -> None:
    """``unet-eval ckpt=FOLDER_OF_FOLDS``: the run's own images out of fold, others by the mean of all models.

    Parameters
    ----------
    config, overrides, words
        As in `eval_run`.

    Raises
    ------
    UserError
        As `eval_run`, and for another part or an output of the run's own images.
    """
    folder = expand(str(config.ckpt))
    runs = trained_folds("ckpt", folder)
    log_to(None)
    *_, own = choose_records(replace(config, part=None), overrides, Checkpoint.read(runs[0] / "best.pt"))
    if not own:
        eval_run(config, overrides, words)
        return
    if config.part not in (None, PART):
        raise UserError(
            f"part={config.part}: folds are scored on their test parts, where every image stands once; for another "
            f"part of one fold: unet-eval ckpt={runs[0]} part={config.part}"
        )
    if config.output:
        raise UserError(f"output={config.output}: the folds' own images are scored in {folder}; leave it out")
    LOGGER.info(pool_folds(folder, runs, [_evaluate(run, config, overrides) for run in runs]))


def evaluate_folds(runs: Sequence[Path]) -> list[EvaluationRecord]:
    """Evaluate each fold's model on its test part as it was trained, unless its newest best.pt has been already.

    Raises
    ------
    UserError
    """
    log_to(None)
    found = []
    for run in runs:
        done = read_run(run).evaluation(PART)
        if done is None or done.metrics.get("epoch") != Checkpoint.read(run / "best.pt").epoch:
            done = _evaluate(run, _as_trained(run))
        found.append(done)
    return found


def _evaluate(run: Path, config: EvalConfig, overrides: Sequence[str] = ()) -> EvaluationRecord:
    """One fold's evaluation on its test part, as `config` says otherwise."""
    LOGGER.info(f"{run.name}:")
    metrics = eval_run(replace(config, ckpt=str(run), part=PART), overrides)
    return EvaluationRecord(Path(metrics["output"]), metrics)


def _as_trained(run: Path) -> EvalConfig:
    """unet-eval's config on the machine, and with the classes of the user's own, that a run was trained with."""
    trained: TrainConfig = typed(TrainConfig, read_run_config(run))
    config: EvalConfig = compose_command("eval", ["ckpt=_"]).config
    config.accelerator, config.precision = trained.trainer.accelerator, trained.trainer.precision
    config.tile = trained.tile
    config.encoder = trained.encoder if isinstance(trained.encoder, dict) else None
    config.dataset = trained.dataset if isinstance(trained.dataset, CustomKeys) else None
    return config


def pool(evaluations: Sequence[EvaluationRecord]) -> Pooled:
    """Pool the evaluations of all folds: counts added over their images, patients side by side.

    Raises
    ------
    UserError
        If an image was scored in two folds, or an evaluation has no counts.
    """
    images = [image for evaluation in evaluations for image in _images(evaluation)]
    _refuse_twice(images)
    first = evaluations[0]
    classes = first.counts[1] if first.counts else ()
    counts = PooledCounts.of(images, classes, background=bool(first.metrics.get("background", True)))
    scores, intervals = counts.scores(), counts.intervals()
    unit = counts.unit
    for name in SUMMARISED:
        for what in ("mean", "median"):
            score = f"{name}/{what}"
            patients = {key: v for e in evaluations for key, v in e.patients(score).items()}
            if not patients:
                continue
            names = tuple(sorted(patients))
            volumes = PatientScores(names, np.array([patients[key] for key in names]), score)
            scores |= volumes.scores()
            intervals |= volumes.intervals()
            unit = volumes.unit
    return Pooled(scores, intervals, unit, len(counts.groups))


def pool_folds(folder: Path, runs: Sequence[Path], evaluations: Sequence[EvaluationRecord]) -> str:
    """Write what all folds come to into their folder; the table.

    ``metrics.json`` holds the pooled scores with their intervals, mean and deviation over the folds, and each fold's
    own; ``per_image.csv`` a row per image with the fold that scored it; ``per_patient.csv`` the same for volumes;
    ``counts.csv`` what the scores are made of.

    Raises
    ------
    UserError
        As `pool`.
    """
    pooled = pool(evaluations)
    names = list(pooled.scores)
    by_fold = [{name: evaluation.score(name) for name in names} for evaluation in evaluations]
    mean, std = {}, {}
    for name in names:
        values = np.array([scores[name] for scores in by_fold])
        values = values[~np.isnan(values)]
        mean[name] = float(values.mean()) if values.size else math.nan
        std[name] = float(values.std(ddof=1)) if values.size > 1 else math.nan
    content: dict[str, Any] = pooled.scores | {
        "intervals": pooled.intervals,
        "interval_unit": pooled.unit,
        "interval_n": pooled.groups,
        "mean_over_folds": mean,
        "std_over_folds": std,
        "folds": [
            {"run": run.name, "n_images": evaluation.metrics.get("n_images"), **scores}
            for run, evaluation, scores in zip(runs, evaluations, by_fold, strict=True)
        ],
        "part": PART,
        "dataset": evaluations[0].metrics.get("dataset"),
    }
    with writing(folder):
        _write_tables(folder, evaluations)
        write_json(folder / "metrics.json", content)
    columns = len(runs) <= MOST_COLUMNS
    head = ["score", *(f"fold {n}" for n in range(len(runs)) if columns), "mean", "± sd", "pooled", "95 %"]
    rows = []
    for name in names:
        if not name.endswith("/mean_over"):
            own = [scores[name] for scores in by_fold] if columns else []
            interval = interval_text(pooled.intervals.get(name))
            rows.append([name, *own, mean[name], std[name], pooled.scores[name], interval])
    images = sum(len(_images(evaluation)) for evaluation in evaluations)
    title = f"{len(runs)} folds, {PART} parts: {images} images, each scored by the model that did not see it"
    return "\n".join(
        [
            format_rows(head, rows, title=title),
            "mean, ± sd: over folds; pooled: the images of all folds together",
            basis(pooled.groups, pooled.unit),
            f"results   {folder / 'metrics.json'}",
        ]
    )


def _write_tables(folder: Path, evaluations: Sequence[EvaluationRecord]) -> None:
    """per_image.csv, counts.csv and, for volumes, per_patient.csv of all folds."""
    images = [image for evaluation in evaluations for image in _images(evaluation)]
    classes = evaluations[0].counts[1] if evaluations[0].counts else ()
    background = bool(evaluations[0].metrics.get("background", True))
    write_counts(folder / COUNTS, images, classes)
    rows: list[list[object]] = []
    for fold, evaluation in enumerate(evaluations):
        for image in _images(evaluation):
            scores = image.scores(classes, background=background)
            if not rows:
                rows.append(["fold", "key", "group", *scores])
            cells = ["" if math.isnan(value) else f"{value:.6g}" for value in scores.values()]
            rows.append([fold, image.key, image.group, *cells])
    _write_csv(folder / "per_image.csv", rows)
    patients = [["fold", "patient", *SUMMARISED.values()]]
    by_score = [[evaluation.patients(f"{name}/mean") for name in SUMMARISED] for evaluation in evaluations]
    for fold, found in enumerate(by_score):
        for patient in found[0]:
            patients.append([str(fold), patient, *(f"{values[patient]:.6g}" for values in found)])
    if len(patients) > 1:
        _write_csv(folder / "per_patient.csv", patients)


def _write_csv(path: Path, rows: Sequence[Sequence[object]]) -> None:
    with (
        replacing(path) as temporary,
        open(temporary, "w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        csv.writer(file).writerows(rows)


def _images(evaluation: EvaluationRecord) -> list[ImageCounts]:
    """The images of an evaluation.

    Raises
    ------
    UserError
        If it has no counts.csv.
    """
    if evaluation.counts is None:
        raise UserError(f"{evaluation.folder}: has no {COUNTS}; evaluate the run again")
    return evaluation.counts[0]


def _refuse_twice(images: Sequence[ImageCounts]) -> None:
    seen: set[str] = set()
    for image in images:
        if image.key in seen:
            raise UserError(f"split.file: {image.key} is in the test part of two folds; name it in one")
        seen.add(image.key)
