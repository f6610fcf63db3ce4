"""dataset.target=auto gives objects a target that parts them, and leaves everything else as it is."""

from types import SimpleNamespace

import numpy as np
import pytest

from unet_train.config.compose import compose_command
from unet_train.data.object_target import object_target
from unet_train.data.records import Truth
from unet_train.runs.factory import settle_scale, settle_target

OBJECTS = {"count": 12, "diameter": 56.0}


@pytest.mark.parametrize(("diameter", "width"), [(5, 2), (28, 2), (56, 4), (112, 8), (900, 8)])
def test_the_rim_goes_by_the_objects_size_within_bounds(diameter, width):
    assert object_target(diameter, False)[:2] == ("foreground_border", {"width": width})
    assert object_target(diameter, True)[:2] == ("foreground_core", {"width": width})


def drawn(touching):
    """A pair of objects that touch or do not."""
    instances = np.zeros((12, 20), np.int32)
    instances[3:8, 2:8] = 1
    instances[3:8, 8 if touching else 10 : 15] = 2
    return Truth(classes=(instances > 0).astype(np.uint8), instances=instances)


def settled(words=(), objects=OBJECTS, classes=("background", "cell"), background=True, touching=True):
    config = compose_command("train", ["dataset=folder", "dataset.root=x", "hydra.run.dir=y", *words]).config
    source = SimpleNamespace(
        classes=classes, has_background=background, read_truth=lambda record: drawn(touching)
    )
    said = settle_target(config, source, [None, None], objects)
    return config.dataset.target, config.dataset.target_params, said


@pytest.mark.parametrize(
    ("words", "target", "params"),
    [
        ([], "foreground_border", {"width": 4}),
        (["weights=imagenet", "encoder=resnet"], "foreground_core", {"width": 4}),
        (["dataset.target_params={width: 3}"], "foreground_border", {"width": 3}),
    ],
)
def test_objects_get_a_target_that_parts_them_and_it_is_said(words, target, params):
    found = settled(words)
    assert found[:2] == (target, params)
    assert f"dataset.target={target}" in found[2]
    assert "dataset.target=classes" in found[2]


def test_objects_that_do_not_touch_are_learnt_as_they_are_and_it_is_said():
    target, params, said = settled(touching=False)
    assert (target, params) == ("classes", {})
    assert "dataset.target=classes" in said
    assert "dataset.target=foreground_border" in said


@pytest.mark.parametrize(
    ("words", "changes", "target"),
    [
        (["dataset.target=classes"], {}, "classes"),
        (["dataset.target=foreground", "dataset.target_params={gap: 2}"], {}, "foreground"),
        ([], {"objects": None}, "classes"),
        ([], {"classes": ("background", "cell", "nucleus")}, "classes"),
        ([], {"background": False}, "classes"),
        (["model.head=sigmoid"], {}, "classes"),
        (["loss=border_weighted"], {}, "classes"),
        (["loss.class_weights=[1,2]"], {}, "classes"),
    ],
)
def test_an_explicit_value_stands_and_nothing_is_parted_where_that_does_not_go(words, changes, target):
    found = settled(words, **changes)
    assert (found[0], found[2]) == (target, "")


@pytest.mark.parametrize(
    ("diameter", "sizes", "crop", "scale"),
    [
        (90.0, [(512, 600)], 256, 1),
        (91.0, [(512, 600)], 256, 0.5),
        (91.0, [(511, 600)], 256, 1),  # half of it would not fill a crop
        (91.0, [(300, 600)], 128, 0.5),
        (91.0, [(300, 600)], [128, 160], 1),
        (181.0, [(512, 600)], 128, 0.25),
        (181.0, [(512, 600)], 192, 0.5),
        (999.0, [(9000, 9000)], 64, 0.25),
        (110.0, [(100, 100), (600, 700), (600, 600)], 256, 0.5),  # the middle image
        (110.0, [(600, 600)], None, 1),
    ],
)
def test_the_scale_goes_by_the_objects_size_and_is_said(diameter, sizes, crop, scale):
    dataset = SimpleNamespace(scale="auto")
    said = settle_scale(dataset, sizes, crop, diameter)
    assert dataset.scale == scale
    assert f"dataset.scale={scale}" in said


def test_a_scale_that_is_given_stands_and_without_objects_it_is_1():
    dataset = SimpleNamespace(scale=0.3)
    assert settle_scale(dataset, [(999, 999)], 64, 500.0) == ""
    assert dataset.scale == 0.3
    dataset.scale = "auto"
    assert "dataset.scale=1" in settle_scale(dataset, [(999, 999)], 64, 0.0)
    assert dataset.scale == 1
