"""Diagrams are pictures with the right content, and leave no figure behind."""

import math

import numpy as np
import pytest

from unet_train.reporting.plots import confusion_matrix_picture, rendered
from unet_train.reporting.report_plots import training_figure


def test_confusion_matrix_is_normalised_per_true_class():
    # Rows of very different size: after normalisation both diagonals are equally dark.
    counts = np.array([[900000, 0], [0, 9]])
    picture = confusion_matrix_picture(counts, ["background", "Zelle"], title="test")
    assert picture.dtype == np.uint8
    assert picture.ndim == 3
    assert picture.shape[2] == 3
    colours, n = np.unique(picture.reshape(-1, 3), axis=0, return_counts=True)
    dark = (8, 48, 107)  # the darkest of "Blues": share 1
    counted = {tuple(c): k for c, k in zip(colours.tolist(), n.tolist(), strict=True)}
    light = (247, 251, 255)  # share 0
    assert counted[dark] == pytest.approx(counted[light], rel=0.1)


def test_absent_class_and_many_classes_are_drawn():
    assert confusion_matrix_picture(np.array([[5, 1], [0, 0]]), ["a", "b"]).size
    assert confusion_matrix_picture(np.eye(15, dtype=int), [f"class {i}" for i in range(15)]).size
    with pytest.raises(ValueError, match="do not fit"):
        confusion_matrix_picture(np.eye(3, dtype=int), ["a"])


@pytest.mark.parametrize("k", [13, 34, 255])
def test_many_classes_stay_within_a_picture_that_can_be_opened(k):
    names = [f"class {i} " + "W" * (i % 40) for i in range(k)]
    counts = np.eye(k, dtype=int) * 7
    counts[3] = 0
    picture = confusion_matrix_picture(counts, names, title="test")
    assert max(picture.shape) <= 2600
    dark = (picture == (8, 48, 107)).all(-1)
    rows, columns = np.nonzero(dark[:, : int(picture.shape[1] * 0.85)])
    assert np.corrcoef(rows, columns)[0, 1] > 0.99, "the diagonal"
    grey = (picture == (217, 217, 217)).all(-1)
    assert grey.sum(1).max() > 0.4 * picture.shape[1], "the row without truth"


def test_thirty_four_classes_have_their_percents():
    counts = np.eye(34, dtype=int) * 3 + np.eye(34, k=1, dtype=int)
    blank = confusion_matrix_picture(np.eye(34, dtype=int), [""] * 34)
    numbers = confusion_matrix_picture(counts, [""] * 34)
    assert (numbers < 60).all(-1).sum() > (blank < 60).all(-1).sum() + 34 * 10, "33 cells with 25 in black"


def test_curves_are_marked_at_the_checkpoint_and_leave_no_figure_open():
    import matplotlib.pyplot

    before = matplotlib.pyplot.get_fignums()
    losses = [
        {"epoch": n, "train/loss": 1 / n, "val/loss": 2 / n, "val/seg": n / 9 if n % 2 else math.nan}
        for n in range(1, 5)
    ]
    figure = training_figure(losses, "seg", 3)
    loss, score = figure.axes
    lines = {line.get_label(): line.get_xydata().tolist() for line in loss.lines}
    assert lines["training"] == [[n, 1 / n] for n in range(1, 5)]
    assert lines["validation"] == [[n, 2 / n] for n in range(1, 5)]
    found = {line.get_label(): line.get_xydata() for line in score.lines}
    assert found["validation"].tolist() == [[1, 1 / 9], [3, 3 / 9]], "the epochs that were validated"
    assert found["the checkpoint (epoch 3)"][:, 0].tolist() == [3, 3]
    picture = rendered(figure)
    assert picture.shape[2] == 3
    assert picture.std() > 5
    assert matplotlib.pyplot.get_fignums() == before
    assert training_figure([{"epoch": 1, "step": 2}], "seg", None) is None
