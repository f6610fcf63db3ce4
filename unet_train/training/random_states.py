"""The generators a run may draw from: seeded at its start, kept in last.pt, put back by a resume."""

from __future__ import annotations

import random

import numpy as np
import torch

from unet_train.checkpoint import RandomStates


def seed_generators(seed: int) -> None:
    """Seed every generator a run may draw from."""
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (a user's own transform may draw from it)
    random.seed(seed)


def random_states() -> RandomStates:
    """States of all generators a run may draw from, as plain values."""
    kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)  # type: ignore[misc] # noqa: NPY002
    version, internal, gauss_next = random.getstate()
    return RandomStates(
        torch=torch.get_rng_state(),
        numpy=[str(kind), [int(k) for k in keys], int(position), int(has_gauss), float(gauss)],
        python=[version, list(internal), gauss_next],
        cuda=torch.cuda.get_rng_state_all() if torch.cuda.is_available() else None,
    )


def restore_random_states(states: RandomStates) -> None:
    """Put the generators back to what `random_states` saw."""
    torch.set_rng_state(states.torch)
    kind, keys, position, has_gauss, gauss = states.numpy
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), position, has_gauss, gauss))  # noqa: NPY002
    version, internal, gauss_next = states.python
    random.setstate((version, tuple(internal), gauss_next))
    if states.cuda is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(states.cuda)
