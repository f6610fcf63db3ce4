"""How often a run validates and how long it takes, by hand."""

import pytest

from unet_train.training.pace import (
    COST_RATIO,
    SHARE,
    duration,
    is_validated,
    seconds_left,
    validation_cost,
    validation_interval,
    validation_share,
)


def validated(every, epochs):
    return [epoch for epoch in range(1, epochs + 1) if is_validated(epoch, every, epochs)]


def test_the_cost_of_one_validation():
    """The issue's 710 slices of 256² against 400 crops of 192²: 3.16 times the pixels."""
    cost = validation_cost(710 * 256**2, 400 * 192**2)
    assert cost == pytest.approx(COST_RATIO * 3.1556, rel=1e-4)


@pytest.mark.parametrize(
    ("cost", "epochs", "every", "epochs_validated"),
    [
        (0.0, 5, 1, [1, 2, 3, 4, 5]),
        (0.25, 4, 1, [1, 2, 3, 4]),  # 4 × 0.25 epochs of 5 in all: a fifth
        (0.26, 4, 2, [2, 4]),  # 4 / 4 / 0.26 = 3.8, so three fit; every 4/3rd epoch is every 2nd
        (1.2, 30, 5, [5, 10, 15, 20, 25, 30]),  # 30 / 4 / 1.2 = 6.25
        (1.2, 7, 7, [7]),  # one fits
        (1.2, 11, 6, [6, 11]),  # two fit: every fifth epoch would mean three, with the last
        (9.0, 5, 5, [5]),  # even one is too much
        (0.5, 1, 1, [1]),
    ],
)
def test_the_interval_by_hand(cost, epochs, every, epochs_validated):
    assert validation_interval(cost, epochs) == every
    assert validated(every, epochs) == epochs_validated


def test_validation_is_at_most_a_fifth_and_the_last_epoch_is_among_it():
    for epochs in range(1, 60):
        for cost in (0.01, 0.1, 0.24, 0.25, 0.251, 0.4, 1, 1.7, 3, 20):
            when = validated(validation_interval(cost, epochs), epochs)
            assert when[-1] == epochs
            assert len(when) == 1 or len(when) * cost <= SHARE * (epochs + len(when) * cost) * (1 + 1e-12)


def test_an_interval_set_by_hand_counts_epochs_and_adds_the_last():
    assert validated(2, 5) == [2, 4, 5]
    assert validated(9, 5) == [5]


def test_the_time_left_counts_the_validations_to_come():
    """Of 10 epochs of 60 s 4 are done and a quarter of the 5th; to come are validations after 6, 9 and 10."""
    keys = {"epochs": 10, "every": 3, "finished": 4, "part": 0.25, "epoch_seconds": 60}
    assert seconds_left(**keys, validation_seconds=100) == 5.75 * 60 + 3 * 100
    assert seconds_left(**keys, validation_seconds=0) == 345
    done = {"epochs": 10, "every": 3, "finished": 10, "part": 0, "epoch_seconds": 60}
    assert seconds_left(**done, validation_seconds=100) == 0


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"),
        (119.4, "119 s"),
        (120, "2 min"),
        (3540, "59 min"),
        (3600, "1 h 0 min"),
        (7850, "2 h 11 min"),
    ],
)
def test_durations_in_words(seconds, said):
    assert duration(seconds) == said


def test_the_share_that_validation_takes_by_hand():
    # Four epochs, validated after each: 4 of 0.25 epochs in 5. Once, at the end, of 3.6 in 2 + 3.6.
    assert validation_share(0.25, 1, 4) == pytest.approx(1 / 5)
    assert validation_share(3.6, 2, 2) == pytest.approx(3.6 / 5.6)
    assert validation_share(0.5, 3, 7) == pytest.approx(1.5 / 8.5), "after 3, 6 and 7"
