"""Training targets on hand-drawn maps and against brute force over all pairs of pixels."""

import numpy as np
import pytest
from scipy import ndimage

from unet_train.data.targets import TARGETS, get_target
from unet_train.errors import UserError


def random_instances(seed: int, size: int = 24, cells: int = 5) -> np.ndarray:
    """A picture cut into touching discs, some background left."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    centres = rng.uniform(0, size, (cells, 2))
    distance = np.hypot(y - centres[:, :1, None], x - centres[:, 1:, None])
    labels = rng.permutation(70000)[:cells] + 1
    return np.where(distance.min(0) < size / 4, labels[distance.argmin(0)], 0).astype(np.int32)


@pytest.mark.parametrize(("gap", "scale", "half"), [(2, 1, 1), (4, 1, 2), (6, 0.5, 2), (2, 0.25, 1)])
def test_gap_between_touching_cells_is_the_brute_force_one(gap, scale, half):
    for seed in range(4):
        instances = random_instances(seed)
        classes = (instances > 0).astype(np.uint8)
        expected = classes.copy()
        for i, j in zip(*np.nonzero(instances), strict=True):
            window = instances[max(i - half, 0) : i + half + 1, max(j - half, 0) : j + half + 1]
            if ((window > 0) & (window != instances[i, j])).any():
                expected[i, j] = 0
        assert (expected != classes).any()
        np.testing.assert_array_equal(
            get_target("foreground", gap=gap).make(classes, instances, scale), expected
        )


@pytest.mark.parametrize(("width", "scale"), [(1, 1.0), (3, 1.0), (3, 0.5), (1, 0.1)])
def test_rim_is_the_brute_force_one(width, scale):
    reach = max(1.0, width * scale)
    for seed in range(3):
        instances = random_instances(seed)
        expected = np.zeros(instances.shape, np.uint8)
        pixels = np.argwhere(np.ones_like(instances))
        flat = instances.ravel()
        for (i, j), label in zip(pixels, flat, strict=True):
            if label:
                distance = np.hypot(*(pixels[flat != label] - (i, j)).T).min()
                expected[i, j] = 2 if distance <= reach + 1e-6 else 1
        found = get_target("foreground_border", width=width).make(
            (instances > 0).astype(np.uint8), instances, scale
        )
        for label in np.unique(instances[instances > 0]):
            own = instances == label
            if (expected[own] == 1).any():  # the thin ones are the next test's
                np.testing.assert_array_equal(found[own], expected[own])
        np.testing.assert_array_equal(found > 0, instances > 0)


def test_a_thin_object_keeps_a_seed():
    instances = np.zeros((9, 30), np.int32)
    instances[3:6, 2:28] = 4
    target = get_target("foreground_border", width=3).make((instances > 0).astype(np.uint8), instances)
    assert (target[instances == 4] == 1).any()
    assert (target[instances == 4] == 2).any()


@pytest.mark.parametrize(("width", "core", "scale"), [(1, 0.5, 1.0), (3, 0.7, 0.5), (2, 0.3, 1.0)])
def test_core_is_the_brute_force_one(width, core, scale):
    """Pixels deeper than a share of their object's greatest depth, over all pairs of pixels; the rest as before."""
    some = False
    for seed in range(4):
        instances = random_instances(seed)
        classes = (instances > 0).astype(np.uint8)
        pixels = np.argwhere(np.ones_like(instances))
        flat = instances.ravel()
        depth = np.array(
            [
                np.hypot(*(pixels[flat != v] - p).T).min() if v else 0
                for p, v in zip(pixels, flat, strict=True)
            ]
        ).reshape(instances.shape)
        border = get_target("foreground_border", width=width).make(classes, instances, scale)
        found = get_target("foreground_core", width=width, core=core).make(classes, instances, scale)
        np.testing.assert_array_equal(found == 2, border == 2)
        for label in np.unique(instances[instances > 0]):
            own = instances == label
            pieces, _ = ndimage.label(own & (depth >= core * depth[own].max() - 1e-6))
            middles = np.unique(pieces[own & (depth >= depth[own].max() - 1e-6)])
            cores = [(pieces == middle) & (border == 1) for middle in middles]
            assert any(np.array_equal((found == 3) & own, expected) for expected in cores)
            some |= (found[own] == 1).any() and (found[own] == 3).any()
    assert some


def test_an_object_that_goes_on_unseen_has_a_core_where_it_is_seen():
    classes = np.zeros((40, 90), np.uint8)
    classes[10:30, 10:50] = 1
    classes[:, 50:] = 255
    made = get_target("foreground_core", width=2).make(classes, None)
    core = made == 3
    assert 100 < core.sum() < 600
    assert core[20, 30]
    assert (made[:, 50:] == 255).all()


def test_an_object_of_two_lobes_has_one_core():
    instances = np.zeros((20, 44), np.int32)
    rows, columns = np.ogrid[:20, :44]
    for column, radius in ((10, 8), (32, 9)):
        instances[(rows - 10) ** 2 + (columns - column) ** 2 < radius**2] = 7
    instances[9:11, 10:32] = 7
    target = get_target("foreground_core", width=1)
    made = target.make((instances > 0).astype(np.uint8), instances)
    assert ndimage.label(made == 3)[1] == 1
    assert (made[:, 25:] == 3).any()
    assert not (made[:, :20] == 3).any()
    assert (target.make(np.ones((8, 8), np.uint8), np.full((8, 8), 3, np.int32)) == 3).all(), "no edge at all"


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("with_instances", [True, False])
def test_unknown_pixels_stay_unknown_and_change_nothing_else(name, with_instances):
    instances = random_instances(3)
    classes = (instances > 0).astype(np.uint8)
    holed = classes.copy()
    holed[:6] = 255
    target = get_target(name)
    whole = target.make(classes, instances if with_instances else None)
    part = target.make(holed, instances if with_instances else None)
    assert (part[:6] == 255).all()
    assert part.dtype == np.uint8
    assert not (part[6:] == 255).any()
    if with_instances or name not in ("foreground_border", "foreground_core"):
        np.testing.assert_array_equal(part[6:], whole[6:])
    np.testing.assert_array_equal(holed[6:], classes[6:])  # the input is not written to


def test_without_instances_the_edge_to_the_unknown_is_no_rim():
    classes = np.zeros((12, 20), np.uint8)
    classes[:, 5:] = 1
    classes[:, 12:] = 255
    target = get_target("foreground_border", width=2).make(classes, None)
    np.testing.assert_array_equal(target[4], [0] * 5 + [2] * 2 + [1] * 5 + [255] * 8)


def test_the_image_edge_is_no_rim():
    instances = np.full((8, 8), 3, np.int32)
    assert (get_target("foreground_border").make(np.ones((8, 8), np.uint8), instances) == 1).all()


def one_hot(target: np.ndarray, outputs: int) -> np.ndarray:
    return (np.arange(outputs)[:, None, None] == target).astype(np.float32)


@pytest.mark.parametrize("name", TARGETS)
def test_a_perfect_prediction_maps_back_to_the_classes(name):
    instances = random_instances(5, size=40)
    classes = (instances > 0).astype(np.uint8)
    target = get_target(name)
    outputs = target.outputs(("background", "cell"))
    probabilities = one_hot(target.make(classes, instances), len(outputs))
    back = target.class_probabilities(probabilities)
    assert back.shape == (2, 40, 40)
    np.testing.assert_allclose(back.sum(0), 1, atol=1e-6)
    wrong = (back.argmax(0) != classes).mean()
    assert wrong < (0.02 if name == "foreground" else 1e-9)
    foreground, seeds = target.object_maps(probabilities)
    assert foreground.dtype == seeds.dtype == np.float32
    assert (seeds <= foreground).all()
    assert (foreground[classes == 0] == 0).all()


def test_gaps_come_back_for_several_classes_and_scales():
    instances = np.zeros((20, 40), np.int32)
    instances[4:16, 4:20], instances[4:16, 20:36] = 1, 2
    classes = instances.astype(np.uint8)
    for scale in (1.0, 0.5):
        target = get_target("foreground", gap=4)
        made = target.make(classes, instances)
        assert (made[6:14, 18:22] == 0).all()
        back = target.class_probabilities(one_hot(made, 3) * 0.9 + 0.1 / 3, scale)
        np.testing.assert_allclose(back.sum(0), 1, atol=1e-6)
    instances[instances > 0] = 1
    one = get_target("foreground", gap=4)
    made = np.where(np.abs(np.arange(40) - 19.5) < 2, 0, instances > 0).astype(np.uint8)
    assert (one.class_probabilities(one_hot(made, 2)).argmax(0) == (instances > 0)).all()


def test_user_mistakes_are_named():
    with pytest.raises(UserError, match=r"dataset.target=forground: .*did you mean foreground\?"):
        get_target("forground")
    with pytest.raises(UserError, match=r"no argument 'widht', it takes width"):
        get_target("foreground_border", widht=2)
    with pytest.raises(UserError, match="one foreground class"):
        get_target("foreground_border").outputs(("background", "a", "b"))
    with pytest.raises(UserError, match=r"core=1\.5 must lie between 0 and 1"):
        get_target("foreground_core", core=1.5)
    with pytest.raises(UserError, match="foreground_core needs one foreground class"):
        get_target("foreground_core").outputs(("background", "a", "b"))
    for wrong in ("abc", [1, 2], True, None):
        with pytest.raises(UserError, match=r"dataset\.target_params\.width=.*: must be a number"):
            get_target("foreground_core", width=wrong)
    for name, params in {
        "foreground": {"gap": 0},
        "foreground_border": {"width": -1},
        "foreground_core": {"width": 0},
    }.items():
        with pytest.raises(UserError, match=f"{name}: .*positive"):
            get_target(name, **params)
