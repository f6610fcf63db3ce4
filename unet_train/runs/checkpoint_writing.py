"""The two checkpoints a run writes while it trains."""

from __future__ import annotations

import torch

from unet_train.checkpoint import Checkpoint, versions_here
from unet_train.runs.training_setup import Run


class CheckpointWriter:
    """best.pt holds what inference needs, last.pt what resume needs."""

    def __init__(self, run: Run):
        self.run = run

    def best(self, scores: dict[str, float]) -> None:
        """Write best.pt: the averaged weights where there are any."""
        state = self.run.state
        checkpoint = self._checkpoint(state.averaged)
        checkpoint.epoch, checkpoint.step = state.position.epoch, state.position.update
        checkpoint.metrics = scores
        checkpoint.write(self.run.folder / "best.pt")

    def last(self) -> None:
        """Write last.pt: everything that moves."""
        state = self.run.state
        checkpoint = self._checkpoint(state.model.state_dict())
        checkpoint.training = state.snapshot()
        checkpoint.write(self.run.folder / "last.pt")

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
        )
