"""Samples are functions of (seed, epoch, index): of no worker, start method, process or resume."""

import multiprocessing
import os
import signal
import sys
from collections import Counter
from dataclasses import fields

import numpy as np
import pytest
import torch

from unet_train.data.augmentation.pipeline import build_augmentation
from unet_train.data.layouts.demo import DemoSource
from unet_train.data.loading.batches import (
    EpochSampler,
    collate,
    make_loader,
    read_batches,
    telling_of_workers,
)
from unet_train.data.loading.training_set import Sampling, TrainingSet
from unet_train.data.records import IGNORE, Record, Source, Truth
from unet_train.data.targets import get_target
from unet_train.errors import UserError
from unet_train.preprocessing.intensity import image_statistics, volume_statistics
from unet_train.preprocessing.preprocessing import Preprocessing

MOVES = [
    {"name": "HorizontalFlip", "p": 0.5},
    {"name": "RandomRotate90", "p": 1.0},
    {"name": "Affine", "rotate": [-30, 30], "p": 0.5},
    {"name": "GaussNoise", "std_range": [0.01, 0.1], "p": 0.5},
]


def distance_like_weights(instances: np.ndarray, target: np.ndarray) -> np.ndarray:
    """A weight map that shows where it came from (module level: spawned workers pickle it)."""
    return (1 + 0.01 * instances + target).astype(np.float32)


def make_set(**changes) -> TrainingSet:
    source = DemoSource(images=5, test_images=0, size=64, seed=1)
    arguments = {
        "target": get_target("classes"),
        "augmentation": build_augmentation(MOVES),
        "crop_size": 32,
        "samples_per_epoch": 8,
        "seed": 3,
        "weights": distance_like_weights,
    } | changes
    names = {item.name for item in fields(Sampling)} & arguments.keys()
    sampling = Sampling(**{name: arguments.pop(name) for name in names})
    return TrainingSet(source, source.records(), sampling=sampling, **arguments)


def bytes_of(batches) -> list[bytes]:
    return [
        b"".join(
            getattr(b, n).contiguous().numpy().tobytes() for n in ("image", "target", "weight", "mean", "std")
        )
        for b in batches
    ]


def epoch_of(workers: int, start_method: str | None = None, epochs=(0, 1)) -> list[list[bytes]]:
    sampler = EpochSampler(8, 4, 0)
    loader = make_loader(make_set(), sampler, workers, start_method)
    found = []
    for epoch in epochs:
        sampler.set_epoch(epoch)
        found.append(bytes_of(loader))
    return found


def test_story_workers_and_epochs():
    """albumentations' workers are copies that replay one stream, and every epoch replays it again.

    Here the batches are the same for 0, 1 and 2 workers, forked or spawned, and different in each epoch.
    """
    alone = epoch_of(0)
    assert len(set(alone[0] + alone[1])) == 4
    for workers, method in [(1, "fork"), (2, "fork"), (2, "spawn")]:
        assert epoch_of(workers, method) == alone, (workers, method)
    assert epoch_of(0, epochs=(1,)) == alone[1:], "an epoch does not depend on the ones before it"


def test_augmentation_draws_anew_for_every_epoch_and_index():
    """Whole images, so that no crop hides a repetition."""
    data = make_set(crop_size=None, samples_per_epoch=5, augmentation=build_augmentation(MOVES[3:]))
    seen = {data[epoch, index].image.tobytes() for epoch in range(6) for index in range(5)}
    # Noise comes with p=0.5: the five images themselves, and about fifteen noisy ones, no two alike.
    assert len(seen) > 5 + 6


def test_two_processes_see_what_one_sees():
    one = list(EpochSampler(33, 4, 5))
    two = [list(EpochSampler(33, 2, 5, rank=rank, world_size=2)) for rank in (0, 1)]
    assert len(one) == 8
    assert [a + b for a, b in zip(*two, strict=True)] == one
    assert one[0] == [(5, 0), (5, 1), (5, 2), (5, 3)]


def test_a_resume_goes_on_in_the_middle_and_an_epoch_has_at_least_a_batch():
    whole = EpochSampler(20, 4, 2)
    rest = EpochSampler(20, 4, 2, start_step=3)
    assert list(rest) == list(whole)[3:]
    assert (len(whole), len(rest)) == (5, 2)
    assert len(list(EpochSampler(3, 4, 0))) == 1
    assert [len(batch) for batch in EpochSampler(11, 4, 0)] == [4, 4]
    with pytest.raises(ValueError, match="ranks"):
        EpochSampler(8, 4, 0, rank=2, world_size=2)


def test_images_are_used_evenly_across_epochs():
    data = make_set(samples_per_epoch=3)
    used = Counter(data.record_number(epoch, index) for epoch in range(10) for index in range(3))
    assert used == dict.fromkeys(range(5), 6)
    walks = [tuple(data.record_number(*divmod(5 * walk + i, 3)) for i in range(5)) for walk in range(6)]
    assert all(sorted(walk) == list(range(5)) for walk in walks)
    assert len(set(walks)) > 3


class OnePicture(Source):
    """A source of one picture with given maps."""

    name, notes, classes, channels, margin = "one", [], ("background", "a", "b"), 1, 0

    def __init__(self, classes, image=None, instances=None, n=1):
        self.maps = Truth(classes.astype(np.uint8), instances)
        grey = np.arange(classes.size, dtype=np.uint8).reshape(*classes.shape, 1)
        self.picture = grey if image is None else image
        self.n = n

    def records(self):
        return [Record(f"{i}", f"{i}.png", group="g", order=i) for i in range(self.n)]

    def read_image(self, record):
        return self.picture

    def read_truth(self, record, *, scoring=False):
        return self.maps


def set_of(source, **changes) -> TrainingSet:
    arguments = {"target": get_target("classes"), "samples_per_epoch": 4, "seed": 0} | changes
    names = {item.name for item in fields(Sampling)} & arguments.keys()
    sampling = Sampling(**{name: arguments.pop(name) for name in names})
    return TrainingSet(source, source.records(), sampling=sampling, **arguments)


def test_foreground_share_and_rare_classes():
    classes = np.zeros((100, 100), np.uint8)
    classes[5:60, 10:40] = 1
    classes[90, 90] = 2
    classes[70:80, :20] = IGNORE

    def centres(share):
        data = set_of(OnePicture(classes), crop_size=11, foreground_share=share)
        return Counter(int(data[epoch, 0].target[5, 5]) for epoch in range(400))

    always = centres(1.0)
    assert set(always) == {1, 2}  # the crop never had to be moved back inside: all centres are foreground
    assert 140 < always[2] < 260  # one pixel of class 2 is drawn as often as the 1650 of class 1
    never = centres(0.0)
    assert never[2] == 0
    assert never[0] > never[1] > 30


def test_crops_are_cut_from_where_they_say():
    classes = np.random.default_rng(0).integers(0, 3, (40, 50)).astype(np.uint8)
    image = np.stack([classes * 50, np.arange(2000).reshape(40, 50) % 256], -1).astype(np.uint8)
    seen = set()
    for epoch in range(60):
        sample = set_of(OnePicture(classes, image), crop_size=(16, 24))[epoch, 0]
        assert sample.image.shape == (16, 24, 2)
        np.testing.assert_array_equal(sample.image[..., 0], sample.target * 50)
        seen.add(sample.image.tobytes())
    assert len(seen) > 40


def test_small_images_are_reflected_and_what_was_added_is_ignored():
    classes = np.ones((5, 7), np.uint8)
    data = set_of(OnePicture(classes), crop_size=(16, 12), weights=lambda i, t: np.ones(t.shape, np.float32))
    sample = data[0, 0]
    inside = sample.target != IGNORE
    assert inside.sum() == 35
    rows, columns = np.nonzero(inside)
    assert (rows.min(), columns.min()) == (5, 2)
    expected = np.pad(data.source.picture, [(5, 6), (2, 3), (0, 0)], mode="reflect")
    np.testing.assert_array_equal(sample.image, expected)
    assert (sample.weight[~inside] == 0).all()


@pytest.mark.parametrize("crop", [(16, 24), (24, 16), 20])
def test_quarter_turns_and_margins_keep_the_size(crop):
    classes = np.random.default_rng(0).integers(0, 3, (40, 50)).astype(np.uint8)
    turn = build_augmentation([{"name": "RandomRotate90", "p": 1.0}])
    for margin in (0, 4):
        data = set_of(
            OnePicture(classes, (classes * 50)[..., None]), crop_size=crop, augmentation=turn, margin=margin
        )
        for epoch in range(8):
            sample = data[epoch, 0]
            assert sample.target.shape == ((20, 20) if crop == 20 else crop)
            known = sample.target != IGNORE
            np.testing.assert_array_equal(sample.image[..., 0][known], sample.target[known] * 50)


@pytest.mark.parametrize("transform", ["HorizontalFlip", "RandomRotate90", "Transpose", "Affine"])
def test_a_crop_wider_than_high_is_cut_from_a_square_only_where_it_may_turn(transform, monkeypatch):
    """Each pixel of the image holds its mask's value: they stay together, in the size that was asked for."""
    classes = np.random.default_rng(0).integers(0, 3, (60, 80)).astype(np.uint8)
    move = {"name": transform, "p": 1.0} | ({"rotate": [-15, 15]} if transform == "Affine" else {})
    augmentation = build_augmentation(
        [move | ({"interpolation": "nearest"} if transform == "Affine" else {})]
    )
    cut, run = [], type(augmentation).__call__
    monkeypatch.setattr(
        type(augmentation),
        "__call__",
        lambda *given: cut.append(given[1].shape[:2]) or run(*given),
    )
    data = set_of(
        OnePicture(classes, (classes * 50)[..., None]),
        crop_size=(20, 44),
        augmentation=augmentation,
        margin=2,
    )
    for epoch in range(8):
        sample = data[epoch, 0]
        assert sample.target.shape == sample.image.shape[:2] == (20, 44)
        known = sample.target != IGNORE
        np.testing.assert_array_equal(sample.image[..., 0][known], sample.target[known] * 50)
    assert set(cut) == {(48, 48) if transform in ("RandomRotate90", "Transpose") else (24, 48)}


def test_margin_brings_the_real_surroundings_into_a_rotated_crop():
    """Values grow along one axis: a reflection at the crop's edge would turn the slope round."""
    size = 96
    image = np.repeat(np.arange(size, dtype=np.float32)[:, None], size, 1)[..., None] / 255
    rotate = build_augmentation([{"name": "Rotate", "limit": [20, 20], "p": 1.0, "interpolation": "linear"}])
    classes = np.zeros((size, size), np.uint8)
    classes[44:52, 44:52] = 1
    source = OnePicture(classes, image)
    found = {}
    for margin in (0, 8):
        data = set_of(source, crop_size=32, augmentation=rotate, margin=margin, foreground_share=1.0)
        slopes = [np.diff(data[epoch, 0].image[..., 0], axis=0) for epoch in range(6)]
        found[margin] = min(slope.min() for slope in slopes)
    assert found[0] < 0 < found[8]
    assert set_of(source, crop_size=32, augmentation=rotate).margin == 4
    assert set_of(source, crop_size=32).margin == 0


def test_statistics_belong_to_the_whole_native_image():
    data = make_set(preprocessing=Preprocessing("image", 0.5), crop_size=16)
    sample = data[0, 0]
    record = next(r for r in data.records if r.key == sample.key)
    statistics = image_statistics(data.source.read_image(record))
    np.testing.assert_allclose(sample.mean, statistics.mean, rtol=1e-6)
    np.testing.assert_allclose(sample.std, statistics.std, rtol=1e-6)
    assert sample.mean.dtype == np.float32
    fixed = make_set(preprocessing=Preprocessing("fixed"))[0, 0]
    assert fixed.mean is None
    assert fixed.std is None


def test_a_volume_is_rescaled_with_the_percentiles_of_all_its_slices():
    data = make_set(preprocessing=Preprocessing("volume"), augmentation=None, crop_size=None, weights=None)
    images = [data.source.read_image(record) for record in data.records]
    statistics = volume_statistics(images)
    sample = data[0, 0]
    native = images[[r.key for r in data.records].index(sample.key)] / 255
    expected = (np.clip(native, statistics.low, statistics.high) - statistics.low) / (
        statistics.high - statistics.low
    )
    assert sample.image.dtype == np.float32
    np.testing.assert_allclose(sample.image, expected, atol=1e-6)


def test_working_resolution_makes_the_target_after_resampling():
    instances = np.zeros((40, 40), np.int32)
    instances[:, :20], instances[:, 20:] = 1, 2
    source = OnePicture(instances > 0, instances=instances)
    data = set_of(
        source, crop_size=None, preprocessing=Preprocessing(scale=0.5), target=get_target("foreground", gap=8)
    )
    target = data[0, 0].target
    assert target.shape == (20, 20)
    np.testing.assert_array_equal(
        target[3], [1] * 8 + [0] * 4 + [1] * 8
    )  # 8 native pixels are 4 working ones


def test_balance_hands_the_turn_of_an_empty_image_over():
    class Two(OnePicture):
        def read_truth(self, record, *, scoring=False):
            return Truth(self.maps.classes * (record.order == 1))

    source = Two(np.ones((8, 8)), n=10)
    options = {"crop_size": None, "samples_per_epoch": 50, "foreground_share": 0.5}
    plain, balanced = (set_of(source, balance=balance, **options) for balance in (False, True))
    full = [sum(data[0, i].target.any() for i in range(50)) for data in (plain, balanced)]
    assert full[0] == 5
    assert 20 < full[1] < 40


def test_cache_is_bounded_and_spares_reading():
    """Each epoch shows each of four images once, so that whoever keeps k of them reads at least 4 − k."""
    reads = Counter()

    class Counting(OnePicture):
        def read_image(self, record):
            reads[record.key] += 1
            return np.random.default_rng(record.order).integers(0, 256, (20, 20, 1), dtype=np.uint8)

    source = Counting(np.ones((20, 20)), n=4)
    bytes_each = 20 * 20 * 2
    found, per_epoch = [], {}
    for kept in range(5):
        data = set_of(source, crop_size=8, cache_bytes=kept * bytes_each)
        per_epoch[kept] = []
        for epoch in range(6):
            reads.clear()
            found.append([data[epoch, index].image.tobytes() for index in range(4)])
            per_epoch[kept].append(reads.total())
        assert per_epoch[kept][0] == 4
        assert min(per_epoch[kept][1:]) >= 4 - kept
        assert found[-6:] == found[:6], "the samples are those without a cache"
    assert set(per_epoch[0]) == {4}
    assert per_epoch[4] == [4, 0, 0, 0, 0, 0]
    assert sum(per_epoch[3]) < sum(per_epoch[0])


def test_collate_makes_channels_last_batches_and_mixes_depths():
    data = make_set()
    samples = [data[0, i] for i in range(3)]
    batch = collate(samples)
    assert batch.image.shape == (3, 1, 32, 32)
    assert batch.image.dtype == batch.target.dtype == torch.uint8
    assert (batch.weight.dtype, batch.mean.shape, batch.std.dtype) == (torch.float32, (3, 1), torch.float32)
    np.testing.assert_array_equal(batch.image[1, 0].numpy(), samples[1].image[..., 0])
    assert batch.keys == tuple(s.key for s in samples)
    assert batch.to("cpu").image.shape == (3, 1, 32, 32)

    colour = np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    of = [
        set_of(OnePicture(np.ones((9, 9)), i), crop_size=8)
        for i in (colour, (colour / 255).astype(np.float32))
    ]
    mixed = collate([d[0, 0] for d in of])
    assert mixed.image.dtype == torch.float32
    assert mixed.image.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(mixed.image[0], mixed.image[1])
    assert mixed.weight is None


def test_user_mistakes_are_named():
    source = OnePicture(np.ones((8, 8)))
    small, large = (set_of(OnePicture(np.ones((n, n))), crop_size=None)[0, 0] for n in (8, 9))
    with pytest.raises(UserError, match=r"0 is 8×8×1 and 0 9×9×1.*augmentation.crop_size"):
        collate([small, large])
    with pytest.raises(UserError, match=r"split\.val_fraction.*split\.file"):
        TrainingSet(source, [], target=get_target("classes"), sampling=Sampling(1, seed=0))
    record = Record("x", "x.png", trainable=False)
    with pytest.raises(UserError, match=r"^x .*label"):
        TrainingSet(source, [record], target=get_target("classes"), sampling=Sampling(1, seed=0))
    for key, value in {"foreground_share": 1.5, "samples_per_epoch": 0, "crop_size": 0}.items():
        with pytest.raises(ValueError, match=key):
            set_of(source, **{key: value})
    wrong = OnePicture(np.ones((8, 8)), np.zeros((8, 9, 1), np.uint8))
    with pytest.raises(UserError, match=r"0: the image 0.png is \(8, 9\), its label \(8, 8\)"):
        set_of(wrong)[0, 0]
    with pytest.raises(ValueError, match="workers=-1"):
        make_loader(set_of(source), EpochSampler(1, 1, 0), -1)


# ---- many classes ----------------------------------------------------------------------------------------
class Stripes(Source):
    """Ten images of 40×40 with a single known class each, but one pixel in the middle: class 1 in nine, 2 in one."""

    name, notes, classes, channels, margin = "stripes", (), ("sky", "road", "car"), 1, 0

    def __init__(self, has_background):
        self.has_background = has_background

    def records(self):
        return [Record(key=str(i), image=f"<{i}>") for i in range(10)]

    def read_image(self, record):
        return np.full((40, 40, 1), 10 * int(record.key), np.uint8)

    def read_truth(self, record, *, scoring=False):
        classes = np.zeros((40, 40), np.uint8)
        classes[20, 20] = 2 if record.key == "7" else 1
        classes[:3] = IGNORE
        return Truth(classes)


def centres(has_background, balance):
    """Class under the middle of 600 crops of 7×7, all of them centred."""
    source = Stripes(has_background)
    data = TrainingSet(
        source,
        source.records(),
        target=get_target("classes"),
        sampling=Sampling(600, seed=0, crop_size=7, foreground_share=1.0, balance=balance),
    )
    return data, Counter(int(data[0, index].target[3, 3]) for index in range(600))


def test_classes_are_drawn_evenly_from_the_training_part():
    _, found = centres(True, balance=False)
    assert found == {1: 540, 2: 60}, "image by image: the car stands in one of ten"
    _, found = centres(True, balance=True)
    assert found[1] + found[2] == 600
    assert abs(found[1] - 300) < 60
    _, found = centres(False, balance=True)
    # Crops cannot be centred on pixels at the edge, but most of the sky lies inside.
    assert all(abs(found[k] - 200) < 60 for k in range(3)), found


def test_without_a_background_crops_are_centred_on_class_0_too():
    _, found = centres(False, balance=False)
    assert found[0] > 200


def test_class_pixels_by_hand():
    data, _ = centres(True, balance=False)
    pixels = data.class_pixels(3)
    assert pixels.shape == (10, 3)
    assert pixels[0].tolist() == [37 * 40 - 1, 1, 0]
    assert pixels[7].tolist() == [37 * 40 - 1, 0, 1]


class DeadlySource(DemoSource):
    """Reading its third image kills the process, as running out of memory does."""

    def read_image(self, record):
        if record.key == self.records()[2].key and multiprocessing.parent_process() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read_image(record)


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_a_worker_that_dies_is_told_with_its_file():
    source = DeadlySource(images=4, test_images=0, size=32)
    sampling = Sampling(samples_per_epoch=8, seed=0, crop_size=16)
    data = TrainingSet(source, source.records(), target=get_target("classes"), sampling=sampling)
    loader = make_loader(data, EpochSampler(8, 2, 0), 2)
    with pytest.raises(UserError, match=r"trainer\.workers=2") as caught:
        list(read_batches(loader))
    assert source.records()[2].image in str(caught.value)
    assert "SIGKILL" in str(caught.value), "whichever of torch's sentences it was"
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "sentence",
    [
        "DataLoader worker (pid 71) is killed by signal: Killed. ",
        "DataLoader worker (pid(s) 71) exited unexpectedly",
        "DataLoader worker (pid(s) 71, 72) exited unexpectedly",
    ],
)
def test_only_the_files_of_the_dead_workers_are_named(sentence):
    source = DemoSource(images=4, test_images=0, size=32)
    sampling = Sampling(samples_per_epoch=8, seed=0, crop_size=16)
    data = TrainingSet(source, source.records(), target=get_target("classes"), sampling=sampling)
    loader = make_loader(data, EpochSampler(8, 2, 0), 3)
    data.being_read[:] = [70, 0, 71, 1, 72, 2]
    with pytest.raises(UserError) as caught, telling_of_workers(loader):
        raise RuntimeError(sentence)
    named = [record.image in str(caught.value) for record in source.records()]
    assert named == [False, True, "72" in sentence, False]
