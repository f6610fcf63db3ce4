"""The paper's elastic deformation: its field by hand, its quickness beside albumentations' own."""

import numpy as np
import pytest

from unet_train.data.augmentation.elastic import PaperElastic, displacement
from unet_train.data.augmentation.pipeline import A


def bicubic_by_hand(coarse: np.ndarray, length: int) -> np.ndarray:
    """Upsample the first axis by cubic convolution (a = -0.75), pixel centres aligned, edges repeated."""
    n = len(coarse)
    out = np.zeros((length, *coarse.shape[1:]))
    for i in range(length):
        place = (i + 0.5) * n / length - 0.5
        for k in range(int(np.floor(place)) - 1, int(np.floor(place)) + 3):
            x = abs(place - k)
            w = 1.25 * x**3 - 2.25 * x**2 + 1 if x <= 1 else -0.75 * (x**3 - 5 * x**2 + 8 * x - 4)
            out[i] += w * coarse[min(max(k, 0), n - 1)]
    return out


def test_field_is_the_bicubic_of_a_coarse_normal_grid():
    along_x, along_y = displacement(np.random.default_rng(5), (40, 64), sigma=10, grid=3)
    coarse = np.random.default_rng(5).normal(0, 10, (2, 3, 3))
    for field, grid in zip((along_x, along_y), coarse, strict=True):
        expected = bicubic_by_hand(bicubic_by_hand(grid, 40).T, 64).T
        np.testing.assert_allclose(field, expected, atol=1e-3)


def test_displacements_have_the_papers_size():
    rng = np.random.default_rng(0)
    middles = np.array([[f[24, 24] for f in displacement(rng, (49, 49), sigma=10)] for _ in range(1500)])
    np.testing.assert_allclose(
        middles.std(0), 10, rtol=0.06
    )  # at the middle stands a vector of the grid itself
    assert abs(np.corrcoef(middles.T)[0, 1]) < 0.1


def test_a_picture_is_sampled_where_the_field_points():
    ramp = np.add.outer(np.arange(50.0) * 2, np.arange(70.0) * 3).astype(np.float32)[..., None] / 500
    transform = A.Compose([PaperElastic(sigma=2, p=1.0)])
    transform.set_random_state(np.random.default_rng(8), __import__("random").Random(0))
    moved = transform(image=ramp)["image"][..., 0]
    along_x, along_y = displacement(np.random.default_rng(8), (50, 70), sigma=2)
    y, x = np.mgrid[:50, :70]
    inside = (x + along_x > 0) & (x + along_x < 69) & (y + along_y > 0) & (y + along_y < 49)
    expected = ((y + along_y) * 2 + (x + along_x) * 3) / 500
    np.testing.assert_allclose(moved[inside], expected[inside], atol=5 / 500 / 16)
    assert inside.mean() > 0.8


def test_no_displacement_is_no_change_for_any_form():
    rng = np.random.default_rng(0)
    still = A.Compose([PaperElastic(sigma=0, p=1.0)])
    for channels in (1, 2, 3, 4, 5, 9):
        image = rng.integers(0, 256, (30, 20, channels), dtype=np.uint8)
        np.testing.assert_array_equal(still(image=image)["image"], image)
    for dtype in (np.uint8, np.uint16, np.int16, np.int32, np.float32):
        mask = (rng.integers(0, 30000, (30, 20)) // (200 if dtype == np.uint8 else 1)).astype(dtype)
        moved = still(image=image, mask=mask)["mask"]
        assert moved.dtype == dtype
        np.testing.assert_array_equal(moved, mask)


@pytest.mark.parametrize("wrong", [{"sigma": -1}, {"grid": 1}])
def test_wrong_values_are_refused(wrong):
    with pytest.raises(ValueError, match="PaperElastic"):
        PaperElastic(**wrong)
