"""The paper's weight map against the formula written out over all pairs of pixels."""

import pickle

import numpy as np
import pytest

from unet_train.data.border_weights import BorderWeights, border_weight_map
from unet_train.data.targets import get_target
from unet_train.demo.drawing import draw_demo_image
from unet_train.errors import UserError


def brute_force(
    instances: np.ndarray, target: np.ndarray, w0: float, sigma: float, balance: bool
) -> np.ndarray:
    height, width = target.shape
    known = [target[i, j] for i in range(height) for j in range(width) if target[i, j] != 255]
    classes = sorted(set(known))
    cells: dict[int, list[tuple[int, int]]] = {}
    for i in range(height):
        for j in range(width):
            if instances[i, j] > 0 and 0 < target[i, j] < 255:
                cells.setdefault(int(instances[i, j]), []).append((i, j))
    weights = np.zeros(target.shape)
    for i in range(height):
        for j in range(width):
            value = target[i, j]
            if value == 255:
                continue
            w = min(10, len(known) / (len(classes) * known.count(value))) if balance else 1
            if value == 0 and len(cells) >= 2:
                nearest = sorted(min(np.hypot(i - a, j - b) for a, b in pixels) for pixels in cells.values())
                w += w0 * np.exp(-((nearest[0] + nearest[1]) ** 2) / (2 * sigma**2))
            weights[i, j] = w
    return weights


def picture(cells: int, seed: int = 0, size: tuple[int, int] = (22, 27)) -> np.ndarray:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]]
    instances = np.zeros(size, np.int32)
    for label in rng.permutation(40000)[:cells] + 1:
        centre, radius = rng.uniform((2, 2), np.subtract(size, 2)), rng.uniform(1.5, 4)
        instances[(np.hypot(y - centre[0], x - centre[1]) < radius) & (instances == 0)] = label
    return instances


@pytest.mark.parametrize("cells", [0, 1, 2, 9])
@pytest.mark.parametrize("name", ["classes", "foreground"])
@pytest.mark.parametrize("balance", [True, False])
def test_it_is_the_brute_force_map(cells, name, balance):
    for sigma in (0.7, 2.0, 5.0):
        instances = picture(cells, seed=cells)
        classes = (instances > 0).astype(np.uint8)
        classes[:4, :9] = 255
        target = get_target(name).make(classes, instances)
        found = border_weight_map(instances, target, w0=10, sigma=sigma, class_balance=balance)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, brute_force(instances, target, 10, sigma, balance), atol=2e-5)
        if cells < 2 and not balance:
            assert set(np.unique(found)) <= {0, 1}


def test_the_gap_between_touching_cells_weighs_most():
    _, instances = draw_demo_image(0, 1)
    target = get_target("foreground").make((instances > 0).astype(np.uint8), instances)
    weights = border_weight_map(instances, target)
    gap = (instances > 0) & (target == 0)
    assert gap.any()
    # Inside a gap of two pixels the cells are one and two pixels away, or a diagonal more.
    assert np.quantile(weights[gap], 0.1) > 10 * np.exp(-((1.5 + 2.9) ** 2) / 50)
    assert weights[gap].mean() > 5 * weights[~gap].mean()


def test_unknown_pixels_weigh_nothing_and_change_nothing():
    instances = picture(4)
    classes = (instances > 0).astype(np.uint8)
    one = np.flatnonzero(instances)[0]
    hidden = instances == instances.ravel()[one]
    classes[hidden] = 255
    weights = border_weight_map(instances, classes)
    assert (weights[hidden] == 0).all()
    np.testing.assert_allclose(weights, border_weight_map(np.where(hidden, 0, instances), classes), rtol=1e-6)
    assert not border_weight_map(instances, np.full_like(classes, 255)).any()


def test_without_instances_only_the_classes_are_balanced():
    target = np.zeros((20, 20), np.uint8)
    target[0, :5] = 1
    target[1:5] = 2
    weights = border_weight_map(None, target)
    np.testing.assert_allclose(weights[19, 0], 400 / (3 * 315), rtol=1e-6)
    np.testing.assert_allclose(weights[2, 0], 400 / (3 * 80), rtol=1e-6)
    assert weights[0, 0] == 10  # 26.7, limited


def test_settings_travel_and_sigma_shrinks_with_the_scale():
    instances = picture(5)
    target = (instances > 0).astype(np.uint8)
    settings = pickle.loads(pickle.dumps(BorderWeights(w0=4, sigma=6, scale=0.5)))
    np.testing.assert_array_equal(
        settings(instances, target), border_weight_map(instances, target, w0=4, sigma=3)
    )
    with pytest.raises(UserError, match=r"loss.border_weights: .*sigma=0"):
        BorderWeights(sigma=0)
    with pytest.raises(ValueError, match="differ"):
        border_weight_map(instances, target[1:])
