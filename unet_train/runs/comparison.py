"""Runs of one setting taken together, over seeds and folds, and settings compared on the same images."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from unet_train.errors import UserError
from unet_train.metrics.intervals import bootstrap, contributing, percentile_interval
from unet_train.metrics.pooled import PooledCounts
from unet_train.nearest import nearest
from unet_train.runs.run_records import (
    IRRELEVANT,
    REPEATS,
    EvaluationRecord,
    PatientScores,
    RunRecord,
    differing,
    value_text,
)

MEASURED = ("dataset.intensity_range", "augmentation.orientation")
"""Keys whose ``auto`` a run replaces by what it measures on its training part, so that folds differ in them."""


@dataclass
class Setting:
    """Runs that differ in seed and fold alone.

    Attributes
    ----------
    runs : list of RunRecord
    values : list of float
        The score of each.
    evaluations : list of EvaluationRecord
        Of each; empty where scores are from the training's own validation.
    """

    runs: list[RunRecord]
    values: list[float] = field(default_factory=list)
    evaluations: list[EvaluationRecord] = field(default_factory=list)

    @property
    def first(self) -> str:
        """What messages call it."""
        return str(self.runs[0].folder)


@dataclass(frozen=True)
class Compared:
    """A setting beside the others.

    Attributes
    ----------
    keys : dict of str to str
        Its values of the keys in which the settings differ.
    runs : tuple of RunRecord
    values : tuple of float
        The score of each run.
    mean, std : float
        Over the runs; `std` with n − 1, NaN for one.
    pooled : float
        The score with the images of all folds together, averaged over seeds; NaN where counts are missing.
    interval : (low, high) or None
        95 % interval of `pooled`.
    difference : float
        Of `pooled` to the first setting's (of `mean` where counts are missing); NaN for the first.
    difference_interval : (low, high) or None
        95 % interval of the difference, both on the same draws of groups.
    """

    keys: dict[str, str]
    runs: tuple[RunRecord, ...]
    values: tuple[float, ...]
    mean: float
    std: float
    pooled: float
    interval: tuple[float, float] | None
    difference: float
    difference_interval: tuple[float, float] | None


@dataclass(frozen=True)
class Basis:
    """What a comparison rests on: groups drawn, their number and name, folds."""

    groups: int = 0
    unit: str = ""
    folds: tuple[Any, ...] = ()


def settings_of(runs: Sequence[RunRecord]) -> list[Setting]:
    """Runs gathered by everything but seed and fold, in the order in which they come.

    Raises
    ------
    UserError
        If two of them are alike in seed and fold too.
    """
    gathered: dict[str, list[RunRecord]] = {}
    for run in runs:
        gathered.setdefault(_key(run, (*IRRELEVANT, *REPEATS, *MEASURED)), []).append(run)
    settings: dict[str, list[RunRecord]] = {}
    for alike in gathered.values():
        # Twice the same seed and fold: then what looks measured was set.
        measured = MEASURED if len({_repeat(run) for run in alike}) == len(alike) else ()
        for run in alike:
            settings.setdefault(_key(run, (*IRRELEVANT, *REPEATS, *measured)), []).append(run)
    for alike in settings.values():
        seen: dict[tuple[Any, ...], RunRecord] = {}
        for run in alike:
            other = seen.setdefault(_repeat(run), run)
            if other is not run:
                raise UserError(
                    f"{run.folder} and {other.folder} have one config and one seed: they are no two runs; leave one out"
                )
    return [Setting(alike) for alike in settings.values()]


def compare_settings(runs: Sequence[RunRecord], score: str, part: str | None) -> tuple[list[Compared], Basis]:
    """Every setting's score, how much it varies, and how much it differs from the first one's.

    Parameters
    ----------
    runs : sequence of RunRecord
    score : str
        Its name in metrics.json.
    part : str or None
        Whose evaluation; None: the validation of the training.

    Raises
    ------
    UserError
        For runs that cannot be compared: without that score or evaluation, of other classes, scored on other images,
        or with a fold missing.
    """
    settings = settings_of(runs)
    for setting in settings:
        setting.values = scores_of(setting.runs, score, part)
        found = [run.evaluation(part) for run in setting.runs] if part else []
        setting.evaluations = [evaluation for evaluation in found if evaluation is not None]
    refuse_other_classes(runs, part)
    folds = _check_folds(settings)
    names = [name for name in differing(runs) if name not in REPEATS]
    if len(settings) == 1:
        names = []
    scored = [_pooled(setting, score) for setting in settings]
    _check_images(settings, part)
    drawn = [_draws(parts, score) for parts in scored]
    compared: list[Compared] = []
    for setting, parts, draws in zip(settings, scored, drawn, strict=True):
        mean = float(np.mean(setting.values))
        pooled = float(np.mean([p.scores()[score] for p in parts])) if parts else math.nan
        groups = _contributing(parts, score)
        first = compared[0] if compared else None
        both = first is not None and draws is not None and drawn[0] is not None
        shared = min(groups, _contributing(scored[0], score))
        compared.append(
            Compared(
                keys={name: value_text(setting.runs[0], name) for name in names},
                runs=tuple(setting.runs),
                values=tuple(setting.values),
                mean=mean,
                std=float(np.std(setting.values, ddof=1)) if len(setting.values) > 1 else math.nan,
                pooled=pooled,
                interval=percentile_interval(draws, groups) if draws is not None else None,
                difference=math.nan
                if first is None
                else (pooled - first.pooled if both else mean - first.mean),
                difference_interval=percentile_interval(draws - drawn[0], shared) if both else None,  # type: ignore[operator]
            )
        )
    some = scored[0][0] if scored[0] else None
    unit = ""
    if some is not None:
        unit = str(settings[0].evaluations[0].metrics.get("interval_unit") or some.unit)
    return compared, Basis(len(some.groups) if some else 0, unit, folds)


def scores_of(runs: Sequence[RunRecord], score: str, part: str | None) -> list[float]:
    """The score of each run.

    Raises
    ------
    UserError
        If one has no such evaluation, or no such score.
    """
    if part is None:
        values = [run.validation(score) for run in runs]
        for run, value in zip(runs, values, strict=True):
            if math.isnan(value):
                names = [name.removeprefix("val/") for name in run.best_row if name.startswith("val/")]
                _no_score(
                    run, score, names, "its metrics.csv holds no validation; name an evaluated part=test"
                )
        return values
    missing = [str(run.folder) for run in runs if run.evaluation(part) is None]
    if missing:
        raise UserError(
            f"{len(missing)} of {len(runs)} runs have no evaluation of part={part}, the first {missing[0]}: "
            f"unet-eval ckpt={missing[0]} part={part}"
        )
    values = []
    for run in runs:
        evaluation = run.evaluation(part)
        value = evaluation.score(score) if evaluation else math.nan
        if math.isnan(value) and evaluation:
            names = [name for name in evaluation.metrics if not math.isnan(evaluation.score(name))]
            _no_score(run, score, names, "no score")
        values.append(value)
    return values


def refuse_other_classes(runs: Sequence[RunRecord], part: str | None) -> None:
    """Refuse runs whose scores are of different classes.

    Raises
    ------
    UserError
    """
    first = _classes(runs[0], part)
    for run in runs[1:]:
        if _classes(run, part) != first:
            raise UserError(
                f"{runs[0].folder} and {run.folder} cannot be compared: other classes ({', '.join(first)}; "
                f"{', '.join(_classes(run, part))})"
            )


# --- checks ------------------------------------------------------------------------------------------------
def _no_score(run: RunRecord, score: str, names: Sequence[str], otherwise: str) -> None:
    there = f"there are {', '.join(names)}" if names else otherwise
    raise UserError(f"score={score}: {run.folder} has no such score{nearest(score, names)}; {there}")


def _classes(run: RunRecord, part: str | None) -> list[str]:
    """Names of the classes that were scored."""
    start = "val/iou/" if part is None else "iou/"
    evaluation = run.evaluation(part) if part else None
    names: Mapping[str, Any] = evaluation.metrics if evaluation else run.best_row
    return [
        n.removeprefix(start)
        for n in names
        if n.startswith(start) and not n.endswith(("/mean", "/mean_over"))
    ]


def _check_folds(settings: Sequence[Setting]) -> tuple[Any, ...]:
    """The folds that every setting has, with every seed.

    Raises
    ------
    UserError
        If one is missing.
    """
    everywhere = {run.config.get("split.fold") for setting in settings for run in setting.runs}
    counts = {run.config.get("split.folds") for setting in settings for run in setting.runs}
    wanted = set(everywhere)
    if len(everywhere) > 1 and len(counts) == 1:
        (count,) = counts
        wanted |= set(range(count)) if isinstance(count, int) else set()
    for setting in settings:
        by_seed: dict[tuple[Any, ...], set[Any]] = {}
        for run in setting.runs:
            by_seed.setdefault(_seeds(run), set()).add(run.config.get("split.fold"))
        for seeds, folds in by_seed.items():
            lacking = sorted(wanted - folds, key=str)
            if lacking:
                raise UserError(
                    f"split.fold={lacking[0]} is missing beside {setting.first} (seed {seeds[0]}): train and "
                    "evaluate it, or name runs of the same folds"
                )
    return tuple(sorted(everywhere - {None}, key=str))


def _check_images(settings: Sequence[Setting], part: str | None) -> None:
    """Refuse settings that were scored on other images, as far as is known.

    Raises
    ------
    UserError
    """
    keys = [_image_keys(setting, part) for setting in settings]
    for setting, own in zip(settings[1:], keys[1:], strict=True):
        if keys[0] and own and own != keys[0]:
            several = sorted(own ^ keys[0])
            raise UserError(
                f"{settings[0].first} and {setting.first} cannot be compared: scored on other images "
                f"({len(several)} are in one alone, for example {several[0]})"
            )


def _image_keys(setting: Setting, part: str | None) -> set[str]:
    if part is None:
        return {key for run in setting.runs for key in run.split.get("val", ())}
    known = [evaluation.counts for evaluation in setting.evaluations]
    return {image.key for counts in known if counts for image in counts[0]}


# --- counts ------------------------------------------------------------------------------------------------
def _pooled(setting: Setting, score: str) -> list[PooledCounts | PatientScores]:
    """The sums of every seed, its folds together; empty where they are not known, or the seeds saw other images."""
    by_seed: dict[tuple[Any, ...], list[EvaluationRecord]] = {}
    for run, evaluation in zip(setting.runs, setting.evaluations, strict=False):
        by_seed.setdefault(_seeds(run), []).append(evaluation)
    found: list[PooledCounts | PatientScores] = []
    for evaluations in by_seed.values():
        patients = {name: v for e in evaluations for name, v in e.patients(score).items()}
        counts = [e.counts for e in evaluations]
        if patients:
            names = tuple(sorted(patients))
            found.append(PatientScores(names, np.array([patients[name] for name in names]), score))
        elif all(counts):
            images = [image for known in counts if known for image in known[0]]
            classes = counts[0][1] if counts[0] else ()
            background = bool(evaluations[0].metrics.get("background", True))
            found.append(PooledCounts.of(images, classes, background=background))
        else:
            return []
    alike = all(parts.groups == found[0].groups and score in parts.scores() for parts in found)
    return found if alike else []


def _draws(parts: Sequence[PooledCounts | PatientScores], score: str) -> np.ndarray | None:
    """Bootstrapped scores, averaged over the seeds, which are drawn alike."""
    if not parts:
        return None
    each = [p.draws() if isinstance(p, PooledCounts) else bootstrap(p.scores, len(p.groups)) for p in parts]
    return np.asarray(np.mean([drawn[score] for drawn in each], axis=0))


def _contributing(parts: Sequence[PooledCounts | PatientScores], score: str) -> int:
    """Groups that the score rests on with every seed."""
    return min((contributing(p.scores, len(p.groups)).get(score, 0) for p in parts), default=0)


# --- identity ----------------------------------------------------------------------------------------------
def _key(run: RunRecord, without: Sequence[str]) -> str:
    return json.dumps({n: v for n, v in run.config.items() if n not in without}, sort_keys=True, default=str)


def _repeat(run: RunRecord) -> tuple[Any, ...]:
    return tuple(run.config.get(name) for name in REPEATS)


def _seeds(run: RunRecord) -> tuple[Any, ...]:
    return run.config.get("seed"), run.config.get("split.seed")
