"""Confusion counts against scikit-learn and by hand; the rules for absent classes and ignored pixels."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from unet_train.errors import UserError
from unet_train.metrics.confusion import (
    confusion_counts,
    confusion_counts_tensor,
    never_predicted,
    scores_from_counts,
)

KINDS = ("iou", "dice", "precision", "recall", "specificity")


def test_counts_by_hand():
    target = np.array([[0, 0, 1], [1, 255, 2]], np.uint8)
    prediction = np.array([[0, 1, 1], [0, 2, 2]], np.uint8)
    assert confusion_counts(prediction, target, 3).tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 1]]


def test_counts_agree_with_scikit_learn():
    from sklearn.metrics import confusion_matrix, jaccard_score

    rng = np.random.default_rng(0)
    target, prediction = rng.integers(0, 5, (2, 40, 50), dtype=np.uint8)
    counts = confusion_counts(prediction, target, 5)
    assert counts.dtype == np.int64
    np.testing.assert_array_equal(counts, confusion_matrix(target.ravel(), prediction.ravel()))
    expected = jaccard_score(target.ravel(), prediction.ravel(), average=None)
    scores = scores_from_counts(counts, ["background", "a", "b", "c", "d"])
    np.testing.assert_allclose([scores[f"iou/{n}"] for n in ["background", *"abcd"]], expected, rtol=1e-12)
    assert scores["iou/mean"] == pytest.approx(expected[1:].mean())
    assert scores["accuracy"] == pytest.approx((target == prediction).mean())


def test_scores_by_hand():
    # class 1: 6 hits, 2 missed, 4 too many; class 2 never occurs.
    counts = np.array([[8, 4, 0], [2, 6, 0], [0, 0, 0]])
    scores = scores_from_counts(counts, ["background", "cell", "debris"])
    assert scores["iou/cell"] == pytest.approx(6 / 12)
    assert scores["dice/cell"] == pytest.approx(12 / 18)
    assert scores["iou/background"] == pytest.approx(8 / 14)
    assert math.isnan(scores["iou/debris"])
    assert math.isnan(scores["dice/debris"])
    assert scores["iou/mean"] == scores["iou/cell"], "absent classes and the background stay out of the mean"
    assert scores["iou/mean_over"] == 1
    assert scores["accuracy"] == pytest.approx(14 / 20)
    assert list(scores) == [
        *(f"{kind}/{name}" for kind in KINDS for name in ("background", "cell", "debris")),
        *("iou/mean", "iou/mean_over", "dice/mean", "accuracy"),
    ]


def test_precision_recall_and_specificity_agree_with_scikit_learn():
    from sklearn.metrics import precision_score, recall_score

    rng = np.random.default_rng(3)
    target, prediction = rng.integers(0, 4, (2, 30, 30), dtype=np.uint8)
    scores = scores_from_counts(confusion_counts(prediction, target, 4), list("abcd"))
    for index, name in enumerate("abcd"):
        true, found = target.ravel() == index, prediction.ravel() == index
        assert scores[f"precision/{name}"] == pytest.approx(precision_score(true, found))
        assert scores[f"recall/{name}"] == pytest.approx(recall_score(true, found))
        # Specificity is the recall of everything else.
        assert scores[f"specificity/{name}"] == pytest.approx(recall_score(~true, ~found))


@pytest.mark.parametrize(
    ("counts", "precision", "recall", "specificity"),
    [
        ([[5, 0], [3, 0]], None, 0.0, 1.0),  # there, and nowhere predicted
        ([[5, 2], [0, 0]], 0.0, None, 5 / 7),  # predicted, and nowhere there
        ([[5, 0], [0, 0]], None, None, 1.0),  # neither
        ([[0, 0], [1, 4]], 1.0, 4 / 5, None),  # every pixel is of the class
    ],
)
def test_precision_recall_and_specificity_of_empty_cases(counts, precision, recall, specificity):
    scores = scores_from_counts(np.array(counts), ["background", "cell"])
    found = [scores[f"{kind}/cell"] for kind in KINDS[2:]]
    assert [None if math.isnan(value) else value for value in found] == [precision, recall, specificity]


def test_without_a_background_all_classes_count():
    counts = np.array([[8, 4, 0, 0], [2, 6, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]])
    with_sky = scores_from_counts(counts, ["sky", "road", "car", "bus"], background=False)
    assert with_sky["iou/mean"] == pytest.approx((8 / 15 + 6 / 12 + 0 / 1) / 3)
    assert with_sky["dice/mean"] == pytest.approx((16 / 23 + 12 / 18 + 0 / 1) / 3)
    assert with_sky["iou/mean_over"] == 3, "the bus occurs nowhere"
    without = scores_from_counts(counts, ["sky", "road", "car", "bus"])
    assert without["iou/mean"] == pytest.approx((6 / 12 + 0) / 2)
    assert {k: v for k, v in without.items() if "mean" not in k} == pytest.approx(
        {k: v for k, v in with_sky.items() if "mean" not in k}, nan_ok=True
    )


def test_classes_never_predicted_by_hand():
    # a is hit, b is there and never predicted, c is predicted and not there, d is neither.
    counts = np.array([[5, 0, 1, 0], [3, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    assert never_predicted(counts, list("abcd")) == ["b"]
    assert never_predicted(counts.T, list("abcd")) == ["c"]


def test_a_class_predicted_where_none_is_scores_zero():
    scores = scores_from_counts(np.array([[5, 1], [0, 0]]), ["background", "cell"])
    assert scores["iou/cell"] == 0.0
    assert scores["iou/mean_over"] == 1


def test_nothing_counted_gives_nan_everywhere():
    scores = scores_from_counts(np.zeros((2, 2), int), ["background", "cell"])
    assert scores.pop("iou/mean_over") == 0
    assert all(math.isnan(value) for value in scores.values())


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_changing_ignored_pixels_changes_nothing(data):
    shape = data.draw(hnp.array_shapes(min_dims=2, max_dims=2, max_side=12))
    target = data.draw(hnp.arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 2, 255])))
    prediction = data.draw(hnp.arrays(np.uint8, shape, elements=st.integers(0, 2)))
    # Even values that are no class may stand there (the prediction of a class the data set has not).
    other = data.draw(hnp.arrays(np.uint8, shape, elements=st.integers(0, 255)))
    changed = np.where(target == 255, other, prediction)
    counts = confusion_counts(prediction, target, 3)
    np.testing.assert_array_equal(counts, confusion_counts(changed, target, 3))
    assert counts.sum() == (target != 255).sum()
    for array in (prediction, changed):
        tensor = confusion_counts_tensor(torch.from_numpy(array), torch.from_numpy(target), 3)
        np.testing.assert_array_equal(tensor.numpy(), counts)


def test_sums_over_images_equal_one_big_image():
    rng = np.random.default_rng(1)
    target, prediction = rng.integers(0, 3, (2, 4, 8, 8), dtype=np.uint8)
    parts = sum(confusion_counts(p, t, 3) for p, t in zip(prediction, target, strict=True))
    np.testing.assert_array_equal(parts, confusion_counts(prediction, target, 3))


@pytest.mark.parametrize(
    ("prediction", "target", "classes", "message"),
    [
        (np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8), 2, "differ in shape"),
        (np.zeros((2, 2), np.float32), np.zeros((2, 2), np.uint8), 2, "whole numbers"),
        (np.full((2, 2), 2, np.uint8), np.zeros((2, 2), np.uint8), 2, r"prediction holds values 2\.\.2"),
        (np.zeros((2, 2), np.uint8), np.full((2, 2), 7, np.uint8), 2, "target holds values"),
        (np.zeros((2, 2), np.uint8), np.zeros((2, 2), np.uint8), 256, "ignore value 255"),
        (np.zeros((2, 2), np.uint8), np.zeros((2, 2), np.uint8), 0, "at least one class"),
    ],
)
def test_ambiguous_input_is_refused(prediction, target, classes, message):
    with pytest.raises(ValueError, match=message):
        confusion_counts(prediction, target, classes)


def test_names_that_collide_are_refused():
    with pytest.raises(UserError, match=r"dataset\.classes: .*'mean'"):
        scores_from_counts(np.zeros((2, 2), int), ["background", "mean"])
    with pytest.raises(UserError, match="names two classes"):
        scores_from_counts(np.zeros((2, 2), int), ["cell", "cell"])
    with pytest.raises(ValueError, match="do not fit 3"):
        scores_from_counts(np.zeros((2, 2), int), ["a", "b", "c"])
