"""A trained model with everything it needs to turn an image into classes: what `unet_train.load` returns."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import nn

from unet_train.data.description import DataDescription
from unet_train.data.io.images import image_size, read_image, scale_pixels
from unet_train.data.loading.normaliser import Normaliser
from unet_train.data.records import Record
from unet_train.data.targets import Target, get_target
from unet_train.errors import UserError
from unet_train.inference.decision import class_ids
from unet_train.inference.objects import PostprocessingParameters, objects_from_maps
from unet_train.inference.tiled import Tiling
from unet_train.inference.whole import predict_probabilities
from unet_train.preprocessing.intensity import Statistics
from unet_train.symmetries import IDENTITY


@dataclass(frozen=True)
class Prediction:
    """What was predicted for one image, at its native size.

    Attributes
    ----------
    outputs : ndarray
        K×H×W float32, probabilities of the model's outputs.
    probabilities : ndarray
        P×H×W float32 over the data set's own classes.
    classes : ndarray
        H×W uint8 class ids.
    instances : ndarray or None
        H×W int32 object ids where they were given with the classes; None: they are cut out of `outputs`.
    """

    outputs: np.ndarray
    probabilities: np.ndarray
    classes: np.ndarray
    instances: np.ndarray | None = None

    @classmethod
    def of_masks(cls, classes: np.ndarray, instances: np.ndarray | None) -> Self:
        """One that comes from masks, without any probabilities."""
        nothing = np.zeros((0, *classes.shape), np.float32)
        return cls(nothing, nothing, classes, instances)

    def __repr__(self) -> str:
        height, width = self.classes.shape
        return f"<prediction of {height}×{width} pixels, {len(self.probabilities)} classes>"


@dataclass
class Predictor:
    """A model on a device, with its data description: image in, probabilities and classes out.

    Attributes
    ----------
    model : Module
        On `device`.
    data : DataDescription
    postprocessing : PostprocessingParameters or None
        How objects are cut out of the probabilities, as chosen on validation images.
    dtype : torch.dtype or None
        Autocast type, None for float32.
    tiling : Tiling
    views : tuple of str
        Flips and quarter turns of the image (`symmetries`) that are averaged over.
    threshold : float or None
        For two classes: foreground probability above which a pixel is foreground. None: the most probable class.
    ignore_below : float
        Pixels whose class is less probable than this become `IGNORE`.
    """

    model: nn.Module
    data: DataDescription
    device: str = "cpu"
    dtype: torch.dtype | None = None
    tiling: Tiling = field(default_factory=Tiling)
    views: tuple[str, ...] = (IDENTITY,)
    postprocessing: PostprocessingParameters | None = None
    threshold: float | None = None
    ignore_below: float = 0.0

    @cached_property
    def target(self) -> Target:
        """The training target, which knows the way back to the data set's classes."""
        return get_target(self.data.target, **self.data.target_params)

    def check_channels(self, image: np.ndarray, name: str) -> None:
        """Refuse an image with other channels than the model's.

        Raises
        ------
        UserError
        """
        if image.shape[-1] != self.data.channels:
            raise UserError(
                f"{name}: {image.shape[-1]} channels, but the model takes {self.data.channels}; "
                "convert the image, or use a model trained on such images"
            )

    def read(
        self,
        path: str | Path,
        *,
        intensity_range: tuple[float, float] | None = None,
        grey_as_rgb: bool = False,
    ) -> np.ndarray:
        """Read an image by the rules of training.

        Parameters
        ----------
        path : path
        intensity_range : (float, float) or None
            File values that become 0 and 1; None: as in training.
        grey_as_rgb : bool
            Whether a model of three channels takes a grey file for an RGB image.

        Returns
        -------
        ndarray
            H×W×C, uint8 or float32 in [0, 1]; RGB whose channels are all equal is grey to a model of grey
            images.

        Raises
        ------
        UserError
            As `data.images.read_image`, and for another number of channels.
        """
        wanted = self.data.channels
        scaling = intensity_range or self.data.intensity_range
        try:
            found = image_size(path)[2]
        except UserError:
            found = wanted  # a tif axis that only the number of channels explains, or what the reading tells
        if (found, wanted) == (3, 1):
            image = read_image(path, intensity_range=scaling)
            if (image == image[:, :, :1]).all():
                return np.ascontiguousarray(image[:, :, :1])
        else:
            # (3, 4): a fourth sample marked as alpha was not counted, and is the model's fourth channel.
            settles = (
                found == wanted or (found, wanted) == (3, 4) or ((found, wanted) == (1, 3) and grey_as_rgb)
            )
            image = read_image(path, intensity_range=scaling, channels=wanted if settles else None)
        self.check_channels(image, str(path))
        return image

    def outputs(self, image: np.ndarray, statistics: Statistics | None = None) -> np.ndarray:
        """Probabilities of the model's outputs, K×H×W float32, for an H×W×C uint8 or [0, 1] float image.

        Parameters
        ----------
        image : ndarray
        statistics : Statistics or None
            Of the image's volume. None: computed from the image, unless the model's normalisation is fixed.
            Where they cut to a window of the image, all else is background; so is a slice without brain.
        """
        preprocessing = self.data.preprocessing
        prepared = preprocessing.apply(image, statistics)
        if prepared.blank:
            return prepared.background(len(self.target.outputs(self.data.classes)))
        return preprocessing.undo(self.network(prepared.image, prepared.statistics), prepared)

    def network(
        self, image: np.ndarray, statistics: Statistics | None, tiling: Tiling | None = None
    ) -> np.ndarray:
        """What the network says of an image or a part of one that `preprocessing` has prepared.

        Parameters
        ----------
        image : ndarray
            h×w×C at the working resolution, uint8 or float32 in [0, 1].
        statistics : Statistics or None
            What it is standardised with; None: the model's own numbers.
        tiling : Tiling or None
            None: the predictor's.

        Returns
        -------
        ndarray
            K×h×w float32.
        """
        return predict_probabilities(
            self.model,
            image,
            mean=statistics.mean if statistics else None,
            std=statistics.std if statistics else None,
            device=self.device,
            autocast_dtype=self.dtype,
            tiling=tiling or self.tiling,
            views=self.views,
        )

    def decode(self, outputs: np.ndarray) -> Prediction:
        """The data set's classes from the model's outputs (K×H×W float32)."""
        probabilities = self.target.class_probabilities(outputs, self.data.scale)
        return Prediction(outputs, probabilities, class_ids(probabilities, self.threshold, self.ignore_below))

    def predict(self, image: np.ndarray, statistics: Statistics | None = None) -> Prediction:
        """Predict one image.

        Parameters
        ----------
        image : ndarray
            H×W or H×W×C; uint8, or float32 in [0, 1], as `data.images.read_image` gives it. Any other type
            holds the numbers of a file, and is scaled as the files of the training data were.
        statistics : Statistics or None
            See `outputs`.

        Raises
        ------
        UserError
            If it is no image, has other channels than the model, numbers without a rule, or values that are none.
        """
        return self.decode(self.outputs(self._pixels(image), statistics))

    def predict_record(self, record: Record, image: np.ndarray, normaliser: Normaliser) -> Prediction:
        """Predict one image of a data set.

        Parameters
        ----------
        record : Record
        image : ndarray
            H×W×C, as the data set's source reads it.
        normaliser : Normaliser
            Knows the statistics of the record's image or volume.

        Raises
        ------
        UserError
            See `predict`.
        """
        self.check_channels(image, record.image)
        return self.predict(image, normaliser.statistics(record, image))

    def predict_volume(self, slices: Sequence[np.ndarray]) -> list[Prediction]:
        """Predict all slices of a volume.

        Parameters
        ----------
        slices : sequence of ndarray
            In their order, all of them: a model that was normalised per volume takes its measure from them
            together. Each as in `predict`.

        Returns
        -------
        list of Prediction
            One per slice, at its size.

        Raises
        ------
        UserError
            See `predict`.
        ValueError
            Slices of different kinds, where they are normalised together; see `intensity.volume_statistics`.
        """
        images = [self._pixels(image) for image in slices]
        statistics = self.data.preprocessing.volume_statistics(images)
        return [self.decode(self.outputs(image, statistics)) for image in images]

    def _pixels(self, image: np.ndarray) -> np.ndarray:
        """An image as `outputs` takes it."""
        if isinstance(image, str | os.PathLike):
            raise UserError(f"{image}: predict takes an array; unet_train.predict takes files")
        image = np.asarray(image)
        image = image[..., None] if image.ndim == 2 else image
        if image.ndim != 3 or image.size == 0:
            raise UserError(f"an image is H×W or H×W×C and not empty; this one is {image.shape}")
        if image.dtype.kind not in "buif":
            raise UserError(f"an image holds numbers; this one holds {image.dtype}")
        if image.dtype == np.float32:
            low, high = float(image.min()), float(image.max())
            if not np.isfinite((low, high)).all():
                raise UserError("the image holds values that are no numbers (NaN or infinite)")
            if low < 0 or high > 1:
                raise UserError(
                    f"the image holds float32 values from {low:g} to {high:g}; they must lie in 0 to 1 (model.read "
                    "scales a file as the training files were)"
                )
        if image.dtype not in (np.uint8, np.float32):
            image = scale_pixels(image, self.data.intensity_range)
        self.check_channels(image, "image")
        return image

    def objects(self, prediction: Prediction) -> np.ndarray:
        """Instance ids, H×W int32, 0 for background, by the object rule."""
        foreground, seeds = self.target.object_maps(prediction.outputs)
        return objects_from_maps(
            foreground, seeds, self.postprocessing or PostprocessingParameters(), margin=self.data.margin
        )


@dataclass
class Ensemble(Predictor):
    """Several models whose outputs are averaged; they share their target and classes (see `check_alike`).

    Attributes
    ----------
    members : tuple of Predictor
        The first one's data description counts, and the first object rule that there is.
    """

    members: tuple[Predictor, ...] = ()

    @classmethod
    def of(cls, members: Sequence[Predictor]) -> Self:
        """Of one predictor or more."""
        first = {field.name: getattr(members[0], field.name) for field in fields(Predictor)}
        given = (m.postprocessing for m in members if m.postprocessing is not None)
        first["postprocessing"] = next(given, None)
        return cls(**first, members=tuple(members))

    def outputs(self, image: np.ndarray, statistics: Statistics | None = None) -> np.ndarray:
        """As `Predictor.outputs`: the mean over the members."""
        outputs = np.mean([member.outputs(image, statistics) for member in self.members], axis=0)
        return np.asarray(outputs, np.float32)


def check_alike(predictors: Sequence[Predictor], names: Sequence[str]) -> None:
    """Refuse to average models that do not predict the same things.

    Raises
    ------
    UserError
    """
    first = predictors[0].data
    for predictor, name in zip(predictors[1:], names[1:], strict=True):
        for what in ("classes", "channels", "target", "target_params", "normalisation", "intensity_range"):
            mine, theirs = getattr(predictor.data, what), getattr(first, what)
            if mine != theirs:
                raise UserError(
                    f"ckpt={name}: other {what} ({_said(mine)}) than {names[0]} ({_said(theirs)}); only models of the "
                    "same can be averaged"
                )


def _said(value: Any) -> str:
    """A description's value in words."""
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
