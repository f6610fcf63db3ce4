"""Colours of classes: safe for the colour-blind, far apart, and the same however many classes there are."""

import numpy as np
import pytest
from skimage.color import rgb2lab

from unet_train.reporting.colours import SAFE_COLOURS, UNKNOWN_COLOUR, class_colours

# Machado, Oliveira, Fernandes (2009), severity 1: what the colour-blind see, in linear RGB.
BLIND = {
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def least_distance(colours):
    """Smallest CIELAB distance between two of N×3 colours in [0, 1]."""
    lab = rgb2lab(colours[None])[0]
    distance = np.linalg.norm(lab[:, None] - lab[None], axis=-1)
    return distance[np.triu_indices(len(lab), 1)].min()


@pytest.mark.parametrize("kind", list(BLIND))
def test_eight_classes_are_told_apart_by_the_colour_blind(kind):
    colours = class_colours(9)[1:] / 255
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.array(BLIND[kind]).T, 0, 1)
    seen = np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055)
    assert least_distance(seen) > 15


@pytest.mark.parametrize(("count", "distance"), [(9, 25), (35, 25), (61, 20), (255, 12)])
def test_any_two_classes_are_far_apart(count, distance):
    """Green and red of equal lightness are 170 apart, 2.3 is just noticeable."""
    colours = class_colours(count)
    assert colours.shape == (count, 3)
    assert least_distance(colours / 255) > distance
    apart = rgb2lab(colours[None] / 255)[0] - rgb2lab(np.array(UNKNOWN_COLOUR) / 255)
    assert np.linalg.norm(apart, axis=1).min() > distance, "nor is one taken for unknown"


def test_a_class_keeps_its_colour_however_many_there_are():
    most = class_colours(255, background=False)
    assert len(np.unique(most, axis=0)) == 255
    np.testing.assert_array_equal(class_colours(12), [[0, 0, 0], *most[:11]])
    np.testing.assert_array_equal(class_colours(3, background=False), SAFE_COLOURS[:3])


def test_a_palette_is_taken_as_it_is():
    palette = [(1, 2, 3), (0, 0, 0), (255, 255, 255)]
    assert class_colours(3, palette).tolist() == [list(colour) for colour in palette]
    with pytest.raises(ValueError, match="3 colours for 4"):
        class_colours(4, palette)
