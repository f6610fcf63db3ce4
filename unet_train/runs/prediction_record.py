"""Which images an output folder holds results of, from which file and by which models: `predicted.csv`."""

from __future__ import annotations

import csv
import hashlib
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch

from unet_train.errors import UserError
from unet_train.runs.prediction_inputs import Job, is_record, record_name

KEPT = ("name", "source", "bytes", "modified", "models")
"""What tells whether an image is done."""

COLUMNS = (*KEPT, "written", "settings")
"""``written``: nanoseconds since 1970, by which the latest of several rows of an image counts, whichever file it is in;
``settings``: the keys that were set, as typed. Files of earlier versions go on without what they lack."""

FORMATS = (COLUMNS, (*KEPT, "settings"), KEPT)
"""Columns of this version's files and of earlier ones'."""


class DoneRecord:
    """What is done already, so that a second run goes on where the first ended, and mixes nothing up.

    Parameters
    ----------
    folder : Path
        The output folder.
    models : str
        What the results depend on besides the image, see `describe_models`.
    settings : str
        The keys that were set, for a reader.
    shard : (int, int) or None
        Its rows go to a file of its own; what all files of the folder say counts.
    """

    def __init__(self, folder: Path, models: str, settings: str = "", shard: tuple[int, int] | None = None):
        self.path = folder / record_name(shard)
        self.models = models
        self.settings = settings
        self._columns: tuple[str, ...] = COLUMNS
        self.rows: dict[str, list[str]] = {}
        self._written: dict[str, int] = {}
        self._torn = _is_torn(self.path)
        for path in sorted(folder.glob("predicted*.csv")):
            if path == self.path or is_record(path):
                self._read(path)

    def _read(self, path: Path) -> None:
        with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
            # A last line that was cut off by a power failure is of no image that is done.
            rows = list(csv.reader(file))
        columns = next((known for known in FORMATS if rows and tuple(rows[0]) == known), COLUMNS)
        if path == self.path:
            self._columns = columns
        for row in rows[1:]:
            if len(row) != len(columns):
                continue
            written = dict(zip(columns, row, strict=True)).get("written", "0")
            when = int(written) if written.isdecimal() else 0
            if when >= self._written.get(row[0], 0):
                self.rows[row[0]], self._written[row[0]] = row[1 : len(KEPT)], when

    def done(self, job: Job, files: Iterable[Path]) -> bool:
        """Whether `files`, the results of this image as it is now, are there."""
        row = self.rows.get(job.name.as_posix())
        try:
            return row == [*_identity(job.path), self.models] and all(file.is_file() for file in files)
        except OSError:  # a link to nothing; told when it is read
            return False

    def knows(self, job: Job) -> bool:
        """Whether there are results under this image's name, of whatever image and model."""
        return job.name.as_posix() in self.rows

    def refuse_others(self, jobs: Sequence[Job]) -> None:
        """Refuse to put results of other models between those that are there.

        Raises
        ------
        UserError
        """
        rows = [row for job in jobs if (row := self.rows.get(job.name.as_posix()))]
        other = [row for row in rows if row[3] != self.models]
        if other:
            raise UserError(
                f"output={self.path.parent}: holds results of {len(other)} of these images by another model "
                "or with other settings; name another folder, or say overwrite=true"
            )

    def refuse_namesake(self, job: Job) -> None:
        """Refuse to replace the results of another image of the same name.

        Raises
        ------
        UserError
        """
        row = self.rows.get(job.name.as_posix())
        if row is not None and row[0] != os.path.realpath(job.path):
            raise UserError(
                f"{job.path}: the output folder holds results of {row[0]} under this name; name another "
                "folder, or say overwrite=true"
            )

    def add(self, job: Job) -> None:
        """Note that the results of this image are complete."""
        row = [*_identity(job.path), self.models]
        name, written = job.name.as_posix(), time.time_ns()
        self.rows[name], self._written[name] = row, written
        with open(self.path, "a", newline="", encoding="utf-8", errors="surrogateescape") as file:
            if self._torn:
                file.write("\n")
                self._torn = False
            writer = csv.writer(file)
            if file.tell() == 0:
                writer.writerow(self._columns)
            self._torn = True
            values = [name, *row, written, self.settings]
            cells = dict(zip(COLUMNS, values, strict=True))
            writer.writerow([cells[column] for column in self._columns])
        self._torn = False


def _is_torn(path: Path) -> bool:
    """Whether the last line of a file was cut off: the next one must not go on where it ended."""
    if not path.is_file() or path.stat().st_size == 0:
        return False
    with open(path, "rb") as file:
        file.seek(-1, 2)
        return file.read() != b"\n"


def _identity(path: Path) -> list[str]:
    """What tells an image file from another, and from its own earlier self."""
    state = path.stat()
    return [os.path.realpath(path), str(state.st_size), str(state.st_mtime_ns)]


def describe_models(models: Sequence[torch.nn.Module], *settings: object) -> str:
    """A short text that is the same for the same weights and settings."""
    digest = hashlib.sha256(repr(settings).encode())
    for model in models:
        for name, value in model.state_dict().items():
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
