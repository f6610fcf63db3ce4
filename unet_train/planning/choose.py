"""The choices of a plan, each with its reason; where there is none, the defaults stay.

The rules lean on what was measured (docs/results.md): a pretrained encoder learns several times as fast; touching
objects need a target that parts them; scenes with an up lose by vertical flips. Everything else is as the defaults.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from unet_train.data.object_target import MANY_CONTACTS, object_scale, object_target
from unet_train.planning.figures import DataFigures, MachineFigures
from unet_train.planning.pretrained import Pretrained

CROP, SCALED_CROP = 256, 192
"""Sides of crops: the default, and that of large objects at a lower resolution."""

DIVISOR = 32  # of the sides of crops: the greatest stride of an encoder

SHARE_OF_TIME = 0.95  # of the minutes; the rest is for what is not timed, and for slower moments
LEAST_SHARE = 0.5  # of the minutes, for training and validation, however much time the rest takes
VALIDATION_SHARE = 0.2  # of the time, at most, with the files of each epoch; one is done in any case
SECONDS_PER_FRAME = 8.0
"""Of 512² pixels, for about 50 sets of parameters: `inference.objects.choose_parameters`."""

FEWEST_EPOCHS, MOST_EPOCHS = 8, 40

FEW = 8
"""Images up to which the start was measured to decide the result (docs/results.md, "Few annotated images")."""


NO_WEIGHTS = "none are in the cache or within reach; weights.path=FILE names a file"

_GO_BY = {"dataset.target_params": "dataset.target"}
"""Keys that mean something only beside the plan's own value of another."""


@dataclass(frozen=True)
class Choice:
    """One key of a plan.

    Attributes
    ----------
    key : str
        As on the command line: ``encoder``, ``dataset.scale``.
    value : Any
        In plain types.
    reason : str
        One sentence.
    """

    key: str
    value: Any
    reason: str


def choose(
    data: DataFigures,
    machine: MachineFigures,
    pretrained: Pretrained | None,
    orientation: tuple[str, str],
    group_regex: str | None = None,
    scale: float | None = None,
    no_weights: str = NO_WEIGHTS,
    classes_for: str = "",
) -> list[Choice]:
    """Everything but the length of the training.

    Parameters
    ----------
    data : DataFigures
    machine : MachineFigures
    pretrained : Pretrained or None
        The encoder to start from, if there are weights.
    orientation : (str, str)
        ``any`` or ``upright``, and why.
    group_regex : str or None
        What keeps images of one stem together, where names tell that.
    scale : float or None
        The working resolution, if the user has chosen it.
    no_weights : str
        Why there is no `pretrained`, where there is none.
    classes_for : str
        A key of the user's, as typed, that only goes with the classes themselves as the target; "" for none.
    """
    halved = [] if scale is not None else _scale(data)
    return [
        *_split(data, group_regex),
        *_intensity(data),
        *halved,
        *_target(data, pretrained is not None, classes_for),
        *_encoder(data, pretrained, no_weights),
        *(_scaled_crop(data, halved[0].value) if halved else _crop(data, scale or 1.0)),
        *_augmentation(data, orientation),
        Choice("loss", "cross_entropy_batch_dice", _loss_reason(data)),
        Choice("trainer.batch_size", 4, f"fits on {machine}; was tried"),
    ]


def postprocessing_seconds(images: int, height: int, width: int) -> float:
    """What choosing the objects' parameters on that many images takes after the last epoch, roughly."""
    return SECONDS_PER_FRAME * images * height * width / 512**2


def choose_length(
    minutes: float,
    step_seconds: float,
    validation_seconds: float,
    batch_size: int,
    afterwards: float = 0.0,
    *,
    before: float = 0.0,
    epoch_seconds: float = 0.0,
) -> list[Choice]:
    """Epochs and samples that fit the minutes, validation counted in.

    Parameters
    ----------
    minutes : float
        For the whole run.
    step_seconds : float
        Of one step, as measured.
    validation_seconds : float
        Of one validation of all its images.
    batch_size : int
    afterwards : float
        Seconds that are needed after the last epoch.
    before : float
        Seconds until the first step.
    epoch_seconds : float
        Of what each epoch writes.
    """
    whole = minutes * 60
    seconds = max(whole * SHARE_OF_TIME - before - afterwards, whole * LEAST_SHARE)
    validations = max(1, _affordable(seconds, validation_seconds + epoch_seconds))
    most = max(validations, min(FEWEST_EPOCHS, _affordable(seconds, epoch_seconds)))
    for_steps = seconds - validations * validation_seconds - most * epoch_seconds
    steps = max(1, math.floor(for_steps / step_seconds))
    # Whichever way of rounding loses fewer steps: 79 in 40 epochs are 39 of 2, and 950 in 3 are 3 of 316.
    rounded = {max(1, steps // most), math.ceil(steps / most)}
    epochs, each = max(((min(most, steps // n), n) for n in rounded), key=math.prod)
    every = math.ceil(epochs / validations)
    left = max(0.0, whole - seconds - before)
    rest = (
        f"{left:.0f} s for the objects' parameters and the rest" if afterwards else f"{left:.0f} s to spare"
    )
    return [
        Choice(
            "trainer.epochs",
            epochs,
            f"{each * epochs} steps of {step_seconds:.2g} s, {math.ceil(epochs / every)} validations of "
            f"{validation_seconds:.2g} s, {epochs} times the files of an epoch in {epoch_seconds:.2g} s and "
            f"{before:.2g} s until the first step, as measured here, fit into {minutes:g} minutes with {rest}",
        ),
        Choice("trainer.samples_per_epoch", each * batch_size, f"{each} steps of {batch_size} crops"),
        Choice("trainer.val_every", every, f"validations take at most {VALIDATION_SHARE:.0%} of the time"),
    ]


def _affordable(seconds: float, each: float) -> int:
    """How often something may be done in `VALIDATION_SHARE` of the time, `MOST_EPOCHS` at most."""
    share = VALIDATION_SHARE * max(0.0, seconds)
    return math.floor(share / each) if each * MOST_EPOCHS > share else MOST_EPOCHS


def _split(data: DataFigures, group_regex: str | None) -> list[Choice]:
    if group_regex is None:
        return []
    return [
        Choice(
            "dataset.group_regex",
            group_regex,
            f"{data.images} names are {data.groups} stems with numbers; images of one stem may be neighbours (film, "
            "patient, slide): they stay on one side of the split",
        )
    ]


def _intensity(data: DataFigures) -> list[Choice]:
    if set(data.dtypes) == {"uint8"}:
        return []
    return [
        Choice("dataset.intensity_range", "auto", "more than 8 bits: the range that the training images use")
    ]


def _scale(data: DataFigures) -> list[Choice]:
    scale = object_scale(data.diameter, min(data.height, data.width), CROP)
    if scale == 1:
        return []
    return [
        Choice(
            "dataset.scale",
            scale,
            f"the objects are {data.diameter:.0f} pixels across: at this resolution a crop shows more of them, and "
            f"an image takes {scale**2:.0%} of the time; results are at full size",
        )
    ]


def _target(data: DataFigures, is_pretrained: bool, classes_for: str) -> list[Choice]:
    if not data.objects or not data.has_background or len(data.shares) != 2:
        return []
    if data.contacts < MANY_CONTACTS:
        return [
            Choice(
                "dataset.target",
                "classes",
                f"{data.contacts:.0%} of the objects touch another: little to part",
            )
        ]
    if classes_for:
        return [
            Choice(
                "dataset.target",
                "classes",
                f"{data.contacts:.0%} of the objects touch another and will not be separated: {classes_for} needs "
                "the classes themselves as the target",
            )
        ]
    target, params, what = object_target(data.diameter, is_pretrained)
    return [
        Choice(
            "dataset.target",
            target,
            f"{data.contacts:.0%} of the objects touch another: {what} is a class, so that they are parted",
        ),
        Choice("dataset.target_params", params, f"for objects {data.diameter:.0f} pixels across"),
    ]


def _encoder(data: DataFigures, pretrained: Pretrained | None, no_weights: str) -> list[Choice]:
    if pretrained is None:
        return [
            Choice("encoder", "unet", "without pretrained weights: the default"),
            Choice("weights", "random", no_weights),
        ]
    choices = [
        Choice("encoder", pretrained.encoder, f"{pretrained.where}; a pretrained encoder learns faster")
    ]
    choices += [
        Choice(f"encoder.{name}", value, "the variant that these weights are for")
        for name, value in pretrained.keys.items()
    ]
    few = "; with few images that decides more than anything else" if data.images <= FEW else ""
    choices.append(
        Choice("weights", "imagenet", f"the encoder starts from ImageNet, the decoder at random{few}")
    )
    if pretrained.path:
        choices.append(Choice("weights.path", pretrained.path, "the file that was named"))
    choices.append(
        Choice("model.decoder_channels", [96, 64, 32, 16, 16], "a light decoder: more steps in the same time")
    )
    if data.objects:
        choices.append(
            Choice(
                "model.input_skip", 16, "outlines count: a skip at full resolution, which the encoder lacks"
            )
        )
    choices.append(
        Choice(
            "dataset.normalisation",
            "image",
            "each image by its own mean and standard deviation, as without pretrained weights: by ImageNet's, images "
            "brighter or darker than those of the training are read wrong",
        )
    )
    return choices


def _scaled_crop(data: DataFigures, scale: float) -> list[Choice]:
    """Of large objects: smaller than the default, and no larger than the image."""
    if min(data.height, data.width) * scale < SCALED_CROP:
        return _crop(data, scale)
    native = f"at scale {scale:g}: about {SCALED_CROP / scale:.0f} native pixels"
    return [Choice("augmentation.crop_size", SCALED_CROP, native)]


def _crop(data: DataFigures, scale: float) -> list[Choice]:
    side = math.floor(min(data.height, data.width) * scale)
    if side >= CROP:
        return []
    fitting = max(DIVISOR, math.ceil(side / DIVISOR) * DIVISOR)
    at = f" at scale {scale:g}" if scale != 1 else ""
    return [Choice("augmentation.crop_size", fitting, f"the images' shorter side is {side} pixels{at}")]


def _augmentation(data: DataFigures, orientation: tuple[str, str]) -> list[Choice]:
    kind = "microscopy" if data.objects and orientation[0] == "any" else "light"
    why = (
        "elastic deformation, zoom and contrast, for objects that may lie in any direction"
        if kind == "microscopy"
        else "flips and mild brightness: the default"
    )
    return [
        Choice("augmentation", kind, why),
        Choice("augmentation.orientation", orientation[0], orientation[1]),
        *_foreground_share(data),
    ]


def _foreground_share(data: DataFigures) -> list[Choice]:
    if not data.has_background or len(data.shares) < 2:
        return []
    share = sum(list(data.shares.values())[1:])
    return [
        Choice(
            "augmentation.foreground_share",
            0.5,
            f"the default: half of the crops are drawn around foreground, which covers {share:.2%} of the pixels",
        )
    ]


def _loss_reason(data: DataFigures) -> str:
    names = list(data.shares)[1:] if data.has_background else list(data.shares)
    if not names:
        return "the default"
    rarest = min(names, key=data.shares.__getitem__)
    return f"the default; the rarest class, {rarest}, covers {data.shares[rarest]:.2%} of the pixels and is weighted up"


def without(choices: Sequence[Choice], given: Collection[str]) -> list[Choice]:
    """The choices that the user has not made.

    Of a section chosen anew, or an object of the user's own, none of its keys stays; of the data set, which is always
    the user's, all but those that were given. An encoder is the user's as soon as one of its keys is.

    Parameters
    ----------
    choices : sequence of Choice
    given : collection of str
        Keys typed by the user.
    """
    anew = {name.removesuffix("._target_") for name in given if "." not in name or name.endswith("._target_")}
    anew -= {"dataset"}
    if any(name.startswith("encoder.") for name in given):
        anew.add("encoder")
    return [
        choice
        for choice in choices
        if choice.key not in given
        and choice.key.partition(".")[0] not in anew
        and _GO_BY.get(choice.key) not in given
    ]
