"""What predicting images and predicting a sequence share: the models, volumes, one bad image, the outcome."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from unet_train.config.schema import PredictConfig
from unet_train.data.io.images import list_images
from unet_train.errors import UserError, in_terms_of
from unet_train.inference.predictor import Ensemble, Predictor, check_alike
from unet_train.inference.tiled import stride_of, tile_geometry
from unet_train.preprocessing.intensity import Statistics
from unet_train.runs.checkpoint_files import (
    PredictorSettings,
    brain_mri_predictor,
    load_predictor,
    tell_views,
)
from unet_train.runs.prediction_inputs import Inputs, Job, checkpoint_names
from unet_train.runs.prediction_record import describe_models
from unet_train.symmetries import ALL_VIEWS, IDENTITY

FATAL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
"""What goes wrong with one result and will with the next: a full disk, a folder that may not be written."""


@dataclass(frozen=True)
class Outcome:
    """What a prediction left.

    Attributes
    ----------
    output : Path
    predicted, skipped : int
        Images done now, and before.
    bad : list of str
        One line per image that could not be predicted.
    """

    output: Path
    predicted: int
    skipped: int
    bad: list[str]


@contextmanager
def one_bad_image(path: Path, bad: list[str]) -> Iterator[None]:
    """Note what is wrong with one image instead of stopping all others."""
    try:
        yield
    except UserError as error:
        bad.append(in_terms_of("predict", str(error)))
    except OSError as error:
        if error.errno in FATAL:
            raise
        bad.append(f"{path}: {error.strerror or error}")
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "memory" not in str(error).lower():
            raise
        bad.append(f"{path}: out of memory; set tile.size, for example tile.size=512")


@dataclass(frozen=True)
class Models:
    """The model, or several whose probabilities are averaged.

    Attributes
    ----------
    predictors : list of Predictor
    intensity_range : (float, float) or None
        File values that become 0 and 1.
    as_declared : bool
        Whether the data set's number of channels was declared: then grey files count as RGB, as in training.
    description : str
        The same for the same weights and settings.
    settings : str
        The keys that change what is predicted, as typed.
    notes : list of str
    """

    predictors: list[Predictor]
    intensity_range: tuple[float, float] | None
    as_declared: bool
    description: str
    settings: str
    notes: list[str]

    @property
    def first(self) -> Predictor:
        """The one whose way from outputs to classes counts."""
        return self.predictors[0]

    @cached_property
    def together(self) -> Ensemble:
        """All of them, averaged."""
        return Ensemble.of(self.predictors)

    @classmethod
    def load(cls, config: PredictConfig) -> Models:
        """What `ckpt` or `weights` names.

        Raises
        ------
        UserError
        """
        settings = PredictorSettings.of(config)
        names = checkpoint_names(config.ckpt)
        notes: list[str] = []
        declared = None
        if names:
            loaded = [load_predictor(name, settings, encoder=config.encoder) for name in names]
            predictors = [predictor for predictor, _, _ in loaded]
            declared = loaded[0][1].section("dataset").get("channels")
            check_alike(predictors, names)
        else:
            predictor, notes = brain_mri_predictor(config.weights.path if config.weights else None, settings)
            predictors = [predictor]
        first = predictors[0]
        chosen = config.intensity_range
        intensity_range = (float(chosen[0]), float(chosen[1])) if chosen else first.data.intensity_range
        if first.postprocessing is None and len(predictors) > 1:
            given = [p.postprocessing for p in predictors if p.postprocessing is not None]
            first.postprocessing = given[0] if given else None
        if len({p.postprocessing for p in predictors}) > 1:
            notes = [*notes, "objects are cut out by the rule of the first checkpoint that has one"]
        if config.tile.size is not None:
            tile_geometry(config.tile.size, config.tile.overlap, stride_of(first.model))
        # Words of this version's keys follow only where they are used, so that folders of earlier ones go on.
        description = describe_models(
            [p.model for p in predictors],
            intensity_range,
            _described(predictors),
            first.postprocessing,
            *settings.knobs.words,
        )
        notes = [*notes, *tell_views(config.tta, predictors)]
        said = " ".join([*([f"tta={str(config.tta).lower()}"] if config.tta else []), *settings.knobs.words])
        return cls(predictors, intensity_range, declared is not None, description, said, notes)

    def read(self, path: Path) -> np.ndarray:
        """An image as the models take it: H×W×C, uint8 or float32 in [0, 1].

        Raises
        ------
        UserError
            As `Predictor.read`.
        """
        return self.first.read(path, intensity_range=self.intensity_range, grey_as_rgb=self.as_declared)


def _described(predictors: Sequence[Predictor]) -> bool | list[tuple[str, ...]]:
    """What is averaged over, for the record of a folder: one view and all eight as earlier versions wrote them."""
    views = [predictor.views for predictor in predictors]
    if set(views) == {(IDENTITY,)}:
        return False
    return True if set(views) == {ALL_VIEWS} else views


class Volumes:
    """Statistics per volume where the model asks for them.

    The images of one folder are the slices of one volume. Where single slices were named, their volume is all
    images of the folder whose names differ from theirs in the last number alone.
    """

    def __init__(self, inputs: Inputs, models: Models):
        self.preprocessing = models.first.data.preprocessing
        self.needed = self.preprocessing.per_volume
        self.models = models
        self.notes: list[str] = []
        self._known: dict[tuple[Path, str], Statistics | None] = {}
        self._members: dict[tuple[Path, str], list[Path]] = {}
        self._whole_folders = inputs.folder
        for job in inputs.named if self.needed else []:
            members = self._members.setdefault(self._volume(job.path), [])
            if inputs.folder:
                members.append(job.path)
            elif not members:
                alike = self._volume(job.path)
                members += [path for path in list_images(job.path.parent) if self._volume(path) == alike]

    def statistics(self, job: Job) -> Statistics | None:
        """Statistics of the job's volume; None where each image stands for itself.

        A slice that cannot be read is left out here; it is reported when its own turn comes.

        Raises
        ------
        UserError
            For slices of different types.
        """
        if not self.needed:
            return None
        volume = self._volume(job.path)
        if volume not in self._known:
            members = self._members[volume]
            try:
                images = (image for path in members if (image := self._read(path)) is not None)
                self._known[volume] = self.preprocessing.volume_statistics(images)
            except ValueError as error:
                raise UserError(f"{job.path.parent}: cannot be normalised as one volume ({error})") from error
            if len(members) == 1:
                self.notes.append(
                    f"{job.path}: normalised by itself, the only slice of its volume here; the model was "
                    "trained on whole volumes, so give it the folder of all slices"
                )
        return self._known[volume]

    def _volume(self, path: Path) -> tuple[Path, str]:
        series = "" if self._whole_folders else re.sub(r"[0-9]+(?!.*[0-9])", "#", path.stem)
        return path.parent, series

    def _read(self, path: Path) -> np.ndarray | None:
        try:
            return self.models.read(path)
        except UserError:
            return None
