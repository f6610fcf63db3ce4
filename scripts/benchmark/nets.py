"""Our training step as `unet-train` makes it, on a batch in memory, for any config."""

from __future__ import annotations

from dataclasses import asdict

import torch

from unet_train.config.compose import compose_train
from unet_train.data.loading.batches import Batch
from unet_train.models.spec import ModelSpec, build_model
from unet_train.runs.factory import build_loss, encoder_params
from unet_train.training.averages import EMA
from unet_train.training.distributed import DistributedContext
from unet_train.training.finiteness import FiniteWatch
from unet_train.training.loop import update
from unet_train.training.optimizers import build_optimizer
from unet_train.training.precision import choose_accelerator, choose_precision
from unet_train.training.schedules import Schedule
from unet_train.training.settings import Settings
from unet_train.training.train_state import TrainState

FIXED = {"mode": "fixed", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


class OurStep:
    """Calling it makes one update, with all that the loop does for it: counts, clipping, averaged weights, checks.

    Parameters
    ----------
    words : sequence of str
        The encoder and other keys, as on the command line.
    classes : int
    batch, crop : int
        Of random pixels.
    """

    def __init__(self, words: list[str], classes: int, batch: int, crop: int) -> None:
        config = compose_train(words).config
        device = torch.device(choose_accelerator(config.trainer.accelerator))
        names = tuple(f"class_{index}" for index in range(classes))
        model = build_model(
            ModelSpec(encoder_params(config.encoder), 3, list(names), normalisation=FIXED)
        ).to(device)
        assert not isinstance(config.loss, dict)
        self.state = TrainState(
            model=model.train(),
            loss=build_loss(config.loss, classes, class_weights=[1.0] * classes).to(device),
            optimizer=build_optimizer(model, **asdict(config.optimizer)),
            schedule=Schedule(total_updates=10**6, warmup_updates=0, kind="constant"),
            ema=EMA(model, config.trainer.ema_decay) if config.trainer.ema_decay is not None else None,
            precision=choose_precision(device.type, config.trainer.precision),
            device=device,
            outputs=names,
            background=True,
            forward=model,
        )
        self.settings = Settings(1, batch, clip_grad_norm=config.trainer.clip_grad_norm)
        self.context, self.watch = DistributedContext(), FiniteWatch()
        generator = torch.Generator().manual_seed(0)
        pixels = torch.randint(0, 256, (batch, 3, crop, crop), dtype=torch.uint8, generator=generator)
        target = torch.randint(0, classes, (batch, crop, crop), dtype=torch.uint8, generator=generator)
        pixels = pixels.to(memory_format=torch.channels_last)
        self.batch = Batch(pixels, target, None, None, None, ("a",) * batch)

    def __call__(self) -> None:
        """One update; waits for the device."""
        update(self.state, [self.batch], self.settings, self.context, self.watch)
        if self.watch.due:
            self.watch.check(self.context, self.state.model.state_dict())
        synchronise(self.state.device)

    @property
    def parameters(self) -> int:
        """Of the model."""
        return parameters(self.state.model)


def parameters(model: torch.nn.Module) -> int:
    """Number of a model's parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def synchronise(device: torch.device) -> None:
    """Wait for a GPU; nothing on a CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
