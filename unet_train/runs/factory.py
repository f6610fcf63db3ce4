"""Objects from the config: data set, model description, loss, optimizer; the last place that knows the keys."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from unet_train.config import schema
from unet_train.config.checks import check_class_count, dataset_root, refuse_without_background
from unet_train.config.schema import OwnObject, TrainConfig
from unet_train.data.layouts import AUTO, LAYOUTS, DatasetKeys
from unet_train.data.layouts.custom import as_source
from unet_train.data.object_target import MANY_CONTACTS, object_scale, object_target, share_of_contacts
from unet_train.errors import UserError
from unet_train.keys import REQUIRED, schema_fields
from unet_train.models.encoders import EncoderKeys
from unet_train.nearest import nearest
from unet_train.overrides import as_override
from unet_train.own_objects import call_target, check_call

if TYPE_CHECKING:
    from torch import nn

    from unet_train.data.description import DataDescription
    from unet_train.data.records import Record, Source
    from unet_train.data.splits import Split
    from unet_train.models.spec import ModelSpec
    from unet_train.training.losses import Loss


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
def build_source(dataset: DatasetKeys) -> Source:
    """The data set a `dataset` section describes.

    Raises
    ------
    UserError
        Also for more classes than a class map holds.
    """
    build = LAYOUTS[dataset.layout].source
    shared = {f.name for f in fields(DatasetKeys)}
    own = {f.name: getattr(dataset, f.name) for f in fields(dataset) if f.name not in shared}
    folder = dataset_root(dataset)
    offered: dict[str, Any] = {
        "name": dataset.name,
        "intensity_range": _declared_range(dataset),
    }
    offered |= {"root": str(folder)} if folder is not None else {}
    taken = inspect.signature(build).parameters
    built = build(**{name: value for name, value in offered.items() if name in taken}, **own)
    source = as_source(built, dataset.name)  # another package's layout may return anything
    check_class_count(source.classes)
    if dataset.boundary is not None and dataset.boundary not in source.classes:
        raise UserError(
            f"dataset.boundary={dataset.boundary} is no class{nearest(dataset.boundary, source.classes)}; there are "
            f"{', '.join(source.classes)}"
        )
    return source


def settle_intensity_range(
    dataset: DatasetKeys,
    source: Source,
    records: Sequence[Record],
    known_range: tuple[float, float] | None = None,
) -> str:
    """Put numbers, or null, in the place of ``dataset.intensity_range=auto``.

    Parameters
    ----------
    dataset : DatasetKeys
        Changed in place.
    source : Source
        As built so far.
    records : sequence of Record
        The training images.
    known_range : (float, float) or None
        That of the starting weights, which is taken where one is needed.

    Returns
    -------
    str
        What is to be told, "" for nothing.
    """
    if dataset.intensity_range != AUTO:
        return ""
    from unet_train.data.intensities import measure_range

    found = measure_range(source, records)
    dataset.intensity_range = None if found is None else list(found)
    if found is None:
        return ""
    if known_range is not None:
        dataset.intensity_range = list(known_range)
        return (
            f"pixel values {known_range[0]:g} to {known_range[1]:g}, as the weights were trained with, become 0 and 1; "
            f"the training images have {found[0]:g} to {found[1]:g}"
        )
    return f"pixel values {found[0]:g} to {found[1]:g}, found in the training images, become 0 and 1"


def settle_target(
    config: TrainConfig, source: Source, records: Sequence[Record], objects: Mapping[str, Any] | None
) -> str:
    """Put the name of a target in the place of ``dataset.target=auto``, and its parameters where none are given.

    It is `classes` where nothing has to be parted: no objects, or hardly any that touch. So it is where another key
    asks for something that only goes with the classes themselves: a sigmoid head, border weights, a weight for each
    class, a loss of the user's own.

    Parameters
    ----------
    config : TrainConfig
        Changed in place.
    source : Source
    records : sequence of Record
        The training images, of which some are looked at.
    objects : mapping or None
        As the check of the files found them (count, diameter); None where objects are not told apart.

    Returns
    -------
    str
        What is to be told, "" for nothing.
    """
    dataset = config.dataset
    if dataset.target != AUTO:
        return ""
    if not objects or len(source.classes) != 2 or not source.has_background or needs_classes(config):
        dataset.target = "classes"
        return ""
    contacts = share_of_contacts(source, records)
    if contacts < MANY_CONTACTS:
        dataset.target = "classes"
        return (
            f"{contacts:.1%} of the objects touch another, so the net learns the masks alone (dataset.target=classes); "
            "dataset.target=foreground_border parts objects that touch"
        )
    dataset.target, params, what = object_target(
        objects.get("diameter") or 0.0, config.weights.kind != "random"
    )
    dataset.target_params = params | dict(dataset.target_params)
    said = as_override("dataset.target_params", dataset.target_params)
    return (
        f"{contacts:.0%} of the objects touch another: {what} is a class, so that they are parted (dataset.target="
        f"{dataset.target} {said}; dataset.target=classes learns the masks alone)"
    )


def needs_classes(config: TrainConfig) -> str:
    """The key, as typed, that only goes with the classes themselves as the target; "" where there is none."""
    loss = config.loss
    if config.model.head == "sigmoid":
        return "model.head=sigmoid"
    if isinstance(loss, dict):
        return f"loss._target_={loss.get('_target_')}"
    if loss.border_weights is not None:
        return "loss.border_weights"
    return "loss.class_weights" if isinstance(loss.class_weights, list) else ""


def settle_scale(
    dataset: DatasetKeys, shapes: Sequence[tuple[int, int]], crop_size: Any, diameter: float
) -> str:
    """Put a number in the place of ``dataset.scale=auto``: less than 1 for large objects in images with room for it.

    Parameters
    ----------
    dataset : DatasetKeys
        Changed in place.
    shapes : sequence of (int, int)
        Heights and widths of the images.
    crop_size : int, list of int or None
        Of the training crops: an image stays as large as that, so that crops are not filled up. None: whole images,
        which stay as they are.
    diameter : float
        Median of the objects', in native pixels; 0 where objects are not told apart.

    Returns
    -------
    str
        The choice in words, "" where there was none to make.
    """
    if dataset.scale != AUTO:
        return ""
    dataset.scale = 1.0
    if crop_size is None or not diameter:
        return "the net works at the images' own resolution (dataset.scale=1)"
    crop = max(crop_size) if isinstance(crop_size, list) else crop_size
    dataset.scale = object_scale(diameter, float(np.median([min(shape) for shape in shapes])), 2 * crop)
    return (
        f"objects are {diameter:.0f} pixels across, so the net works at {dataset.scale:g} of the images' resolution "
        f"(dataset.scale={dataset.scale:g}); results are at full size"
    )


def unset_keys(dataset: DatasetKeys) -> set[str]:
    """Names of the keys of a `dataset` section that are null: those that a message may propose."""
    return {f.name for f in fields(dataset) if getattr(dataset, f.name) is None}


def _declared_range(dataset: DatasetKeys) -> tuple[float, float] | None:
    if not dataset.intensity_range or dataset.intensity_range == AUTO:
        return None
    low, high = dataset.intensity_range
    return float(low), float(high)


def build_split(split: schema.Split, dataset: DatasetKeys, records: list[Record]) -> Split:
    """Train, val and test records by the `split` section."""
    from unet_train.data.splits import SplitRule, make_split

    return make_split(records, SplitRule(**asdict(split), test_groups=dataset.test_groups))


def describe_data(config: TrainConfig, source: Source, has_instances: bool) -> DataDescription:
    """What the checkpoint keeps of the data set."""
    from unet_train.data.description import DataDescription

    dataset = config.dataset
    if not source.has_background:
        refuse_without_background(
            dataset,
            config.model.head,
            "the data set has no background class",
            ", or name one by dataset.background",
        )
    return DataDescription(
        name=dataset.name,
        classes=tuple(source.classes),
        channels=source.channels,
        target=dataset.target,
        target_params=dict(dataset.target_params),
        scale=float(dataset.scale),
        normalisation=normalisation_mode(config),
        intensity_range=_declared_range(dataset),
        margin=source.margin,
        has_instances=has_instances,
        has_background=source.has_background,
        palette=class_palette(source),
        mask_values=_mask_values(source),
    )


def _mask_values(source: Source) -> dict[int, int] | None:
    """Pixel value → class id where a source's masks are read by such a table."""
    return {int(value): int(index) for value, index in source.values.items()} if source.values else None


def class_palette(source: Source) -> tuple[tuple[int, int, int], ...] | None:
    """The classes' own colours, where a data set gives them.

    Raises
    ------
    UserError
        If they do not fit the classes.
    """
    if source.palette is None:
        return None
    colours = np.asarray(source.palette)
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


def encoder_params(encoder: EncoderKeys | OwnObject) -> dict[str, Any]:
    """An encoder section in the plain form of a model description."""
    if isinstance(encoder, dict):
        arguments = {k: v for k, v in encoder.items() if k != "_target_"}
        return {"kind": "custom", "target": encoder["_target_"], **arguments}
    # A key that came later and stands as before is left out, so that runs and files of before it are the same.
    later = {
        name: described.metadata.get("before", REQUIRED)
        for name, (_, described) in schema_fields(type(encoder)).items()
    }
    return {name: value for name, value in asdict(encoder).items() if value != later.get(name, REQUIRED)}


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
        upsample=config.model.upsample,
        head_kernel=config.model.head_kernel,
        norm=config.model.norm,
        normalisation={"mode": mode, "mean": mean, "std": std},
    )


def custom_encoder(encoder: EncoderKeys | OwnObject | None) -> Callable[[int], nn.Module] | None:
    """A user's own encoder as a function of the input channels; None for ours."""
    if not isinstance(encoder, dict):
        return None
    arguments = {k: v for k, v in encoder.items() if k != "_target_"}
    return lambda channels: call_target(encoder["_target_"], "encoder", arguments, {"in_channels": channels})


# --- training -----------------------------------------------------------------------------------------
def build_loss(
    loss: schema.Loss | OwnObject,
    classes: int,
    *,
    background: bool = True,
    class_weights: Sequence[float] | None = None,
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
