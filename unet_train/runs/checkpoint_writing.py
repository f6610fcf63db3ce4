"""The two checkpoints a run writes while it trains."""

from __future__ import annotations

import platform

import torch

from unet_train import __version__
from unet_train.runs.training_setup import Run
from unet_train.training import checkpoints


class CheckpointWriter:
    """best.pt holds what inference needs, last.pt what resume needs."""

    def __init__(self, run: Run):
        self.state, self.folder = run.state, run.folder
        data = run.data
        self.common = {
            "format": checkpoints.FORMAT,
            "model": run.spec.to_dict(),
            "data": data.description.to_dict(),
            "config": {k: v for k, v in run.composed.tree.items() if k != "resume"},
            "split": data.split.to_json(),
            "image_hashes": data.hashes,
            "truth_hashes": data.truth_hashes,
            "versions": {
                "unet_train": __version__,
                "torch": str(torch.__version__),
                "python": platform.python_version(),
            },
        }

    def best(self, scores: dict[str, float]) -> None:
        """Write best.pt: the averaged weights where there are any."""
        position = self.state.position
        content = {
            "state_dict": self.state.averaged,
            "epoch": position.epoch,
            "step": position.update,
            "metrics": scores,
        }
        checkpoints.save(self.folder / "best.pt", self.common | content)

    def last(self) -> None:
        """Write last.pt: everything that moves."""
        checkpoints.save(self.folder / "last.pt", self.common | self.state.state_dict())
