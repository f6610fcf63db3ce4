"""Distances between outlines: against every pair of border pixels, by hand, and where there is nothing to measure."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.ndimage import gaussian_filter
from scipy.spatial.distance import cdist

from unet_train.metrics.surface import border, surface_distances, surface_scores


def border_by_hand(mask):
    """Pixel by pixel: inside, and a neighbour over an edge that is not."""
    points = []
    for y, x in np.argwhere(mask):
        for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0)):
            v, u = y + dy, x + dx
            if not (0 <= v < mask.shape[0] and 0 <= u < mask.shape[1]) or not mask[v, u]:
                points.append((y, x))
                break
    return np.array(points)


def blobs(seed, size=32):
    """Two similar masks."""
    rng = np.random.default_rng(seed)
    base = gaussian_filter(rng.normal(size=(size, size)), 3)
    other = base + gaussian_filter(rng.normal(size=(size, size)), 3) / 3
    return base > 0.05, other > 0.05


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("tolerance", [1.0, 2.0])
def test_agrees_with_every_pair_of_border_pixels(seed, tolerance):
    found, true = blobs(seed)
    pairs = cdist(border_by_hand(found), border_by_hand(true))
    there, back = pairs.min(1), pairs.min(0)
    scores = surface_distances(found, true, tolerance=tolerance)
    assert scores["hd95"] == pytest.approx(max(np.quantile(there, 0.95), np.quantile(back, 0.95)))
    assert scores["assd"] == pytest.approx((there.sum() + back.sum()) / (len(there) + len(back)))
    within = (there <= tolerance).sum() + (back <= tolerance).sum()
    assert scores["nsd"] == pytest.approx(within / (len(there) + len(back)))
    assert 0 < scores["nsd"] < 1


def test_a_shifted_square_by_hand():
    """3×3 pixels, moved by 3: 8 border pixels each, 3 of them at distance 1, 2, 3 along each row."""
    found, true = np.zeros((2, 12, 12), bool)
    found[4:7, 2:5], true[4:7, 5:8] = True, True
    distances = [3, 3, 3, 2, 2, 1, 1, 1]
    scores = surface_distances(found, true, tolerance=2)
    assert scores["assd"] == pytest.approx(np.mean(distances))
    assert scores["nsd"] == pytest.approx(5 / 8)
    assert scores["hd95"] == pytest.approx(np.percentile(distances, 95))


def test_the_larger_of_both_directions():
    """A far part that only one mask has shows in one direction alone; pooled percentiles would say less."""
    found, true = np.zeros((2, 40, 40), bool)
    found[5:15, 5:15] = true[5:15, 5:15] = True
    true[35:38, 35:38] = True
    assert surface_distances(found, true)["hd95"] == surface_distances(true, found)["hd95"] > 25


@pytest.mark.parametrize(("found", "true", "nsd"), [(True, False, 0), (False, True, 0), (False, False, None)])
def test_empty_masks_have_no_distance(found, true, nsd):
    scores = surface_distances(np.full((4, 4), found), np.full((4, 4), true))
    assert math.isnan(scores["hd95"])
    assert math.isnan(scores["assd"])
    assert scores["nsd"] == nsd or (nsd is None and math.isnan(scores["nsd"]))


def test_no_border_runs_along_unknown_pixels():
    mask, known = np.ones((2, 6, 8), bool)
    mask[:, 4:], known[:, 4:6] = False, False
    assert not border(mask, known)[2, 3]
    assert border(mask)[2, 3]


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_changing_unknown_pixels_changes_nothing(data):
    shape = (9, 9)
    truth = data.draw(hnp.arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 2, 255])))
    prediction = data.draw(hnp.arrays(np.uint8, shape, elements=st.integers(0, 2)))
    other = data.draw(hnp.arrays(np.uint8, shape, elements=st.integers(0, 2)))
    changed = np.where(truth == 255, other, prediction)
    names = ["background", "a", "b"]
    first = surface_scores(prediction, truth, names, first=1)
    assert list(first) == [f"{score}/{name}" for name in "ab" for score in ("hd95", "assd", "nsd")]
    np.testing.assert_equal(surface_scores(changed, truth, names, first=1), first)


def test_masks_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match="cannot be compared"):
        surface_distances(np.ones((2, 2), bool), np.ones((2, 3), bool))
