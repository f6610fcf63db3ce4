"""Drawn scenes with an up and blobs without one; what the rule says of them, against a mutual information by hand."""

import re

import numpy as np
import pytest

from unet_train.data.augmentation.orientation import (
    BANDS,
    FEWEST_GROUPS,
    LARGEST,
    MOST_IMAGES,
    band_counts,
    decide,
    look,
    sample,
    weigh,
)


def blobs(rng, low=0.0, high=1.0, left=0.0, right=1.0, size=96, number=25):
    """Discs of class 1 with their middles between two heights and two sides (shares of the image)."""
    y, x = np.mgrid[:size, :size] / size
    classes = np.zeros((size, size), np.uint8)
    for _ in range(number):
        row, column = rng.uniform(low, high), rng.uniform(left, right)
        classes[(y - row) ** 2 + (x - column) ** 2 < 0.005] = 1
    return classes


def ask(maps, groups=None, names=("background", "disc")):
    groups = [str(number) for number in range(len(maps))] if groups is None else groups
    return decide(*look(zip(groups, maps, strict=True), len(names)), names)


def test_the_figure_is_the_mutual_information_by_hand():
    """Class 1 fills 3/4 of the upper half and 1/4 of the lower: each band's coin is read off 3:1 against 1:3."""
    classes = np.zeros((64, 64), np.uint8)
    classes[:32, :48] = classes[32:, :16] = 1

    found = weigh(np.array([band_counts(classes, 2)] * FEWEST_GROUPS), [str(n) for n in range(FEWEST_GROUPS)])

    entropy = -(0.75 * np.log2(0.75) + 0.25 * np.log2(0.25))
    assert found.turn == "upside down"
    assert found.found == pytest.approx(1 - entropy)  # I(F; C | R) in bits; H(C) is 1 bit
    assert found.groups == FEWEST_GROUPS


def test_band_counts_leave_out_what_is_unknown():
    classes = np.array([[0, 0, 1, 255], [1, 1, 1, 255], [2, 0, 0, 0], [2, 0, 0, 0]], np.uint8)
    rows, columns = band_counts(classes, 3, bands=2) * 14
    np.testing.assert_allclose(rows, [[2, 4, 0], [6, 0, 2]])
    np.testing.assert_allclose(columns, [[4, 2, 2], [4, 2, 0]])
    assert band_counts(np.full((8, 8), 255, np.uint8), 3).sum() == 0


def test_a_scene_has_an_up_and_blobs_have_none():
    rng = np.random.default_rng(0)
    assert ask([blobs(rng) for _ in range(150)])[0] == "any"
    orientation, reason = ask([blobs(rng, low=0.4) for _ in range(150)])
    assert orientation == "upright"
    assert re.search(r"'disc' .* upside down\b", reason)


def test_a_slight_tendency_is_found_and_too_few_images_are_said():
    rng = np.random.default_rng(1)
    assert ask([blobs(rng, low=0.1) for _ in range(150)])[0] == "upright"
    orientation, reason = ask([blobs(rng) for _ in range(FEWEST_GROUPS - 1)])
    assert orientation == "upright"
    assert "images show 'disc', too few" in reason


def test_layers_have_no_up_but_lie():
    """Discs along a level line: turned upside down they look the same, on their side they do not."""
    rng = np.random.default_rng(2)
    orientation, reason = ask([blobs(rng, low=0.35, high=0.65) for _ in range(150)])
    assert orientation == "upright"
    assert "on its side" in reason
    assert ask([blobs(rng, left=0.5) for _ in range(150)])[0] == "upright"


def test_a_rare_class_with_an_up_counts_as_much_as_a_common_one():
    rng = np.random.default_rng(3)
    maps = [blobs(rng) for _ in range(150)]
    for classes in maps:
        classes[90:94, 10:20] = 2  # 0.4 % of the pixels
    orientation, reason = ask(maps, names=("background", "disc", "bar"))
    assert orientation == "upright"
    assert "'bar'" in reason


def test_a_class_that_few_images_show_is_doubt():
    rng = np.random.default_rng(4)
    maps = [blobs(rng) if number < 12 else np.zeros((96, 96), np.uint8) for number in range(200)]
    found = weigh(*look(((str(number), classes) for number, classes in enumerate(maps)), 2))
    assert (found.groups, found.bound) == (12, 1.0)
    assert ask(maps)[0] == "upright"
    assert ask([np.zeros((16, 16), np.uint8)] * 50)[0] == "upright"


def test_neighbours_are_no_independent_witnesses():
    """Four films of 50 frames each, the cells of a film staying where they are: chance is that of four images."""
    rng = np.random.default_rng(5)
    films = [blobs(rng) for _ in range(4)]
    apart = look(((str(number), blobs(rng)) for number in range(200)), 2)
    alike = look(((str(number), films[number // 50]) for number in range(200)), 2)
    assert weigh(*alike).chance > 3 * weigh(*apart).chance
    grouped = weigh(alike[0], [str(number // 50) for number in range(200)])
    assert grouped.groups == 4
    assert grouped.bound == 1.0


def test_the_answer_is_a_function_of_the_masks():
    rng = np.random.default_rng(6)
    counts, groups = look(((str(number), blobs(rng)) for number in range(60)), 2)
    np.random.seed(1)  # noqa: NPY002 (a global state that must not matter)
    first = weigh(counts, groups)
    np.random.seed(2)  # noqa: NPY002
    assert weigh(counts, groups) == first


def test_each_image_is_looked_at_once_and_of_many_a_spread_out_sample():
    assert sample(5) == [0, 1, 2, 3, 4]
    many = sample(10_000)
    assert len(many) == len(set(many)) == MOST_IMAGES
    assert (many[0], many[-1]) == (0, 9999)
    assert np.diff(many).max() <= 40


def test_street_scenes_have_an_up_and_membranes_have_none(real_data):
    import cv2

    def masks(folder):
        for path in sorted((real_data / folder / "masks").glob("*.png")):
            yield path.stem, cv2.imread(str(path), cv2.IMREAD_UNCHANGED)

    names = [f"class_{label}" for label in range(11)]
    scenes = ((stem, np.where(classes == 11, 255, classes)) for stem, classes in masks("camvid"))
    found = weigh(*look(scenes, len(names)))
    assert (found.turn, found.found > 0.3) == ("upside down", True)
    membranes = ((stem, (classes == 0).astype(np.uint8)) for stem, classes in masks("isbi2012"))
    found = weigh(*look(membranes, 2))
    assert found.found < 0.001
    assert found.bound < LARGEST
    assert BANDS == 4  # what the figures in docs/results.md were measured with
