"""The validation of a run in training: scores of the weights that best.pt would hold, and a few pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from tqdm import tqdm

from unet_train.data.loading.kept import KeptSource
from unet_train.data.loading.normaliser import Normaliser
from unet_train.data.records import Record, Truth
from unet_train.inference.predictor import Prediction, Predictor
from unet_train.log import LOGGER
from unet_train.models.fusing import fused_copy
from unet_train.runs.pictures import compared
from unet_train.runs.training_setup import Run
from unet_train.training.evaluation import Evaluation, check_monitor, evaluate
from unet_train.training.run_folder import History


class Validation:
    """Validates the weights that best.pt would hold, and draws a few images."""

    def __init__(self, run: Run, history: History):
        self.state, self.history, self.context = run.state, history, run.hardware.context
        self.source = KeptSource(run.data.source)
        self.records, self.data = run.data.split.val, run.data.description
        self.predictor = run.predictor()
        self.shown = {record.key for record in self.records[: run.config.trainer.pictures]}
        self.normaliser = Normaliser(run.data.source, self.data.normalisation)
        self.pictures: dict[str, np.ndarray] = {}
        self.last: Evaluation | None = None
        self.warned = False

    def __call__(self, after_image: Callable[[], None] = lambda: None) -> Evaluation:
        """Scores of the validation part; `after_image` is called after each image."""
        self.pictures.clear()

        def look(record: Record, image: np.ndarray, truth: Truth, prediction: Prediction) -> None:
            self._draw(record, image, truth, prediction)
            after_image()

        self.last = evaluate(
            self._judged(),
            self.source,
            tqdm(
                self.records,
                desc="validating",
                disable=None if self.context.main else True,
                leave=False,
                unit="image",
            ),
            normaliser=self.normaliser,
            loss=self.state.loss,
            look=look,
            context=self.context,
        )
        # Each process has drawn those of its own images; the first one writes all.
        drawn = {key: picture for part in self.context.gather(self.pictures) for key, picture in part.items()}
        for record in self.records:
            if record.key in drawn:
                self.history.picture(f"val/{record.key}", drawn[record.key], self.state.position.update)
        if all(image.empty for image in self.last.images) and not self.warned:
            self.warned = True
            LOGGER.info(
                "warning: no validation image shows any foreground, so the best epoch cannot be told; see split.*"
            )
        return self.last

    def trial(self, monitor: str) -> None:
        """Validate one image before the first epoch, so that what fails there fails now.

        Raises
        ------
        UserError
            Also if the score to be monitored is none of those there are.
        """
        tried = evaluate(
            self._judged(), self.source, self.records[:1], normaliser=self.normaliser, loss=self.state.loss
        )
        check_monitor(monitor, tried.scores())

    def _judged(self) -> Predictor:
        """The weights that best.pt would hold, fused; the model in training is not touched."""
        average = self.state.ema.average if self.state.ema else None
        return replace(self.predictor, model=fused_copy(self.state.model, average))

    def _draw(self, record: Record, image: np.ndarray, truth: Truth, prediction: Prediction) -> None:
        if record.key in self.shown:
            self.pictures[record.key] = compared(
                self.data, image, truth.classes, prediction.classes, caption=record.key
            )
