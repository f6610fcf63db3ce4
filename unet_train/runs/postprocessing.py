"""Post-processing parameters: how objects are cut out of probabilities, optimised once the training is over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from unet_train.checkpoint import Checkpoint
from unet_train.data.records import Record
from unet_train.data.splits import Split
from unet_train.inference.predictor import Predictor
from unet_train.log import LOGGER
from unet_train.runs.training_data import TrainingData
from unet_train.training.evaluation import choose_postprocessing

MOST_IMAGES = 8
"""Validation images at most that objects' parameters are chosen on: some fifty rules are tried on each."""


def optimise_postprocessing(path: Path, predictor: Predictor, data: TrainingData) -> None:
    """Choose on the validation part how objects are cut out of the best weights' probabilities; keep it.

    Where the data tell no objects apart, or there is no validation part, nothing is done.
    """
    if not (data.description.has_instances and data.split.val):
        return
    checkpoint = Checkpoint.read(path)
    predictor.model.load_state_dict(checkpoint.state_dict)
    few = records_to_optimise_on(data.split, data.source.records())
    # Some seconds for each image, in which nothing else would be said.
    LOGGER.info(f"choosing how objects are cut out, on {len(few)} validation images")
    rule, scores = choose_postprocessing(predictor, data.source, few)
    replace(checkpoint, objects=rule, metrics={**(checkpoint.metrics or {}), **scores}).write(path)
    said = ", ".join(f"{name} {value:.4f}" for name, value in scores.items())
    silver = sum(not record.scorable for record in few)
    LOGGER.info(
        f"objects: seeds above {rule.seed_threshold}, foreground above {rule.threshold}; {said} on "
        f"{len(few)} validation images" + (f" ({silver} of them by their training labels)" if silver else "")
    )


def records_to_optimise_on(split: Split, records: Sequence[Record]) -> list[Record]:
    """Up to `MOST_IMAGES` validation records, filled up with those between them that are in no part.

    A validation block of a sequence may hold two gold frames and fourteen that have silver labels alone; two
    frames are too few to choose five numbers by. The frames beside the block are left out, being near copies
    of training frames.
    """
    taken = {record.key for record in (*split.train, *split.val, *split.test)}
    between = []
    for group in {record.group for record in split.val}:
        orders = [record.order for record in split.val if record.group == group]
        between += [
            record
            for record in records
            if record.group == group and record.key not in taken and record.trainable
            if min(orders) < record.order < max(orders)
        ]
    room = min(len(between), max(0, MOST_IMAGES - len(split.val)))
    spread: Sequence[int] = (
        np.linspace(0, len(between) - 1, room).round().astype(int).tolist() if room else []
    )
    return [*split.val[:MOST_IMAGES], *(between[place] for place in spread)]
