"""Outlines run along the edges of pixels: filling them gives the objects back, holes included."""

import numpy as np
import pytest

from unet_train.data.annotations.shapes import polygon
from unet_train.inference.outlines import is_hole, outlines


def filled(rings, shape):
    """The pixels inside a set of rings, by the rule of the reader of polygons: a hole is a ring within."""
    rows, columns, inside = polygon(rings, "here").window(*shape)
    picture = np.zeros(shape, bool)
    picture[rows, columns] = inside
    return picture


@pytest.mark.parametrize("seed", range(8))
def test_filling_the_rings_gives_the_pixels_back(seed):
    rng = np.random.default_rng(seed)
    objects = rng.integers(0, 4, (9, 13))  # specks, holes, touching corners, everything at the edge
    found = dict(outlines(objects))
    assert set(found) == set(np.unique(objects)) - {0}
    for label, rings in found.items():
        np.testing.assert_array_equal(filled(rings, objects.shape), objects == label)


def test_rings_by_hand():
    objects = np.zeros((5, 6), int)
    objects[1:4, 1:4] = 7
    objects[2, 2] = 0
    objects[4, 4] = 7  # touches at a corner alone
    ((label, rings),) = outlines(objects)
    assert label == 7
    assert [is_hole(ring) for ring in rings] == [False, True, False]
    assert {tuple(corner) for corner in rings[0].tolist()} == {(1, 1), (4, 1), (4, 4), (1, 4)}
    assert {tuple(corner) for corner in rings[1].tolist()} == {(2, 2), (3, 2), (3, 3), (2, 3)}
    assert {tuple(corner) for corner in rings[2].tolist()} == {(4, 4), (5, 4), (5, 5), (4, 5)}


def test_nothing_gives_nothing():
    assert list(outlines(np.zeros((3, 3), int))) == []
