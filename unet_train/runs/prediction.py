"""Prediction on new images told top to bottom: inputs, models, one set of files per image."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from unet_train.config.early import expand
from unet_train.config.schema import PredictConfig
from unet_train.data.images import IMAGE_SUFFIXES, list_images, read_image, write_image, write_labels
from unet_train.data.normalisation import Statistics, volume_statistics
from unet_train.errors import UserError
from unet_train.inference.predictor import Prediction, Predictor, average, check_alike
from unet_train.reporting.overlays import class_picture, object_picture, overlay
from unet_train.runs.checkpoint_files import load_predictor
from unet_train.training.run_folder import LOGGER, log_to


@dataclass(frozen=True)
class Job:
    """One input and its name in the output folders.

    Attributes
    ----------
    path : Path
    name : Path
        Sub-folders and stem; the source's ending is kept where two inputs would collide.
    """

    path: Path
    name: Path


def predict_run(config: PredictConfig) -> int:
    """Predict every input; 0, or 1 if some inputs were bad (named at the end).

    Raises
    ------
    UserError
        If nothing can be done at all: no checkpoint, no input, models that do not go together.
    """
    log_to(None)
    jobs = find_inputs(config.input)
    output = expand(config.output)
    names = [config.ckpt] if isinstance(config.ckpt, str) else list(config.ckpt)
    if not names:
        raise UserError("ckpt=[]: name at least one checkpoint")
    predictors = [
        load_predictor(
            name,
            accelerator=config.accelerator,
            precision=config.precision,
            tile=config.tile,
            tta=config.tta,
            encoder=config.encoder,
        )[0]
        for name in names
    ]
    check_alike(predictors, names)
    todo = [job for job in jobs if config.overwrite or not _done(output, job, predictors[0])]
    if len(todo) < len(jobs):
        LOGGER.info(f"{len(jobs) - len(todo)} of {len(jobs)} done already; again with overwrite=true")
    intensity_range = _range(config, predictors[0])
    volumes = Volumes(jobs, predictors[0], intensity_range)
    bad: list[str] = []
    for job in tqdm(todo, desc="predicting", disable=None, leave=False, unit="image"):
        try:
            image = read_image(
                job.path, intensity_range=intensity_range, channels=predictors[0].data.channels
            )
            predictors[0].check_channels(image, str(job.path))
            prediction = average(predictors, image, volumes.statistics(job))
            write_results(output, job, predictors[0], image, prediction, probabilities=config.probabilities)
        except UserError as error:
            bad.append(str(error))
        except OSError as error:
            if error.filename is None or Path(error.filename) == job.path:
                bad.append(f"{job.path}: {error.strerror or error}")
            else:
                raise UserError(f"output={output}: cannot be written ({error.strerror or error})") from error
    LOGGER.info(f"{len(todo) - len(bad)} of {len(todo)} images predicted into {output}")
    for message in bad:
        LOGGER.info(f"not predicted: {message}")
    return 1 if bad else 0


# --- inputs -------------------------------------------------------------------------------------------
def find_inputs(typed: str) -> list[Job]:
    """The images an input names: a file, a folder (with its sub-folders), or a pattern; an existing path wins.

    Raises
    ------
    UserError
        If there are none.
    """
    path = expand(typed)
    if path.is_dir():
        root, files = path, list_images(path, recursive=True)
        names = {f for f in files}
        # kaggle_3m keeps `x_mask.tif` beside `x.tif`: a label, not an input.
        files = [f for f in files if not (f.stem.endswith("_mask") and f.with_stem(f.stem[:-5]) in names)]
    elif path.is_file():
        root, files = path.parent, [path]
    else:
        files = sorted(Path(f) for f in glob.glob(str(path), recursive=True) if Path(f).is_file())
        files = [f for f in files if f.suffix.lower() in IMAGE_SUFFIXES]
        root = Path(os.path.commonpath([f.parent for f in files])) if files else Path()
    if not files and not path.exists() and not glob.has_magic(str(path)):
        raise UserError(f"input={typed}: no such file or folder")
    if not files:
        raise UserError(f"input={typed}: no image found (files ending in {', '.join(IMAGE_SUFFIXES)})")
    relative = [f.relative_to(root) for f in files]
    stems = Counter(str(r.with_suffix("")).lower() for r in relative)
    return [
        Job(f, r if stems[str(r.with_suffix("")).lower()] > 1 else r.with_suffix(""))
        for f, r in zip(files, relative, strict=True)
    ]


def _range(config: PredictConfig, predictor: Predictor) -> tuple[float, float] | None:
    if config.intensity_range is None:
        return predictor.data.intensity_range
    if len(config.intensity_range) != 2:
        raise UserError(f"intensity_range={config.intensity_range}: two numbers, [low,high]")
    return float(config.intensity_range[0]), float(config.intensity_range[1])


class Volumes:
    """Statistics per volume where the model asks for them: images of one folder are slices of one volume."""

    def __init__(
        self, jobs: Sequence[Job], predictor: Predictor, intensity_range: tuple[float, float] | None
    ):
        self.needed = predictor.data.normalisation == "volume"
        self.channels, self.intensity_range = predictor.data.channels, intensity_range
        self.members: dict[Path, list[Path]] = {}
        for job in jobs:
            self.members.setdefault(job.path.parent, []).append(job.path)
        self.known: dict[Path, Statistics] = {}

    def statistics(self, job: Job) -> Statistics | None:
        """Statistics of the job's volume; None where each image stands for itself.

        A slice that cannot be read is left out here; it is reported when its own turn comes.
        """
        if not self.needed:
            return None
        volume = job.path.parent
        if volume not in self.known:
            images = (self._read(path) for path in self.members[volume])
            self.known[volume] = volume_statistics([image for image in images if image is not None])
        return self.known[volume]

    def _read(self, path: Path) -> np.ndarray | None:
        try:
            image = read_image(path, intensity_range=self.intensity_range, channels=self.channels)
        except UserError:
            return None
        return image if image.shape[-1] == self.channels else None


# --- outputs ------------------------------------------------------------------------------------------
def _paths(output: Path, job: Job, predictor: Predictor) -> dict[str, Path]:
    def under(folder: str, suffix: str) -> Path:
        return output / folder / job.name.parent / (job.name.name + suffix)

    paths = {
        "masks": under("masks", ".png"),
        "classes": under("classes", ".tif"),
        "overlays": under("overlays", ".png"),
        "probabilities": under("probabilities", ".tif"),
    }
    if predictor.data.has_instances and predictor.object_rule is not None:
        paths["objects"] = under("objects", ".tif")
    return paths


def _done(output: Path, job: Job, predictor: Predictor) -> bool:
    # The overlay is written last: where it is, the others are.
    return _paths(output, job, predictor)["overlays"].is_file()


def write_results(
    output: Path,
    job: Job,
    predictor: Predictor,
    image: np.ndarray,
    prediction: Prediction,
    *,
    probabilities: bool = False,
) -> None:
    """Write a viewable mask, the class ids, objects where the model knows them, and an overlay."""
    paths = _paths(output, job, predictor)
    write_image(paths["masks"], class_picture(prediction.classes, len(predictor.data.classes)))
    write_labels(paths["classes"], prediction.classes)
    outlined: Any = prediction.classes
    if "objects" in paths:
        objects = predictor.objects(prediction)
        write_labels(paths["objects"], objects.astype(np.uint16))
        write_image(paths["objects"].with_suffix(".png"), object_picture(objects, image))
        outlined = objects
    if probabilities:
        write_image(paths["probabilities"], prediction.probabilities.transpose(1, 2, 0).astype(np.float16))
    write_image(paths["overlays"], overlay(image, None, outlined, caption=job.path.name))
