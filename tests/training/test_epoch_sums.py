"""An epoch's sums are divided once, at its end: by hand."""

from types import SimpleNamespace

import pytest
import torch

from unet_train.checkpoint import EpochSums, Position
from unet_train.training.distributed import DistributedContext
from unet_train.training.epoch_sums import add_counts, add_fractions, train_scores
from unet_train.training.losses import build_loss

BOTH = [{"name": "cross_entropy"}, {"name": "dice", "weight": 0.5}]


def test_sums_of_many_small_numbers_keep_their_digits():
    """In float32 a million times 0.1 would already be off in the third digit."""
    sums = EpochSums()
    for _ in range(3):
        add_fractions(sums, torch.tensor([0.1, 2.0]), torch.tensor([1.0, 4.0]))
    assert sums.numerators.dtype == sums.totals.dtype == torch.float64
    torch.testing.assert_close(sums.numerators, 3 * torch.tensor([0.1, 2.0]).double())
    assert sums.totals.tolist() == [3.0, 12.0]


@pytest.mark.parametrize(
    "logits",
    [torch.tensor([[[[2.0, 1.0, -1.0, -3.0]]]]), torch.tensor([[[[0.0] * 4], [[2.0, 1.0, -1.0, -3.0]]]])],
    ids=["sigmoid", "softmax"],
)
def test_counts_of_both_heads(logits):
    sums = EpochSums()
    for _ in range(2):
        add_counts(sums, logits, torch.tensor([[[1, 0, 0, 255]]], dtype=torch.uint8))
    assert sums.counts.tolist() == [[2, 2], [0, 2]], "true class down, predicted class across; 255 ignored"


def state(numerators, totals, terms=BOTH):
    counts = torch.tensor([[10, 0], [2, 6]])
    sums = EpochSums(torch.tensor(numerators), torch.tensor(totals), counts)
    position = Position(epoch=1, update=3, sums=sums)
    return SimpleNamespace(
        position=position,
        loss=build_loss(terms, 2),
        outputs=("background", "cell"),
        background=True,
        optimizer=SimpleNamespace(param_groups=[{"base_lr": 0.1}]),
        schedule=SimpleNamespace(factor=lambda update: {2: 0.5}[update]),
    )


def test_the_scores_of_an_epoch():
    scores = train_scores(state([2.0, 3.0], [4.0, 10.0]), DistributedContext())
    dice = 0.5 * 3 / 10
    assert scores == pytest.approx(
        {
            "train/loss": 2 / 4 + dice,
            "train/cross_entropy": 2 / 4,
            "train/dice": dice,
            "train/iou/mean": 6 / 8,
            "train/lr": 0.05,
        }
    )
    alone = train_scores(state([2.0], [4.0], BOTH[:1]), DistributedContext())
    assert set(alone) == {"train/loss", "train/iou/mean", "train/lr"}, "one term is the loss itself"
