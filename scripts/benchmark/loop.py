"""Row: the training loop over its pure compute."""

from __future__ import annotations

import copy
import itertools
import os
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import torch

import unet_train
from scripts.benchmark.measuring import Case, Measurement, clock, stopwatch
from scripts.benchmark.nets import synchronise
from unet_train.data.loading.batches import Batch
from unet_train.data.loading.training_set import TrainingSet
from unet_train.data.write_demo import write_demo
from unet_train.runs.checkpoint_writing import CheckpointWriter
from unet_train.runs.validation import Validation
from unet_train.training.loop import Steps
from unet_train.training.run_folder import History
from unet_train.training.train_state import TrainState

TITLE = "The training loop over its pure compute"
ABOUT = """
Milliseconds per image: `unet-train` on a folder of drawn images of 512² (decoding, augmentation, loss, clipping,
averaged weights, counts, bar) beside forward, loss, backward and optimizer step of the same net on the first batch,
kept in memory, which takes its turn before each epoch. So the ratio is the loop's images/s over those of pure compute.
What the run does between epochs is not in it, and is named below.
"""

EPOCHS, STEPS, BATCH = 5, 4, 4


def pure_steps(state: TrainState, batch: Batch, steps: int) -> float:
    """Seconds of so many steps on one batch: no bookkeeping, no averages, no clipping. The state stays as it is."""
    model = copy.deepcopy(state.model).train()
    groups = [{**group, "params": []} for group in state.optimizer.param_groups]
    copies = dict(zip(state.model.parameters(), model.parameters(), strict=True))
    for group, own in zip(groups, state.optimizer.param_groups, strict=True):
        group["params"] = [copies[parameter] for parameter in own["params"]]
    optimizer = type(state.optimizer)(groups)
    batch = batch.to(state.device)
    totals = state.loss.totals(batch.target, batch.weight)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with state.precision.autocast(state.device.type):
            logits = model(batch.image, batch.mean, batch.std)
        share = state.loss.numerators(logits, batch.target, batch.weight)
        torch.stack(list(state.loss.combine(share, totals).values())).sum().backward()
        optimizer.step()

    step()  # makes the optimizer's state
    synchronise(state.device)
    start = clock()
    for _ in range(steps):
        step()
    synchronise(state.device)
    return clock() - start


def measure(words: list[str]) -> Measurement:
    """A run of EPOCHS + 1 epochs, the first of which does not count."""
    loop: list[float] = []
    pure: list[float] = []
    original = Steps.train_epoch

    kept: list[Batch] = []
    made: list[float] = []

    def epoch(self: Steps, batches: Any) -> dict[str, float]:
        if not kept:
            kept.append(next(batches))
            batches = itertools.chain(kept, batches)
        pure.append(pure_steps(self.state, kept[0], STEPS))
        start = clock()
        scores = original(self, batches)
        loop.append(clock() - start)
        made.append(samples["samples"] - sum(made))
        return scores

    places = {
        "validation": (Validation, "__call__"),
        "last.pt": (CheckpointWriter, "last"),
        "best.pt": (CheckpointWriter, "best"),
        "rows and curves": (History, "add"),
    }
    os.environ["UNET_TRAIN_CHECK_CACHE"] = "off"
    with tempfile.TemporaryDirectory() as temporary:
        root = write_demo(Path(temporary) / "data", images=15, size=(512, 512))
        Steps.train_epoch = epoch  # type: ignore[method-assign]
        try:
            with (
                stopwatch({"samples": (TrainingSet, "__getitem__")}) as samples,
                stopwatch(places) as between,
            ):
                start = clock()
                unet_train.train(
                    [
                        *("dataset=folder", f"dataset.root={root}", f"hydra.run.dir={temporary}/run"),
                        *(f"trainer.epochs={EPOCHS + 1}", f"trainer.samples_per_epoch={STEPS * BATCH}"),
                        *(f"trainer.batch_size={BATCH}", "trainer.workers=0", *words),
                    ]
                )
                whole = clock() - start - sum(pure)
        finally:
            Steps.train_epoch = original  # type: ignore[method-assign]
    images = STEPS * BATCH
    values = {
        "unet-train": [1000 * seconds / images for seconds in loop[1:]],
        "pure compute": [1000 * seconds / images for seconds in pure[1:]],
    }
    first, later = 1000 * made[0] / images, 1000 * sum(made[1:]) / images / EPOCHS
    named = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in between.items())
    notes = [
        f"of the loop, a sample takes {later:.1f} ms, in the first epoch, which decodes the files, {first:.1f} ms",
        f"the whole run of {EPOCHS + 1} epochs of {STEPS} steps took {whole:.0f} s, of these {named}",
    ]
    return Measurement("ms", values, {"pure compute": 0.97}, notes=notes)


CASES: dict[str, Case] = {
    "classic, 16 features, light": partial(measure, ["encoder=unet", "encoder.init_features=16"]),
    "EfficientNet-B0, strong": partial(measure, ["encoder=efficientnet", "augmentation=strong"]),
}
