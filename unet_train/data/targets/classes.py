"""The plain target: the data set's own classes, unchanged."""

from __future__ import annotations

import numpy as np

SEED_THRESHOLDS: tuple[float, ...] = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
"""Of maps whose seeds touch where the net is unsure: the higher, the more readily objects are parted."""


class ClassesTarget:
    """Learn the class map as it is."""

    seed_thresholds = SEED_THRESHOLDS

    def outputs(self, dataset_classes: tuple[str, ...]) -> tuple[str, ...]:
        """The data set's classes."""
        return tuple(dataset_classes)

    def make(self, classes: np.ndarray, instances: np.ndarray | None, scale: float = 1.0) -> np.ndarray:
        """The class map (a copy), H×W uint8."""
        return classes.astype(np.uint8, copy=True)

    def class_probabilities(self, probabilities: np.ndarray, scale: float = 1.0) -> np.ndarray:
        """The probabilities as they are."""
        return probabilities

    def object_maps(self, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Everything but the background is both foreground and seed."""
        foreground = (1.0 - probabilities[0]).astype(np.float32)
        return foreground, foreground
