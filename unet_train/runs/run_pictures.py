"""The pictures that a run leaves in its folder: training crops as the net sees them, and the curves at its end."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from unet_train.data.loading.training_set import Sample
from unet_train.reporting.plots import rendered
from unet_train.reporting.report_plots import training_figure
from unet_train.reporting.sheet import MOST_IMAGES, Labelled, sheet
from unet_train.runs.data_report import MOST_PIXELS, file_names
from unet_train.runs.training_setup import Run

CURVES_DPI = 150


def draw_crops(run: Run) -> np.ndarray:
    """The first crops of the first epoch, augmented, with the target that the net learns from them.

    They are those that the training draws: a sample is a function of seed, epoch and index. Of large crops, and of
    whole images in their place, fewer are shown: about `MOST_PIXELS`.

    Parameters
    ----------
    run : Run
        Before its first step.

    Returns
    -------
    ndarray
        H×W×3 uint8.

    Raises
    ------
    UserError
        For an image that cannot be read.
    """
    data = run.data
    samples: list[Sample] = []
    for index in range(min(MOST_IMAGES, len(run.training))):
        if samples and sum(math.prod(s.target.shape) for s in samples) >= MOST_PIXELS:
            break
        samples.append(run.training[0, index])
    shown = {sample.key for sample in samples}
    records = [record for record in data.split.train if record.key in shown]
    names = dict(zip([record.key for record in records], file_names(records), strict=True))
    same_classes = data.outputs == data.description.classes
    return sheet(
        lambda i: Labelled(samples[i].image, samples[i].target, None, names[samples[i].key]),
        [(sample.target.shape[0], sample.target.shape[1]) for sample in samples],
        class_names=data.outputs,
        palette=data.description.palette if same_classes else None,
        background=data.description.has_background,
        title=f"{len(samples)} training crops, augmented; target {data.description.target}",
    )


def draw_curves(rows: Sequence[Mapping[str, float]], monitor: str, best_epoch: int) -> np.ndarray | None:
    """Losses and the score that chooses the epoch, over the epochs.

    Parameters
    ----------
    rows : sequence of mapping
        One per epoch, as in metrics.csv.
    monitor : str
        Name of the score.
    best_epoch : int
        Epoch of best.pt, from 1; 0 where there is none.

    Returns
    -------
    ndarray or None
        H×W×3 uint8; None where there is nothing to draw.
    """
    figure = training_figure(rows, monitor, best_epoch or None, dpi=CURVES_DPI)
    return None if figure is None else rendered(figure)
