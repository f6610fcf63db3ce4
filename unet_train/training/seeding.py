"""What a run draws at random, as a function of its seed: no generator's state that a stop could lose."""

from __future__ import annotations

import random

import numpy as np
import torch


def seed_generators(seed: int) -> None:
    """Seed every generator a run may draw from: torch's on all devices, NumPy's and Python's global ones.

    Parameters
    ----------
    seed : int
        From 0 to 2^64 − 1.
    """
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 (a module of the user's own may draw from it)
    random.seed(seed)


def seed_update(seed: int, update: int, rank: int) -> None:
    """Seed them for one update, so that what the net draws in it depends on nothing that went before.

    Dropout, stochastic depth and a module of the user's own then draw the same numbers in a run that was stopped and
    resumed, whatever else has drawn from the generators: torch's own loader takes a number at the start of each pass.

    Parameters
    ----------
    seed : int
        Of the run.
    update : int
        Updates made so far.
    rank : int
        Of this process: each draws its own.
    """
    seed_generators(int(np.random.SeedSequence([seed, update, rank]).generate_state(1, np.uint64)[0]))
