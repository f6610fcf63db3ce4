"""Objects of successive frames linked by overlap: enough for a valid result folder, not a tracker."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from unet_train.errors import UserError

LARGEST_LABEL = 65535
"""Track labels are stored in 16 bits."""


@dataclass
class Track:
    """One line of ``res_track.txt``: label, first and last frame, and the parent's label (0: none)."""

    label: int
    first: int
    last: int
    parent: int = 0


class OverlapLinker:
    """Gives the objects of a sequence, frame by frame, labels that stay the same while they overlap.

    An object continues the track of that object of the frame before with which it shares most (Jaccard index,
    best pairs first, each used once); an object without a partner begins a new track. Divisions are not
    recognised: both daughters, or all but one, begin tracks without a parent.

    Parameters
    ----------
    least : float
        Jaccard index below which two objects are not the same, in [0, 1).
    """

    def __init__(self, least: float = 0.1) -> None:
        if not 0 <= least < 1:
            raise ValueError(f"the least overlap must be in [0, 1), not {least}")
        self.least = least
        self.tracks: list[Track] = []
        self._before: np.ndarray | None = None
        self._frame: int | None = None

    def add(self, objects: np.ndarray, frame: int | None = None) -> np.ndarray:
        """Link the next frame.

        Parameters
        ----------
        objects : ndarray
            H×W object ids, 0 for none.
        frame : int or None
            Its number, greater than that of the frame before; None: the next one. Over a gap in the numbers
            nothing is linked, because a track must exist in each of its frames.

        Returns
        -------
        ndarray
            H×W uint16 track labels.

        Raises
        ------
        ValueError
            If the size changes or the numbers do not grow.
        UserError
            If the sequence needs more labels than 16 bits hold.
        """
        last = self._frame
        frame = (0 if last is None else last + 1) if frame is None else frame
        if last is not None and frame <= last:
            raise ValueError(f"frame {frame} does not follow frame {last}")
        if self._before is not None and self._before.shape != objects.shape:
            raise ValueError(f"frame {frame} is {objects.shape}, the one before {self._before.shape}")
        ids, compact = np.unique(objects, return_inverse=True)
        compact = compact.reshape(objects.shape)
        if ids.size == 0 or ids[0] != 0:
            ids, compact = np.concatenate([[0], ids]), compact + 1
        labels = np.zeros(len(ids), np.uint16)
        if self._before is not None and last is not None and frame == last + 1:
            for own, label in self._partners(compact, len(ids)):
                labels[own] = label
                self.tracks[label - 1].last = frame
        for own in (np.flatnonzero(labels[1:] == 0) + 1).tolist():
            if len(self.tracks) >= LARGEST_LABEL:
                raise UserError(
                    f"format=ctc: more than {LARGEST_LABEL} tracks by frame {frame}, and the 16 bits of the "
                    "format hold no more; predict a part of the sequence"
                )
            self.tracks.append(Track(len(self.tracks) + 1, frame, frame))
            labels[own] = len(self.tracks)
        self._before = labels[compact]
        self._frame = frame
        return self._before

    def _partners(self, compact: np.ndarray, n: int) -> list[tuple[int, int]]:
        """Pairs of own id (1..n−1) and label of the frame before, best first, each used once."""
        assert self._before is not None
        before = self._before.astype(np.int64)
        pairs, shared = np.unique(compact.astype(np.int64) * (LARGEST_LABEL + 1) + before, return_counts=True)
        own, label = pairs // (LARGEST_LABEL + 1), pairs % (LARGEST_LABEL + 1)
        own_area = np.bincount(compact.ravel(), minlength=n)
        label_area = np.bincount(before.ravel(), minlength=LARGEST_LABEL + 1)
        real = (own > 0) & (label > 0)
        own, label, shared = own[real], label[real], shared[real]
        value = shared / (own_area[own] + label_area[label] - shared)
        taken_own: set[int] = set()
        taken_label: set[int] = set()
        result = []
        for k in np.argsort(-value, kind="stable"):
            mine, theirs = int(own[k]), int(label[k])
            if value[k] < self.least or mine in taken_own or theirs in taken_label:
                continue
            taken_own.add(mine)
            taken_label.add(theirs)
            result.append((mine, theirs))
        return result
