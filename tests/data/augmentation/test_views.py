"""The views that tta=true averages over are those that training showed, closed to a group; nothing is guessed."""

from itertools import product

import albumentations as A
import numpy as np
import pytest

from unet_train.data.augmentation.pipeline import build_augmentation, oriented
from unet_train.data.augmentation.views import training_views
from unet_train.symmetries import ALL_VIEWS, SYMMETRIES, group_of, lay

H, V, T = ({"name": name, "p": 0.5} for name in ("HorizontalFlip", "VerticalFlip", "Transpose"))
QUARTER, BLUR = {"name": "RandomRotate90", "p": 1.0}, {"name": "GaussianBlur", "p": 0.2}
ONLY, LEFT_RIGHT = ("identity",), ("identity", "horizontal_flip")
TURNS = ("identity", "rotation_90", "rotation_180", "rotation_270")
BOTH = ("identity", "rotation_180", "horizontal_flip", "vertical_flip")


class Mirror(A.DualTransform):
    """A transform of the user's own."""

    def apply(self, img, **params):
        return img


def never(item):
    return {**item, "p": 0.0}


@pytest.mark.parametrize(
    ("given", "views"),
    [
        ([], ONLY),
        ([BLUR], ONLY),
        ([H], LEFT_RIGHT),
        ([never(H)], ONLY),
        ([V], ("identity", "vertical_flip")),
        ([H, V], BOTH),
        ([T], ("identity", "transpose")),
        ([T, H], ALL_VIEWS),
        ([QUARTER], TURNS),
        ([QUARTER, V], ALL_VIEWS),
        ([{"name": "D4", "p": 0.1}], ALL_VIEWS),
        ([{"name": "SquareSymmetry"}], ALL_VIEWS),
        ([{"name": "Affine", "rotate": [-180, 180]}], TURNS),
        ([{"name": "Affine", "rotate": [-90, 90]}], TURNS),
        ([{"name": "Affine", "rotate": [-89, 90]}], ONLY),
        ([{"name": "Affine", "rotate": 90}], ONLY),
        ([{"name": "Rotate", "limit": [0, 360]}], TURNS),
        ([{"name": "Rotate", "limit": 90}], TURNS),
        ([{"name": "Rotate", "limit": 45}], ONLY),
        ([{"name": "SafeRotate", "limit": 120}], TURNS),
        ([never({"name": "Rotate", "limit": 90})], ONLY),
        ([{"name": "OneOf", "transforms": [H, BLUR], "p": 0.3}], LEFT_RIGHT),
        ([{"name": "OneOf", "transforms": [never(V), H], "p": 0.3}], LEFT_RIGHT),
        ([{"name": "OneOf", "transforms": [H, BLUR], "p": 0.0}], ONLY),
        ([{"name": "SomeOf", "n": 1, "transforms": [V, {"name": "Sequential", "transforms": [H]}]}], BOTH),
        ([{"name": "OneOrOther", "transforms": [H, V], "p": 1.0}], LEFT_RIGHT),
        ([{"name": "OneOrOther", "transforms": [never(H), never(V)], "p": 0.5}], BOTH),
        ([{"name": "PaperElastic"}], ONLY),
    ],
)
def test_what_is_trained_is_averaged(given, views):
    assert training_views(build_augmentation(given).transforms) == (views, [])


@pytest.mark.parametrize("inside", [False, True])
def test_what_cannot_be_judged_gives_nothing_and_is_named(inside):
    own = {"_target_": f"{__name__}.Mirror", "p": 0.5}
    given = [{"name": "OneOf", "transforms": [own, H]}] if inside else [own, H]
    assert training_views(build_augmentation(given).transforms) == (LEFT_RIGHT, ["Mirror"])


@pytest.mark.parametrize(
    ("orientation", "views"), [("any", ALL_VIEWS), ("upright", LEFT_RIGHT), ("fixed", ONLY)]
)
def test_the_orientation_filters_any_list(orientation, views):
    given = [
        H,
        V,
        QUARTER,
        {"name": "D4"},
        {"name": "Affine", "rotate": [-180, 180]},
        {"name": "OneOf", "transforms": [H, {"name": "Rotate", "limit": 180}, T]},
        {"name": "TimeReverse"},
    ]
    left = oriented(given, orientation)
    assert training_views(build_augmentation(left).transforms) == (views, [])


def test_with_fixed_left_and_up_stay_where_they_are():
    """Values grow to the right and downwards, and still do after any draw."""
    given = [H, V, QUARTER, {"name": "D4"}, {"name": "Rotate", "limit": 180, "p": 1.0}]
    augmentation = build_augmentation(oriented(given, "fixed"))
    y, x = np.mgrid[:48, :48].astype(np.uint8)
    for seed in range(20):
        _, moved = augmentation(np.zeros((48, 48, 1), np.uint8), {"x": x, "y": y}, seed)
        assert moved["x"][:, 32:].mean() > moved["x"][:, :16].mean() + 15
        assert moved["y"][32:].mean() > moved["y"][:16].mean() + 15


def test_groups_are_closed_and_as_small_as_can_be():
    """Against the group's own definition: every subset, every pair, by the pixels of a picture without symmetry."""
    picture = np.arange(9).reshape(3, 3)
    laid = {lay(picture, view).tobytes(): view for view in SYMMETRIES}
    assert len(laid) == 8
    orders = set()
    for chosen in product((False, True), repeat=8):
        views = [view for view, taken in zip(SYMMETRIES, chosen, strict=True) if taken]
        group = group_of(views)
        orders.add(len(group))
        assert group[0] == "identity"
        assert set(views) <= set(group)
        assert all(laid[lay(lay(picture, one), two).tobytes()] in group for one in group for two in group)
    assert orders == {1, 2, 4, 8}
    assert group_of(["rotation_180"]) == ("identity", "rotation_180")
