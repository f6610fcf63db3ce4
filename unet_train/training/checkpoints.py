"""Checkpoints: one dict of plain types and tensors, written so that a kill never leaves half a file."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unet_train.atomic import replacing

FORMAT = 1
"""Number of the checkpoint format; raised when an older reader could misread a newer file."""


def plain(value: Any) -> Any:
    """`value` in plain Python types and tensors, which ``weights_only=True`` can load.

    Raises
    ------
    TypeError
        For a type that has no plain form.
    """
    if value is None or isinstance(value, bool | int | float | str | torch.Tensor):
        return value.detach() if isinstance(value, torch.Tensor) else _bare(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, dict):
        return {_bare(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot stand in a checkpoint")


def _bare(value: Any) -> Any:
    # A str or float subclass (NumPy's, an enum's) would be refused by weights_only=True.
    for base in (bool, int, float, str):
        if isinstance(value, base):
            return base(value)
    return value


def save(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint to a temporary file beside `path`, flush it to the disk, then put it in place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary, open(temporary, "wb") as file:
        torch.save(plain(content), file)
        file.flush()
        os.fsync(file.fileno())


def random_states() -> dict[str, Any]:
    """States of all generators a run may draw from, as plain values."""
    kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)  # type: ignore[misc] # noqa: NPY002
    version, internal, gauss_next = random.getstate()
    states: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "numpy": [str(kind), [int(k) for k in keys], int(position), int(has_gauss), float(gauss)],
        "python": [version, list(internal), gauss_next],
    }
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state_all()
    return states


def restore_random_states(states: dict[str, Any]) -> None:
    """Put the generators back to what `random_states` saw."""
    torch.set_rng_state(states["torch"])
    kind, keys, position, has_gauss, gauss = states["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), position, has_gauss, gauss))  # noqa: NPY002
    version, internal, gauss_next = states["python"]
    random.setstate((version, tuple(internal), gauss_next))
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(states["cuda"])
