"""Prediction on new images told top to bottom: models, images, one set of files per image."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from unet_train.config.checks import expand
from unet_train.config.schema import PredictConfig
from unet_train.data.io.images import image_size, list_images, write_image, write_labels
from unet_train.errors import UserError, in_terms_of
from unet_train.inference import streaming
from unet_train.inference.predictor import Prediction, Predictor, average, check_alike
from unet_train.inference.tiled import stride_of, tile_geometry
from unet_train.log import LOGGER, log_to
from unet_train.preprocessing.intensity import Statistics
from unet_train.reporting.overlays import overlay
from unet_train.runs.checkpoint_files import brain_mri_predictor, load_predictor
from unet_train.runs.pictures import compared, viewable_mask
from unet_train.runs.prediction_inputs import Inputs, Job, check_predict, checkpoint_names
from unet_train.runs.prediction_record import DoneRecord, describe_models

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


def predict_run(config: PredictConfig) -> Outcome:
    """Predict every input and say what was done.

    Raises
    ------
    UserError
        If nothing can be done at all: no checkpoint, no input, models that do not go together, no room.
    """
    log_to(None)
    inputs = check_predict(config)
    output = expand(config.output)
    models = Models.load(config)
    for note in [*inputs.notes, *models.notes]:
        LOGGER.info(note)
    with writing(output):
        output.mkdir(parents=True, exist_ok=True)
        if config.format == "ctc":
            from unet_train.runs.challenge_prediction import predict_sequence

            outcome = predict_sequence(config, models, output)
        else:
            outcome = predict_images(config, models, inputs, output)
    for message in outcome.bad:
        LOGGER.info(f"not predicted: {message}")
    return outcome


def predict_images(config: PredictConfig, models: Models, inputs: Inputs, output: Path) -> Outcome:
    """Predict images that have nothing to do with each other (but for the normalisation of a volume)."""
    record = DoneRecord(output, models.description)
    todo = inputs.jobs
    if not config.overwrite:
        todo = [job for job in todo if not record.done(job, _wanted(output, job, models, config).values())]
        record.refuse_others(todo)
        if len(todo) < len(inputs.jobs):
            done = len(inputs.jobs) - len(todo)
            LOGGER.info(f"{done} of {len(inputs.jobs)} done already; do them again with overwrite=true")
    volumes = Volumes(inputs, models)
    bad: list[str] = []
    notes: list[str] = []
    with tqdm(todo, desc="predicting", disable=None, leave=False, unit="image") as bar:
        for job in bar:
            with one_bad_image(job.path, bad):
                if not config.overwrite:
                    record.refuse_namesake(job)
                if is_large(job.path):
                    notes.append(_predict_large(config, models, job, output, bar))
                else:
                    image = models.read(job.path)
                    prediction = average(models.predictors, image, volumes.statistics(job))
                    write_results(_wanted(output, job, models, config), job, models.first, image, prediction)
                record.add(job)
    for note in [*volumes.notes, *notes]:
        LOGGER.info(note)
    LOGGER.info(f"{len(todo) - len(bad)} of {len(todo)} images predicted into {output}")
    return Outcome(output, len(todo) - len(bad), len(inputs.jobs) - len(todo), bad)


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
        bad.append(f"{path}: the memory does not suffice; set tile.size, for example tile.size=512")


@contextmanager
def writing(output: Path) -> Iterator[None]:
    """Turn a full disk or a folder that may not be written into one line."""
    try:
        yield
    except OSError as error:
        raise UserError(f"output={output}: cannot be written ({error.strerror or error})") from error


# --- models -------------------------------------------------------------------------------------------
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
    notes : list of str
    """

    predictors: list[Predictor]
    intensity_range: tuple[float, float] | None
    as_declared: bool
    description: str
    notes: list[str]

    @property
    def first(self) -> Predictor:
        """The one whose way from outputs to classes counts."""
        return self.predictors[0]

    @classmethod
    def load(cls, config: PredictConfig) -> Models:
        """What `ckpt` or `weights` names.

        Raises
        ------
        UserError
        """
        common = {
            "accelerator": config.accelerator,
            "precision": config.precision,
            "tile": config.tile,
            "tta": config.tta,
        }
        names = checkpoint_names(config.ckpt)
        notes: list[str] = []
        declared = None
        if names:
            loaded = [load_predictor(name, encoder=config.encoder, **common) for name in names]
            predictors = [predictor for predictor, _, _ in loaded]
            declared = ((loaded[0][1].get("config") or {}).get("dataset") or {}).get("channels")
            check_alike(predictors, names)
        else:
            predictor, notes = brain_mri_predictor(config.weights.path, **common)
            predictors = [predictor]
        first = predictors[0]
        chosen = config.intensity_range
        intensity_range = (float(chosen[0]), float(chosen[1])) if chosen else first.data.intensity_range
        if first.object_rule is None and len(predictors) > 1:
            rules = [p.object_rule for p in predictors if p.object_rule is not None]
            first.object_rule = rules[0] if rules else None
        if len({p.object_rule for p in predictors}) > 1:
            notes = [*notes, "objects are cut out by the rule of the first checkpoint that has one"]
        if config.tile.size is not None:
            tile_geometry(config.tile.size, config.tile.overlap, stride_of(first.model))
        description = describe_models(
            [p.model for p in predictors], intensity_range, config.tta, first.object_rule
        )
        return cls(predictors, intensity_range, declared is not None, description, notes)

    def read(self, path: Path) -> np.ndarray:
        """An image as the models take it: H×W×C, uint8 or float32 in [0, 1].

        Raises
        ------
        UserError
            As `Predictor.read`.
        """
        return self.first.read(path, intensity_range=self.intensity_range, grey_as_rgb=self.as_declared)


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
        for job in inputs.jobs if self.needed else []:
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


# --- results ------------------------------------------------------------------------------------------
def _wanted(output: Path, job: Job, models: Models, config: PredictConfig) -> dict[str, Path]:
    """Files of one image's results, by folder; the overlay, which is written last, at the end."""
    suffixes = {"masks": ".png", "classes": ".tif"}
    large = is_large(job.path)
    if models.first.data.has_instances and models.first.object_rule is not None and not large:
        suffixes["objects"] = ".tif"
    if config.probabilities and not large:
        suffixes["probabilities"] = ".tif"
    suffixes["overlays"] = ".png"
    return {
        folder: output / folder / job.name.parent / (job.name.name + suffix)
        for folder, suffix in suffixes.items()
    }


def write_results(
    files: dict[str, Path], job: Job, predictor: Predictor, image: np.ndarray, prediction: Prediction
) -> None:
    """Write the results that `files` names: each whole or not at all, the overlay last."""
    write_image(files["masks"], viewable_mask(predictor.data, prediction.classes))
    write_labels(files["classes"], prediction.classes)
    if "objects" in files:
        objects = predictor.objects(prediction)
        # 16 bits hold what anyone draws; beyond that 32, which every reader of tif takes too.
        write_image(files["objects"], objects.astype(np.uint16 if objects.max() < 1 << 16 else np.uint32))
        picture = overlay(image, None, objects, caption=job.path.name)
    else:
        picture = compared(predictor.data, image, None, prediction.classes, caption=job.path.name)
    if "probabilities" in files:
        write_image(files["probabilities"], prediction.probabilities.transpose(1, 2, 0).astype(np.float16))
    write_image(files["overlays"], picture)


# --- large images -------------------------------------------------------------------------------------
def is_large(path: Path) -> bool:
    """Whether an image is a tif too large for the memory (`streaming.LARGE_PIXELS`)."""
    if path.suffix.lower() not in (".tif", ".tiff"):
        return False
    try:
        height, width, _ = image_size(path)
    except UserError:
        return False  # told when it is read
    return height * width > streaming.LARGE_PIXELS


def _predict_large(config: PredictConfig, models: Models, job: Job, output: Path, bar: tqdm) -> str:
    """Stream one large tif into a class-id tif; mask and overlay are reduced previews. What to say of it.

    Raises
    ------
    UserError
        Several models; else as `streaming.predict_large`.
    """
    if len(models.predictors) > 1:
        raise UserError(f"{job.path}: too large for several checkpoints at once; give one ckpt")
    files = _wanted(output, job, models, config)
    result = streaming.predict_large(
        models.first,
        job.path,
        files["classes"],
        intensity_range=models.intensity_range,
        progress=_tiles(bar),
    )
    classes = result.class_preview
    write_image(files["masks"], viewable_mask(models.first.data, classes))
    picture = compared(models.first.data, result.image_preview, None, classes, caption=job.path.name)
    write_image(files["overlays"], picture)
    left_out = [name for name in ("objects", "probabilities") if _asked(name, models, config)]
    without = f", without {' and '.join(left_out)}" if left_out else ""
    return (
        f"{job.path}: {result.size[0]}×{result.size[1]} pixels in tiles{without}; mask and overlay show every "
        f"{result.step}th pixel"
    )


def _asked(name: str, models: Models, config: PredictConfig) -> bool:
    if name == "probabilities":
        return config.probabilities
    return models.first.data.has_instances and models.first.object_rule is not None


def _tiles(bar: tqdm) -> Callable[[int, int], None]:
    return lambda done, of: bar.set_postfix_str(f"tile {done} of {of}")
