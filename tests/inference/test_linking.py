"""Overlap linking on drawn sequences."""

import numpy as np
import pytest

from unet_train.errors import UserError
from unet_train.inference import linking
from unet_train.inference.linking import OverlapLinker, Track


def frame(*boxes, size=(20, 40)):
    labels = np.zeros(size, np.int32)
    for label, top, left in boxes:
        labels[top : top + 6, left : left + 6] = label
    return labels


def test_labels_follow_the_objects_whatever_their_ids():
    linker = OverlapLinker()
    first = linker.add(frame((1, 2, 2), (2, 2, 20)))
    second = linker.add(frame((7, 3, 21), (9, 3, 3)))  # other ids, other order
    assert second.dtype == np.uint16
    assert (first[4, 4], first[4, 22]) == (1, 2)
    assert (second[5, 5], second[5, 23]) == (1, 2)
    linker.add(frame((5, 3, 4)))  # the second is gone
    third = linker.add(frame((5, 3, 5), (6, 3, 22)))  # and something new stands there
    assert (third[5, 8], third[5, 24]) == (1, 3)
    assert linker.tracks == [Track(1, 0, 3), Track(2, 0, 1), Track(3, 3, 3)]


def test_each_object_has_one_partner_and_the_best_pair_goes_first():
    linker = OverlapLinker()
    linker.add(frame((1, 2, 2)))
    halves = frame((3, 2, 2))
    halves[2:4][halves[2:4] == 3] = 4  # two rows are one object, four rows another
    labels = linker.add(halves)
    assert labels[6, 4] == 1, "the greater part continues the track"
    assert labels[2, 4] == 2
    assert linker.tracks == [Track(1, 0, 1), Track(2, 1, 1)]


def test_where_two_objects_become_one_only_the_greater_track_goes_on():
    linker = OverlapLinker()
    two = frame((1, 2, 2), (2, 2, 9))
    two[2:8, 15:18] = 2  # the second is the larger
    linker.add(two)
    merged = np.zeros((20, 40), np.int32)
    merged[2:8, 2:18] = 5
    assert (linker.add(merged)[2:8, 2:18] == 2).all()
    assert linker.tracks == [Track(1, 0, 0), Track(2, 0, 1)]


def test_a_gap_in_the_numbers_or_an_empty_frame_ends_all_tracks():
    linker = OverlapLinker()
    linker.add(frame((1, 2, 2)), 3)
    linker.add(frame((1, 2, 2)), 4)
    linker.add(frame((1, 2, 2)), 7)
    linker.add(frame(), 8)
    assert linker.add(frame((1, 2, 2)), 9).max() == 3
    assert linker.tracks == [Track(1, 3, 4), Track(2, 7, 7), Track(3, 9, 9)]


def test_a_frame_without_background_and_wrong_input(monkeypatch):
    linker = OverlapLinker()
    assert (linker.add(np.full((4, 4), 9)) == 1).all()
    assert (linker.add(np.full((4, 4), 2)) == 1).all()
    with pytest.raises(ValueError, match="does not follow"):
        linker.add(np.zeros((4, 4), int), 1)
    with pytest.raises(ValueError, match="the one before"):
        linker.add(np.zeros((4, 5), int))
    with pytest.raises(ValueError, match="least overlap"):
        OverlapLinker(1.0)
    monkeypatch.setattr(linking, "LARGEST_LABEL", 2)
    with pytest.raises(UserError, match=r"\b2 tracks .*frame 0\b"):
        OverlapLinker().add(frame((1, 2, 2), (2, 2, 20), (3, 12, 20)))
