"""A few real steps and a validation, timed: how long this machine takes for what a plan has chosen."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from unet_train.config.compose import compose_train
from unet_train.config.schema import TrainConfig
from unet_train.data.loading.batches import EpochSampler, make_loader, read_batches
from unet_train.data.loading.normaliser import Normaliser
from unet_train.data.records import Record
from unet_train.data.splits import Split
from unet_train.errors import UserError
from unet_train.models.spec import build_model
from unet_train.planning.figures import MachineFigures, threads_here
from unet_train.runs.factory import build_split, custom_encoder, describe_model
from unet_train.runs.hardware import Hardware, hardware_for
from unet_train.runs.orientation import augmentation_for
from unet_train.runs.training_data import read_data
from unet_train.runs.training_setup import set_up
from unet_train.training.evaluation import evaluate
from unet_train.training.loop import update

_IMAGES = 8  # that the steps crop from
_VALIDATED = 2
_WARM_UP = 2  # steps that are not timed: the first ones allocate
_MOST_STEPS = 20
_SECONDS = 15.0  # after which no further step is timed


@dataclass(frozen=True)
class Trial:
    """What was measured.

    Attributes
    ----------
    step_seconds : float
        Of one training step, reading and augmentation included.
    image_seconds : float
        Of the validation of one image.
    batch_size, accumulate : int
        With which the steps fit into memory.
    """

    step_seconds: float
    image_seconds: float
    batch_size: int
    accumulate: int


def machine_for(config: TrainConfig) -> MachineFigures:
    """The machine that a config would train on."""
    with hardware_for(config) as hardware:
        return MachineFigures(hardware.device.type, threads_here(), hardware.precision.name)


def try_steps(words: Sequence[str], config_dir: str | None = None) -> Trial:
    """Time steps of the training that a command line describes; nothing is written.

    Where memory runs out the batch is halved, and the steps are accumulated instead.

    Raises
    ------
    UserError
        As a training; also where a single crop does not fit into memory.
    """
    config = compose_train(words, config_dir).config
    batch, accumulate = config.trainer.batch_size, config.trainer.accumulate
    crops = batch * accumulate
    while True:
        sizes = [f"trainer.batch_size={batch}", f"trainer.accumulate={accumulate}"]
        kept = [
            word
            for word in words
            if word.partition("=")[0] not in ("trainer.batch_size", "trainer.accumulate")
        ]
        try:
            step, image = _measure([*kept, *sizes], config_dir)
        except UserError as error:
            if "out of memory" not in str(error) or batch == 1:
                raise
            batch = batch // 2
            accumulate = math.ceil(crops / batch)
            continue
        return Trial(step, image, batch, accumulate)


def _measure(words: Sequence[str], config_dir: str | None) -> tuple[float, float]:
    composed = compose_train(words, config_dir)
    config = composed.config
    with hardware_for(config) as hardware:
        data = read_data(config, hardware.context, partial(_few, config))
        augmentation, _ = augmentation_for(composed, data)
        model = build_model(
            describe_model(config, data.description, data.outputs), custom_encoder(config.encoder)
        )
        run = set_up(composed, hardware, data, augmentation, model)
        size, count = config.trainer.batch_size, config.trainer.accumulate
        samples = min(len(run.training), size * count * (_WARM_UP + _MOST_STEPS))
        loader = make_loader(run.training, EpochSampler(samples, size, 0), run.settings.workers)
        run.state.model.train()
        times = []
        batches = []
        started = time.perf_counter()
        for batch in read_batches(loader):
            batches.append(batch)
            if len(batches) < count:
                continue
            update(run.state, batches, run.settings, hardware.context)
            _wait(hardware)
            batches = []
            now = time.perf_counter()
            times.append(now - started)
            started = now
            if len(times) > _WARM_UP and sum(times[_WARM_UP:]) > _SECONDS:
                break
        timed = sorted(times[_WARM_UP:] or times)
        predictor, normaliser = run.predictor(), Normaliser(data.source, data.description.normalisation)
        seconds = 0.0
        if data.split.val:
            for _ in range(2):  # the first is the warm-up
                started = time.perf_counter()
                evaluate(predictor, data.source, data.split.val, normaliser=normaliser, loss=run.state.loss)
                _wait(hardware)
                seconds = (time.perf_counter() - started) / len(data.split.val)
        return timed[len(timed) // 2], seconds


def _few(config: TrainConfig, records: list[Record]) -> Split:
    split = build_split(config.split, config.dataset, records)
    return Split(split.train[:_IMAGES], split.val[:_VALIDATED], [], by=split.by)


def _wait(hardware: Hardware) -> None:
    if hardware.device.type == "cuda":
        import torch

        torch.cuda.synchronize(hardware.device)
