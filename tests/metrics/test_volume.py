"""Dice per patient by hand, the largest 3-D part against scikit-image, unknown pixels."""

import math
from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from unet_train.metrics.volume import dice, largest_component, summarise_volumes, volume_score


def test_dice_by_hand():
    truth = np.array([[1, 1, 0, 0]])
    assert dice(np.array([[0, 1, 1, 0]]), truth) == 0.5
    assert dice(np.array([[0, 255, 0, 0]]), truth) == pytest.approx(2 / 3), "a 0/255 mask is a mask"
    assert dice(np.zeros((1, 4)), truth) == 0
    assert math.isnan(dice(np.zeros((1, 4)), np.zeros((1, 4))))
    with pytest.raises(ValueError, match="cannot be compared"):
        dice(np.zeros((1, 4)), np.zeros((1, 3)))


def test_a_volume_is_not_the_mean_of_its_slices():
    small = np.zeros((4, 4), np.uint8)
    small[0, 0] = 1
    full = np.ones((4, 4), np.uint8)
    score = volume_score([(np.zeros_like(small), small), (full, full), (small * 0, small * 0)])
    assert score.dice == pytest.approx(2 * 16 / (16 + 17))
    assert (score.slices, score.true_voxels, score.predicted_voxels) == (3, 17, 16)


def test_largest_part_hangs_together_over_slices_but_not_over_corners():
    volume = np.zeros((3, 5, 5), np.uint8)
    volume[0, 1, 1] = volume[1, 1, 1] = volume[2, 1, 1] = 1  # a column through all slices
    volume[0, 3, 3] = volume[1, 4, 4] = volume[0, 3, 4] = 1  # two, and one on their edge
    kept = largest_component(volume)
    assert kept.sum() == 3
    assert kept[:, 1, 1].all()
    corner = np.zeros((2, 4, 4), np.uint8)
    corner[0, 0, 0] = corner[0, 0, 1] = corner[1, 1, 2] = 1
    assert largest_component(corner).sum() == 2
    assert not largest_component(volume * 0).any()


@settings(max_examples=30, deadline=None)
@given(volume=hnp.arrays(bool, st.tuples(st.integers(1, 4), st.integers(1, 8), st.integers(1, 8))))
def test_largest_part_agrees_with_scikit_image(volume):
    from skimage.measure import label, regionprops

    kept = largest_component(volume)
    areas = [region.area for region in regionprops(label(volume, connectivity=1))]
    assert kept.sum() == max(areas, default=0)
    assert not (kept & ~volume).any()
    assert label(kept, connectivity=1).max() == bool(areas)


def test_a_far_false_part_costs_dice_and_is_dropped():
    truth = np.zeros((2, 8, 8), np.uint8)
    truth[:, 1:5, 1:5] = 1
    prediction = truth.copy()
    prediction[0, 7, 7] = 1
    score = volume_score(zip(prediction, truth, strict=True))
    assert score.dice == pytest.approx(64 / 65)
    assert score.dice_largest == 1.0


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_changing_ignored_pixels_changes_nothing(data):
    shape = (3, 5, 4)
    truth = data.draw(hnp.arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 255])))
    prediction = data.draw(hnp.arrays(np.uint8, shape, elements=st.integers(0, 1)))
    changed = np.where(
        truth == 255, data.draw(hnp.arrays(np.uint8, shape, elements=st.integers(0, 1))), prediction
    )
    one, other = (volume_score(zip(p, truth, strict=True)) for p in (prediction, changed))
    np.testing.assert_equal(
        astuple(one), astuple(other)
    )  # also which part is the largest; NaN equals NaN here


def test_summary_leaves_out_patients_with_nothing_to_find():
    full, empty = np.ones((2, 2), np.uint8), np.zeros((2, 2), np.uint8)
    half = np.array([[1, 0], [0, 0]], np.uint8)
    scores = {
        "a": volume_score([(full, full)]),
        "b": volume_score([(empty, empty)]),
        "c": volume_score([(half, full)]),
    }
    summary = summarise_volumes(scores)
    assert summary["dice_per_patient/over"] == 2
    assert summary["dice_per_patient/mean"] == pytest.approx(0.7)
    assert summary["dice_per_patient/median"] == pytest.approx(0.7)
    assert summary["dice_per_patient/min"] == pytest.approx(0.4)
    assert summary["dice_per_patient_largest/std"] == pytest.approx(0.3)
    nothing = summarise_volumes({"b": scores["b"]})
    assert math.isnan(nothing["dice_per_patient/mean"])
    assert nothing["dice_per_patient/over"] == 0
    assert volume_score([(np.array([[2, 1]]), np.array([[2, 2]]))], foreground=2).dice == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="without slices"):
        volume_score([])
    with pytest.raises(ValueError, match="one size"):
        volume_score([(full, full), (half[:1], half[:1])])
