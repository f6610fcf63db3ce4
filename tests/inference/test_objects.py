"""Objects from drawn maps whose right answer is known, and the search for their thresholds."""

import numpy as np
import pytest
from scipy import ndimage

from unet_train.errors import UserError
from unet_train.inference.objects import (
    PostprocessingParameters,
    choose_parameters,
    objects_from_maps,
    split_at_necks,
    without_threads,
)
from unet_train.metrics.challenge import drop_outside_field, scorer, seg_sum


def discs(size, *circles):
    """Instance map of discs (row, column, radius); later ones cover earlier ones."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    labels = np.zeros(size, np.int32)
    for i, (r, c, radius) in enumerate(circles, start=1):
        labels[(rows - r) ** 2 + (columns - c) ** 2 <= radius**2] = i
    return labels


def maps_of(labels, rim=2):
    """Foreground and seed maps as a good network would give them: 0.97 inside, seeds low in a rim."""
    foreground = np.where(labels > 0, 0.97, 0.02).astype(np.float32)
    inner = np.zeros(labels.shape, bool)
    for i in range(1, labels.max() + 1):
        inner |= ndimage.binary_erosion(labels == i, iterations=rim) if rim else labels == i
    return foreground, np.where(inner, 0.97, 0.05).astype(np.float32)


def same(found, truth):
    """Every true object found exactly, and nothing else."""
    total, n = seg_sum(found, truth)
    return total == n and found.max() == n


TOUCHING = discs((60, 90), (30, 25, 18), (30, 60, 18), (8, 80, 6))


def test_touching_objects_are_told_apart_by_their_seeds():
    foreground, seeds = maps_of(TOUCHING)
    assert ndimage.label(foreground > 0.5)[1] == 2, "as one component two of them would be one object"
    found = objects_from_maps(foreground, seeds)
    assert found.dtype == np.int32
    assert sorted(np.unique(found)) == [0, 1, 2, 3]
    total, n = seg_sum(found, TOUCHING)
    assert total / n > 0.98


def test_foreground_without_a_seed_is_no_object_and_nothing_gives_nothing():
    foreground, seeds = maps_of(TOUCHING)
    seeds[:, 70:] = 0.3
    assert objects_from_maps(foreground, seeds).max() == 2
    assert not objects_from_maps(foreground * 0, seeds).any()
    assert not objects_from_maps(foreground, seeds * 0).any()


def test_small_seeds_small_objects_and_holes():
    foreground, seeds = maps_of(TOUCHING)
    seeds[30, 34:42] = 0.2
    seeds[30, 36:39] = 0.97  # a speck
    specks = objects_from_maps(foreground, seeds, PostprocessingParameters(min_seed=1, min_size=0))
    assert specks.max() >= 3
    assert objects_from_maps(foreground, seeds, PostprocessingParameters(min_seed=10, min_size=0)).max() == 3
    assert objects_from_maps(foreground, seeds, PostprocessingParameters(min_size=200)).max() == 2, (
        "the disc of radius 6 goes"
    )
    foreground, seeds = maps_of(TOUCHING)
    foreground[28:32, 20:24] = seeds[28:32, 20:24] = 0.1
    filled = objects_from_maps(foreground, seeds)
    assert filled[30, 22] == filled[30, 12] > 0
    assert objects_from_maps(foreground, seeds, PostprocessingParameters(fill_holes=False))[30, 22] == 0


def test_a_hole_that_holds_another_object_stays_its_own():
    labels = discs((60, 60), (30, 30, 25), (30, 30, 10))
    found = objects_from_maps(*maps_of(labels))
    assert same(found > 0, labels > 0)
    assert found[30, 30] != found[30, 10] > 0


def test_necks_are_cut_and_round_or_long_objects_are_not():
    pair = (discs((60, 90), (30, 25, 16), (30, 52, 16)) > 0).astype(np.int32)
    parts = split_at_necks(pair, 0.25)
    assert parts.max() == 2
    assert abs(int((parts == 1).sum()) - int((parts == 2).sum())) < 30
    assert ((parts > 0) == (pair > 0)).all()
    disc = discs((60, 90), (30, 25, 16))
    rod = np.zeros((60, 90), np.int32)
    rod[20:34, 5:80] = 1
    bumpy = rod.copy()
    bumpy[19, 10:70:7] = 1
    edge = np.zeros((60, 90), np.int32)
    edge[0:6, 10:60] = 1  # cut off by the image, where it is not narrow
    for single in (disc, rod, bumpy, edge, np.ones((5, 5), np.int32)):
        assert split_at_necks(single, 0.25).max() == 1
    # Through the rule, for a network that saw no border between the two.
    foreground, seeds = maps_of(pair)
    assert objects_from_maps(foreground, seeds).max() == 1
    assert objects_from_maps(foreground, seeds, PostprocessingParameters(split=0.25)).max() == 2


def test_objects_wholly_in_the_margin_are_dropped_by_the_rule_of_the_measure():
    labels = discs((80, 80), (8, 40, 6), (40, 40, 12), (17, 17, 10), (74, 74, 5))
    foreground, seeds = maps_of(labels)
    every = objects_from_maps(foreground, seeds)
    kept = objects_from_maps(foreground, seeds, margin=20)
    assert every.max() == 4
    assert kept.max() == 2, "numbered without gaps"
    assert ((kept > 0) == (drop_outside_field(every, 20) > 0)).all()
    small = foreground[:30, :30], seeds[:30, :30]
    assert objects_from_maps(*small, margin=20).max() > 0, "no field at all: the margin says nothing"


def test_closing_and_growing_win_back_what_the_target_took():
    labels = discs((60, 90), (30, 25, 16), (30, 58, 18))
    two = labels.astype(np.float64)
    neighbour = ndimage.maximum_filter(two, 3) > two
    gap = (neighbour | (ndimage.minimum_filter(np.where(two > 0, two, 9), 3) < two)) & (labels > 0)
    foreground, seeds = maps_of(np.where(gap, 0, labels), rim=0)  # the paper's gap between touching objects
    plain = seg_sum(objects_from_maps(foreground, seeds), labels)[0]
    closed = objects_from_maps(foreground, seeds, PostprocessingParameters(close=1))
    assert closed.max() == 2
    assert seg_sum(closed, labels)[0] > plain
    tight = np.where(ndimage.minimum_filter(labels, 3) > 0, labels, 0)
    foreground, seeds = maps_of(tight, rim=0)
    seeds[:, 41:43] = 0
    plain = seg_sum(objects_from_maps(foreground, seeds), labels)[0]
    grown = seg_sum(objects_from_maps(foreground, seeds, PostprocessingParameters(grow=1)), labels)[0]
    assert grown > plain


def test_the_search_finds_the_thresholds_that_separate():
    """Seeds of the two touching discs hang together below 0.97: only a high seed threshold parts them."""
    truth = discs((60, 90), (30, 25, 18), (30, 60, 18))
    foreground, seeds = maps_of(truth)
    seeds[26:34, 38:48] = 0.96
    seeds[seeds > 0.965] = 0.985
    assert objects_from_maps(foreground, seeds).max() == 1
    lines: list[str] = []
    rule, value = choose_parameters([(foreground, seeds)], scorer([truth], [truth]), progress=lines.append)
    assert rule.seed_threshold == 0.98
    assert value[0] > 0.97
    assert value[1] == 1.0
    assert objects_from_maps(foreground, seeds, rule).max() == 2
    assert rule.threshold == 0.5, "what makes no difference stays"
    assert rule.split == 0
    assert len(lines) > 40


def test_the_search_breaks_ties_by_det():
    truth = discs((60, 90), (30, 25, 18))
    foreground, seeds = maps_of(discs((60, 90), (30, 25, 18), (10, 70, 8)))
    # The made-up small disc costs no SEG, but DET: it is dropped.
    rule, value = choose_parameters([(foreground, seeds)], scorer([truth], [truth]))
    assert value == (1.0, 1.0)
    assert objects_from_maps(foreground, seeds, PostprocessingParameters()).max() == 2
    assert objects_from_maps(foreground, seeds, rule).max() == 1
    _, value = choose_parameters([(foreground, seeds)], scorer([truth]), stages=[{"threshold": (0.99,)}])
    assert value == (1.0, -1.0)
    with pytest.raises(ValueError, match="no frames"):
        choose_parameters([], scorer([]))


@pytest.mark.parametrize(
    ("tight", "moves"),
    [((0.902, 0.9), False), ((0.92, 0.5), True), ((0.9, 0.92), True), ((0.89, 0.99), False)],
)
def test_a_value_is_left_only_for_one_that_is_clearly_better(tight, moves):
    """Validation frames had preferred tight outlines by 0.004, which cost 0.017 on the other sequence."""
    foreground = np.where(discs((60, 60), (30, 30, 20)) > 0, 0.6, 0).astype(np.float32)
    foreground[discs((60, 60), (30, 30, 15)) > 0] = 1

    def score(results):
        return tight if np.count_nonzero(results[0]) < 1000 else (0.9, 0.9)

    stages = [{"seed_threshold": (0.9,)}, {"threshold": (0.5, 0.65)}]
    rule, value = choose_parameters([(foreground, foreground)], score, stages=stages)
    assert rule.threshold == (0.65 if moves else 0.5)
    assert value == (tight if moves else (0.9, 0.9))
    assert (
        choose_parameters([(foreground, foreground)], score, stages=stages, objects=3)[0].threshold == 0.5
    ), "too few objects"


def test_threads_are_cut_off_and_nothing_else():
    objects = discs((80, 120), (40, 30, 20), (40, 90, 20))
    body = objects.copy()
    objects[38:41, 50:69] = 1  # a thread from the first almost to the second
    objects[0:20, 0:3] = 3  # thin throughout: it would vanish
    objects[62:80, 56:84] = 4  # at the edge of the image, beyond which it goes on
    opened = without_threads(objects, 5)
    assert (opened[38:41, 56:69] == 0).all()
    for label in (1, 2):
        assert abs(np.count_nonzero(opened == label) / np.count_nonzero(body == label) - 1) < 0.02
    np.testing.assert_array_equal(opened == 3, objects == 3)
    assert (opened[79, 56:84] == 4).all(), "the image's edge is no edge of the object"
    maps = (objects > 0).astype(np.float32)
    assert objects_from_maps(maps, maps, PostprocessingParameters(open=5, min_size=1))[39, 60] == 0
    assert objects_from_maps(maps, maps, PostprocessingParameters(min_size=1))[39, 60] > 0


def test_rules_are_plain_and_checked():
    rule = PostprocessingParameters(threshold=0.4, split=0.2)
    assert PostprocessingParameters(**rule.to_dict()) == rule
    assert all(type(value) in (float, int, bool) for value in rule.to_dict().values())
    with pytest.raises(UserError, match=r"objects\.seed_threshold"):
        PostprocessingParameters(seed_threshold=1.0)
    with pytest.raises(UserError, match=r"objects\.min_size"):
        PostprocessingParameters(min_size=-1)
    with pytest.raises(ValueError, match="H×W and alike"):
        objects_from_maps(np.zeros((3, 3)), np.zeros((3, 4)))
