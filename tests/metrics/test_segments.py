"""The scores of segments between boundaries, against the formulas of the challenge's paper written out by hand."""

from collections import Counter
from math import log2

import numpy as np
import pytest

from unet_train.metrics.segments import segment_scores

MEMBRANE, INTERIOR, UNKNOWN = 1, 0, 255


def walls(*columns, width=1, height=12):
    """Height×30 classes with vertical membranes."""
    classes = np.full((height, 30), INTERIOR, np.uint8)
    for column in columns:
        classes[:, column : column + width] = MEMBRANE
    return classes


def by_hand(true, found):
    """V_rand and V_info of two lists of labels: sums over pairs of labels, as the paper has them."""
    n = len(true)
    joint, t, s = Counter(zip(true, found, strict=True)), Counter(true), Counter(found)
    both = sum(c * (c - 1) for c in joint.values())
    rand = 2 * both / (sum(c * (c - 1) for c in t.values()) + sum(c * (c - 1) for c in s.values()))
    information = sum(c / n * log2(n * c / (t[i] * s[j])) for (i, j), c in joint.items())
    entropy = -sum(c / n * log2(c / n) for part in (t, s) for c in part.values())
    return rand, 2 * information / entropy


def test_a_lost_membrane_merges_two_segments():
    truth = walls(10, 20)
    scores = segment_scores(walls(10), truth, MEMBRANE)
    columns = [x for x in range(30) if x not in (10, 20)] * 12
    true = ["abc"[(x > 10) + (x > 20)] for x in columns]
    found = ["ab"[x > 10] for x in columns]
    assert (scores["v_rand"], scores["v_info"]) == pytest.approx(by_hand(true, found))
    assert 0.5 < scores["v_rand"] < 0.9


def test_an_invented_membrane_splits_a_segment():
    prediction = walls(10, 20)
    prediction[:, 4:6] = MEMBRANE  # of which one column goes to each side
    scores = segment_scores(prediction, walls(10, 20), MEMBRANE)
    columns = [x for x in range(30) if x not in (10, 20)] * 12
    true = ["abc"[(x > 10) + (x > 20)] for x in columns]
    found = ["xabc"[(x > 4) + (x > 10) + (x > 20)] for x in columns]
    assert (scores["v_rand"], scores["v_info"]) == pytest.approx(by_hand(true, found))


def test_the_width_of_a_membrane_does_not_matter():
    """Before thinning, a membrane of seven pixels would cost a quarter of each segment."""
    truth = walls(10, 20)
    assert segment_scores(walls(7, 17, width=7), truth, MEMBRANE) == {"v_rand": 1.0, "v_info": 1.0}


def test_a_gap_of_one_pixel_merges_what_a_pixel_score_hardly_sees():
    truth = walls(10, 20)
    leaking = truth.copy()
    leaking[5, 20] = INTERIOR
    assert segment_scores(leaking, truth, MEMBRANE)["v_rand"] < 0.9


def test_segments_that_touch_at_a_corner_are_two():
    truth = np.full((8, 8), MEMBRANE, np.uint8)
    truth[:4, :4] = truth[4:, 4:] = INTERIOR
    assert segment_scores(truth, truth, MEMBRANE)["v_rand"] == 1.0
    assert segment_scores(walls(height=8)[:, :8], truth, MEMBRANE)["v_rand"] < 0.8


def test_unknown_pixels_count_nowhere():
    truth = walls(10, 20)
    truth[:, 15:] = UNKNOWN
    one, other = walls(10, 20), walls(10, 17, 24)
    assert segment_scores(one, truth, MEMBRANE) == segment_scores(other, truth, MEMBRANE)


@pytest.mark.parametrize(
    ("prediction", "truth", "expected"),
    [
        (walls(), walls(), 1.0),
        (np.full((4, 4), MEMBRANE), np.full((4, 4), INTERIOR), 1.0),
        (walls(3), np.full((12, 30), MEMBRANE), float("nan")),
        (walls(3), np.full((12, 30), UNKNOWN), float("nan")),
    ],
    ids=["one segment each", "all predicted as membrane", "no segment", "all unknown"],
)
def test_images_without_a_boundary_or_a_segment(prediction, truth, expected):
    assert segment_scores(prediction, truth, MEMBRANE) == pytest.approx(
        {"v_rand": expected, "v_info": expected}, nan_ok=True
    )


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="differ in shape"):
        segment_scores(np.zeros((2, 3), int), np.zeros((3, 2), int), 1)
