"""Counts work, not time: files decoded, labels scanned, and waits for the device, however fast the machine is."""

import json
from collections import Counter

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import unet_train
from unet_train.data.io.images import read_image, read_labels, write_image, write_labels
from unet_train.data.layouts.demo import DemoSource
from unet_train.data.layouts.folder import FolderSource
from unet_train.data.loading import training_set
from unet_train.data.loading.batches import Batch
from unet_train.data.loading.kept import KeptSource
from unet_train.data.loading.training_set import Sampling, TrainingSet
from unet_train.data.targets import get_target
from unet_train.metrics.confusion import confusion_counts_tensor
from unet_train.models.spec import ModelSpec, build_model
from unet_train.runs.check_files import check_files
from unet_train.training.averages import EMA
from unet_train.training.distributed import DistributedContext
from unet_train.training.finiteness import FiniteWatch
from unet_train.training.loop import update
from unet_train.training.losses import build_loss
from unet_train.training.optimizers import build_optimizer
from unet_train.training.precision import choose_precision
from unet_train.training.schedules import Schedule
from unet_train.training.settings import Settings
from unet_train.training.train_state import TrainState

IMAGES = 5


class CountingSource(FolderSource):
    """Counts what is read."""

    def __init__(self, root) -> None:
        super().__init__(root)
        self.reads: Counter[str] = Counter()

    def read_image(self, record):
        self.reads["image"] += 1
        return super().read_image(record)

    def read_truth(self, record, *, scoring=False):
        self.reads["truth"] += 1
        return super().read_truth(record, scoring=scoring)


@pytest.fixture
def source(tmp_path) -> CountingSource:
    rng = np.random.default_rng(0)
    for index in range(IMAGES):
        write_image(tmp_path / f"data/images/{index}.png", rng.integers(0, 255, (40, 40), dtype=np.uint8))
        write_labels(tmp_path / f"data/masks/{index}.png", rng.integers(0, 3, (40, 40), dtype=np.uint8))
    return CountingSource(tmp_path / "data")


def test_every_file_is_decoded_once_in_all_epochs_and_balance_reads_none_before(source):
    report = check_files(source, source.records(), bar=False)
    assert source.reads == {"image": IMAGES, "truth": IMAGES}
    source.reads.clear()
    sampling = Sampling(20, seed=0, crop_size=16, foreground_share=1.0, balance=True)
    options = {"target": get_target("classes"), "sampling": sampling}
    data = TrainingSet(source, source.records(), **options, class_pixels=report.class_pixels)
    assert not source.reads
    told = [data[epoch, index] for epoch in range(2) for index in range(20)]
    assert source.reads == {"image": IMAGES, "truth": IMAGES}
    found_out = TrainingSet(source, source.records(), **options)
    for sample, (epoch, index) in zip(told, np.ndindex(2, 20), strict=True):
        np.testing.assert_array_equal(sample.image, found_out[epoch, index].image)


@pytest.mark.parametrize("kept", [IMAGES, 2])
def test_what_is_read_again_and_again_is_decoded_once_as_far_as_it_fits(source, kept):
    """An image and its truth take 3,200 bytes; what does not fit is decoded each time, and all is the same."""
    records = source.records()
    reading = KeptSource(source, most_bytes=kept * 3200)
    times = 3
    for _ in range(times):
        for record in records:
            np.testing.assert_array_equal(reading.read_image(record), read_image(record.image))
            truth = reading.read_truth(record, scoring=True).classes
            np.testing.assert_array_equal(truth, read_labels(next(iter(record.labels.values()))))
    expected = kept + times * (IMAGES - kept)
    assert source.reads == {"image": expected, "truth": expected}


def test_validations_decode_their_images_once(tmp_path, monkeypatch):
    reads = Counter()
    real = DemoSource.read_truth

    def counting(self, record, *, scoring=False):
        reads[record.key, scoring] += 1
        return real(self, record, scoring=scoring)

    monkeypatch.setattr(DemoSource, "read_truth", counting)
    words = ["experiment=smoke", "trainer.val_every=1", "trainer.samples_per_epoch=2", "trainer.batch_size=2"]
    counts = []
    for epochs in (1, 4):
        reads.clear()
        run = unet_train.train(
            [*words, f"trainer.epochs={epochs}", f"hydra.run.dir={tmp_path / str(epochs)}"]
        )
        validated = json.loads((run.folder / "split.json").read_text())["val"]
        counts.append([reads[key, True] for key in validated])
    assert min(counts[0]) > 0
    assert counts[0] == counts[1], "three more validations decode nothing"


def test_the_balance_of_classes_is_known_from_the_check(source):
    report = check_files(source, source.records(), bar=False)
    source.reads.clear()
    options = {"target": get_target("classes"), "sampling": Sampling(20, seed=0, crop_size=16)}
    known = TrainingSet(source, source.records(), **options, class_pixels=report.class_pixels)
    pixels = known.class_pixels(3)
    assert not source.reads
    by_hand = [
        np.bincount(read_labels(next(iter(r.labels.values()))).ravel(), minlength=3) for r in source.records()
    ]
    np.testing.assert_array_equal(pixels, by_hand)
    np.testing.assert_array_equal(TrainingSet(source, source.records(), **options).class_pixels(3), by_hand)


def test_a_crop_on_foreground_does_not_scan_a_label_that_was_scanned(source, monkeypatch):
    scanned = []
    for name in ("bincount", "flatnonzero"):
        real = getattr(np, name)

        def counting(array, *args, real=real, **kwargs):
            scanned.append(np.size(array))
            return real(array, *args, **kwargs)

        monkeypatch.setattr(training_set.np, name, counting)
    sampling = Sampling(200, seed=0, crop_size=16, foreground_share=1.0)
    data = TrainingSet(source, source.records(), target=get_target("classes"), sampling=sampling)
    for index in range(100):
        _ = data[0, index]
    scanned.clear()
    for index in range(100, 200):
        _ = data[0, index]
    assert max(scanned) <= 40, "one row at most"


class DeviceWaits(TorchDispatchMode):
    """Counts what would make the host wait for a device: values read on it, sizes that depend on values."""

    WAITING = ("_local_scalar_dense", "item", "nonzero", "bincount", "masked_select", "unique")

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if name.startswith(self.WAITING):
            self.found[name] += 1
        return func(*args, **(kwargs or {}))


def test_the_running_counts_do_not_wait_for_the_device():
    prediction, target = torch.randint(0, 3, (2, 4, 16, 16))
    with DeviceWaits() as waits:
        confusion_counts_tensor(prediction, target, 3)
    assert not waits.found
    with DeviceWaits() as waits:
        float(target.sum())
    assert waits.found == {"_local_scalar_dense": 1}, "the mode does count"


def test_an_update_does_not_wait_for_the_device():
    """By SGD: torch's AdamW reads its own count of steps, which lies in the host's memory on a GPU too."""
    names = ("background", "cell", "debris")
    model = build_model(ModelSpec({"kind": "unet", "init_features": 4, "depth": 2}, 3, list(names)))
    state = TrainState(
        model=model,
        loss=build_loss([{"name": "cross_entropy"}, {"name": "dice", "weight": 0.5}], 3),
        optimizer=build_optimizer(model, "sgd", lr=0.1, momentum=0.9),
        schedule=Schedule("constant", total_updates=4),
        ema=EMA(model, 0.9),
        precision=choose_precision("cpu", "32"),
        device=torch.device("cpu"),
        outputs=names,
        background=True,
        forward=model,
    )
    image = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    batch = Batch(image, torch.randint(0, 3, (2, 16, 16), dtype=torch.uint8), None, None, None, ("a", "b"))
    settings = Settings(epochs=1, batch_size=2, accumulate=2, clip_grad_norm=1.0)
    with DeviceWaits() as waits:
        for _ in range(2):
            update(state, [batch, batch], settings, DistributedContext(), FiniteWatch())
    assert state.position.update == 2
    assert not waits.found
