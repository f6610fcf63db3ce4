"""Schedules against PyTorch's own and by hand; the plateau's memory survives a resume."""

import math
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unet_train.errors import UserError
from unet_train.training.schedules import KINDS, Plateau, Schedule, lr_factor


def torch_rates(make, updates):
    """The rates PyTorch's scheduler gives for a base rate of 1."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler, rates = make(optimizer), []
    for _ in range(updates):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def test_poly_is_torchs():
    expected = torch_rates(lambda o: torch.optim.lr_scheduler.PolynomialLR(o, 20, power=0.9), 20)
    assert [lr_factor("poly", u, 20, power=0.9) for u in range(20)] == pytest.approx(expected)


def test_cosine_is_torchs():
    expected = torch_rates(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 20, eta_min=0.1), 20)
    assert [lr_factor("cosine", u, 20, final_factor=0.1) for u in range(20)] == pytest.approx(expected)


def test_warmup_by_hand():
    assert [lr_factor("constant", u, 10, warmup_updates=3) for u in range(5)] == [0.25, 0.5, 0.75, 1, 1]
    # The schedule runs over the seven updates that are left.
    assert lr_factor("poly", 3, 10, warmup_updates=3, power=1) == 1
    assert lr_factor("poly", 9, 10, warmup_updates=3, power=1) == pytest.approx(1 / 7)


@given(
    kind=st.sampled_from(KINDS),
    total=st.integers(1, 500),
    warmup=st.floats(0, 0.999),
    update=st.integers(0, 600),
)
def test_factors_stay_in_range_and_never_rise_after_the_warmup(kind, total, warmup, update):
    options = {"warmup_updates": int(warmup * total), "scale": 0.5}
    now, then = (lr_factor(kind, u, total, **options) for u in (update, update + 1))
    assert 0 <= now <= 1
    assert now > 0 or update >= total
    if update >= options["warmup_updates"]:
        assert then <= now + 1e-12


def test_plateau_waits_then_lowers():
    plateau = Plateau(factor=0.5, patience=2)
    scores = [0.1, 0.2, 0.2, 0.1, math.nan, 0.3, 0.3, 0.3, 0.3]
    assert [plateau.step(score) for score in scores] == [False] * 4 + [True] + [False] * 3 + [True]
    assert plateau.scale == 0.25
    assert lr_factor("plateau", 5, 10, scale=plateau.scale) == 0.25


@given(scores=st.lists(st.sampled_from([0.1, 0.2, 0.3, math.nan]), max_size=20), cut=st.integers(0, 20))
def test_plateau_resumes(scores, cut):
    whole, first, second = Plateau(0.5, 1), Plateau(0.5, 1), Plateau(0.5, 1)
    for score in scores:
        whole.step(score)
    for score in scores[:cut]:
        first.step(score)
    second.load_state_dict(pickle.loads(pickle.dumps(first.state_dict())))
    for score in scores[cut:]:
        second.step(score)
    assert second.state_dict() == whole.state_dict()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: lr_factor("linear", 0, 10), ValueError, "linear .*poly, cosine"),
        (
            lambda: lr_factor("poly", 0, 10, warmup_updates=10),
            UserError,
            "warmup_steps=10 .* the run's 10 updates",
        ),
        (lambda: Schedule("linear", 10), ValueError, "linear"),
        (lambda: Schedule("cosine", 10, warmup_updates=11), UserError, "scheduler.warmup_steps=11"),
        (lambda: Plateau(factor=1.0), ValueError, "factor=1.0"),
        (lambda: Plateau(patience=-1), ValueError, "patience=-1"),
    ],
)
def test_bad_values_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("kind", KINDS)
def test_schedule_is_the_function_with_its_memory(kind):
    options = {"warmup_updates": 2, "power": 2.0, "final_factor": 0.1}
    schedule, resumed = (Schedule(kind, 12, patience=0, factor=0.5, **options) for _ in range(2))
    assert [schedule.observe(score) for score in (0.5, 0.4)] == [False, kind == "plateau"]
    resumed.load_state_dict(schedule.state_dict())
    scale = 0.5 if kind == "plateau" else 1.0
    for update in range(14):
        expected = lr_factor(kind, update, 12, scale=scale, **options)
        assert schedule.factor(update) == resumed.factor(update) == expected


def test_updates_outside_the_run_are_a_bug():
    with pytest.raises(ValueError, match="update -1 of 10"):
        lr_factor("poly", -1, 10)
