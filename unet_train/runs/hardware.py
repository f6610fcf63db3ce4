"""What a run computes on: the device, the numbers' precision, and the processes that share the work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from unet_train.config.schema import TrainConfig
from unet_train.errors import UserError
from unet_train.training.distributed import DistributedContext, distributed_context
from unet_train.training.precision import Precision, choose_accelerator, choose_precision


@dataclass(frozen=True)
class Hardware:
    """Device, precision, and this process among those of the run."""

    device: torch.device
    precision: Precision
    context: DistributedContext


@contextmanager
def hardware_for(config: TrainConfig) -> Iterator[Hardware]:
    """Join the other processes of the run, if there are any, on the device the config asks for.

    Raises
    ------
    UserError
        For a device or a precision that is not there; where memory runs out inside the block, with what to do.
    """
    accelerator = choose_accelerator(config.trainer.accelerator)
    with distributed_context(accelerator) as context:
        on_gpu = accelerator == "cuda"
        device = torch.device(accelerator, context.local_rank) if on_gpu else torch.device(accelerator)
        try:
            yield Hardware(device, choose_precision(device.type, config.trainer.precision), context)
        except RuntimeError as error:
            if _is_out_of_memory(error):
                raise UserError(_memory_advice(config, device)) from error
            raise


def _is_out_of_memory(error: RuntimeError) -> bool:
    text = str(error).lower()
    return (
        isinstance(error, torch.OutOfMemoryError)
        or "out of memory" in text
        or "can't allocate memory" in text
    )


def _memory_advice(config: TrainConfig, device: torch.device) -> str:
    smaller = max(1, config.trainer.batch_size // 2)
    return (
        f"out of memory on {device}: try trainer.batch_size={smaller} trainer.accumulate="
        f"{config.trainer.accumulate * 2}, a smaller augmentation.crop_size (now "
        f"{config.augmentation.crop_size}), trainer.precision=bf16, or a smaller encoder; for validation images "
        "tile.size=512"
    )
