"""What a run has learnt and where it stands: all that a checkpoint must hold for the run to go on exactly."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch

from unet_train.checkpoint import Checkpoint, EpochSums, Position, TrainingState
from unet_train.models.unet import UNet
from unet_train.training.averages import EMA
from unet_train.training.distributed import DistributedContext
from unet_train.training.freezing import Thaw, thaw_encoder, was_thawed
from unet_train.training.losses import Loss
from unet_train.training.precision import Precision
from unet_train.training.schedules import Schedule


@dataclass
class TrainState:
    """The model, what changes it, and where the run stands: everything the loop moves."""

    model: UNet
    loss: Loss
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    ema: EMA | None
    precision: Precision
    device: torch.device
    outputs: tuple[str, ...]
    """Names of the model's outputs."""
    background: bool
    """Whether the first of them is the background."""
    forward: Callable[..., torch.Tensor]
    """The model as called in a step: itself, compiled, or wrapped for several processes."""
    thaw: Thaw | None = None
    """When what is frozen begins to train; None: nothing is frozen."""
    position: Position = field(default_factory=Position)

    def __post_init__(self) -> None:
        self.scaler = self.precision.grad_scaler(self.device.type)

    @property
    def averaged(self) -> dict[str, torch.Tensor]:
        """The weights that are validated and kept as the best: the averaged ones where there are any."""
        return self.ema.average if self.ema else self.model.state_dict()

    def buffers(self) -> Iterator[torch.Tensor]:
        """What a step changes besides the weights, such as the statistics of norms; of the average too."""
        for name, buffer in self.model.named_buffers():
            yield buffer
            if self.ema is not None and name in self.ema.average:
                yield self.ema.average[name]

    def snapshot(self, sums: Sequence[EpochSums]) -> TrainingState:
        """Everything that moves besides the weights. The tensors are the run's own, not copies.

        Parameters
        ----------
        sums : sequence of EpochSums
            Of every process, in the order of ranks.
        """
        return TrainingState(
            position=self.position,
            sums=list(sums),
            optimizer=self.optimizer.state_dict(),
            schedule=self.schedule.state_dict(),
            scaler=self.scaler.state_dict(),
            ema=self.ema.state if self.ema else None,
        )

    def thaw_when_due(self, epoch: int) -> None:
        """Let what is frozen train from here on, if epoch number `epoch` (from 0) is the one to begin with."""
        thaw = self.thaw
        if self.model.frozen and thaw is not None and thaw.epoch is not None and epoch + 1 >= thaw.epoch:
            self.thaw_encoder(thaw)

    def thaw_encoder(self, thaw: Thaw) -> None:
        """Let what is frozen train from here on."""
        thaw_encoder(self.model, self.optimizer, thaw.groups)
        if self.ema is not None:
            self.ema.left_out = frozenset()
        del self.forward
        gc.collect()  # a wrapper for several processes takes its hooks off the parameters when it goes
        self.forward = thaw.wrap(self.model)

    def restore(self, checkpoint: Checkpoint, context: DistributedContext) -> None:
        """Go back to where this process of the run stood when it wrote `checkpoint`.

        With another number of processes, which only the end of an epoch allows, there are no sums to go on with.

        Raises
        ------
        UserError
            If the checkpoint holds weights alone.
        """
        saved = checkpoint.resume_state
        if self.thaw is not None and was_thawed(saved.optimizer):
            self.thaw_encoder(self.thaw)
        self.position = saved.position
        self.position.sums = saved.sums[context.rank] if len(saved.sums) == context.size else EpochSums()
        self.model.load_state_dict(checkpoint.state_dict)
        if self.ema is not None and saved.ema is not None:
            self.ema.restore(saved.ema)
        # Rates and decays are the config's, not the file's: they may have been changed for the resume.
        asked = [{k: v for k, v in group.items() if k != "params"} for group in self.optimizer.param_groups]
        self.optimizer.load_state_dict(saved.optimizer)
        for group, values in zip(self.optimizer.param_groups, asked, strict=True):
            group.update(values)
        self.schedule.load_state_dict(saved.schedule)
        for group in self.optimizer.param_groups:  # as the latest update has left it
            group["lr"] = group["base_lr"] * self.schedule.factor(max(0, self.position.update - 1))
        if saved.scaler:
            self.scaler.load_state_dict(saved.scaler)
