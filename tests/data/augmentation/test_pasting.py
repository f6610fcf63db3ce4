"""A pasted copy touches the object it was put beside, its labels are its pixels, and the target knows of it."""

from dataclasses import fields

import numpy as np
import pytest
from scipy import ndimage

from unet_train.data.augmentation.pasting import HALO, LARGEST_OVERLAP, paste_beside, take_copy
from unet_train.data.layouts.demo import DemoSource
from unet_train.data.loading.training_set import Sampling, TrainingSet
from unet_train.data.records import IGNORE, Record, Source, Truth
from unet_train.data.targets import get_target
from unet_train.errors import UserError


def two_squares():
    """A dark picture with a grey 12×12 object of class 1 and a bright 10×14 one of class 2."""
    instances = np.zeros((90, 100), np.int32)
    instances[40:52, 44:56] = 3
    instances[10:20, 10:24] = 7
    classes = np.zeros_like(instances, np.uint8)
    classes[instances == 3], classes[instances == 7] = 1, 2
    classes[:, 80:] = IGNORE
    image = (20 + 60 * classes.clip(0, 2))[..., None].astype(np.uint8)
    image[classes == IGNORE] = 20
    return image, classes, instances


@pytest.mark.parametrize("seed", range(12))
def test_the_copy_touches_the_object_in_the_middle_and_no_other(seed):
    image, classes, instances = two_squares()
    rng = np.random.default_rng(seed)
    patch = take_copy(image, classes, instances, rng)
    new_image, new_classes, new_instances = paste_beside(image, classes, instances, patch, rng)
    copy = new_instances == 8  # one above the greatest
    assert copy.any()
    # Nothing but the copy changed its number, and of object 3 at most the allowed share was covered.
    np.testing.assert_array_equal(new_instances[~copy], instances[~copy])
    assert not (copy & (instances == 7)).any()
    assert np.count_nonzero(copy & (instances == 3)) <= LARGEST_OVERLAP * np.count_nonzero(patch.own)
    near = ndimage.distance_transform_edt(new_instances != 3)
    assert near[copy].min() <= np.sqrt(2) + 1e-6
    # Its class and its pixels go with it; the picture beyond its halo is untouched.
    assert set(np.unique(new_classes[copy])) == {patch.value}
    np.testing.assert_array_equal(new_classes[~copy], classes[~copy])
    far = ndimage.distance_transform_edt(~copy) > HALO + 2
    kept = far & (instances == 0)
    np.testing.assert_array_equal(new_image[kept], image[kept])
    core = ndimage.binary_erosion(copy, iterations=2)
    assert np.ptp(new_image[core]) <= 1 if core.any() else True
    assert not np.shares_memory(new_image, image)


def test_the_halo_does_not_run_over_other_objects():
    image, classes, instances = two_squares()
    for seed in range(12):
        rng = np.random.default_rng(seed)
        patch = take_copy(image, classes, instances, rng)
        new_image, _, new_instances = paste_beside(image, classes, instances, patch, rng)
        others = (instances > 0) & (new_instances == instances)
        np.testing.assert_array_equal(new_image[others], image[others])


def test_the_angle_of_a_copy_stays_within_its_range():
    """An image without an up or a right: its long side still lies level after at most 15 degrees."""
    image, classes, instances = two_squares()
    instances[instances == 3] = 0
    instances[10:14, 10:34] = 7  # four times as wide as it is high
    sides = {}
    for angles in [(-15.0, 15.0), (0.0, 360.0)]:
        copies = [
            take_copy(image, classes, instances, np.random.default_rng(seed), angles) for seed in range(12)
        ]
        sides[angles] = [np.ptp(np.nonzero(copy.own)[0]) < np.ptp(np.nonzero(copy.own)[1]) for copy in copies]
    assert all(sides[(-15.0, 15.0)])
    assert not all(sides[(0.0, 360.0)])


def test_objects_cut_off_by_the_edge_are_no_donors_and_an_empty_window_stays():
    image, classes, instances = two_squares()
    rng = np.random.default_rng(0)
    assert take_copy(image[12:], classes[12:], np.where(instances == 7, 7, 0)[12:], rng) is None
    patch = take_copy(image, classes, instances, rng)
    empty = np.zeros_like(instances)
    assert paste_beside(image, classes, empty, patch, rng)[2] is empty


class TwoSquares(Source):
    """One record with the picture above."""

    name, channels, classes, margin, notes = "squares", 1, ("background", "a", "b"), 0, ()

    def records(self):
        return [Record(key="only", image="only.png", group="g", labels={"mask": "x"}, trainable=True)]

    def read_image(self, record):
        return two_squares()[0]

    def read_truth(self, record, *, scoring=False):
        _, classes, instances = two_squares()
        return Truth(classes=classes, instances=instances, markers=None)


def training_set(source, **changes):
    arguments = {
        "target": get_target("foreground", gap=2.0),
        "crop_size": 64,
        "samples_per_epoch": 40,
        "seed": 5,
    }
    arguments |= changes
    names = {item.name for item in fields(Sampling)} & arguments.keys()
    sampling = Sampling(**{name: arguments.pop(name) for name in names})
    return TrainingSet(source, source.records(), sampling=sampling, **arguments)


def test_target_and_weights_are_made_anew_and_the_share_is_kept():
    def weights(instances, target):
        return (1 + instances).astype(np.float32)

    plain = training_set(TwoSquares(), weights=weights)
    pasted = training_set(TwoSquares(), weights=weights, touching_share=0.5)
    changed = 0
    for index in range(40):
        a, b = plain[(0, index)], pasted[(0, index)]
        # The copy's number is one above the window's greatest, which is 3 or 7; weights are the number plus 1.
        new = np.isin(b.weight, (5, 9))
        changed += bool(new.any())
        if not new.any():
            np.testing.assert_array_equal(a.image, b.image)
            np.testing.assert_array_equal(a.target, b.target)
            continue
        # Where the copy meets another object the target draws its gap.
        met = new & (ndimage.distance_transform_edt((b.weight == 1) | new) <= 1)
        assert (b.target[met] == 0).all()
        inside = ndimage.binary_erosion(new, iterations=3)
        assert set(np.unique(b.target[inside])) <= {1, 2}
    assert 10 <= changed <= 30
    again = training_set(TwoSquares(), weights=weights, touching_share=0.5)
    np.testing.assert_array_equal(again[(0, 3)].image, pasted[(0, 3)].image)


def test_data_without_instances_cannot_be_pasted():
    class NoInstances(TwoSquares):
        def read_truth(self, record, *, scoring=False):
            return Truth(classes=two_squares()[1], instances=None, markers=None)

    with pytest.raises(UserError, match=r"touching_share=0\.5: .*\bonly\b.*instances"):
        training_set(NoInstances(), touching_share=0.5)[(0, 0)]
    with pytest.raises(ValueError, match=r"touching_share=2 .*0 and 1"):
        training_set(DemoSource(images=2, test_images=0, size=64, seed=1), touching_share=2)
