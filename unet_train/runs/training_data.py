"""The data of a training: read, checked, split, and as the random crops the net sees."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from unet_train.config.checks import dataset_root
from unet_train.config.schema import TrainConfig
from unet_train.data.augmentation.pasting import ANY_ANGLE
from unet_train.data.augmentation.pipeline import STEEPEST, Augmentation
from unet_train.data.check import Report, find_copies, format_problems, missing_classes
from unet_train.data.description import DataDescription
from unet_train.data.loading.training_set import Sampling, TrainingSet, WeightMap
from unet_train.data.records import Record, Source
from unet_train.data.splits import Split
from unet_train.data.targets import Target, get_target
from unet_train.errors import UserError
from unet_train.log import LOGGER
from unet_train.runs.check_files import check_files
from unet_train.runs.factory import (
    build_source,
    describe_data,
    settle_intensity_range,
    settle_scale,
    settle_target,
    unset_keys,
)
from unet_train.training.distributed import DistributedContext


@dataclass
class TrainingData:
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
    """What the check of the files and the split found that stops nothing."""
    report: Report
    """What the check of the files found."""

    @cached_property
    def target(self) -> Target:
        """What the net learns."""
        return get_target(self.description.target, **self.description.target_params)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the net's outputs."""
        return self.target.outputs(self.description.classes)


def read_data(
    config: TrainConfig,
    context: DistributedContext,
    split_up: Callable[[list[Record]], Split],
    known_range: tuple[float, float] | None = None,
    *,
    anew: bool = False,
) -> TrainingData:
    """Read the data set's records, split them, and check the files; with `anew` also those known from earlier checks.

    `known_range` is the range of pixel values that the starting weights go by, for ``dataset.intensity_range=auto``.

    Raises
    ------
    UserError
        If files are missing, broken or do not fit together; all problems are listed before.
    """
    if context.main:
        LOGGER.info(f"reading   {dataset_root(config.dataset) or config.dataset.name}")
    source = build_source(config.dataset)
    records = source.records()
    if not records:
        raise UserError(f"dataset={config.dataset.name}: no images found in {config.dataset.root}")
    split = split_up(records)
    if not split.train:
        raise UserError(f"dataset={config.dataset.name}: no image left to train on; lower split.val_fraction")
    told = settle_intensity_range(config.dataset, source, split.train, known_range)
    if told:
        source = build_source(config.dataset)
        source.notes = [*source.notes, told]
    used = {record.key for record in (*split.train, *split.val, *split.test)}
    checked = [record for record in records if record.key in used]
    report = check_files(source, checked, keys=unset_keys(config.dataset), anew=anew, bar=context.main)
    if report.problems:
        if context.main:
            LOGGER.info(format_problems(report, "unet-data check … output=FOLDER writes them"))
        first = report.problems[0]
        raise UserError(
            f"{len(report.problems)} problem(s) in the data, listed above, the first: {first.file}: {first.what}"
        )
    parts = split.keys.parts
    copies = find_copies(report, parts)
    warnings = [*report.warnings, *missing_classes(report, source.classes, parts), *copies]
    truth = source.read_truth(split.train[0])
    objects = report.facts["objects"] if truth.instances is not None else None
    shapes = [report.shapes[record.key] for record in split.train]
    diameter = (objects or {}).get("diameter") or 0.0
    told_of = [
        settle_scale(config.dataset, shapes, config.augmentation.crop_size, diameter),
        settle_target(config, source, split.train, objects),
    ]
    if any(told_of):
        source.notes = [*source.notes, *filter(None, told_of)]
    description = describe_data(config, source, truth.instances is not None)
    hashes, truth_hashes = (
        {record.key: found[record.key] for record in split.train if record.key in found}
        for found in (report.hashes, report.truth_hashes)
    )
    rescaled = description.normalisation in ("volume", "brain")  # both hand over float32
    dtypes = ("float32",) if rescaled else tuple(report.facts["dtype"])
    return TrainingData(
        source, split, description, hashes, truth_hashes, dtypes, report.shapes, warnings, report
    )


def training_set(config: TrainConfig, data: TrainingData, augmentation: Augmentation) -> TrainingSet:
    """Random crops of the training records."""
    crops = config.augmentation
    border = config.loss.border_weights if not isinstance(config.loss, dict) else None
    return TrainingSet(
        data.source,
        data.split.train,
        target=data.target,
        sampling=Sampling(
            samples_per_epoch=config.trainer.samples_per_epoch,
            seed=config.seed,
            crop_size=tuple(crops.crop_size) if isinstance(crops.crop_size, list) else crops.crop_size,
            foreground_share=crops.foreground_share,
            balance=crops.balance,
            touching_share=crops.touching_share,
            paste_angles=ANY_ANGLE if crops.orientation in ("any", "auto") else (-STEEPEST, STEEPEST),
        ),
        preprocessing=data.description.preprocessing,
        augmentation=augmentation,
        class_pixels=data.report.class_pixels,
        weights=_weight_map(border, data.description.scale) if border is not None else None,
    )


def _weight_map(border: dict[str, Any], scale: float) -> WeightMap:
    from unet_train.data.border_weights import BorderWeights

    return BorderWeights(**border, scale=scale)


def pixels_seen(data: TrainingData, training: TrainingSet) -> tuple[int, int]:
    """Pixels the net sees in one validation, and in one training epoch."""
    preprocessing = data.description.preprocessing

    def seen(records: Sequence[Record]) -> int:
        return sum(math.prod(preprocessing.working_size(data.shapes[record.key])) for record in records)

    train = data.split.train
    crop = math.prod(training.crop_size) if training.crop_size is not None else seen(train) / len(train)
    return seen(data.split.val), round(len(training) * crop)
