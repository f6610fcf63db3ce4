"""A training run told top to bottom: data, model, loop, run folder."""

from __future__ import annotations

import math
import os
import platform
import random
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import nn

from unet_train import __version__
from unet_train.config.build import (
    build_loss,
    build_source,
    build_split,
    check_own_objects,
    custom_encoder,
    describe_data,
    describe_model,
    encoder_params,
)
from unet_train.config.checks import expand
from unet_train.config.compose import Composed
from unet_train.config.schema import TrainConfig
from unet_train.data.augmentation.orientation import decide, look, sample
from unet_train.data.augmentation.pipeline import Augmentation, build_augmentation, upright
from unet_train.data.check import check_source, format_problems, missing_classes
from unet_train.data.loading.normaliser import Normaliser
from unet_train.data.loading.training_set import TrainingSet
from unet_train.data.records import Record, Source, Truth
from unet_train.data.splits import Split
from unet_train.data.targets import get_target
from unet_train.errors import UserError
from unet_train.inference.predictor import DataDescription, Prediction, Predictor, Tiling
from unet_train.log import LOGGER, log_to
from unet_train.models.files import read_checkpoint
from unet_train.models.fusing import fused_copy
from unet_train.models.spec import ModelSpec, build_model
from unet_train.models.weights import load_brain_mri, load_file, load_imagenet, published_weights
from unet_train.models.weights.brain_mri import BRAIN_MRI_URL
from unet_train.models.weights.downloads import fetch
from unet_train.preprocessing.brain_crop import SIDE
from unet_train.preprocessing.resampling import working_size
from unet_train.reporting.tables import format_table
from unet_train.runs.checkpoint_files import parameters
from unet_train.runs.pictures import compared
from unet_train.training import checkpoints
from unet_train.training.averages import EMA
from unet_train.training.distributed import World, world
from unet_train.training.evaluation import (
    Evaluation,
    choose_object_rule,
    evaluate,
    never_predicted_line,
)
from unet_train.training.loop import Parts, Settings, State, Stopped, check_monitor, epoch_lengths, fit
from unet_train.training.losses import median_frequency
from unet_train.training.optimizers import build_optimizer
from unet_train.training.pace import validation_cost, validation_interval
from unet_train.training.precision import Precision, choose_accelerator, choose_precision
from unet_train.training.run_folder import History, claim, keep_config, refuse_taken, release, write_json
from unet_train.training.schedules import Schedule

__all__ = ["Stopped", "train_run"]


@dataclass
class Data:
    """The data of a run, checked and split."""

    source: Source
    split: Split
    description: DataDescription
    hashes: dict[str, str]
    truth_hashes: dict[str, str]
    dtypes: tuple[str, ...]
    """Of the images as they are augmented."""
    shapes: dict[str, tuple[int, int]]
    """Key of a record → height and width of its image."""
    warnings: list[str]
    """What the check of the files found that stops nothing."""


def train_run(composed: Composed) -> float:
    """Train as the config says; the best validation score (NaN without a validation part).

    Raises
    ------
    UserError
        Before the first step for anything wrong with config or data; later for a file that broke, a loss that
        is not finite, or memory that does not suffice.
    Stopped
        After SIGINT or SIGTERM, with everything saved.
    """
    config = composed.config
    accelerator = choose_accelerator(config.trainer.accelerator)
    with world(accelerator) as me:
        device = (
            torch.device(accelerator, me.local_rank) if accelerator == "cuda" else torch.device(accelerator)
        )
        composed.run_folder = me.broadcast(composed.run_folder)
        try:
            return _train(composed, config, device, me)
        except torch.OutOfMemoryError as error:
            raise UserError(_memory_advice(config, device)) from error
        except RuntimeError as error:
            if "out of memory" in str(error).lower() or "can't allocate memory" in str(error).lower():
                raise UserError(_memory_advice(config, device)) from error
            raise


def _memory_advice(config: TrainConfig, device: torch.device) -> str:
    smaller = max(1, config.trainer.batch_size // 2)
    return (
        f"memory of {device} does not suffice: try trainer.batch_size={smaller} trainer.accumulate="
        f"{config.trainer.accumulate * 2}, a smaller augmentation.crop_size (now "
        f"{config.augmentation.crop_size}), trainer.precision=bf16, or a smaller encoder; for validation images "
        "tile.size=512"
    )


def _train(composed: Composed, config: TrainConfig, device: torch.device, me: World) -> float:
    folder = Path(expand(composed.run_folder))
    resumed = read_checkpoint(folder / "last.pt") if config.resume else None
    log_to(None)
    if resumed is None and me.main:
        refuse_taken(folder)
    precision = choose_precision(device.type, config.trainer.precision)
    torch.manual_seed(config.seed)
    np.random.seed(config.seed)  # noqa: NPY002 (a user's own transform may draw from it)
    random.seed(config.seed)

    check_own_objects(config)
    build_augmentation(
        config.augmentation.transforms, check=False
    )  # what is misspelt is said before images are read
    target = get_target(config.dataset.target, **config.dataset.target_params)
    if resumed is None:
        fetch_weights(config)
    data = prepare_data(config, resumed, me)
    augmentation, oriented = turned_by_data(composed, config, data)
    for dtype in data.dtypes:
        augmentation.check(data.description.channels, np.dtype(dtype))
    outputs = target.outputs(tuple(data.source.classes))
    spec = describe_model(config, data.description, outputs)
    if resumed is not None:
        _check_same_run(resumed, spec, data)
    model = build_model(spec, custom_encoder(config.encoder))
    notes = oriented + ([] if resumed is not None else start_weights(model, config))
    training = training_set(config, data, target, augmentation)
    cost = validation_cost(*pixels_seen(data, training))
    settings = loop_settings(config, device, cost)
    total = epoch_lengths(len(training), settings, me)[1] * config.trainer.epochs
    weights = class_weights(config, training, len(outputs))
    if weights is not None:
        said = ", ".join(f"{name} {weight:.3g}" for name, weight in zip(outputs, weights, strict=True))
        notes.append(f"class weights ({config.loss.class_weights}): {said}")
    background = data.description.has_background
    parts = build_parts(config, model, outputs, background, weights, device, precision, me, total)
    predictor = Predictor(
        model=model,
        data=data.description,
        device=str(device),
        dtype=precision.dtype,
        tiling=Tiling(config.tile.size or "auto", config.tile.overlap, config.tile.batch),
    )
    state = State()
    if resumed is not None:
        state = State(**resumed["state"])
        _check_changes(resumed["config"], composed.tree, state)
        parts.load_state_dict(resumed)
        if state.epoch >= config.trainer.epochs or (state.stopped_early and not _extends(config, resumed)):
            LOGGER.info(f"{folder}: finished already ({state.epoch} epochs); more with trainer.epochs=N")
            if me.main and not read_checkpoint(folder / "best.pt").get("objects"):
                # It was stopped between its last epoch and this.
                add_object_rule(folder / "best.pt", predictor, data)
            return state.best

    if me.main:
        if resumed is None:
            claim(folder, yaml.safe_dump(composed.tree, sort_keys=False, allow_unicode=True))
            write_json(folder / "split.json", data.split.to_json())
        else:
            keep_config(
                folder, yaml.safe_dump(composed.tree | {"resume": None}, sort_keys=False, allow_unicode=True)
            )
        log_to(folder)
    _tell(config, data, spec, model, precision, device, total, notes, folder, me)
    if me.main and config.trainer.val_every == "auto" and data.split.val:
        _tell_interval(settings, cost)
    if resumed is not None:
        _tell_resume(config, composed.tree, resumed, state, parts, settings, total)

    history = History(folder if me.main else None, state.epoch, state.update)
    validation = Validation(config, data, predictor, parts, history, state, me) if data.split.val else None
    writer = CheckpointWriter(composed, config, data, spec, parts, folder)
    started = time.monotonic()
    try:
        if validation is not None and resumed is None:
            validation.trial(config.checkpoint.monitor)
        score = fit(
            parts,
            training,
            validation,
            settings,
            state=state,
            history=history,
            save_best=writer.best,
            save_last=writer.last,
            world=me,
        )
    except BaseException:
        if me.main and resumed is None:
            release(folder)
        raise
    finally:
        history.close()
    if me.main:
        add_object_rule(folder / "best.pt", predictor, data)
        _tell_end(folder, state, config, validation, time.monotonic() - started)
    return score


# --- data ---------------------------------------------------------------------------------------------
def prepare_data(config: TrainConfig, resumed: dict[str, Any] | None, me: World) -> Data:
    """Read the data set's records, check its files, and split it.

    Raises
    ------
    UserError
        If files are missing, broken or do not fit together; all problems are listed before.
    """
    source = build_source(config.dataset)
    records = source.records()
    if not records:
        raise UserError(f"dataset={config.dataset.name}: no images found in {config.dataset.root}")
    split = build_split(config.split, config.dataset, records)
    if resumed is not None:
        _check_same_split(resumed["config"], config)
        split = _split_of_the_run(resumed["split"], records)
    if not split.train:
        raise UserError(f"dataset={config.dataset.name}: no image left to train on; lower split.val_fraction")
    used = {record.key for record in (*split.train, *split.val, *split.test)}
    report = check_source(source, [record for record in records if record.key in used])
    if report.problems:
        if me.main:
            LOGGER.info(format_problems(report))
        first = report.problems[0]
        raise UserError(
            f"{len(report.problems)} problem(s) in the data, listed above, the first: {first.file}: {first.what}"
        )
    parts = {"train": split.train, "val": split.val, "test": split.test}
    keys = {part: [record.key for record in found] for part, found in parts.items()}
    warnings = [*report.warnings, *missing_classes(report, source.classes, keys)]
    truth = source.read_truth(split.train[0])
    description = describe_data(config, source, truth.instances is not None)
    hashes, truth_hashes = (
        {record.key: found[record.key] for record in split.train if record.key in found}
        for found in (report.hashes, report.truth_hashes)
    )
    rescaled = description.normalisation in ("volume", "brain")  # both hand over float32
    dtypes = ("float32",) if rescaled else tuple(report.facts["dtype"])
    return Data(source, split, description, hashes, truth_hashes, dtypes, report.shapes, warnings)


def _check_same_split(before: dict[str, Any], config: TrainConfig) -> None:
    """Refuse keys that would have split the data otherwise: a resumed run keeps its split."""
    now = {f"split.{name}": value for name, value in asdict(config.split).items()}
    now["dataset.test_groups"] = config.dataset.test_groups
    for name, value in now.items():
        section, key = name.split(".")
        if before[section][key] != value:
            raise UserError(
                f"{name}={value}: a resumed run keeps its split ({name} was {before[section][key]})"
            )


def _split_of_the_run(saved: dict[str, Any], records: Sequence[Record]) -> Split:
    by_key = {record.key: record for record in records}
    parts: dict[str, list[Record]] = {}
    for part in ("train", "val", "test"):
        for name in saved.get(part, []):
            if name not in by_key:
                raise UserError(f"resume: the run's {part} image {name} is no longer in the data set")
        parts[part] = [by_key[name] for name in saved.get(part, [])]
    return Split(parts["train"], parts["val"], parts["test"], list(saved.get("notes", [])))


def turned_by_data(composed: Composed, config: TrainConfig, data: Data) -> tuple[Augmentation, list[str]]:
    """The transforms, without those that turn up down where the images have an up; what was decided, in a line.

    The run's config keeps the decision in place of ``auto``, so that a resumed run cannot decide otherwise.
    """
    section = config.augmentation
    level = upright(section.transforms)
    if section.orientation == "any" or level == section.transforms:
        return build_augmentation(section.transforms, check=False), []
    said = []
    if section.orientation == "auto":
        section.orientation, reason = orientation_of(data.source, data.split.train)
        composed.tree["augmentation"]["orientation"] = section.orientation
        other = (
            "any adds vertical flips and quarter turns"
            if section.orientation == "upright"
            else "upright leaves out vertical flips and turns"
        )
        said = [f"orientation {section.orientation}: {reason}; augmentation.orientation={other}"]
    return build_augmentation(
        level if section.orientation == "upright" else section.transforms, check=False
    ), said


def orientation_of(source: Source, records: Sequence[Record]) -> tuple[str, str]:
    """``any`` or ``upright``, as the source says or its training masks do, and why.

    Raises
    ------
    UserError
        Where a source of the user's own says something else.
    """
    says = getattr(source, "orientation", "upright")
    if says not in ("any", "upright", "auto"):
        raise UserError(
            f"dataset={source.name}: its orientation is {says!r}; any, upright or auto can be meant"
        )
    if says != "auto":
        what = "an" if says == "upright" else "no"
        return says, f"the images of dataset={source.name} are taken to have {what} up"
    # Neighbours beside each other, in whatever order a split names them.
    records = sorted(records, key=lambda record: (record.group, record.order, record.key))
    chosen = [records[index] for index in sample(len(records))]
    maps = ((record.group, source.read_truth(record).classes) for record in chosen)
    return decide(*look(maps, len(source.classes)), source.classes)


def training_set(config: TrainConfig, data: Data, target: Any, augmentation: Augmentation) -> TrainingSet:
    """Random crops of the training records."""
    crops = config.augmentation
    border = config.loss.border_weights if not isinstance(config.loss, dict) else None
    return TrainingSet(
        data.source,
        data.split.train,
        target=target,
        scale=data.description.scale,
        normalisation=data.description.normalisation,
        augmentation=augmentation,
        crop_size=tuple(crops.crop_size) if isinstance(crops.crop_size, list) else crops.crop_size,
        foreground_share=crops.foreground_share,
        touching_share=crops.touching_share,
        balance=crops.balance,
        samples_per_epoch=config.trainer.samples_per_epoch,
        seed=config.seed,
        weights=_weight_map(border, data.description.scale) if border is not None else None,
    )


def _weight_map(border: dict[str, Any], scale: float) -> Any:
    from unet_train.data.border_weights import BorderWeights

    return BorderWeights(**border, scale=scale)


# --- model --------------------------------------------------------------------------------------------
def fetch_weights(config: TrainConfig) -> None:
    """Have published weights in the cache before any image is read: without network this fails at once.

    Raises
    ------
    UserError
    """
    weights = config.weights
    if weights.kind == "brain_mri" and not weights.path:
        fetch(BRAIN_MRI_URL)
    if weights.kind == "imagenet" and not weights.path:
        published = published_weights(**encoder_params(config.encoder))
        if published.read is None:
            fetch(published.url)


def start_weights(model: Any, config: TrainConfig) -> list[str]:
    """Load what the run starts from; what was loaded, in words."""
    weights = config.weights
    path = str(expand(weights.path)) if weights.path else None
    if weights.kind == "imagenet":
        return load_imagenet(model, path).summary()
    if weights.kind == "file":
        return load_file(model, str(path)).summary()
    if weights.kind == "brain_mri":
        return load_brain_mri(model, path).summary()
    return []


def class_weights(config: TrainConfig, training: TrainingSet, outputs: int) -> list[float] | None:
    """The class weights that ``loss.class_weights=auto`` and ``sqrt`` stand for; None for any other value."""
    if isinstance(config.loss, dict) or config.loss.class_weights not in ("auto", "sqrt"):
        return None
    weights = median_frequency(training.class_pixels(outputs))
    return [weight**0.5 for weight in weights] if config.loss.class_weights == "sqrt" else weights


def build_parts(
    config: TrainConfig,
    model: Any,
    outputs: tuple[str, ...],
    background: bool,
    weights: list[float] | None,
    device: torch.device,
    precision: Precision,
    me: World,
    total: int,
) -> Parts:
    """Model on its device, loss, optimizer, schedule over `total` updates, EMA."""
    trainer, optimizer = config.trainer, asdict(config.optimizer)
    model.to(device)
    forward: Any = torch.compile(model) if trainer.compile else model
    if me.size > 1:
        forward = nn.parallel.DistributedDataParallel(
            forward, device_ids=[me.local_rank] if device.type == "cuda" else None
        )
    scheduler = asdict(config.scheduler)
    schedule = Schedule(total_updates=total, warmup_updates=scheduler.pop("warmup_steps"), **scheduler)
    loss = build_loss(config.loss, len(outputs), background=background, class_weights=weights)
    return Parts(
        model=model,
        loss=loss.to(device),
        optimizer=build_optimizer(model, **optimizer),
        schedule=schedule,
        ema=EMA(model, trainer.ema_decay) if trainer.ema_decay is not None else None,
        precision=precision,
        device=device,
        outputs=outputs,
        background=background,
        forward=forward,
    )


def pixels_seen(data: Data, training: TrainingSet) -> tuple[int, int]:
    """Pixels the net sees in one validation, and in one training epoch."""
    scale, brain = data.description.scale, data.description.normalisation == "brain"

    def seen(records: Sequence[Record]) -> int:
        shapes = [(SIDE, SIDE) if brain else data.shapes[record.key] for record in records]
        return sum(math.prod(working_size(shape, scale)) for shape in shapes)

    train = data.split.train
    crop = math.prod(training.crop_size) if training.crop_size is not None else seen(train) / len(train)
    return seen(data.split.val), round(len(training) * crop)


def loop_settings(config: TrainConfig, device: torch.device, cost: float) -> Settings:
    """The loop's lengths and portions; `cost` is one validation's, in training epochs."""
    trainer = config.trainer
    return Settings(
        epochs=trainer.epochs,
        batch_size=trainer.batch_size,
        accumulate=trainer.accumulate,
        clip_grad_norm=trainer.clip_grad_norm,
        workers=trainer.workers if trainer.workers >= 0 else _workers(device),
        early_stopping=trainer.early_stopping,
        val_every=validation_interval(cost, trainer.epochs)
        if trainer.val_every == "auto"
        else trainer.val_every,
        val_cost=cost,
        every_minutes=config.checkpoint.every_minutes,
        monitor=config.checkpoint.monitor,
    )


def _workers(device: torch.device) -> int:
    """Loader processes by the machine: on a CPU they take from the step itself, so few."""
    cores = os.cpu_count() or 1
    return min(8, cores - 1) if device.type == "cuda" else (1 if cores > 4 else 0)


# --- validation ---------------------------------------------------------------------------------------
class Validation:
    """Validates the weights that best.pt would hold, and draws a few images."""

    def __init__(
        self,
        config: TrainConfig,
        data: Data,
        predictor: Predictor,
        parts: Parts,
        history: History,
        state: State,
        me: World,
    ):
        self.data, self.predictor, self.parts = data, predictor, parts
        self.history, self.state, self.world = history, state, me
        self.shown = {record.key for record in data.split.val[: config.trainer.pictures]}
        self.normaliser = Normaliser(data.source, data.description.normalisation)
        self.last: Evaluation | None = None
        self.warned = False

    def __call__(self, epoch: int) -> Evaluation:
        """Scores of the validation part after `epoch` epochs."""
        self.last = evaluate(
            self._judged(),
            self.data.source,
            self.data.split.val,
            normaliser=self.normaliser,
            loss=self.parts.loss,
            look=self._draw,
            world=self.world,
        )
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
        first = self.data.split.val[:1]
        tried = evaluate(
            self._judged(), self.data.source, first, normaliser=self.normaliser, loss=self.parts.loss
        )
        check_monitor(monitor, tried.scores())

    def _judged(self) -> Predictor:
        """The weights that best.pt would hold, fused; the model in training is not touched."""
        average = self.parts.ema.average if self.parts.ema else None
        return replace(self.predictor, model=fused_copy(self.parts.model, average))

    def _draw(self, record: Record, image: np.ndarray, truth: Truth, prediction: Prediction) -> None:
        if record.key in self.shown and self.history.folder is not None:
            picture = compared(
                self.data.description, image, truth.classes, prediction.classes, caption=record.key
            )
            self.history.picture(f"val/{record.key}", picture, self.state.update)


RULE_IMAGES = 8
"""Validation images at most that objects' parameters are chosen on: some fifty rules are tried on each."""


def add_object_rule(path: Path, predictor: Predictor, data: Data) -> None:
    """Choose on the validation part how objects are cut out of the best weights' probabilities; keep it.

    Where the data tell no objects apart, or there is no validation part, nothing is done.
    """
    if not (data.description.has_instances and data.split.val):
        return
    content = read_checkpoint(path)
    predictor.model.load_state_dict(content["state_dict"])
    few = records_to_choose_by(data.split, data.source.records())
    rule, scores = choose_object_rule(predictor, data.source, few)
    content["objects"] = rule.to_dict()
    content["metrics"] = {**content["metrics"], **scores}
    checkpoints.save(path, content)
    said = ", ".join(f"{name} {value:.4f}" for name, value in scores.items())
    silver = sum(not record.scorable for record in few)
    LOGGER.info(
        f"objects: seeds above {rule.seed_threshold}, foreground above {rule.threshold}; {said} on "
        f"{len(few)} validation images" + (f" ({silver} of them by their training labels)" if silver else "")
    )


def records_to_choose_by(split: Split, records: Sequence[Record]) -> list[Record]:
    """Up to `RULE_IMAGES` validation records, filled up with those between them that are in no part.

    A validation block of a sequence may hold two gold frames and fourteen that have silver labels alone; two
    frames are too few to choose five numbers by. The frames beside the block are left out, being near copies
    of training frames.
    """
    taken = {record.key for record in (*split.train, *split.val, *split.test)}
    between = []
    for group in {record.group for record in split.val}:
        orders = [record.order for record in split.val if record.group == group]
        between += [
            record
            for record in records
            if record.group == group and record.key not in taken and record.trainable
            if min(orders) < record.order < max(orders)
        ]
    room = min(len(between), max(0, RULE_IMAGES - len(split.val)))
    spread: Sequence[int] = (
        np.linspace(0, len(between) - 1, room).round().astype(int).tolist() if room else []
    )
    return [*split.val[:RULE_IMAGES], *(between[place] for place in spread)]


# --- checkpoints --------------------------------------------------------------------------------------
class CheckpointWriter:
    """best.pt holds what inference needs, last.pt what resume needs."""

    def __init__(
        self,
        composed: Composed,
        config: TrainConfig,
        data: Data,
        spec: ModelSpec,
        parts: Parts,
        folder: Path,
    ):
        self.parts, self.folder = parts, folder
        self.common = {
            "format": checkpoints.FORMAT,
            "model": spec.to_dict(),
            "data": data.description.to_dict(),
            "config": {k: v for k, v in composed.tree.items() if k != "resume"},
            "split": data.split.to_json(),
            "image_hashes": data.hashes,
            "truth_hashes": data.truth_hashes,
            "versions": {
                "unet_train": __version__,
                "torch": str(torch.__version__),
                "python": platform.python_version(),
            },
        }

    def best(self, state: State, scores: dict[str, float]) -> None:
        """Write best.pt: the averaged weights where there are any."""
        weights = self.parts.ema.average if self.parts.ema else self.parts.model.state_dict()
        content = {"state_dict": weights, "epoch": state.epoch, "step": state.update, "metrics": scores}
        checkpoints.save(self.folder / "best.pt", self.common | content)

    def last(self, state: State) -> None:
        """Write last.pt: everything that moves."""
        content = self.parts.state_dict() | {"state": asdict(state)}
        checkpoints.save(self.folder / "last.pt", self.common | content)


# --- resume -------------------------------------------------------------------------------------------
def _check_same_run(resumed: dict[str, Any], spec: ModelSpec, data: Data) -> None:
    """Refuse to resume with another model, other classes, or other images."""
    saved = ModelSpec.from_dict(resumed["model"]).to_dict()
    for name, value in spec.to_dict().items():
        if saved[name] != value:
            raise UserError(f"resume: the run's model has {name} {saved[name]}, now it would be {value}")
    before = DataDescription.from_dict(resumed["data"]).to_dict()
    for name, value in data.description.to_dict().items():
        if name != "palette" and before[name] != value:  # colours make no other run
            raise UserError(f"resume: the run's data has {name} {before[name]}, now it would be {value}")
    changed = [k for k, v in resumed["image_hashes"].items() if data.hashes.get(k) != v]
    if changed:
        raise UserError(f"resume: training image {changed[0]} is not the one the run was trained on")
    # Missing in runs of before the masks were looked at.
    changed = [k for k, v in resumed.get("truth_hashes", {}).items() if data.truth_hashes.get(k) != v]
    if changed:
        raise UserError(
            f"resume: the mask of training image {changed[0]} is not the one the run was trained on; to train "
            f"on with other masks start a new run with weights=file weights.path=…/best.pt"
        )


def _check_changes(before: dict[str, Any], tree: dict[str, Any], state: State) -> None:
    """Refuse keys that would make it another run, or move the place within an epoch at which it stopped."""
    if before["seed"] != tree["seed"]:
        raise UserError(f"seed={tree['seed']}: a resumed run keeps its seed ({before['seed']})")
    for name in ("batch_size", "samples_per_epoch", "accumulate", "devices"):
        was, now = before["trainer"].get(name), tree["trainer"][name]
        if state.batches and was != now:
            raise UserError(
                f"trainer.{name}={now}: the run was stopped within epoch {state.epoch + 1}, which counts in "
                f"trainer.{name}={was}; leave it as it was"
            )


def _extends(config: TrainConfig, resumed: dict[str, Any]) -> bool:
    return config.trainer.epochs > resumed["config"]["trainer"]["epochs"]


def _tell_resume(
    config: TrainConfig,
    tree: dict[str, Any],
    resumed: dict[str, Any],
    state: State,
    parts: Parts,
    settings: Settings,
    total: int,
) -> None:
    rate = config.optimizer.lr * parts.schedule.factor(state.update)
    inside = f", {state.batches} batches into epoch {state.epoch + 1}" if state.batches else ""
    LOGGER.info(f"resuming after epoch {state.epoch}, step {state.update}, learning rate {rate:.3g}{inside}")
    changes = _changes(resumed["config"], tree)
    if changes:
        LOGGER.info(f"changed   {', '.join(changes)}; the schedule now runs over {total} steps")


def _changes(before: dict[str, Any], now: dict[str, Any], prefix: str = "") -> list[str]:
    """Keys whose values differ, as ``trainer.epochs 10 → 20``."""
    found = []
    for name, value in now.items():
        was = before.get(name, value)
        if isinstance(value, dict) and isinstance(was, dict):
            found += _changes(was, value, f"{prefix}{name}.")
        elif was != value and f"{prefix}{name}" != "resume":
            found.append(f"{prefix}{name} {was} → {value}")
    return found


# --- saying -------------------------------------------------------------------------------------------
def _tell(
    config: TrainConfig,
    data: Data,
    spec: ModelSpec,
    model: Any,
    precision: Precision,
    device: torch.device,
    total: int,
    notes: list[str],
    folder: Path,
    me: World,
) -> None:
    """What the run is, in a few lines."""
    if not me.main:
        return
    split, trainer = data.split, config.trainer
    for note in [*data.source.notes, *split.notes, *notes]:
        LOGGER.info(note)
    for warning in data.warnings:
        LOGGER.info(f"warning: {warning}")
    encoder = " ".join(str(v) for v in spec.encoder.values() if v is not None)
    LOGGER.info(
        f"data      {data.description.name}: {len(split.train)} train, {len(split.val)} val, {len(split.test)} test "
        f"images; classes {', '.join(data.description.classes)}"
    )
    LOGGER.info(f"model     {encoder}, {parameters(model):,} parameters, weights {config.weights.kind}")
    where = "GPU" if device.type == "cuda" else device.type.upper()
    crops = trainer.batch_size * trainer.accumulate * me.size
    LOGGER.info(
        f"training  {trainer.epochs} epochs, {total} steps of {crops} crops, on {me.size} {where} "
        f"in {precision.name} ({precision.reason}), seed {config.seed}"
    )
    LOGGER.info(f"run       {folder}")


def _tell_interval(settings: Settings, cost: float) -> None:
    """Say it where not every epoch is validated."""
    every = settings.val_every
    if every > 1:
        when = (
            "after the last epoch only"
            if every >= settings.epochs
            else f"every {every} epochs and after the last"
        )
        LOGGER.info(
            f"validating {when}: one validation takes about {cost:.1f} of an epoch's time, and at most a fifth of the "
            "run is spent on it; trainer.val_every=1 validates after every epoch"
        )


def _tell_end(
    folder: Path, state: State, config: TrainConfig, validation: Validation | None, seconds: float
) -> None:
    if validation is not None and validation.last is not None:
        last = validation.last
        LOGGER.info(
            format_table(last.scores(), title=f"validation, epoch {state.epoch}", background=last.background)
        )
        if last.never_predicted():
            LOGGER.info(never_predicted_line(last.never_predicted(), last.classes))
        LOGGER.info(f"best {config.checkpoint.monitor} {state.best:.4f} in epoch {state.best_epoch}")
    LOGGER.info(f"{seconds / 60:.1f} minutes; evaluate it: unet-eval ckpt={folder / 'best.pt'}")
    LOGGER.info(f"curves and pictures: tensorboard --logdir {folder}")
