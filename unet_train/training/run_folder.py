"""The run folder: claimed once, a metrics row per epoch, TensorBoard with the same names and numbers."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from unet_train.atomic import replacing
from unet_train.errors import UserError
from unet_train.log import LOGGER
from unet_train.reporting.loggers import IDS, RunLogger, open_loggers

FIGURES, SHEET = "data.json", "data.png"
"""What the data were understood to be: figures, and a picture."""

CROPS, CURVES = "crops.png", "curves.png"
"""The first training crops, before the first step; losses and scores, at the end."""

PLAN = "plan.yaml"
"""The plan that a run was started with."""


def claim(folder: Path, config_yaml: str) -> None:
    """Make `folder`, whose lock this process holds, this run's own by writing its config.yaml.

    What a run has left that died before its first save is removed.

    Raises
    ------
    UserError
        If the folder holds a run already, or cannot be written.
    """
    refuse_taken(folder)
    path = folder / "config.yaml"
    if path.exists():  # of a run that died unsaved, as `refuse_taken` has seen
        release(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with open(path, "x", encoding="utf-8") as file:
            try:
                file.write(config_yaml)
                file.flush()
            except BaseException:
                path.unlink(missing_ok=True)  # a full disk makes the file and refuses what is in it
                raise
    except OSError as error:
        refuse_taken(folder)  # another run was quicker
        raise UserError(f"hydra.run.dir={folder}: cannot be written ({error.strerror})") from None


def refuse_taken(folder: Path) -> None:
    """Refuse a folder that holds a run.

    Raises
    ------
    UserError
        With the way on: ``resume=``, or another folder.
    """
    if (folder / "last.pt").is_file() or (folder / "best.pt").is_file():
        raise UserError(
            f"{folder} holds a run already: go on with it by resume={folder}, or name another hydra.run.dir"
        )
    config = folder / "config.yaml"
    if config.exists() and not _is_of_a_run(config):
        raise UserError(f"{config} is no run's, and would be overwritten: name another hydra.run.dir")


def _is_of_a_run(config: Path) -> bool:
    """Whether a config.yaml is one that a run has written."""
    try:
        lines = config.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return False
    return {"encoder:", "dataset:", "trainer:", "checkpoint:"} <= set(lines)


def release(folder: Path) -> None:
    """Give a claimed folder back after a failure before anything was saved, so that a better try may have it."""
    if not (folder / "last.pt").exists():
        for name in ("config.yaml", "split.json", "metrics.csv", FIGURES, SHEET, CROPS, PLAN, IDS):
            (folder / name).unlink(missing_ok=True)
        curves = folder / "tensorboard"
        for path in curves.glob("events.out.tfevents.*"):
            path.unlink(missing_ok=True)
        with suppress(OSError):
            curves.rmdir()  # refused where there is something else in it


def keep_config(folder: Path, config_yaml: str) -> None:
    """Replace config.yaml by what a resumed run was asked for, so that the next resume asks for the same."""
    with replacing(folder / "config.yaml") as temporary:
        temporary.write_text(config_yaml, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically; NaN becomes null."""
    text = json.dumps(_finite(content), indent=2, ensure_ascii=False) + "\n"
    with replacing(path) as temporary:
        # A file's name may hold bytes that are no text; JSON has the same escape for them as Python.
        temporary.write_bytes(text.encode("utf-8", "backslashreplace"))


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


class History:
    """metrics.csv and the loggers, written together so that they cannot differ.

    Parameters
    ----------
    folder : Path or None
        The run folder; None writes nothing (processes other than the first).
    epochs_done : int
        Finished epochs.
    step : int or None
        Of a resumed run the updates in them: later rows and scalars, of work that was lost or is not told of yet, are
        dropped. None: a new run.
    loggers : sequence of str
        Names in `reporting.loggers.LOGGERS`.
    """

    def __init__(
        self,
        folder: Path | None,
        epochs_done: int = 0,
        step: int | None = None,
        *,
        loggers: Sequence[str] = ("tensorboard",),
    ):
        self.folder, self.loggers = folder, loggers
        self.rows: list[dict[str, float]] = []
        self.writers: list[RunLogger] | None = None
        self._unwritten: list[dict[str, float]] = []
        self._said = False
        if folder is None:
            return
        self.path = folder / "metrics.csv"
        if self.path.exists():
            with open(self.path, newline="", encoding="utf-8") as file:
                rows = [
                    {k: float(v) if v else math.nan for k, v in row.items()} for row in csv.DictReader(file)
                ]
            self.rows = [row for row in rows if row["epoch"] <= epochs_done]
            self._write()
        self.writers = open_loggers(loggers, folder, None if step is None else step + 1)

    def add(self, epoch: int, step: int, scores: Mapping[str, float]) -> None:
        """One row: `epoch` (from 1), `step` (updates so far) and the scores by their TensorBoard names."""
        if self.folder is None:
            return
        row = {"epoch": epoch, "step": step, **scores}
        self.rows.append(row)
        self._unwritten.append(row)
        self.flush()

    def picture(self, name: str, image: np.ndarray, step: int) -> None:
        """An H×W×3 uint8 picture for the loggers."""
        with self._kept_for_later():
            for writer in self.writers or ():
                writer.image(name, image, step)

    def point(self, step: int, values: Mapping[str, float]) -> None:
        """A point of a curve within an epoch, which has no row in metrics.csv."""
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        with self._kept_for_later():
            for writer in self.writers or ():
                writer.scalars(finite, step)

    def hyperparameters(self, values: Mapping[str, Any], scores: Sequence[str]) -> None:
        """What sets the run apart, and the scores it is judged by: TensorBoard's HParams, the services' tables."""
        with self._kept_for_later():
            for writer in self.writers or ():
                writer.hyperparameters(values, scores)

    def flush(self) -> None:
        """Write what is not written yet, so that a kill loses nothing of it.

        Where the disk is full or gone a line says so once, and the next call tries again: a run does not end for want
        of a curve.
        """
        if self.folder is None:
            return
        with self._kept_for_later():
            if self._unwritten:
                self._write()
            if self.writers is None:
                # What the file before may hold of these rows is void.
                purged = int(self._unwritten[0]["step"]) if self._unwritten else None
                self.writers = open_loggers(self.loggers, self.folder, purged)
            for row in self._unwritten:
                values = {k: v for k, v in row.items() if k not in ("epoch", "step") and math.isfinite(v)}
                for writer in self.writers:
                    writer.scalars(values, int(row["step"]))
            for writer in self.writers:
                writer.flush()
            self._unwritten.clear()

    @contextmanager
    def _kept_for_later(self) -> Iterator[None]:
        """Say once that nothing can be written, and take another TensorBoard file the next time."""
        try:
            yield
        except (OSError, UserError) as error:
            if not self._said:
                named = " and ".join(["metrics.csv", *self.loggers])
                LOGGER.info(
                    f"warning: {self.folder}: {named} cannot be written "
                    f"({getattr(error, 'strerror', None) or error}); the next save tries again"
                )
            self._said = True
            self._abandon()
        else:
            self._said = False

    def _abandon(self) -> None:
        """Leave a TensorBoard file, or a service, that cannot be written."""
        writers, self.writers = self.writers, None
        for writer in writers or ():
            with suppress(OSError):
                writer.close()

    def _write(self) -> None:
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        with replacing(self.path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(names)
            for row in self.rows:
                values = [row.get(name, math.nan) for name in names]
                writer.writerow(["" if math.isnan(v) else f"{v:.10g}" for v in values])

    def close(self) -> None:
        """Flush and close TensorBoard's file and the services' runs."""
        self._abandon()
