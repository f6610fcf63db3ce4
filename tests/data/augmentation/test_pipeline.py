"""Every configured transform moves image, mask and weights alike; surprises of albumentations as tests."""

import pickle
import random
import sys
import warnings
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from unet_train.data.augmentation.elastic import PaperElastic
from unet_train.data.augmentation.pipeline import A, build_augmentation, oriented
from unet_train.errors import UserError

CONFIGS = Path(__file__).resolve().parents[3] / "configs" / "augmentation"
NAMES = ["none", "light", "strong", "paper", "microscopy"]
SIZE = 64


def pipeline(name: str) -> list[dict]:
    return yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())["transforms"]


def sure(transform: dict) -> dict:
    return transform | {"p": 1.0}


EVERY = sorted(
    {yaml.safe_dump(sure(t), sort_keys=True) for name in NAMES for t in pipeline(name)},
)


def test_all_files_are_tested():
    found = {path.stem for path in CONFIGS.glob("*.yaml")}
    assert found == set(NAMES)
    for name in NAMES:
        group = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
        assert set(group) >= {"crop_size", "foreground_share", "transforms"}


@pytest.mark.parametrize("text", EVERY, ids=lambda text: yaml.safe_load(text)["name"])
def test_image_mask_and_weights_move_alike(text):
    """Each pixel carries its own coordinates: in the image as floats, in mask and weights as its number."""
    augmentation = build_augmentation([yaml.safe_load(text)])
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    image = np.stack([x, y], -1) / SIZE * 0.5 + 0.25  # 0.25 … 0.75: never clipped
    numbers = np.arange(SIZE * SIZE, dtype=np.int32).reshape(SIZE, SIZE)
    masks = {
        "target": (numbers % 251).astype(np.uint8),
        "instances": numbers,
        "weight": numbers.astype(np.float32),
    }
    moved_any = False
    for seed in range(6):
        out, moved = augmentation(image, masks, seed)
        assert {k: (m.dtype, m.shape) for k, m in moved.items()} == {
            k: (m.dtype, m.shape) for k, m in masks.items()
        }
        # OpenCV's nearest depends on the dtype where a source lies half way between two pixels: rare.
        assert (moved["target"] != moved["instances"] % 251).mean() < 0.005
        assert (moved["weight"] != moved["instances"]).mean() < 0.005
        if (moved["instances"] != numbers).any():
            moved_any = True
            found = (out - 0.25) * 2 * SIZE
            for kind in ("instances", "weight"):
                wanted = np.stack([moved[kind] % SIZE, moved[kind] // SIZE], -1)
                # Nearest is at most half a pixel from where the image was sampled; OpenCV's tables add 1/32.
                assert np.abs(found - wanted).max() <= 0.5 + 1 / 16
    geometric = yaml.safe_load(text)["name"] in {
        "HorizontalFlip",
        "VerticalFlip",
        "RandomRotate90",
        "Affine",
        "PaperElastic",
    }
    assert moved_any == geometric


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_pipelines_keep_form_labels_and_range(name, channels, dtype):
    augmentation = build_augmentation([sure(t) for t in pipeline(name)], channels=channels)
    augmentation.check(channels, dtype)
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (48, 48, channels), dtype=np.uint8)
    image = image if dtype == np.uint8 else (image / 255).astype(np.float32)
    target = rng.choice(np.array([0, 1, 5, 255], np.uint8), (48, 48))
    for seed in range(3):
        out, moved = augmentation(image, {"target": target}, seed)
        assert (out.shape, out.dtype) == (image.shape, image.dtype)
        assert out.min() >= 0
        assert out.max() <= (255 if dtype == np.uint8 else 1)
        assert set(np.unique(moved["target"])) <= {0, 1, 5, 255}


@pytest.mark.parametrize("name", NAMES)
def test_no_false_background(name):
    """A mask full of class 1 stays full: what comes in from outside is a reflection, not background."""
    augmentation = build_augmentation([sure(t) for t in pipeline(name)])
    ones = np.ones((40, 40), np.uint8)
    for seed in range(10):
        _, moved = augmentation(np.full((40, 40, 1), 90, np.uint8), {"target": ones}, seed)
        assert (moved["target"] == 1).all()


def test_border_defaults_are_safe_for_any_transform():
    ones, grey = np.ones((40, 40), np.uint8), np.full((40, 40, 1), 90, np.uint8)
    affine = {"name": "Affine", "scale": 0.5, "p": 1.0}
    assert (build_augmentation([affine])(grey, {"t": ones}, 0)[1]["t"] == 1).all()
    constant = build_augmentation(
        [{"name": "OneOf", "transforms": [affine | {"border_mode": "constant"}], "p": 1}]
    )
    assert set(np.unique(constant(grey, {"t": ones}, 0)[1]["t"])) == {1, 255}


@pytest.mark.parametrize("name", NAMES)
def test_draws_are_functions_of_the_seed_even_after_pickling(name):
    augmentation = build_augmentation(pipeline(name))
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (48, 48, 1), dtype=np.uint8)
    masks = {"target": image[..., 0] // 64}
    first = [augmentation(image, masks, [7, i]) for i in range(8)]
    copy = pickle.loads(pickle.dumps(augmentation))
    for i in reversed(range(8)):
        out, moved = copy(image, masks, [7, i])
        np.testing.assert_array_equal(out, first[i][0])
        np.testing.assert_array_equal(moved["target"], first[i][1]["target"])
    if name != "none":
        assert len({out.tobytes() for out, _ in first}) > 4


def test_story_every_transform_draws_for_itself():
    """`Compose.set_random_seed(s)` seeds each transform with the same s: two flips of p=0.5 came together.

    So of the four pictures that two flips can make, two never appeared. Here they share one generator.
    """
    image = np.arange(16, dtype=np.uint8).reshape(4, 4, 1)
    flips = [A.HorizontalFlip(p=0.5), A.VerticalFlip(p=0.5)]
    theirs = A.Compose(flips)
    corners: Counter[int] = Counter()
    for seed in range(60):
        theirs.set_random_seed(seed)
        corners[int(theirs(image=image)["image"][0, 0, 0])] += 1
    assert set(corners) == {0, 15}, "albumentations has changed: simplify Augmentation"

    ours = build_augmentation([{"name": "HorizontalFlip", "p": 0.5}, {"name": "VerticalFlip", "p": 0.5}])
    corners = Counter(int(ours(image, {}, seed)[0][0, 0, 0]) for seed in range(200))
    assert set(corners) == {0, 3, 12, 15}
    assert min(corners.values()) > 30


def test_story_a_misspelt_argument_only_warns_in_albumentations():
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        A.HorizontalFlip(P=0.3)
    assert "not valid" in str(seen[0].message)
    with pytest.raises(UserError, match=r"augmentation\.transforms\[0\] GaussNoise .*'std_rang'.*std_range"):
        build_augmentation([{"name": "GaussNoise", "std_rang": [0.1, 0.2]}])


class Loud(A.ImageOnlyTransform):
    """A user's own transform."""

    def __init__(self, by: int = 1, p: float = 1.0):
        super().__init__(p=p)
        self.by = by

    def apply(self, img, **params):
        return img + np.uint8(self.by)


class Careless(A.ImageOnlyTransform):
    """Draws from the global generators, as transforms of one's own often do."""

    def apply(self, img, **params):
        return img + np.uint8(100 * random.random()) + np.uint8(100 * np.random.random())  # noqa: NPY002


class Rewriting(A.DualTransform):
    """A transform that changes labels."""

    def apply(self, img, **params):
        return img

    def apply_to_mask(self, mask, *args, **params):
        return mask // 2


class Dreaming:
    """No transform at all."""


def test_a_transform_of_ones_own_draws_by_the_seed_wherever_it_draws(monkeypatch):
    """Otherwise a sample would depend on what ran before it, in this process or a worker's."""
    monkeypatch.setitem(sys.modules, "their_transforms", SimpleNamespace(Careless=Careless))
    monkeypatch.setattr(Careless, "__module__", "their_transforms")
    inner = {"_target_": "their_transforms.Careless"}
    both = {"name": "Sequential", "transforms": [inner], "p": 1}
    pipeline = build_augmentation([both], check=False)
    image = np.zeros((8, 8, 1), np.uint8)

    def drawn(seed):
        random.random(), np.random.random()  # noqa: NPY002
        return int(pipeline(image, {}, seed)[0][0, 0, 0])

    assert drawn(1) == drawn(1)
    assert len({drawn(seed) for seed in range(8)}) > 4


def test_a_target_of_ones_own(monkeypatch):
    import sys
    import types

    module = types.ModuleType("their_transforms")
    module.Loud, module.Rewriting, module.Dreaming = Loud, Rewriting, Dreaming
    monkeypatch.setitem(sys.modules, "their_transforms", module)
    image = np.zeros((4, 4, 1), np.uint8)
    out, _ = build_augmentation([{"_target_": "their_transforms.Loud", "by": 3}])(image, {}, 0)
    assert (out == 3).all()
    for item, words in {
        ("their_transforms.Rewriting", ""): "makes labels",
        ("their_transforms.Loud", "bye"): "'bye'.* by\\b",
        ("their_transforms.Dreaming", ""): "not an albumentations transform",
        ("their_transforms.Quiet", ""): "cannot be imported",
        ("nowhere.Loud", ""): "cannot be imported",
    }.items():
        arguments = {item[1]: 1} if item[1] else {}
        with pytest.raises(UserError, match=words):
            build_augmentation([{"_target_": item[0], **arguments}])


@pytest.mark.parametrize(
    ("transform", "words"),
    [
        (
            {"name": "HorizontalFlop"},
            r"\[0\] HorizontalFlop: .*HorizontalFlip",
        ),
        ({"name": "HorizontalFlip", "p": 2}, "HorizontalFlip: p: "),
        ({"name": "RandomGamma", "gamma_limit": "x"}, "RandomGamma: gamma_limit"),
        ({"name": "Affine", "border_mode": "mirror"}, "border_mode=mirror .*constant, replicate"),
        (
            {"name": "Affine", "mask_interpolation": "linear"},
            "mask_interpolation=linear .*nearest",
        ),
        ({"name": "RandomCrop", "height": 16, "width": 16}, "changes the image .*augmentation.crop_size"),
        ({"name": "RandomCrop", "height": 16, "width": 16, "p": 0.001}, "changes the image"),
        ({"name": "PaperElastic", "sigma": -1}, "sigma=-1"),
        ({"p": 1}, "name .* or _target_"),
        ("HorizontalFlip", "name .* or _target_"),
        ({"name": "OneOf", "transforms": [{"name": "Blurr"}]}, r"OneOf.transforms\[0\] Blurr: .*Blur"),
    ],
)
def test_mistakes_are_named_before_any_image_is_read(transform, words):
    with pytest.raises(UserError, match=words) as caught:
        build_augmentation([transform])
    assert "\n" not in str(caught.value)


def test_labels_are_nearest_even_if_a_transform_says_otherwise():
    own = build_augmentation([])
    own.__init__([PaperElastic(mask_interpolation=1, p=1.0)])
    target = np.random.default_rng(0).choice(np.array([0, 200], np.uint8), (32, 32))
    assert set(np.unique(own(target[..., None], {"t": target}, 3)[1]["t"])) == {0, 200}


def test_global_random_states_are_neither_used_nor_touched():
    augmentation = build_augmentation(pipeline("strong"))
    image = np.full((32, 32, 1), 100, np.uint8)
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    state = random.getstate(), np.random.get_state()[1].tobytes()  # noqa: NPY002
    first = augmentation(image, {}, 5)[0]
    assert state == (random.getstate(), np.random.get_state()[1].tobytes())  # noqa: NPY002
    random.seed(2)
    np.testing.assert_array_equal(augmentation(image, {}, 5)[0], first)


FLIP, VERTICAL, QUARTER = (
    {"name": "HorizontalFlip"},
    {"name": "VerticalFlip", "p": 0.5},
    {"name": "RandomRotate90"},
)
BLUR = {"name": "GaussianBlur", "p": 0.2}


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ([FLIP, VERTICAL, QUARTER, {"name": "Transpose"}, BLUR], [FLIP, BLUR]),
        ([{"name": "D4"}], [{"name": "HorizontalFlip", "p": 0.5}]),
        ([{"name": "D4", "p": 0.4}], [{"name": "HorizontalFlip", "p": 0.2}]),
        ([{"name": "SquareSymmetry", "p": 1}], [{"name": "HorizontalFlip", "p": 0.5}]),
        ([{"name": "Affine", "rotate": [-180, 5]}], [{"name": "Affine", "rotate": [-15, 5]}]),
        ([{"name": "Affine", "rotate": 90}], [{"name": "Affine", "rotate": [0, 0]}]),
        ([{"name": "Affine", "scale": 0.5}], [{"name": "Affine", "scale": 0.5, "rotate": [0, 0]}]),
        ([{"name": "Rotate"}], [{"name": "Rotate", "limit": [-15, 15]}]),
        ([{"name": "Rotate", "limit": 10}], [{"name": "Rotate", "limit": [-10, 10]}]),
        ([{"name": "SafeRotate", "limit": [0, 45]}], [{"name": "SafeRotate", "limit": [0, 15]}]),
        ([{"name": "ShiftScaleRotate"}], [{"name": "ShiftScaleRotate", "rotate_limit": [-15, 15]}]),
        ([{"_target_": "albumentations.VerticalFlip", "p": 1}, BLUR], [BLUR]),
        (
            [{"_target_": "albumentations.Rotate", "limit": 90}],
            [{"_target_": "albumentations.Rotate", "limit": [-15, 15]}],
        ),
        ([{"name": "OneOf", "transforms": [VERTICAL, QUARTER], "p": 1}, BLUR], [BLUR]),
        (
            [{"name": "OneOf", "transforms": [FLIP, VERTICAL, QUARTER], "p": 1}],
            [
                {
                    "name": "OneOf",
                    "transforms": [FLIP, {"name": "NoOp", "p": 0.5}, {"name": "NoOp", "p": 1}],
                    "p": 1,
                }
            ],
        ),
        (
            [
                {
                    "name": "SomeOf",
                    "n": 2,
                    "transforms": [VERTICAL, {"name": "Sequential", "transforms": [QUARTER, BLUR]}],
                }
            ],
            [
                {
                    "name": "SomeOf",
                    "n": 2,
                    "transforms": [{"name": "NoOp", "p": 0.5}, {"name": "Sequential", "transforms": [BLUR]}],
                }
            ],
        ),
    ],
)
def test_upright_keeps_what_leaves_up_where_it_is(given, left):
    before = yaml.safe_dump(given)
    assert oriented(given, "upright") == left
    assert yaml.safe_dump(given) == before
    build_augmentation(left)


@pytest.mark.parametrize("name", NAMES)
def test_upright_pipelines_never_turn_a_gradient_over(name):
    """Values grow downwards; after any draw the lower third is still the brighter one."""
    level = [sure(t) for t in oriented(pipeline(name), "upright")]
    augmentation = build_augmentation(level)
    y, x = np.mgrid[:SIZE, :SIZE]
    labels = y.astype(np.uint8)
    flipped = set()
    for seed in range(40):
        _, moved = augmentation(
            np.zeros((SIZE, SIZE, 1), np.uint8), {"y": labels, "x": x.astype(np.uint8)}, seed
        )
        rows = moved["y"].astype(float)
        assert rows[-SIZE // 3 :].mean() > rows[: SIZE // 3].mean() + 15
        columns = moved["x"].astype(float)
        flipped.add(columns[:, -SIZE // 3 :].mean() > columns[:, : SIZE // 3].mean())
    assert augmentation.turns is False
    assert name == "none" or False in flipped
