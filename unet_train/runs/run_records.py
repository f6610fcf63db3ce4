"""Run folders as they lie on the disk: config, curves and evaluations, read without torch."""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from unet_train.errors import UserError
from unet_train.metrics.intervals import bootstrap, contributing, interval_of_each, values_statistic
from unet_train.metrics.pooled import ImageCounts
from unet_train.metrics.volume import SUMMARISED
from unet_train.nearest import nearest
from unet_train.runs.counts_file import COUNTS, read_counts

REPEATS = ("seed", "split.fold", "split.seed")
"""Keys in which runs of one setting may differ: they are repeated, not changed."""

IRRELEVANT = (
    *("resume", "plan", "logger", "trainer.log_every", "trainer.pictures"),
    *("trainer.workers", "trainer.accelerator", "trainer.devices"),
)
"""Keys that say where and how a run is done, not what is done."""


@dataclass
class RunRecord:
    """One run folder.

    Attributes
    ----------
    folder : Path
    config : dict
        Dotted key → value.
    history : list of dict
        Rows of metrics.csv, NaN where a cell is empty.
    """

    folder: Path
    config: dict[str, Any]
    history: list[dict[str, float]] = field(default_factory=list)

    @property
    def monitor(self) -> str:
        """The validation score that chose its epoch."""
        return str(self.config.get("checkpoint.monitor", "iou/mean"))

    @property
    def best_row(self) -> dict[str, float]:
        """The epoch that best.pt is of; empty without a validation."""
        name = f"val/{self.monitor}"
        rows = [row for row in self.history if not math.isnan(row.get(name, math.nan))]
        return max(rows, key=lambda row: row[name]) if rows else {}

    def validation(self, score: str) -> float:
        """A score of the validation part in that epoch; NaN where there is none."""
        return self.best_row.get(f"val/{score}", math.nan)

    @cached_property
    def split(self) -> dict[str, list[str]]:
        """Keys of the images by part, from split.json; empty where it cannot be read."""
        try:
            parts = json.loads((self.folder / "split.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return parts if isinstance(parts, dict) else {}

    def evaluation(self, part: str) -> EvaluationRecord | None:
        """What unet-eval found on a part of the run's own data, or None."""
        folder = self.folder / "eval" / f"{self.config.get('dataset.name')}-{part}"
        try:
            metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return EvaluationRecord(folder, metrics) if isinstance(metrics, dict) else None


@dataclass
class EvaluationRecord:
    """The results of unet-eval in their folder.

    Attributes
    ----------
    folder : Path
    metrics : dict
        As in metrics.json.
    """

    folder: Path
    metrics: dict[str, Any]

    def score(self, name: str) -> float:
        """A score; NaN where it is null or not there."""
        value = self.metrics.get(name)
        return float(value) if isinstance(value, int | float) else math.nan

    def interval(self, name: str) -> tuple[float, float] | None:
        """Its 95 % interval, as metrics.json has it."""
        pair = (self.metrics.get("intervals") or {}).get(name)
        return (float(pair[0]), float(pair[1])) if pair else None

    @cached_property
    def counts(self) -> tuple[list[ImageCounts], tuple[str, ...]] | None:
        """Images and classes of counts.csv; None for an evaluation by an earlier version."""
        return read_counts(self.folder / COUNTS) if (self.folder / COUNTS).is_file() else None

    def patients(self, score: str) -> dict[str, float]:
        """Dice by patient, where `score` is one of its summaries and there are patients; else empty."""
        column = SUMMARISED.get(score.partition("/")[0])
        path = self.folder / "per_patient.csv"
        if column is None or not path.is_file():
            return {}
        with open(path, newline="", encoding="utf-8") as file:
            return {row["patient"]: _number(row[column]) for row in csv.DictReader(file)}


@dataclass(frozen=True)
class PatientScores:
    """Scores that are means or medians over patients, for `metrics.intervals`.

    Attributes
    ----------
    groups : tuple of str
        The patients, sorted.
    values : ndarray
        One per patient.
    name : str
        ``dice_per_patient/mean``, for instance.
    """

    groups: tuple[str, ...]
    values: np.ndarray
    name: str
    unit: str = "patients"

    def scores(self, weights: np.ndarray | None = None) -> dict[str, float]:
        """As `PooledCounts.scores`."""
        weights = np.ones(len(self.groups), np.int64) if weights is None else weights
        what = self.name.partition("/")[2]
        return {self.name: values_statistic(self.values)(weights).get(what, math.nan)}

    def intervals(self) -> dict[str, tuple[float, float] | None]:
        """As `PooledCounts.intervals`."""
        n = len(self.groups)
        return interval_of_each(bootstrap(self.scores, n), contributing(self.scores, n))


def find_runs(folders: Sequence[Path]) -> list[RunRecord]:
    """The runs that folders are, or that lie below them; in the order of the folders, then of their names.

    Raises
    ------
    UserError
        For a folder that does not exist or holds no run, and a run whose config cannot be read.
    """
    found: dict[Path, RunRecord] = {}
    for folder in folders:
        if not folder.is_dir():
            siblings = [p.name for p in folder.parent.iterdir()] if folder.parent.is_dir() else []
            raise UserError(
                f"{folder}: no such folder{nearest(folder.name, siblings)}; name runs, or a folder of runs"
            )
        below = list(_run_folders(folder))
        if not below:
            raise UserError(f"{folder}: holds no run (a folder with config.yaml and metrics.csv or best.pt)")
        for path in below:
            found.setdefault(path.resolve(), read_run(path))
    return list(found.values())


def read_run(folder: Path) -> RunRecord:
    """One run.

    Raises
    ------
    UserError
        If its config.yaml or metrics.csv cannot be read.
    """
    path = folder / "config.yaml"
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(tree, dict):
            raise ValueError("no config in it")
        path = folder / "metrics.csv"
        rows = []
        if path.is_file():
            with open(path, newline="", encoding="utf-8") as file:
                rows = [{name: _number(value) for name, value in row.items()} for row in csv.DictReader(file)]
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValueError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read ({' '.join(str(error).split())})") from error
    return RunRecord(folder, flat(tree), rows)


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted key → value of a nested config; lists stay whole."""
    values: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            values |= flat(value, f"{prefix}{name}.")
        else:
            values[f"{prefix}{name}"] = value
    return values


def differing(runs: Sequence[RunRecord], without: Sequence[str] = IRRELEVANT) -> list[str]:
    """Keys that have more than one value among the runs that have them; the seed and the fold last."""
    names = dict.fromkeys(name for run in runs for name in run.config)
    found = []
    for name in names:
        values = {json.dumps(run.config[name], default=str) for run in runs if name in run.config}
        if len(values) > 1 and name not in without:
            found.append(name)
    return sorted(found, key=lambda name: name in REPEATS)


def labels(names: Sequence[str]) -> dict[str, str]:
    """Key → the shortest name that tells it from the others; a group's kind by the group's name."""
    short = {name: name.removesuffix(".kind").removesuffix(".layout") for name in names}
    last = [name.rpartition(".")[2] for name in short.values()]
    return {
        name: shown.rpartition(".")[2] if last.count(shown.rpartition(".")[2]) == 1 else shown
        for name, shown in short.items()
    }


def value_text(run: RunRecord, name: str, most: int = 24) -> str:
    """The value of a key, as on the command line; "–" where the run has no such key."""
    if name not in run.config:
        return "–"
    value = run.config[name]
    text = json.dumps(value, ensure_ascii=False, default=str) if not isinstance(value, str) else value
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _run_folders(folder: Path) -> Iterator[Path]:
    """Folders of runs, not those inside a run, nor hidden ones."""
    for path, below, files in os.walk(folder):
        if "config.yaml" in files and {"metrics.csv", "best.pt", "last.pt"} & set(files):
            below.clear()
            yield Path(path)
        below[:] = sorted(name for name in below if not name.startswith("."))


def _number(text: str | None) -> float:
    return float(text) if text else math.nan
