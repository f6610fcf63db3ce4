"""The two checkpoints a run writes while it trains; a disk that is full or gone costs no more than a save."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from unet_train.checkpoint import Checkpoint, EpochSums, versions_here
from unet_train.log import LOGGER
from unet_train.runs.training_setup import Run


class NotSaved(Exception):
    """The last checkpoints of a run could not be written; those before are whole."""


class CheckpointWriter:
    """best.pt holds what inference needs, last.pt what resume needs.

    Where one cannot be written the file before it stays whole, a line says so, and the next save tries again.

    Attributes
    ----------
    failed : dict of str to str
        Name of a file whose latest writing failed → why.
    """

    def __init__(self, run: Run):
        self.run = run
        self.failed: dict[str, str] = {}
        self._pending: Checkpoint | None = None

    def best(self, scores: dict[str, float]) -> None:
        """Write best.pt: the averaged weights where there are any."""
        state = self.run.state
        checkpoint = self._checkpoint(state.averaged)
        checkpoint.epoch, checkpoint.step = state.position.epoch, state.position.update
        checkpoint.metrics = scores
        # The weights move on: what could not be written is kept as it was.
        written = self._write(checkpoint, "best.pt")
        self._pending = None if written else replace(checkpoint, state_dict=_copy(checkpoint.state_dict))

    def last(self, sums: Sequence[EpochSums]) -> None:
        """Write last.pt: everything that moves; and best.pt, if that is still to be written."""
        if self._pending is not None and self._write(self._pending, "best.pt"):
            self._pending = None
        state = self.run.state
        checkpoint = self._checkpoint(state.model.state_dict())
        checkpoint.training = state.snapshot(sums)
        self._write(checkpoint, "last.pt")

    def check_saved(self) -> None:
        """Refuse to call a run saved whose last checkpoints are not.

        Raises
        ------
        NotSaved
        """
        if self.failed:
            said = "; ".join(f"{name}: {reason}" for name, reason in self.failed.items())
            raise NotSaved(f"{self.run.folder}: the last checkpoints could not be written ({said})")

    def _write(self, checkpoint: Checkpoint, name: str) -> bool:
        """Write one file; whether that worked."""
        path = self.run.folder / name
        try:
            checkpoint.write(path)
        except OSError as error:
            before = "the one before stays as it was" if _exists(path) else "there is none before it"
            reason = error.strerror or str(error)
            self.failed[name] = reason
            LOGGER.info(
                f"warning: {path} could not be written ({reason}); {before}, and the next save tries again: make room, "
                "or see that the folder can be written"
            )
            return False
        self.failed.pop(name, None)
        return True

    def _checkpoint(self, weights: dict[str, torch.Tensor]) -> Checkpoint:
        """What both hold, with these weights."""
        run, data = self.run, self.run.data
        return Checkpoint(
            model=run.spec,
            data=data.description,
            state_dict=weights,
            config={name: value for name, value in run.composed.tree.items() if name != "resume"},
            split=data.split.keys,
            image_hashes=data.hashes,
            truth_hashes=data.truth_hashes,
            versions=versions_here(),
            views=run.views,
        )


def _copy(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.detach().cpu().clone() for name, value in weights.items()}


def _exists(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # the file system is gone
        return False
