"""Results in the Cell Tracking Challenge's format, so that its own tools accept the folder.

``maskTTT.tif`` (16 bits, 0 for background) for every frame and ``res_track.txt`` with lines ``L B E P``:
label, first frame, last frame, parent.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from unet_train.atomic import replacing
from unet_train.data.io.images import write_labels
from unet_train.errors import UserError
from unet_train.inference.linking import OverlapLinker


def frame_number(path: str | Path) -> int:
    """The frame number in a file name: its last group of digits (``t007.tif`` → 7).

    Raises
    ------
    UserError
        If the name has no digit.
    """
    return int(_digits(path))


def sequence_frames(paths: Sequence[str | Path]) -> tuple[list[tuple[int, Path]], int]:
    """Order the files of a sequence by their frame numbers.

    Parameters
    ----------
    paths : sequence of path
        Image files of one sequence.

    Returns
    -------
    frames : list of (number, path)
        In increasing order.
    digits : int
        Digits to write a number with: as many as the file names have, at least three.

    Raises
    ------
    UserError
        If a name has no number, or two files have the same.
    """
    frames = sorted((frame_number(path), Path(path)) for path in paths)
    for (number, path), (following, other) in pairwise(frames):
        if number == following:
            raise UserError(
                f"format=ctc: {path} and {other} both are frame {number}; a sequence has one file per frame"
            )
    return frames, max([3, *(len(_digits(path)) for path in paths)])


class ChallengeWriter:
    """Writes the frames of one sequence, in order, and the list of tracks at the end.

    Parameters
    ----------
    folder : path
        For instance ``01_RES``; made if missing.
    digits : int
        Digits of the frame number in the file names.
    overwrite : bool
        Whether results of an earlier run may be replaced. They are deleted first: a frame left over from
        another run would make the folder invalid.

    Raises
    ------
    UserError
        If the folder already holds results and `overwrite` is not set.

    Notes
    -----
    Use as a context manager, or call `close`; without it there is no ``res_track.txt``.
    """

    def __init__(self, folder: str | Path, *, digits: int = 3, overwrite: bool = False) -> None:
        self.folder = Path(folder)
        self.digits = digits
        old = [*self.folder.glob("mask*.tif"), *self.folder.glob("res_track.txt")]
        if old and not overwrite:
            raise UserError(f"{self.folder}: holds results already ({old[0].name}, …); set overwrite=true")
        for path in old:
            path.unlink()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._linker = OverlapLinker()
        self._size: tuple[int, ...] | None = None

    def add(self, number: int, objects: np.ndarray, name: str = "") -> np.ndarray:
        """Write one frame.

        Parameters
        ----------
        number : int
            Frame number, growing from call to call.
        objects : ndarray
            H×W object ids, 0 for none; without any the frame is written empty.
        name : str
            File of the image, for the error message.

        Returns
        -------
        ndarray
            H×W uint16, the labels as written (the same object keeps its label over the frames).

        Raises
        ------
        UserError
            If the size differs from that of the frames before, or there are too many tracks.
        """
        if self._size is not None and objects.shape != self._size:
            size, first = "×".join(map(str, objects.shape)), "×".join(map(str, self._size))
            raise UserError(
                f"{name or f'frame {number}'}: {size} pixels, the frames before have {first}; "
                "all frames of a sequence must have one size"
            )
        self._size = objects.shape
        labels = self._linker.add(objects, number)
        write_labels(self.folder / f"mask{number:0{self.digits}}.tif", labels)
        return labels

    def close(self) -> Path:
        """Write ``res_track.txt`` and return its path."""
        path = self.folder / "res_track.txt"
        lines = [f"{t.label} {t.first} {t.last} {t.parent}\n" for t in self._linker.tracks]
        with replacing(path) as temporary:
            temporary.write_text("".join(lines), encoding="ascii", newline="\n")
        return path

    def __enter__(self) -> ChallengeWriter:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.close()


def _digits(path: str | Path) -> str:
    found = re.findall(r"[0-9]+", Path(path).stem)
    if not found:
        raise UserError(f"format=ctc: {path} has no frame number in its name (expected names like t000.tif)")
    return found[-1]
