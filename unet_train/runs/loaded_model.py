"""The model that `unet_train.load` gives a notebook: a predictor that takes whatever holds an image, and draws."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, overload

import numpy as np

from unet_train.errors import UserError
from unet_train.inference.predictor import Ensemble, Prediction
from unet_train.preprocessing.intensity import Statistics
from unet_train.reporting.overlays import object_picture, overlay
from unet_train.runs.checkpoint_files import parameters
from unet_train.runs.pictures import compared

Image = str | os.PathLike[str] | np.ndarray
"""A file, or H×W or H×W×C pixels."""


class LoadedModel(Ensemble):
    """A trained model, or the models of all folds, averaged.

    ``predict`` takes a file, an array, or several of either.
    """

    @overload
    def predict(self, image: Image, statistics: Statistics | None = None) -> Prediction: ...
    @overload
    def predict(self, image: list[Image], statistics: None = None) -> list[Prediction]: ...
    @overload
    def predict(self, image: Iterator[Image], statistics: None = None) -> Iterator[Prediction]: ...
    def predict(self, image: Any, statistics: Statistics | None = None) -> Any:
        """Predict an image, or several.

        Parameters
        ----------
        image : path, ndarray, list or iterator
            A file is read as in training; for an array see `Predictor.predict`. A list gives a list of predictions. An
            iterator (a generator) gives an iterator, which predicts each image when it is asked for.
        statistics : Statistics or None
            Of a single image; see `Predictor.outputs`.

        Returns
        -------
        Prediction, list of Prediction or iterator of Prediction

        Raises
        ------
        UserError
            For a file that cannot be read, or something that is no image.
        """
        if isinstance(image, str | os.PathLike):
            return super().predict(self._file(image), statistics)
        if isinstance(image, Iterator):
            return map(self.predict, image)
        if isinstance(image, list | tuple) and all(map(_is_image, image)):
            return [self.predict(one) for one in image]
        return super().predict(image, statistics)

    def overlay(
        self,
        image: Image,
        prediction: Prediction | None = None,
        *,
        truth: np.ndarray | None = None,
        caption: str = "",
    ) -> np.ndarray:
        """Draw a prediction over its image, as unet-predict does.

        Parameters
        ----------
        image : path or ndarray
        prediction : Prediction or None
            Of that image; None: it is predicted.
        truth : ndarray or None
            H×W class ids (for a model of objects their numbers), 255 where nothing is known; drawn too.
        caption : str

        Returns
        -------
        ndarray
            H'×W'×3 uint8.

        Raises
        ------
        UserError
            As `predict`, and for a prediction or a truth of another size.
        """
        pixels = self._pixels(self._file(image) if isinstance(image, str | os.PathLike) else image)
        prediction = prediction or super().predict(pixels)
        for name, other in (("prediction", prediction.classes), ("truth", truth)):
            if other is not None and other.shape != pixels.shape[:2]:
                sizes = ["×".join(map(str, shape)) for shape in (other.shape, pixels.shape[:2])]
                raise UserError(f"{name}: {sizes[0]} pixels, but the image has {sizes[1]}")
        if self.data.has_instances and self.postprocessing is not None:
            objects = self.objects(prediction)
            ground = object_picture(objects, pixels) if truth is None else pixels
            return overlay(ground, truth, objects, caption=caption)
        return compared(self.data, pixels, truth, prediction.classes, caption=caption)

    def __repr__(self) -> str:
        several = f"{len(self.members)} models, " if len(self.members) > 1 else ""
        encoder = getattr(self.model, "spec", None)
        kind = " ".join(str(value) for value in encoder.encoder.values()) if encoder is not None else "model"
        return (
            f"<{several}{kind}, {parameters(self.model):,} parameters, {self.data.channels} channel"
            f"{'' if self.data.channels == 1 else 's'}, classes {', '.join(self.data.classes)}, on {self.device}>"
        )

    def _file(self, path: str | os.PathLike[str]) -> np.ndarray:
        """The pixels of a file."""
        if Path(path).is_dir():
            raise UserError(f"{path}: is a folder; unet_train.predict takes folders, model.predict images")
        return self.read(Path(path))


def _is_image(item: object) -> bool:
    """Whether an item of a list is an image by itself, and not a row of numbers."""
    return isinstance(item, str | os.PathLike) or getattr(item, "ndim", 0) >= 2
