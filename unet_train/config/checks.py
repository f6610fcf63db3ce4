"""What can be refused before torch is imported: paths that do not exist, choices that do not go together."""

from __future__ import annotations

import glob
import importlib.util
import math
import os
from collections.abc import Sequence
from pathlib import Path

from unet_train.config.schema import SGD, AdamW, Optimizer, OwnObject, TrainConfig, Weights
from unet_train.data.layouts import AUTO, LAYOUTS, DatasetKeys
from unet_train.errors import UserError
from unet_train.models.encoders import ClassicKeys, EncoderKeys, with_imagenet_weights
from unet_train.nearest import nearest

MOST_CLASSES = 255
"""Ids 0 to 254; 255 is unknown (`data.records.IGNORE`)."""


LONGEST_FILE_NAME = 255
"""Bytes of a name within a path, on every usual file system."""


def expand(path: str) -> Path:
    """A path as typed: ``~`` is the home folder.

    Raises
    ------
    UserError
        For a name that no file system takes, and that none of the questions to come could be asked about.
    """
    expanded = Path(os.path.expanduser(path))
    if "\0" in path or any(len(os.fsencode(part)) > LONGEST_FILE_NAME for part in expanded.parts):
        raise UserError(
            f"{path[:50]}…: cannot be a path: a name in it is longer than {LONGEST_FILE_NAME} bytes, or has a zero"
        )
    return expanded


def dataset_root(dataset: DatasetKeys) -> Path | None:
    """Folder of a data set: `dataset.root`, else its name under ``$UNET_TRAIN_DATA`` or ``data``."""
    folder = LAYOUTS[dataset.layout].folder
    if folder == "none":
        return None
    if dataset.root:
        return expand(dataset.root)
    root = Path(os.environ.get("UNET_TRAIN_DATA", "data")) / dataset.name
    # A class of the user's own may need no folder; where it does, its signature says so.
    return None if folder == "optional" and not root.is_dir() else root


def check_dataset(dataset: DatasetKeys) -> None:
    """Refuse a data set whose folder does not exist, with the way to get it."""
    check_intensity_range("dataset.intensity_range", dataset.intensity_range, may_be_auto=True)
    check_scale(dataset.scale)
    layout = LAYOUTS[dataset.layout]
    if layout.folder == "none" and dataset.root:
        raise UserError(
            f"dataset.root={dataset.root}: the layout {dataset.layout} has no folder; "
            "say dataset=folder for your own images"
        )
    check_class_count(getattr(dataset, "classes", None) or ())
    root = dataset_root(dataset)
    if root is None or root.is_dir():
        return
    raise UserError(
        f"dataset.root={root}: no such folder; {layout.how_to_get.replace('{name}', dataset.name)}"
    )


def check_class_count(classes: Sequence[str]) -> None:
    """Refuse more classes than a class map of 8 bits holds beside the value for unknown pixels."""
    if len(classes) > MOST_CLASSES:
        raise UserError(
            f"dataset.classes: {len(classes)} names; at most {MOST_CLASSES} classes can be told apart"
        )


def check_scale(value: object) -> None:
    """Refuse a working resolution that is neither a number nor auto; its range is the schema's affair."""
    if value != AUTO and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise UserError(f"dataset.scale={value}: a number, such as 0.5, or auto")


def check_intensity_range(name: str, values: object, *, may_be_auto: bool = False) -> None:
    """Refuse a range that is not two numbers, the smaller one first."""
    if values is None or (may_be_auto and values == AUTO):
        return
    given = values if isinstance(values, list) else []
    numbers = [v for v in given if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(given) != 2 or len(numbers) != 2:
        raise UserError(f"{name}={values}: two numbers, [low,high]{', or auto' if may_be_auto else ''}")
    if not numbers[0] < numbers[1]:
        raise UserError(f"{name}={values}: the first number must be the smaller")


SMALLEST_CROP = 16


def check_crop_size(value: object) -> None:
    """Refuse a crop that is neither a whole number, two of them, nor null, or smaller than 16 pixels."""
    if value is None:
        return
    sides = value if isinstance(value, list) else [value, value]
    if len(sides) != 2 or not all(isinstance(side, int) and not isinstance(side, bool) for side in sides):
        raise UserError(
            f"augmentation.crop_size={value}: one whole number, two as [height,width], or null for whole images"
        )
    if min(sides) < SMALLEST_CROP:
        raise UserError(f"augmentation.crop_size={value} is too small: at least {SMALLEST_CROP}")


def check_own_encoder(encoder: EncoderKeys | OwnObject | None) -> None:
    """Refuse one of our encoders where a checkpoint says itself which one it has."""
    if encoder is not None and not isinstance(encoder, dict):
        raise UserError(
            f"encoder={encoder.kind}: the checkpoint knows its encoder, leave this out; only an encoder of your own "
            "has to be named again (encoder._target_=…)"
        )


def check_output(output: str | None) -> None:
    """Refuse a file where a folder is to be written."""
    if output is not None and expand(output).is_file():
        raise UserError(f"output={output}: is a file; name a folder")


def check_train(config: TrainConfig) -> None:
    """Refuse what a training run cannot work with, before any time is spent."""
    encoder, weights = config.encoder, config.weights
    kind = encoder.get("_target_") if isinstance(encoder, dict) else encoder.kind
    if weights.kind == "imagenet" and kind not in with_imagenet_weights():
        others = " or ".join(f"encoder={name}" for name in with_imagenet_weights())
        raise UserError(
            f"weights=imagenet: there are none for encoder={kind}; choose {others}, or weights=random"
        )
    published = isinstance(encoder, ClassicKeys) and (encoder.init_features, encoder.depth) == (32, 4)
    if weights.kind == "brain_mri" and not published:
        raise UserError(
            "weights=brain_mri fits encoder=unet with encoder.init_features=32 and encoder.depth=4 only"
        )
    if weights.path and not config.resume:  # a run that goes on has its weights
        weights_file(weights.path)
    check_freezing(weights, config.trainer.epochs)
    if weights.kind == "random" and weights.path:
        raise UserError("weights.path is set, but weights=random takes no file; say weights=file")
    check_dataset(config.dataset)
    split = config.split
    if split.folds is not None and split.fold is None:
        raise UserError(f"split.folds={split.folds}: which one is the test part? Say split.fold=0, …")
    if split.fold is not None and split.folds is None and split.file is None:
        raise UserError("split.fold needs split.folds, the number of folds: split.folds=5 split.fold=0")
    if split.folds is not None and split.fold is not None and not 0 <= split.fold < split.folds:
        raise UserError(
            f"split.fold={split.fold}: with split.folds={split.folds} it is 0 … {split.folds - 1}"
        )
    if (
        split.file
        and ("/" in split.file or split.file.endswith(".json"))
        and not expand(split.file).is_file()
    ):
        raise UserError(f"split.file={split.file}: no such file")
    dataset = config.dataset
    own_values = dataset.mean is not None and dataset.std is not None
    if dataset.normalisation == "fixed" and weights.kind not in ("imagenet", "file") and not own_values:
        raise UserError(
            "dataset.normalisation=fixed needs dataset.mean and dataset.std, one value per channel"
        )
    if getattr(config.dataset, "background", None) == "none":
        refuse_without_background(config.dataset, config.model.head, "dataset.background=none")
    if not isinstance(config.loss, dict):
        check_class_weights(config.loss.class_weights)
    check_crop_size(config.augmentation.crop_size)
    every = config.trainer.val_every
    if every != "auto" and (not isinstance(every, int) or isinstance(every, bool) or every < 1):
        raise UserError(f"trainer.val_every={every}: auto, or a whole number of epochs from 1 on")
    check_optimizer(config.optimizer)
    check_loggers(config.logger)


LOGGER_PACKAGES = {"tensorboard": "tensorboard", "wandb": "wandb", "mlflow": "mlflow"}
"""Logger → the package that it needs, which is also the name of an extra of ours."""


def logger_names(value: object) -> list[str]:
    """The loggers that ``logger=`` names, one or a list; null: none."""
    return [] if value is None else list(map(str, value)) if isinstance(value, list) else [str(value)]


def check_loggers(value: object) -> None:
    """Refuse a logger that there is not, or whose package is not installed."""
    for name in logger_names(value):
        if name not in LOGGER_PACKAGES:
            raise UserError(
                f"logger={name}: no such logger{nearest(name, LOGGER_PACKAGES)}; one or a list of "
                f"{', '.join(LOGGER_PACKAGES)}"
            )
        if importlib.util.find_spec(LOGGER_PACKAGES[name]) is None:
            raise UserError(f"logger={name} needs its package: pip install 'unet-train[{name}]'")


def weights_file(path: str) -> Path:
    """A file of weights as typed; a run folder stands for its best.pt.

    Raises
    ------
    UserError
        Where there is none.
    """
    found = _file_or_best("weights.path", path, "a file of weights")
    if not found.is_file():
        raise UserError(f"weights.path={path}: no such file")
    return found


def _file_or_best(key: str, path: str, wanted: str) -> Path:
    """A path as typed, or the best.pt in the run folder that it is."""
    found = expand(path)
    if not found.is_dir():
        return found
    if not (found / "best.pt").is_file():
        raise UserError(f"{key}={path}: a folder without best.pt; name {wanted} or a run folder")
    return found / "best.pt"


def check_freezing(weights: Weights, epochs: int) -> None:
    """Refuse stages that are no number and not all, and an epoch to thaw them in that never comes."""
    stages, epoch = weights.freeze_encoder, weights.unfreeze_epoch
    is_count = isinstance(stages, int) and not isinstance(stages, bool) and stages >= 0
    if not is_count and stages != "all":
        raise UserError(
            f"weights.freeze_encoder={stages}: a number of stages from the input, all, or 0 for none"
        )
    if epoch is not None and not stages:
        raise UserError(
            f"weights.unfreeze_epoch={epoch}: nothing is frozen; say weights.freeze_encoder=all too"
        )
    if epoch is not None and epoch > epochs:
        raise UserError(
            f"weights.unfreeze_epoch={epoch}: after the last epoch (trainer.epochs={epochs}); leave it out to keep the "
            "encoder frozen"
        )


def check_optimizer(optimizer: Optimizer) -> None:
    """Refuse values that torch's optimizer of that kind does not take together."""
    if isinstance(optimizer, AdamW) and len(optimizer.betas) != 2:
        raise UserError(f"optimizer.betas={optimizer.betas}: two numbers")
    if isinstance(optimizer, SGD) and optimizer.nesterov and optimizer.momentum == 0:
        raise UserError("optimizer.nesterov=true needs optimizer.momentum above 0")


def refuse_without_background(dataset: DatasetKeys, head: str, why: str, remedy: str = "") -> None:
    """Refuse what needs a background class where there is none.

    Parameters
    ----------
    dataset
        The data set's section.
    head : str
        As `model.head`.
    why : str
        What the message begins with.
    remedy : str
        Said after the key to change.
    """
    if head == "sigmoid":
        raise UserError(f"{why}: model.head=sigmoid needs a background class; say model.head=softmax{remedy}")
    if getattr(dataset, "instances", False):
        raise UserError(
            f"{why}: dataset.instances=true needs a background class; leave dataset.background out"
        )
    if dataset.target not in ("classes", AUTO):
        raise UserError(
            f"{why}: dataset.target={dataset.target} needs a background class; say dataset.target=classes{remedy}"
        )


def check_class_weights(values: str | list[float] | None) -> None:
    """Refuse class weights that are neither null, auto nor a list of numbers."""
    if values in (None, "auto", "sqrt"):
        return
    given: Sequence[object] = values if isinstance(values, list) else ()
    numbers = [value for value in given if isinstance(value, int | float) and not isinstance(value, bool)]
    of_another_kind = not numbers or len(numbers) < len(given)
    if of_another_kind or not all(map(math.isfinite, numbers)) or min(numbers) < 0 or max(numbers) <= 0:
        raise UserError(
            f"loss.class_weights={values}: auto, sqrt, or one number per class, none below 0 and one above"
        )


def check_whole_model(names: Sequence[str], weights: Weights | None) -> None:
    """Refuse what is not one way to a whole model: checkpoints that exist, or weights=brain_mri."""
    kind = weights.kind if weights else None
    if kind not in (None, "brain_mri"):
        raise UserError(f"weights={kind} holds no whole model; say ckpt=FILE or weights=brain_mri")
    if names and kind:
        raise UserError("ckpt and weights=brain_mri name a model each: leave one out")
    if not names and not kind:
        raise UserError("ckpt is missing: set ckpt=runs/…/best.pt (or weights=brain_mri)")
    for name in names:
        find_checkpoint(name)
    if weights and weights.path:
        weights_file(weights.path)
    if weights and weights.freeze_encoder:
        raise UserError("weights.freeze_encoder is for a training; leave it out")


def check_judged(names: Sequence[str], predictions: str | None, dataset: DatasetKeys | None) -> None:
    """Refuse an evaluation of neither a model nor masks, or of both, masks without a truth, and missing checkpoints.

    Raises
    ------
    UserError
    """
    if names and predictions is not None:
        raise UserError(
            "ckpt and predictions: a model is scored, or masks that are there already; leave one out"
        )
    if not names and predictions is None:
        raise UserError("ckpt is missing: set ckpt=runs/…/best.pt (or predictions=FOLDER to score masks)")
    if predictions is not None and dataset is None:
        raise UserError(
            f"predictions={predictions}: say what is true, as in dataset=folder dataset.root=FOLDER"
        )
    for name in names:
        find_checkpoint(name)


def find_checkpoint(path: str) -> Path:
    """A checkpoint file as typed; a run folder stands for its best.pt.

    Raises
    ------
    UserError
        Where there is none.
    """
    found = _file_or_best("ckpt", path, "a checkpoint file")
    if not found.is_file():
        near = sorted(glob.glob("runs/*/*/best.pt"))
        hint = f" (the newest here: {max(near, key=os.path.getmtime)})" if near else ""
        raise UserError(f"ckpt={path}: no such file{hint}")
    return found


def find_run(path: str) -> Path:
    """A run folder to resume.

    Raises
    ------
    UserError
        Where it is not one.
    """
    folder = expand(path)
    if not folder.is_dir():
        raise UserError(f"resume={path}: no such folder")
    for name in ("config.yaml", "last.pt"):
        if not (folder / name).is_file():
            raise UserError(f"resume={path}: not a run that can be resumed, it has no {name}")
    return folder
