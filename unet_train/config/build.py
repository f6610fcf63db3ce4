"""Objects from the config: data set, model description, loss, optimizer; the last place that knows the keys."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from unet_train.config.checks import check_class_count, dataset_root, refuse_without_background
from unet_train.config.schema import TrainConfig
from unet_train.errors import UserError
from unet_train.nearest import nearest

if TYPE_CHECKING:
    from torch import nn

    from unet_train.data.records import Record, Source
    from unet_train.data.splits import Split
    from unet_train.inference.predictor import DataDescription
    from unet_train.models.spec import ModelSpec
    from unet_train.training.losses import Loss


# --- a user's own objects -----------------------------------------------------------------------------
def locate(name: str, where: str) -> Callable[..., Any]:
    """The class or function a `_target_` names.

    Raises
    ------
    UserError
        If it cannot be imported.
    """
    module_name, _, attribute = name.rpartition(".")
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except (ImportError, ValueError) as error:
        raise UserError(f"{where}._target_={name}: cannot be imported ({error})") from error
    except AttributeError:
        module = importlib.import_module(module_name)
        hint = nearest(f"{module_name}.{attribute}", [f"{module_name}.{known}" for known in dir(module)])
        raise UserError(f"{where}._target_={name}: {module_name} has no {attribute}{hint}") from None


def call_target(
    name: str,
    where: str,
    arguments: dict[str, Any],
    offered: dict[str, Any] | None = None,
    inside: str | None = None,
) -> Any:
    """Call what a `_target_` names with `arguments`, checked against its signature first.

    Parameters
    ----------
    name, where
        Dotted name, and the section of the config it stands in.
    arguments
        What the user set.
    offered
        Passed where the signature takes them and the user has not set them.
    inside
        Where the arguments stand, if not in the section itself.

    Raises
    ------
    UserError
        For an argument it does not take (with the nearest it takes) or one that is missing.
    """
    function = check_call(name, where, arguments, offered or {}, inside)
    parameters = inspect.signature(function).parameters
    return function(**{k: v for k, v in (offered or {}).items() if k in parameters} | arguments)


def check_call(
    name: str, where: str, arguments: dict[str, Any], offered: Iterable[str], inside: str | None = None
) -> Callable[..., Any]:
    """What `call_target` checks before it calls: the function or class, whose signature takes the arguments.

    Raises
    ------
    UserError
    """
    function = locate(name, where)
    parameters = inspect.signature(function).parameters
    anything = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for argument in arguments:
        if argument not in parameters and not anything:
            hint = nearest(argument, parameters)
            raise UserError(f"{inside or where}.{argument}: {name} takes no such argument{hint}")
    given = dict.fromkeys(k for k in offered if k in parameters) | arguments
    try:
        inspect.signature(function).bind(**given)
    except TypeError as error:
        raise UserError(f"{where}: {name}: {error}") from None
    return function


def check_own_objects(config: TrainConfig) -> None:
    """Check what the config names by `_target_`, and its arguments, before any image is read.

    Raises
    ------
    UserError
    """
    for where, section, offered in (
        ("encoder", config.encoder, ["in_channels"]),
        ("loss", config.loss, ["classes"]),
    ):
        if isinstance(section, dict):
            arguments = {k: v for k, v in section.items() if k != "_target_"}
            check_call(section["_target_"], where, arguments, offered)


# --- data ---------------------------------------------------------------------------------------------
def build_source(dataset: Any) -> Source:
    """The data set a `dataset` section describes.

    Raises
    ------
    UserError
        Also for more classes than a class map holds.
    """
    source = _layout(dataset)
    check_class_count(source.classes)
    return source


def _layout(dataset: Any) -> Source:
    from unet_train.data.layouts.challenge import ChallengeSource
    from unet_train.data.layouts.demo import DemoSource
    from unet_train.data.layouts.folder import FolderSource
    from unet_train.data.layouts.kaggle import KaggleSource

    folder = dataset_root(dataset)
    root = str(folder)
    intensity_range = tuple(dataset.intensity_range) if dataset.intensity_range else None
    if dataset.layout == "demo":
        return DemoSource(
            images=dataset.images, test_images=dataset.test_images, size=dataset.size, seed=dataset.data_seed
        )
    if dataset.layout == "folder":
        return FolderSource(
            root,
            images=dataset.images,
            masks=dataset.masks,
            suffix=dataset.suffix,
            classes=dataset.classes,
            background=dataset.background,
            values=dataset.values,
            ignore_value=dataset.ignore_value,
            instances=dataset.instances,
            channels=dataset.channels,
            group_regex=dataset.group_regex,
            group_csv=dataset.group_csv,
            intensity_range=intensity_range,
            name=dataset.name,
        )
    if dataset.layout == "challenge":
        return ChallengeSource(
            root,
            classes=tuple(dataset.classes),
            labels=dataset.labels,
            leave_out=tuple(dataset.leave_out),
            margin=dataset.margin,
            ignore_boxes=dataset.ignore_boxes,
            marker_radius=dataset.marker_radius,
            ring=dataset.ring,
            intensity_range=intensity_range,
            name=dataset.name,
        )
    if dataset.layout == "kaggle":
        return KaggleSource(
            root, classes=tuple(dataset.classes), intensity_range=intensity_range, name=dataset.name
        )
    offered = {"name": dataset.name, "intensity_range": intensity_range}
    offered |= {"root": root} if folder is not None else {}
    return call_target(dataset._target_, "dataset", dataset.arguments, offered, "dataset.arguments")


def build_split(split: Any, dataset: Any, records: list[Record]) -> Split:
    """Train, val and test records by the `split` section."""
    from unet_train.data.splits import make_split

    return make_split(
        records,
        file=split.file,
        folds=split.folds,
        fold=split.fold,
        val_fraction=split.val_fraction,
        test_fraction=split.test_fraction,
        test_groups=tuple(dataset.test_groups),
        by=split.by,
        seed=split.seed,
    )


def describe_data(config: TrainConfig, source: Source, has_instances: bool) -> DataDescription:
    """What the checkpoint keeps of the data set."""
    from unet_train.data.records import has_background
    from unet_train.inference.predictor import DataDescription

    dataset = config.dataset
    if not has_background(source):
        refuse_without_background(
            config, "the data set has no background class", ", or name one by dataset.background"
        )
    return DataDescription(
        name=dataset.name,
        classes=tuple(source.classes),
        channels=source.channels,
        target=dataset.target,
        target_params=dict(dataset.target_params),
        scale=float(dataset.scale),
        normalisation=normalisation_mode(config),
        intensity_range=tuple(dataset.intensity_range) if dataset.intensity_range else None,
        margin=source.margin,
        has_instances=has_instances,
        has_background=has_background(source),
        palette=_palette(source),
    )


def _palette(source: Source) -> tuple[tuple[int, int, int], ...] | None:
    """The classes' own colours, where a data set gives them."""
    palette = getattr(source, "palette", None)
    if palette is None:
        return None
    colours = np.asarray(palette)
    if colours.shape != (len(source.classes), 3) or colours.min() < 0 or colours.max() > 255:
        raise UserError(
            f"{source.name}: palette must hold (red, green, blue) from 0 to 255 for each of the "
            f"{len(source.classes)} classes"
        )
    return tuple((int(red), int(green), int(blue)) for red, green, blue in colours)


# --- model --------------------------------------------------------------------------------------------
def normalisation_mode(config: TrainConfig) -> str:
    """fixed, image, volume or brain: `auto` follows the weights."""
    mode = config.dataset.normalisation
    if mode != "auto":
        return mode
    return {"imagenet": "fixed", "brain_mri": "brain"}.get(config.weights.kind, "image")


def encoder_params(encoder: Any) -> dict[str, Any]:
    """An encoder section in the plain form of a model description."""
    if isinstance(encoder, dict):
        arguments = {k: v for k, v in encoder.items() if k != "_target_"}
        return {"kind": "custom", "target": encoder["_target_"], **arguments}
    return asdict(encoder)


def describe_model(config: TrainConfig, data: DataDescription, outputs: tuple[str, ...]) -> ModelSpec:
    """The model description of a run.

    Raises
    ------
    UserError
        If the normalisation's values do not fit the channels.
    """
    from unet_train.models.spec import ModelSpec
    from unet_train.models.weights import imagenet_normalisation

    # How the volume is cut is the data's affair; the model is given its mean and std either way.
    mode = {"brain": "volume"}.get(data.normalisation, data.normalisation)
    mean, std = config.dataset.mean, config.dataset.std
    if mode == "fixed" and mean is None:
        published = imagenet_normalisation(in_channels=data.channels, **encoder_params(config.encoder))
        mean, std = (list(values) for values in published)
    if mode == "fixed":
        for name, values in (("mean", mean), ("std", std)):
            if values is None or len(values) != data.channels:
                raise UserError(
                    f"dataset.{name}={values}: one value per channel, and there are {data.channels}"
                )
    else:
        mean = std = None
    return ModelSpec(
        encoder=encoder_params(config.encoder),
        in_channels=data.channels,
        outputs=list(outputs),
        head=config.model.head,
        decoder_channels=config.model.decoder_channels,
        input_skip=config.model.input_skip,
        norm=config.model.norm,
        normalisation={"mode": mode, "mean": mean, "std": std},
    )


def custom_encoder(encoder: Any) -> Callable[[int], nn.Module] | None:
    """A user's own encoder as a function of the input channels; None for ours."""
    if not isinstance(encoder, dict):
        return None
    arguments = {k: v for k, v in encoder.items() if k != "_target_"}
    return lambda channels: call_target(encoder["_target_"], "encoder", arguments, {"in_channels": channels})


# --- training -----------------------------------------------------------------------------------------
def build_loss(
    loss: Any, classes: int, *, background: bool = True, class_weights: Sequence[float] | None = None
) -> Loss:
    """The loss a `loss` section describes, for a model of so many classes.

    `class_weights` are those that ``auto`` or ``sqrt`` stand for.
    """
    from unet_train.training import losses

    if isinstance(loss, dict):
        arguments = {k: v for k, v in loss.items() if k != "_target_"}
        return call_target(loss["_target_"], "loss", arguments, {"classes": classes})
    return losses.build_loss(
        loss.terms,
        classes,
        class_weights=class_weights if isinstance(loss.class_weights, str) else loss.class_weights,
        needs_weight=loss.border_weights is not None,
        background=background,
    )
