"""What a person is told of a training: what it is, how it goes on, and how it ended."""

from __future__ import annotations

from unet_train.checkpoint import Checkpoint
from unet_train.errors import one_line
from unet_train.log import LOGGER
from unet_train.reporting.tables import format_table
from unet_train.runs.checkpoint_files import parameters
from unet_train.runs.resume_checks import changed_keys, processes_of
from unet_train.runs.training_setup import Run
from unet_train.training.evaluation import Evaluation, never_predicted_line
from unet_train.training.freezing import ALL
from unet_train.training.pace import duration, validation_share


def tell_run(run: Run) -> None:
    """What the run is, in a few lines."""
    config, data, split, hardware = run.config, run.data, run.data.split, run.hardware
    for note in [*data.source.notes, *data.report.notes, *split.notes]:
        LOGGER.info(one_line(note))
    for note in run.notes:
        LOGGER.info(note)
    for warning in data.warnings:
        LOGGER.info(one_line(f"warning: {warning}"))
    encoder = " ".join(str(v) for v in run.spec.encoder.values() if v is not None)
    LOGGER.info(
        f"data      {data.description.name}: {len(split.train)} train, {len(split.val)} val, {len(split.test)} test "
        f"images; classes {', '.join(data.description.classes)}"
    )
    LOGGER.info(
        f"model     {encoder}, {parameters(run.state.model):,} parameters{_frozen(run)}, weights {config.weights.kind}"
    )
    size, precision = hardware.context.size, hardware.precision
    where = "GPU" if hardware.device.type == "cuda" else hardware.device.type.upper()
    crops = config.trainer.batch_size * config.trainer.accumulate * size
    LOGGER.info(
        f"training  {config.trainer.epochs} epochs, {run.updates} steps of {crops} crops, on {size} {where} "
        f"in {precision.name} ({precision.reason}), seed {config.seed}"
    )
    LOGGER.info(f"run       {run.folder}")
    if config.trainer.val_every == "auto" and split.val:
        _tell_interval(run)


def _frozen(run: Run) -> str:
    """How many parameters train, where not all do."""
    model, epoch = run.state.model, run.config.weights.unfreeze_epoch
    if not model.frozen:
        return ""
    training = sum(p.numel() for p in model.parameters() if p.requires_grad)
    stages = run.config.weights.freeze_encoder
    what = "the encoder" if stages == ALL else f"{stages} stage{'s' if stages != 1 else ''} of the encoder"
    return f" of which {training:,} train ({what} frozen{f' until epoch {epoch} begins' if epoch else ''})"


def _tell_interval(run: Run) -> None:
    """Say it where not every epoch is validated."""
    every, epochs, cost = run.settings.val_every, run.settings.epochs, run.settings.val_cost
    if every > 1:
        when = "after the last epoch only" if every >= epochs else f"every {every} epochs and after the last"
        taken = validation_share(cost, every, epochs)
        LOGGER.info(
            f"validating {when}: one validation takes about {cost:.1f} of an epoch's time, so that {100 * taken:.0f} % "
            "of the run is spent on it; trainer.val_every=1 validates after every epoch"
        )


def tell_resume(run: Run, resumed: Checkpoint) -> None:
    """Where the run goes on, and what is asked for anew."""
    position = run.state.position
    rate = run.config.optimizer.lr * run.state.schedule.factor(position.update)
    inside = f", {position.batches} batches into epoch {position.epoch + 1}" if position.batches else ""
    LOGGER.info(
        f"resuming after epoch {position.epoch}, step {position.update}, learning rate {rate:.3g}{inside}"
    )
    changes = changed_keys(resumed.config, run.composed.tree)
    before, now = processes_of(resumed), run.hardware.context.size
    if before != now:
        crops = run.config.trainer.batch_size * run.config.trainer.accumulate * now
        changes.append(f"processes {before} → {now}: a step is now of {crops} crops")
    if changes:
        LOGGER.info(f"changed   {', '.join(changes)}; the schedule now runs over {run.updates} steps")


def tell_end(run: Run, last: Evaluation | None, seconds: float) -> None:
    """The `last` validation, the best epoch, and what to do next."""
    position = run.state.position
    if last is not None:
        title = f"validation, epoch {position.epoch}"
        LOGGER.info(format_table(last.scores(), title=title, background=last.background))
        if last.never_predicted():
            LOGGER.info(never_predicted_line(last.never_predicted(), last.classes))
        LOGGER.info(
            f"best {run.config.checkpoint.monitor} {position.best:.4f} in epoch {position.best_epoch}"
        )
    LOGGER.info(f"trained for {duration(seconds)}; evaluate it: unet-eval ckpt={run.folder / 'best.pt'}")
    LOGGER.info(f"more curves, and pictures: tensorboard --logdir {run.folder}")
