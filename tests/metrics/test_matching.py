"""Objects matched one to one: against an assignment over all pairs, by hand, and the rules for what is not known."""

import itertools
import math

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from unet_train.metrics.matching import MATCH_SUMS, THRESHOLDS, match_objects, match_scores


def drawn(seed, size=48, objects=9):
    """Two label maps of overlapping rectangles, the second one a shifted and partly redrawn first."""
    rng = np.random.default_rng(seed)
    truth, found = np.zeros((2, size, size), np.int32)
    for number in range(1, objects + 1):
        y, x, h, w = rng.integers([0, 0, 4, 4], [size - 8, size - 8, 14, 14])
        truth[y : y + h, x : x + w] = number * 3
        dy, dx = rng.integers(-2, 3, 2)
        if rng.random() < 0.85:
            y, x = max(0, y + dy), max(0, x + dx)
            found[y : y + h, x : x + w] = 40 - number
    return found, truth


def reference(found, truth):
    """TP per threshold at and above it, and the summed IoU above 0.5, by a linear assignment over all pairs."""
    ids = [[i for i in np.unique(a) if i] for a in (truth, found)]
    iou = np.zeros((len(ids[0]), len(ids[1])))
    for (r, i), (c, j) in itertools.product(enumerate(ids[0]), enumerate(ids[1])):
        a, b = truth == i, found == j
        iou[r, c] = (a & b).sum() / (a | b).sum()
    at, above = [], []
    for threshold in np.arange(50, 100, 5) / 100:
        for hits, close in ((at, iou >= threshold), (above, iou > threshold)):
            rows, columns = linear_sum_assignment(-(close + iou / 1e6))
            hits.append(int(close[rows, columns].sum()))
    return *(len(i) for i in ids), at, above, iou[iou > 0.5].sum()


@pytest.mark.parametrize("seed", range(12))
def test_agrees_with_an_assignment_over_all_pairs(seed):
    found, truth = drawn(seed)
    n, m, at, above, iou = reference(found, truth)
    matches = match_objects(found, truth)
    sums = dict(zip(MATCH_SUMS, matches.sums, strict=True))
    assert (sums["true"], sums["found"]) == (n, m)
    assert [sums[f"hits{t}"] for t in THRESHOLDS] == at
    assert at[0] > 0, "the drawing should have matches"
    assert sums["pair_iou"] == pytest.approx(iou)
    scores = match_scores(matches.sums)
    for t, tp in zip(THRESHOLDS, at, strict=True):
        assert scores[f"ap{t}"] == pytest.approx(tp / (n + m - tp))
        assert scores[f"f1_{t}"] == pytest.approx(2 * tp / (n + m))
    assert scores["pq"] == pytest.approx(iou / (above[0] + (n + m - 2 * above[0]) / 2))
    assert matches.values()["dsb"] == pytest.approx(np.mean([tp / (n + m - tp) for tp in above]))
    assert matches.values()["count_error"] == abs(n - m)


def test_an_overlap_of_exactly_the_threshold():
    """0.55 is a match for AP and none for the Data Science Bowl, whatever a quotient of floats says."""
    truth, found = np.zeros((2, 1, 20), int)
    truth[0, :20], found[0, :11] = 1, 1
    matches = match_objects(found, truth)
    scores = matches.scores()
    assert [scores[f"ap{t}"] for t in (50, 55, 60)] == [1, 1, 0]
    assert matches.dsb == pytest.approx(1 / 10), "above 0.5 alone"


@pytest.mark.parametrize("swap", [False, True])
def test_two_halves_are_one_match(swap):
    """Both halves overlap the whole by exactly a half; one to one, only one of them is a hit."""
    whole, halves = np.zeros((2, 4, 4), int)
    whole[:], halves[:2], halves[2:] = 1, 1, 2
    pair = (whole, halves) if swap else (halves, whole)
    scores = match_objects(*pair).scores()
    assert scores["ap50"] == pytest.approx(1 / 2)
    assert scores["ap55"] == 0
    assert scores["pq"] == 0, "which wants more than a half"


def test_counts_are_pooled_over_images():
    a, b = match_objects(*drawn(0)), match_objects(*drawn(1))
    tp, n = a.sums[3] + b.sums[3], a.sums[:2].sum() + b.sums[:2].sum()
    assert match_scores(a.sums + b.sums)["ap50"] == pytest.approx(tp / (n - tp))


@pytest.mark.parametrize(
    ("true", "found", "score", "error"), [(2, 0, 0, 2), (0, 2, 0, 2), (0, 0, None, 0)], ids=str
)
def test_empty_cases(true, found, score, error):
    maps = []
    for objects in (found, true):
        labels = np.zeros((6, 6), int)
        labels[0, :objects] = np.arange(1, objects + 1)
        maps.append(labels)
    scores = match_objects(*maps).scores()
    assert scores.pop("count_error") == error
    assert {None if math.isnan(v) else v for v in scores.values()} == {score}


def test_objects_that_the_truth_leaves_out_are_not_held_against_the_net():
    truth, found, markers = np.zeros((3, 10, 30), int)
    truth[:5, :5] = 1
    found[:5, :5], found[:5, 12:18], found[6:9, 20:24] = 1, 2, 3
    assert match_objects(found, truth).sums[:2].tolist() == [1, 3]
    unknown = np.zeros(truth.shape, bool)
    unknown[:, 14:19] = True  # most of the second
    assert match_objects(found, truth, unknown=unknown).sums[:2].tolist() == [1, 2]
    unknown[:, 14:19], unknown[:2, :20] = False, True  # part of it, which then does not count
    assert match_objects(found, truth, unknown=unknown).scores()["ap90"] == pytest.approx(1 / 3)
    markers[2, 2], markers[7, 21] = 7, 8  # the third is a cell without an outline
    assert match_objects(found, truth, markers=markers).sums[:2].tolist() == [1, 2]
    # One that covers a true object too is a mistake all the same.
    found[found == 3] = 0
    found[truth == 0] = 1
    assert match_objects(found, truth, markers=markers).sums[:2].tolist() == [1, 1]


def test_objects_in_the_border_alone_count_nowhere():
    truth, found = np.zeros((2, 20, 20), int)
    truth[0:2, 0:2], truth[8:12, 8:12] = 1, 2
    found[8:12, 8:12], found[18:, 18:] = 5, 6
    assert match_objects(found, truth, margin=3).scores()["ap95"] == 1
    assert match_objects(found, truth).scores()["ap95"] == pytest.approx(1 / 3)
