"""What became of every object, by hand, and as a property of any two label maps."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tests.metrics.test_challenge import blocks
from unet_train.metrics.challenge import det_counts
from unet_train.metrics.object_errors import ERRORS, count_errors, object_errors

TRUTH = blocks((3, 0, 8, 0, 8), (4, 0, 8, 8, 16), (7, 10, 20, 0, 10), (9, 10, 20, 12, 18), (20, 0, 8, 20, 28))


def test_by_hand():
    found = blocks(
        (1, 0, 8, 0, 16),  # covers 3 and 4
        (2, 10, 16, 0, 10),  # most of 7,
        (5, 16, 20, 0, 10),  # and the rest of it
        (6, 10, 14, 12, 18),  # less than half of 9
        (8, 0, 8, 21, 28),  # 20, without a column
        (11, 12, 18, 22, 30),  # on background
    )
    errors = object_errors(found, TRUTH)
    assert errors.merged == (3, 4)
    assert errors.split == (7,)
    assert errors.missed == (9,)
    assert errors.matched == (20,)
    assert errors.invented == (11,)
    assert count_errors([errors, errors]) == {
        "objects/true": 10,
        "objects/matched": 2,
        "objects/merged": 4,
        "objects/split": 2,
        "objects/missed": 2,
        "objects/invented": 2,
    }


def test_an_object_in_halves_is_split_not_missed():
    errors = object_errors(blocks((1, 10, 15, 0, 10), (2, 15, 20, 0, 10)), blocks((7, 10, 20, 0, 10)))
    assert (errors.split, errors.missed, errors.invented) == ((7,), (), ())


def test_one_that_lies_half_outside_is_not_invented():
    truth = blocks((1, 0, 10, 0, 10))
    assert object_errors(blocks((1, 5, 15, 0, 10)), truth).invented == ()
    assert object_errors(blocks((1, 6, 16, 0, 10)), truth).invented == (1,)


def test_what_the_truth_leaves_out_is_not_invented():
    found = blocks((1, 10, 14, 0, 10), (2, 0, 4, 20, 24))
    unknown = np.zeros(found.shape, bool)
    unknown[10:12, 0:10] = True  # half of object 1
    marked = blocks((5, 1, 3, 21, 23))
    empty = np.zeros(found.shape, np.int32)
    assert object_errors(found, empty).invented == (1, 2)
    assert object_errors(found, empty, unknown=unknown).invented == (2,)
    assert object_errors(found, empty, unknown=unknown, markers=marked).invented == ()


MAPS = arrays.arrays(np.uint8, (6, 7), elements=st.integers(0, 4))


@settings(max_examples=60, deadline=None)
@given(MAPS, MAPS)
def test_every_true_object_is_told_once(found, truth):
    errors = object_errors(found, truth)
    told = errors.matched + errors.merged + errors.split + errors.missed
    assert sorted(told) == [i for i in np.unique(truth) if i]
    assert set(errors.invented) <= set(np.unique(found))
    for number in errors.matched:  # by its definition
        inside = found[truth == number]
        covering = [i for i in np.unique(inside) if i and 2 * (inside == i).sum() > inside.size]
        assert len(covering) == 1
        others = [k for k in np.unique(truth) if k not in (0, number)]
        assert not any(2 * (found[truth == k] == covering[0]).sum() > (truth == k).sum() for k in others)


@settings(max_examples=40, deadline=None)
@given(MAPS)
def test_the_truth_itself_has_no_error(truth):
    errors = object_errors(truth, truth)
    assert not any(getattr(errors, kind) for kind in ERRORS)


def test_missed_agrees_with_det_where_nothing_is_split():
    found = blocks((1, 0, 8, 0, 16), (11, 12, 18, 22, 30))
    missed, _, _, _ = det_counts(found, TRUTH)
    assert len(object_errors(found, TRUTH).missed) == missed
