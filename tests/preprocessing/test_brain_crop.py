"""The published preprocessing of brain volumes against scikit-image and NumPy, written from its description."""

import numpy as np
import pytest
from skimage.transform import resize

from unet_train.data.layouts.kaggle import KaggleSource
from unet_train.data.loading.normaliser import Normaliser
from unet_train.data.loading.training_set import Sampling, TrainingSet
from unet_train.data.records import Record, Source, Truth
from unet_train.data.targets import get_target
from unet_train.errors import UserError
from unet_train.preprocessing.brain_crop import background, find_window, resizing
from unet_train.preprocessing.intensity import move_labels, rescale, volume_statistics
from unet_train.preprocessing.preprocessing import Preprocessing


def cropped_and_resized(volume, masks, side):
    """Steps 1 to 3 on slices×H×W×C and slices×H×W, as the reference implementation does them at once."""
    volume, masks = volume.copy(), masks.copy()
    volume[volume < np.max(volume) * 0.1] = 0
    z, y, x = (np.nonzero(volume.max(tuple({0, 1, 2, 3} - {axis})))[0] for axis in range(3))
    box = tuple(slice(found.min(), found.max() + 1) for found in (z, y, x))
    volume, masks = volume[box], masks[box]
    height, width = volume.shape[1:3]
    missing = abs(height - width) / 2
    padding = (int(np.floor(missing)), int(np.ceil(missing)))
    padding = [(0, 0), (0, 0), padding] if height > width else [(0, 0), padding, (0, 0)]
    volume, masks = np.pad(volume, [*padding, (0, 0)]), np.pad(masks, padding)
    keys = {"mode": "constant", "cval": 0, "anti_aliasing": False}
    masks = resize(masks, (len(masks), side, side), order=0, **keys)
    return resize(volume, (len(volume), side, side, volume.shape[3]), order=2, **keys), masks, box


def normalised(volume):
    """Step 4."""
    low, high = np.percentile(volume, 10), np.percentile(volume, 99)
    volume = (np.clip(volume, low, high) - low) / (high - low)
    return (volume - volume.mean((0, 1, 2))) / volume.std((0, 1, 2))


def head(slices, height, width, channels=3, seed=0, dtype="uint8"):
    """Noise with a bright box off the middle, nothing in the last slice but one, and its masks."""
    rng = np.random.default_rng(seed)
    volume = rng.gamma(1.0, 5.0, (slices, height, width, channels))
    volume *= volume < 15  # below a tenth of the maximum
    inside = (slice(0, slices - 2), slice(3, height - 6), slice(5, width - 1))
    volume[inside] = rng.uniform(0, 1, volume[inside].shape) ** 2 * 240
    masks = (volume[..., 1] > 150).astype(np.uint8)
    volume = volume.clip(0, 255).astype(np.uint8)
    return (volume if dtype == "uint8" else (volume / 255).astype(np.float32)), masks


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize(
    ("height", "width", "side"), [(40, 32, 48), (32, 40, 48), (30, 27, 32), (60, 41, 32), (30, 27, 21)]
)
def test_crop_square_and_resizing_are_the_published_ones(height, width, side, dtype):
    volume, masks = head(5, height, width, seed=height, dtype=dtype)
    expected, expected_masks, box = cropped_and_resized(volume, masks, side)
    window, inside = find_window(list(volume), side)
    assert (inside, slice(*window.rows), slice(*window.columns)) == box
    assert box[0] == slice(0, 3)
    moved = np.stack([window.move_image(image) for image in volume[inside]])
    assert moved.dtype == np.float32
    np.testing.assert_allclose(moved, expected, atol=2e-6)
    np.testing.assert_array_equal([window.move_labels(mask) for mask in masks[inside]], expected_masks)


@pytest.mark.parametrize(
    ("length", "side"), [(7, 256), (200, 256), (256, 256), (300, 256), (256, 64), (1, 4)]
)
def test_the_resizing_matrix_is_scikit_image(length, side):
    line = np.random.default_rng(length).random((length, 2))
    expected = resize(line, (side, 2), order=2, mode="constant", anti_aliasing=False, clip=False)
    np.testing.assert_allclose(resizing(length, side) @ line, expected, atol=1e-6)


def test_a_drawn_volume_is_normalised_as_published():
    volume, masks = head(6, 36, 29)
    # The first and the last slice do not belong to the published volume.
    expected, expected_masks, box = cropped_and_resized(volume[1:-1], masks[1:-1], 256)
    statistics = volume_statistics(list(volume), "brain")
    slices, truth = volume[1:-1][box[0]], masks[1:-1][box[0]]
    moved = np.stack([rescale(image, statistics) for image in slices])
    assert moved.shape == (3, 256, 256, 3)
    assert (moved.dtype, moved.min(), moved.max()) == (np.float32, 0, 1)
    np.testing.assert_allclose((moved - statistics.mean) / statistics.std, normalised(expected), atol=2e-5)
    np.testing.assert_array_equal([move_labels(mask, statistics) for mask in truth], expected_masks)


def test_a_real_patient_is_preprocessed_as_published(real_data):
    """Seven slices of one whose last three hold nothing: outside of the box, and the very last dropped."""
    source = KaggleSource(real_data / "kaggle_3m")
    records = [r for r in source.records() if r.group == "TCGA_DU_7300_19910814" and r.order >= 30]
    volume = np.stack([source.read_image(record) for record in records])
    masks = np.stack([source.read_truth(record).classes for record in records])
    expected, expected_masks, box = cropped_and_resized(volume[1:-1], masks[1:-1], 256)
    assert box[0] == slice(0, 3)
    statistics = volume_statistics(list(volume), "brain")
    moved = np.stack([rescale(image, statistics) for image in volume[1:-1][box[0]]])
    np.testing.assert_allclose((moved - statistics.mean) / statistics.std, normalised(expected), atol=5e-5)
    moved_masks = [move_labels(mask, statistics) for mask in masks[1:-1][box[0]]]
    np.testing.assert_array_equal(moved_masks, expected_masks)
    assert statistics.window is not None
    assert [statistics.window.blank(image) for image in volume] == [False] * 4 + [True] * 3


def test_first_and_last_slice_change_nothing_but_are_moved_alike():
    volume, _ = head(6, 36, 29)
    statistics = volume_statistics(list(volume), "brain")
    brighter = volume.copy()
    brighter[0] = brighter[-1] = 255
    assert volume_statistics(list(brighter), "brain") == statistics
    brighter[2] = 255
    assert volume_statistics(list(brighter), "brain") != statistics
    assert rescale(volume[0], statistics).shape == (256, 256, 3)
    # Where there are but two slices, both count.
    two = volume_statistics(list(volume[:2]), "brain")
    assert two != volume_statistics(list(volume[:1]), "brain")


@pytest.mark.parametrize(("height", "width"), [(40, 32), (32, 40), (256, 200)])
def test_what_was_moved_comes_back_to_its_place(height, width):
    rows, columns = np.mgrid[:height, :width]
    labels = ((rows // 7 + columns // 5) % 2).astype(np.uint8)
    image = np.full((height, width, 1), 4, np.uint8)
    image[3:-6, 5:-1] = 200
    window, _ = find_window([image])
    side = max(height - 9, width - 6)
    assert window.square == side
    moved = window.move_labels(labels)
    nearest = ((np.arange(side) + 0.5) * 256 / side).astype(int)
    square = np.stack([moved == 0, moved == 1]).astype(np.float32)[:, nearest[:, None], nearest]
    whole = window.place(square)
    assert (whole.shape, whole.dtype) == ((2, height, width), np.float32)
    np.testing.assert_array_equal(whole.sum(0), 1)
    np.testing.assert_array_equal(whole[1, 3:-6, 5:-1], labels[3:-6, 5:-1])
    outside = np.ones((height, width), bool)
    outside[3:-6, 5:-1] = False
    assert (whole[0][outside] == 1).all()
    np.testing.assert_array_equal(background(3, (2, 2)), [[[1, 1], [1, 1]], *[[[0, 0], [0, 0]]] * 2])


def test_a_black_volume_stays_finite_and_is_blank():
    statistics = volume_statistics([np.zeros((9, 7, 2), np.uint8)] * 3, "brain")
    assert statistics.window is not None
    assert statistics.window.blank(np.zeros((9, 7, 2), np.uint8))
    assert np.isfinite(rescale(np.zeros((9, 7, 2), np.uint8), statistics)).all()


def test_slices_that_are_no_volume_are_refused():
    small, large = np.ones((4, 5, 1), np.uint8), np.ones((6, 5, 1), np.uint8)
    with pytest.raises(ValueError, match="4×5×1 uint8 and 6×5×1 uint8"):
        find_window([small, large])
    with pytest.raises(ValueError, match="uint8"):
        find_window([small, small.astype(np.float32)])
    with pytest.raises(ValueError, match="without images"):
        find_window([])
    with pytest.raises(ValueError, match="no mode"):
        volume_statistics([small], "image")
    window, _ = find_window([small])
    with pytest.raises(ValueError, match=r"\(6, 5\).*\(4, 5\)"):
        window.move_image(large)


class OnePatient(Source):
    """Slices of `head`, listed in the wrong order; the truth is what is bright."""

    name, notes, classes, channels, margin = "one", [], ("background", "x"), 3, 0

    def __init__(self, sizes=((36, 29),) * 6):
        self.volume = [head(6, *size)[0][i] for i, size in enumerate(sizes)]

    def records(self):
        return [Record(f"p/{i}", "", group="p", order=i) for i in (5, 3, 1, 0, 2, 4)]

    def read_image(self, record):
        return self.volume[record.order]

    def read_truth(self, record, *, scoring=False):
        classes = (self.volume[record.order][..., 1] > 128).astype(np.uint8)
        return Truth(classes, classes.astype(np.int32) * 7)


def test_normaliser_takes_the_slices_in_their_order():
    source = OnePatient()
    statistics = Normaliser(source, "brain").statistics(source.records()[0])
    assert statistics == volume_statistics(source.volume, "brain")
    mixed = OnePatient(((36, 29),) * 3 + ((30, 29),) * 3)
    with pytest.raises(UserError, match=r"dataset.normalisation=brain, group 'p'.*normalisation=image"):
        Normaliser(mixed, "brain").statistics(mixed.records()[0])


@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_training_samples_move_image_and_labels_alike(scale):
    source = OnePatient()
    data = TrainingSet(
        source,
        source.records()[1:3],
        target=get_target("classes"),
        sampling=Sampling(2, seed=0, crop_size=None),
        preprocessing=Preprocessing("brain", scale),
        weights=lambda instances, target: (instances == 7 * target).astype(np.float32),
    )
    statistics = volume_statistics(source.volume, "brain")
    side = int(256 * scale)
    for i in range(2):
        sample = data[0, i]
        number = int(sample.key[2:])
        assert sample.image.shape == (side, side, 3)
        np.testing.assert_allclose(sample.mean, statistics.mean, rtol=1e-6)
        for slice_number, fits in ((number, True), (0, False)):
            native = (source.volume[slice_number][..., 1] > 128).astype(np.uint8)
            moved = move_labels(native, statistics)
            at = np.minimum((np.arange(side) + 0.5) / scale, 255).astype(int)
            assert (moved[at[:, None], at] == sample.target).all() == fits
        assert sample.weight is not None
        assert (sample.weight == 1).all(), "instances moved as the classes did"
        bright = sample.image[..., 1]
        assert bright[sample.target == 1].mean() > 3 * bright[sample.target == 0].mean()
