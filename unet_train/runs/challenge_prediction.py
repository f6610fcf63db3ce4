"""`unet-predict format=ctc`: one sequence into a folder that the Cell Tracking Challenge's tools accept."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
from tqdm import tqdm

from unet_train.config.checks import expand
from unet_train.config.schema import PredictConfig
from unet_train.data.io.images import image_size, list_images, write_image
from unet_train.errors import UserError
from unet_train.inference.challenge_results import ChallengeWriter, sequence_frames
from unet_train.log import LOGGER
from unet_train.reporting.overlays import add_legend, object_picture
from unet_train.runs.prediction_inputs import Inputs, Job
from unet_train.runs.prediction_models import Models, Outcome, Volumes, one_bad_image
from unet_train.runs.prediction_record import DoneRecord


def predict_sequence(config: PredictConfig, models: Models, output: Path) -> Outcome:
    """Write ``maskNNN.tif`` for every frame, ``res_track.txt``, and overlays with a colour per track.

    A frame that cannot be read is written empty, so that the folder stays complete, and reported.

    Raises
    ------
    UserError
        A model without objects, frames of different sizes, results that are there already in part.
    """
    predictor = models.first
    if not predictor.data.has_instances:
        raise UserError(
            f"format=ctc needs a model of single objects; this one was trained on {predictor.data.name}, which "
            "does not tell them apart: use format=images"
        )
    if predictor.postprocessing is None:
        LOGGER.info("the checkpoint holds no rule for cutting out objects; taking the usual one")
    frames, digits = sequence_frames(list_images(expand(config.input)))
    if not frames:
        raise UserError(f"input={config.input}: no image found")
    jobs = [Job(path, Path(path.stem)) for _, path in frames]
    record = DoneRecord(output, models.description, models.settings)
    overwrite = config.overwrite
    if not overwrite:
        record.refuse_others(jobs)
        for job in jobs:
            record.refuse_namesake(job)
        if complete(output, [number for number, _ in frames], digits) and any(map(record.knows, jobs)):
            todo = [job for job in jobs if not record.done(job, [])]
            if not todo:
                LOGGER.info(f"{len(frames)} of {len(frames)} done already; do them again with overwrite=true")
                return Outcome(output, 0, len(frames), [])
            LOGGER.info(
                f"{len(todo)} of {len(frames)} frames have changed or were bad: all are done again, as tracks run on"
            )
            overwrite = True
    size = common_size([path for _, path in frames])
    volumes = Volumes(Inputs(jobs, jobs, True, []), models)
    bad: list[str] = []
    (output / "overlays").mkdir(parents=True, exist_ok=True)
    with ChallengeWriter(output, digits=digits, overwrite=overwrite) as writer:
        for (number, path), job in zip(
            tqdm(frames, desc="predicting", disable=None, leave=False), jobs, strict=True
        ):
            objects, image = np.zeros(size, np.int32), np.zeros((*size, 1), np.uint8)
            before = len(bad)
            with one_bad_image(path, bad):
                image = models.read(path)
                prediction = models.together.predict(image, volumes.statistics(job))
                objects = predictor.objects(prediction)
            labels = writer.add(number, objects, str(path))
            picture = add_legend(object_picture(labels, image), [], f"{path.name}  {labels_said(labels)}")
            write_image(output / "overlays" / f"mask{number:0{digits}}.png", picture)
            if len(bad) == before:
                record.add(job)
    tracks = len((output / "res_track.txt").read_text(encoding="ascii").splitlines())
    LOGGER.info(f"{len(frames) - len(bad)} of {len(frames)} frames, {tracks} tracks, written to {output}")
    return Outcome(output, len(frames) - len(bad), 0, bad)


def labels_said(labels: np.ndarray) -> str:
    """How many objects, in words."""
    count = len(np.unique(labels[labels > 0]))
    return f"{count} object{'' if count == 1 else 's'}"


def complete(output: Path, numbers: list[int], digits: int) -> bool:
    """Whether an earlier run wrote exactly these frames, and came to its end."""
    wanted = {f"mask{number:0{digits}}.tif" for number in numbers}
    return (output / "res_track.txt").is_file() and {p.name for p in output.glob("mask*.tif")} == wanted


def common_size(paths: list[Path]) -> tuple[int, int]:
    """Height and width of all frames, from their headers.

    Raises
    ------
    UserError
        If they are not of one size, or none can be read.
    """
    sizes: dict[Path, tuple[int, int]] = {}
    first_error: UserError | None = None
    for path in paths:
        try:
            sizes[path] = image_size(path)[:2]
        except UserError as error:
            first_error = first_error or error
    if not sizes:
        assert first_error is not None  # there is at least one frame
        raise first_error
    usual, _ = Counter(sizes.values()).most_common(1)[0]
    for path, size in sizes.items():
        if size != usual:
            raise UserError(
                f"{path}: {size[0]}×{size[1]} pixels, other frames have {usual[0]}×{usual[1]}; "
                "all frames of a sequence must have one size"
            )
    return usual
