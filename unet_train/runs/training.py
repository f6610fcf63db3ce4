"""A training told from top to bottom: a new run, and a run that goes on where it was stopped."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import partial

import numpy as np
import yaml

from unet_train.atomic import remove_leftovers, writing
from unet_train.checkpoint import Checkpoint
from unet_train.config.checks import SMALLEST_CROP, dataset_root, expand, logger_names
from unet_train.config.compose import Composed
from unet_train.config.schema import SECTIONS, TrainConfig
from unet_train.data.augmentation.pipeline import Augmentation, build_augmentation
from unet_train.data.io.images import write_image
from unet_train.data.layouts import AUTO
from unet_train.data.summary import summarise
from unet_train.data.targets import get_target
from unet_train.errors import UserError
from unet_train.log import LOGGER, log_to
from unet_train.models.spec import build_model
from unet_train.runs.checkpoint_writing import CheckpointWriter, NotSaved
from unet_train.runs.data_report import draw_sheet, write_report
from unet_train.runs.factory import build_split, check_own_objects, custom_encoder, describe_model
from unet_train.runs.hardware import Hardware, hardware_for
from unet_train.runs.orientation import augmentation_for
from unet_train.runs.postprocessing import optimise_postprocessing
from unet_train.runs.resume_checks import (
    check_restored,
    check_same_run,
    check_same_steps,
    follow_monitor,
    is_finished,
    restoring,
    split_of_the_run,
)
from unet_train.runs.run_pictures import draw_crops, draw_curves
from unet_train.runs.run_records import flat
from unet_train.runs.starting_weights import follow_mode, follow_values, load_weights, read_weights
from unet_train.runs.training_data import TrainingData, read_data
from unet_train.runs.training_report import tell_end, tell_resume, tell_run
from unet_train.runs.training_setup import Run, run_folder, set_up
from unet_train.runs.validation import Validation
from unet_train.training.interrupts import Stopped
from unet_train.training.lock import only_run
from unet_train.training.loop import epoch_lengths, fit
from unet_train.training.run_folder import (
    CROPS,
    CURVES,
    PLAN,
    SHEET,
    History,
    claim,
    keep_config,
    refuse_taken,
    release,
    write_json,
)
from unet_train.training.seeding import seed_generators

__all__ = ["NotSaved", "Stopped", "train_run"]

TELLING = (
    *(
        "encoder.kind",
        "encoder.depth",
        "weights.kind",
        "dataset.name",
        "dataset.target",
        "dataset.scale",
        "split.fold",
    ),
    *("augmentation.crop_size", "optimizer.kind", "optimizer.lr", "optimizer.weight_decay", "scheduler.kind"),
    *("trainer.epochs", "trainer.samples_per_epoch", "trainer.batch_size", "trainer.ema_decay", "seed"),
)
"""Keys that TensorBoard's HParams shows of every run."""


def train_run(composed: Composed[TrainConfig]) -> float:
    """Train as the config says; the best validation score (NaN without a validation part).

    Raises
    ------
    UserError
        Before the first step for anything wrong with config or data; later for a file that broke, a loss that
        is not finite, or when memory runs out.
    Stopped
        After a signal, with everything saved.
    NotSaved
        At the end, or after a signal, if the last checkpoints could not be written.
    """
    with hardware_for(composed.config) as hardware:
        composed.run_folder = hardware.context.broadcast(composed.run_folder)
        with only_run(run_folder(composed)) if hardware.context.main else nullcontext():
            if composed.config.resume:
                return resume_run(composed, hardware)
            return start_run(composed, hardware)


def start_run(composed: Composed[TrainConfig], hardware: Hardware) -> float:
    """A new run; its best validation score."""
    config, folder, main = composed.config, run_folder(composed), hardware.context.main
    log_to(None, speaks=main)
    if main:
        refuse_taken(folder)
    seed_generators(config.seed)
    check_before_reading(config)
    starting = read_weights(config)
    was_auto = config.dataset.normalisation == "auto"
    follow_mode(config, composed.tree, starting)

    split_up = partial(build_split, config.split, config.dataset)
    data = read_data(config, hardware.context, split_up, starting.intensity_range)
    check_validated(config, data)
    check_crops(config, data)
    mode, channels = data.description.normalisation, data.description.channels
    said = follow_values(config, composed.tree, starting, mode, channels, was_auto)
    for name in ("intensity_range", "target", "target_params", "scale"):  # a resume decides no second time
        composed.tree["dataset"][name] = getattr(config.dataset, name)
    augmentation, notes = augmentation_for(composed, data)
    check_augmentation(augmentation, data)
    model = build_model(
        describe_model(config, data.description, data.outputs), custom_encoder(config.encoder)
    )
    notes += [*load_weights(model, config, starting, data.outputs), *said]
    run = set_up(composed, hardware, data, augmentation, model)
    run.notes = [*composed.notes, *notes, *run.notes]
    try_validation(run)

    plan = expand(config.plan).read_text(encoding="utf-8") if config.plan else None
    composed.tree["plan"] = None  # the run folder has the file itself
    if run.main:
        claim(folder, as_yaml(composed.tree))
    try:
        if run.main:
            begin_folder(run, plan)
        return train(run)
    except BaseException:
        if run.main:
            release(folder)
        raise


def resume_run(composed: Composed[TrainConfig], hardware: Hardware) -> float:
    """A run that was stopped, or that is to train longer; its best validation score."""
    config, folder = composed.config, run_folder(composed)
    resumed = Checkpoint.read(folder / "last.pt")
    log_to(None, speaks=hardware.context.main)
    seed_generators(config.seed)
    check_before_reading(config)

    data = read_data(config, hardware.context, partial(split_of_the_run, resumed, config), anew=True)
    check_validated(config, data)
    augmentation, notes = augmentation_for(composed, data)
    check_augmentation(augmentation, data)
    spec = describe_model(config, data.description, data.outputs)
    with restoring(resumed):
        check_same_run(resumed, spec, data)
        check_same_steps(resumed, composed.tree, hardware.context.size)
        position = resumed.resume_state.position
    model = build_model(spec, custom_encoder(config.encoder))
    run = set_up(composed, hardware, data, augmentation, model, position)
    run.notes = notes + run.notes
    with restoring(resumed):
        run.state.restore(resumed, hardware.context)
        check_restored(run.state.model, run.state.optimizer)
        finished = is_finished(resumed, config)
    if finished:
        return finish_again(run)
    try_validation(run)
    monitor = config.checkpoint.monitor
    changed = follow_monitor(
        run.state.position, partial(Checkpoint.read, folder / "best.pt"), resumed, monitor
    )
    if changed:
        run.state.schedule.forget_best()
        run.notes.append(changed)

    if run.main:
        with writing(folder, "resume"):
            remove_leftovers(folder)
            keep_config(folder, as_yaml(composed.tree | {"resume": None}))
            log_to(folder)
        tell_run(run)
        tell_resume(run, resumed)
    return train(run)


def train(run: Run) -> float:
    """Train to the end, optimise the post-processing, say how it ended; the best validation score."""
    started = time.monotonic()
    position, context = run.state.position, run.hardware.context
    whole, _ = epoch_lengths(len(run.training), run.settings, context)
    # At an epoch's last batch its row may have been written, though the epoch is not counted yet.
    told = position.update - (position.batches == whole) if position.update else None
    history = History(
        run.folder if run.main else None, position.epoch, told, loggers=logger_names(run.config.logger)
    )
    validation = Validation(run, history) if run.data.split.val else None
    writer = CheckpointWriter(run)
    try:
        score = fit(
            run.state,
            run.training,
            validation,
            run.settings,
            history=history,
            writer=writer,
            context=context,
        )
    except Stopped:
        writer.check_saved()
        raise
    finally:
        history.close()
    writer.check_saved()
    if run.main:
        try:
            optimise_postprocessing(run.folder / "best.pt", run.predictor(), run.data)
        except OSError as error:
            raise NotSaved(
                f"{run.folder / 'best.pt'}: the objects' parameters could not be written into it "
                f"({error.strerror or error}); unet-train resume={run.folder} chooses them again"
            ) from error
        show_curves(run, history.rows)
        tell_end(run, validation.last if validation is not None else None, time.monotonic() - started)
    return score


def begin_folder(run: Run, plan: str | None) -> None:
    """Write and say what the run is, and what its data were understood to be."""
    with writing(run.folder, "hydra.run.dir"):
        if plan is not None:
            (run.folder / PLAN).write_text(plan, encoding="utf-8")
        write_json(run.folder / "split.json", run.data.split.keys.to_json())
        log_to(run.folder)
        tell_run(run)
        show_data(run)
        show_crops(run)
        show_hyperparameters(run)


def show_hyperparameters(run: Run) -> None:
    """Write what sets the run apart from others for TensorBoard's HParams: some keys, and those a sweep varies."""
    keys = flat(run.composed.tree)
    # Hydra calls the choice of a group by the group's name.
    names = [f"{name}.{SECTIONS[name][0]}" if name in SECTIONS else name for name in run.composed.varies]
    values = {name: keys[name] for name in dict.fromkeys([*TELLING, *names]) if name in keys}
    history = History(run.folder, loggers=logger_names(run.config.logger))
    history.hyperparameters(values, [f"val/{run.config.checkpoint.monitor}", "val/loss", "train/loss"])
    history.close()


def show_data(run: Run) -> None:
    """Write what the data were understood to be: data.json, and a sheet of images, in TensorBoard too."""
    data, root = run.data, dataset_root(run.config.dataset)
    records = [record for part in data.split.parts.values() for record in part]
    summary = summarise(data.source, records, data.report, data.split, root)
    picture = draw_sheet(data.source, records, data.report, summary)
    write_report(run.folder, summary, picture, SHEET)
    if picture is not None:
        show_picture(run, "data", picture)
        LOGGER.info(f"data as understood, with their labels: {run.folder / SHEET}")


def show_crops(run: Run) -> None:
    """Write the first training crops as the net sees them, in TensorBoard too."""
    picture = draw_crops(run)
    write_image(run.folder / CROPS, picture)
    show_picture(run, "crops", picture)
    LOGGER.info(f"training crops, augmented, with the target: {run.folder / CROPS}")


def show_picture(run: Run, name: str, picture: np.ndarray) -> None:
    """Hand the loggers a picture of before the first step."""
    history = History(run.folder, loggers=logger_names(run.config.logger))
    history.picture(name, picture, 0)
    history.close()


def show_curves(run: Run, rows: Sequence[Mapping[str, float]]) -> None:
    """Write the curves of the whole run as a picture; without room for it a line says so."""
    picture = draw_curves(rows, run.config.checkpoint.monitor, run.state.position.best_epoch)
    if picture is None:
        return
    path = run.folder / CURVES
    try:
        write_image(path, picture)
    except OSError as error:
        LOGGER.info(f"warning: {path}: cannot be written ({error.strerror or error})")
    else:
        LOGGER.info(f"curves: {path}")


def finish_again(run: Run) -> float:
    """Say that nothing is left to do, or do what a kill after the last epoch has left undone."""
    position, best = run.state.position, run.folder / "best.pt"
    LOGGER.info(f"{run.folder}: finished already ({position.epoch} epochs); more with trainer.epochs=N")
    if run.main and Checkpoint.read(best).objects is None:
        optimise_postprocessing(best, run.predictor(), run.data)
    return position.best if position.best > -math.inf else math.nan


# --- before and between --------------------------------------------------------------------------------
def check_before_reading(config: TrainConfig) -> None:
    """Build what needs no image, so that a misspelt argument is said before images are read.

    Raises
    ------
    UserError
    """
    check_own_objects(config)
    build_augmentation(config.augmentation.transforms, check=False)
    if config.dataset.target != AUTO:
        get_target(config.dataset.target, **config.dataset.target_params)


def check_validated(config: TrainConfig, data: TrainingData) -> None:
    """Refuse what waits for validations where there are none.

    Raises
    ------
    UserError
    """
    if data.split.val:
        return
    waiting = {
        f"trainer.early_stopping={config.trainer.early_stopping}": config.trainer.early_stopping is not None,
        "scheduler=plateau": config.scheduler.kind == "plateau",
    }
    for words, asked in waiting.items():
        if asked:
            raise UserError(
                f"{words}: waits for validations without a better score, and this run has no validation part; "
                "hold some images out (split.val_fraction), or leave it out"
            )


MOST_PADDING = 4
"""How many times as high and as wide as the largest image a crop may be; beyond, 15 of 16 pixels are padding."""


def check_crops(config: TrainConfig, data: TrainingData) -> None:
    """Refuse crops that are nearly all padding, which cost a minute for each step and teach nothing.

    Raises
    ------
    UserError
    """
    crop = config.augmentation.crop_size
    if crop is None:
        return
    height, width = crop if isinstance(crop, list) else (crop, crop)
    working = data.description.preprocessing.working_size
    sizes = [working(data.shapes[record.key]) for record in data.split.train]
    largest = max(size[0] for size in sizes), max(size[1] for size in sizes)
    if height > MOST_PADDING * largest[0] and width > MOST_PADDING * largest[1]:
        raise UserError(
            f"augmentation.crop_size={crop}: more than {MOST_PADDING} times as high and wide as the largest "
            f"training image ({largest[0]}×{largest[1]}), nearly all padding; say augmentation.crop_size="
            f"{max(SMALLEST_CROP, *largest)}"
        )


def try_validation(run: Run) -> None:
    """Validate one image, so that what fails there fails before the first step and before anything is written.

    Raises
    ------
    UserError
    """
    if run.data.split.val:
        Validation(run, History(None)).trial(run.settings.monitor)


def check_augmentation(augmentation: Augmentation, data: TrainingData) -> None:
    """Try the transforms on every kind of image there is.

    Raises
    ------
    UserError
    """
    for dtype in data.dtypes:
        augmentation.check(data.description.channels, np.dtype(dtype))


def as_yaml(tree: dict[str, object]) -> str:
    """A config as config.yaml holds it."""
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)
