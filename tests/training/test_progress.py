"""What is said of a run while it trains, by hand and by a clock of the test's own."""

from types import SimpleNamespace

import pytest
import torch

from unet_train.checkpoint import EpochSums, Position
from unet_train.training import progress
from unet_train.training.distributed import DistributedContext
from unet_train.training.losses import build_loss
from unet_train.training.progress import Progress, running_scores
from unet_train.training.settings import Settings

SETTINGS = Settings(epochs=4, batch_size=8, val_every=2, val_cost=0.5)


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only when the test says so."""
    now = SimpleNamespace(seconds=1000.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: now.seconds)
    return now


def told_of(clock, context=None, validates=True, seconds=20):
    """A first epoch of ten batches of eight crops that took so many seconds, and its position."""
    told, position = Progress(SETTINGS, 10, context or DistributedContext(), validates=validates), Position()
    with told.epoch(position):
        clock.seconds += seconds
        position.batches, position.update = 10, 10
    return told, position


def test_speed_counts_the_images_of_all_processes(clock):
    told, position = told_of(clock)
    assert told.measure(position) == 10 * 8 / 20
    told, position = told_of(clock, DistributedContext(rank=1, size=3))
    assert told.measure(position) == 3 * 10 * 8 / 20


def test_a_resumed_epoch_is_measured_by_the_batches_it_still_had(clock):
    told, position = Progress(SETTINGS, 10, DistributedContext(), validates=True), Position(batches=6)
    with told.epoch(position):
        clock.seconds += 8
        position.batches = 10
    assert told.measure(position) == 4 * 8 / 8
    position.batches = 6
    with told.epoch(position):
        clock.seconds += 8
    assert told.measure(position) == 0, "it had been stopped at its last batch"


def test_the_time_left_by_hand(clock):
    """Of four epochs of 20 s one is done; to come are validations after the second and the fourth."""
    told, position = told_of(clock)
    told.measure(position)
    position.epoch, position.batches = 1, 0
    assert told.left(position) == 3 * 20 + 2 * 0.5 * 20, "until one has been measured, by its expected cost"
    told.validation_seconds = 7
    assert told.left(position) == 3 * 20 + 2 * 7
    position.batches = 5
    assert told.left(position) == 2.5 * 20 + 2 * 7
    told, position = told_of(clock, validates=False)
    told.measure(position)
    assert told.left(position) == 3 * 20


def test_the_line_of_an_epoch(clock):
    told, position = told_of(clock)
    told.validation_seconds = 5
    scores = {"train/loss": 0.25, "train/images_per_second": told.measure(position)}
    position.epoch, position.batches, position.best_epoch = 2, 0, 2
    clock.seconds += 5
    assert told.line(position, scores) == "epoch 2/4  step 10  loss 0.2500  4.0 images/s  25 s, 45 s left"
    scores["val/iou/mean"] = 0.5
    said = "epoch 2/4  step 10  loss 0.2500  val iou/mean 0.5000{}  4.0 images/s  25 s, 45 s left"
    assert told.line(position, scores) == said.format(" *")
    position.best_epoch = 1
    assert told.line(position, scores) == said.format("")


def test_the_running_scores_by_hand():
    """Of 8 cell pixels 6 were found, and none too many: IoU 6/8; 1/4 and half of 3/6 by the terms' weights."""
    sums = EpochSums(torch.tensor([1.0, 3.0]), torch.tensor([4.0, 6.0]), torch.tensor([[10, 0], [2, 6]]))
    loss = build_loss([{"name": "cross_entropy"}, {"name": "dice", "weight": 0.5}], 2)
    names = ("background", "cell")
    state = SimpleNamespace(position=Position(sums=sums), loss=loss, outputs=names, background=True)
    assert running_scores(state) == "loss 0.500, IoU 0.750"


def test_where_there_is_no_bar_a_line_comes_soon_and_then_once_a_minute(clock, monkeypatch, capsys):
    """A log file of a long epoch is not silent, and says how long the run takes before its first epoch ends."""
    monkeypatch.setattr(progress, "running_scores", lambda state: "loss 1.000, IoU 0.500")
    monkeypatch.setattr(progress.LOGGER, "info", print)
    told = Progress(SETTINGS, 10, DistributedContext(), validates=False)
    state = SimpleNamespace(position=Position())
    said = []
    with told.epoch(state.position):
        for _ in range(10):
            clock.seconds += 11
            state.position.batches += 1
            told.advance(state, 1)
            said.append(capsys.readouterr().out)
    assert said[0] == "epoch 1/4  batch 1/10  loss 1.000, IoU 0.500, 0.7 images/s, 7 min left\n"
    assert [n for n, line in enumerate(said) if line] == [0, 6]
