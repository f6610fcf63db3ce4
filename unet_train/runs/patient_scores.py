"""Dice per patient, gathered while an evaluation walks through the slices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from unet_train.data.records import Record, Truth
from unet_train.inference.predictor import Prediction
from unet_train.metrics.volume import VolumeScore, volume_score


class Patients:
    """Stacks the slices of each patient, by their number, and scores a volume as soon as its last slice came.

    Slices that are missing in between are no gap: their neighbours lie on each other.

    Parameters
    ----------
    records : sequence of Record
        Those that will be evaluated.

    Attributes
    ----------
    scores : dict of str to VolumeScore
        By patient, over every class but the background, at native size, on the unmodified masks.
    notes : list of str
        Patients that could not be scored, and why.
    """

    def __init__(self, records: Sequence[Record]):
        self.scores: dict[str, VolumeScore] = {}
        self.notes: list[str] = []
        self._missing = Counter(record.group for record in records)
        self._slices: dict[str, list[tuple[int, np.ndarray, np.ndarray]]] = {}

    def look(self, record: Record, image: np.ndarray, truth: Truth, prediction: Prediction) -> None:
        """Take in one slice (`evaluation.Look`)."""
        slices = self._slices.setdefault(record.group, [])
        slices.append((record.order, prediction.classes, truth.classes))
        if len(slices) < self._missing[record.group]:
            return
        del self._slices[record.group]
        ordered = sorted(slices, key=lambda entry: entry[0])
        try:
            self.scores[record.group] = volume_score([entry[1:] for entry in ordered])
        except ValueError as error:
            self.notes.append(f"{record.group}: no Dice of the patient ({error})")
