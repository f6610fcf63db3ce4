"""Prediction on new images told top to bottom: models, images, one set of files per image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from unet_train.atomic import writing
from unet_train.config.checks import expand
from unet_train.config.schema import PredictConfig
from unet_train.data.io.frame import Frame, read_frame
from unet_train.data.io.images import image_size, write_image, write_labels
from unet_train.data.io.pixel_size import pixel_size
from unet_train.data.masks.legend import LEGEND_FILE, as_dataset_json
from unet_train.data.records import IGNORE
from unet_train.errors import UserError, one_line
from unet_train.inference import streaming
from unet_train.inference.object_table import measure_objects
from unet_train.inference.predictor import Prediction, Predictor
from unet_train.log import LOGGER, log_to
from unet_train.reporting.overlays import object_picture, overlay
from unet_train.runs.challenge_prediction import predict_sequence
from unet_train.runs.object_files import join_tables, write_object_regions, write_object_rows
from unet_train.runs.pictures import compared, viewable_mask
from unet_train.runs.pipelining import WriteBehind, read_ahead
from unet_train.runs.prediction_inputs import Inputs, Job, check_predict, parse_shard
from unet_train.runs.prediction_models import Models, Outcome, Volumes, one_bad_image
from unet_train.runs.prediction_record import DoneRecord
from unet_train.training.run_folder import write_json

HELD_PIXELS = 4 * 2**20
"""Images with more are written before the next one is predicted, so that memory holds one such prediction."""


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
        LOGGER.info(one_line(note))
    with writing(output):
        output.mkdir(parents=True, exist_ok=True)
        if config.format == "ctc":
            outcome = predict_sequence(config, models, output)
        else:
            outcome = predict_images(config, models, inputs, output)
    for message in outcome.bad:
        LOGGER.info(one_line(f"not predicted: {message}"))
    return outcome


def predict_images(config: PredictConfig, models: Models, inputs: Inputs, output: Path) -> Outcome:
    """Predict images that have nothing to do with each other (but for the normalisation of a volume)."""
    record = DoneRecord(output, models.description, models.settings, parse_shard(config.shard))
    todo = inputs.jobs
    if not config.overwrite:
        todo = [job for job in todo if not record.done(job, _wanted(output, job, models, config).values())]
        record.refuse_others(todo)
        if len(todo) < len(inputs.jobs):
            done = len(inputs.jobs) - len(todo)
            LOGGER.info(f"{done} of {len(inputs.jobs)} done already; do them again with overwrite=true")
    volumes = Volumes(inputs, models)
    bad: dict[Job, list[str]] = {job: [] for job in todo}
    notes: list[str] = []

    def write(done: Done) -> None:
        with one_bad_image(done.job.path, bad[done.job]):
            if not config.overwrite:
                record.refuse_namesake(done.job)
            files = _wanted(output, done.job, models, config)
            write_results(files, done, models.first)
            record.add(done.job)

    def read(job: Job) -> tuple[np.ndarray, Frame] | None:
        return None if is_large(job.path) else (models.read(job.path), read_frame(job.path))

    with (
        tqdm(total=len(todo), desc="predicting", disable=None, leave=False, unit="image") as bar,
        read_ahead(read, todo) as jobs,
        WriteBehind(write) as writer,
    ):
        for job, wait in jobs:
            with one_bad_image(job.path, bad[job]):
                found = wait()
                if found is None:
                    writer.finish()
                    if not config.overwrite:
                        record.refuse_namesake(job)
                    notes.append(_predict_large(config, models, job, output, bar))
                    record.add(job)
                else:
                    image, frame = found
                    prediction = models.together.predict(image, volumes.statistics(job))
                    writer.add(Done(job, image, frame, prediction))
                    if image.shape[0] * image.shape[1] > HELD_PIXELS:
                        writer.finish()
            bar.update()
    lines = [line for job in todo for line in bad[job]]
    if todo and (output / "classes").is_dir():
        # So that the maps can be read as masks again, whatever values they happen to hold.
        write_json(output / "classes" / LEGEND_FILE, as_dataset_json(models.first.data.classes, IGNORE))
    table = join_tables(output) if todo and tells_objects(models.first) else None
    for note in [*volumes.notes, *notes]:
        LOGGER.info(one_line(note))
    LOGGER.info(f"{len(todo) - len(lines)} of {len(todo)} images predicted into {output}")
    if table is not None:
        LOGGER.info(f"objects   {output / 'objects'} (one number per object), measured in {table}")
    return Outcome(output, len(todo) - len(lines), len(inputs.jobs) - len(todo), lines)


@dataclass(frozen=True)
class Done:
    """An image that waits for its results to be written: as it was read, where its pixels lie, what was predicted."""

    job: Job
    image: np.ndarray
    frame: Frame
    prediction: Prediction


# --- results ------------------------------------------------------------------------------------------
def _wanted(output: Path, job: Job, models: Models, config: PredictConfig) -> dict[str, Path]:
    """Files of one image's results, by folder; the overlay, which is written last, at the end."""
    suffixes = {"masks": ".png", "classes": ".tif"}
    large = is_large(job.path)
    if tells_objects(models.first) and not large:
        suffixes["objects"] = ".tif"
        if config.roi:
            suffixes["rois"] = ".zip"
    if config.probabilities and not large:
        suffixes["probabilities"] = ".tif"
    suffixes["overlays"] = ".png"
    return {
        folder: output / folder / job.name.parent / (job.name.name + suffix)
        for folder, suffix in suffixes.items()
    }


def tells_objects(predictor: Predictor) -> bool:
    """Whether objects are cut out of what this model predicts."""
    return predictor.data.has_instances and predictor.postprocessing is not None


def write_results(files: dict[str, Path], done: Done, predictor: Predictor) -> None:
    """Write the results that `files` names: each whole or not at all, the overlay last."""
    job, image, frame, prediction = done.job, done.image, done.frame, done.prediction
    write_image(files["masks"], viewable_mask(predictor.data, prediction.classes))
    write_labels(files["classes"], prediction.classes, frame=frame)
    if "objects" in files:
        objects = predictor.objects(prediction)
        # 16 bits hold what anyone draws; beyond that 32, which every reader of tif takes too.
        numbers = objects.astype(np.uint16 if objects.max() < 1 << 16 else np.uint32)
        write_image(files["objects"], numbers, frame=frame, unknown="0")
        rows = measure_objects(
            objects, prediction.classes, image, predictor.data.classes, pixel_size(job.path)
        )
        write_object_rows(files["objects"].with_suffix(".csv"), job.name.as_posix(), rows, image.shape[-1])
        if "rois" in files:
            write_object_regions(files["rois"], objects)
        caption = f"{job.path.name}  {len(rows)} object{'' if len(rows) == 1 else 's'}"
        picture = overlay(object_picture(objects, image), None, objects, caption=caption)
    else:
        picture = compared(predictor.data, image, None, prediction.classes, caption=job.path.name)
    if "probabilities" in files:
        probabilities = prediction.probabilities.transpose(1, 2, 0).astype(np.float16)
        write_image(files["probabilities"], probabilities, frame=frame, unknown="nan")
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
    return tells_objects(models.first)


def _tiles(bar: tqdm) -> Callable[[int, int], None]:
    return lambda done, of: bar.set_postfix_str(f"tile {done} of {of}")
