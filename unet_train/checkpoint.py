"""A checkpoint with named, typed parts: the one way from a file to a model, and from a run to a file."""

from __future__ import annotations

import math
import platform
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unet_train import __version__
from unet_train.data.description import DataDescription
from unet_train.data.splits import SplitKeys
from unet_train.errors import UserError
from unet_train.field_types import check_fields
from unet_train.inference.objects import PostprocessingParameters
from unet_train.inference.predictor import Predictor, Tiling
from unet_train.models.files import read_checkpoint, write_checkpoint
from unet_train.models.spec import ModelSpec, build_model
from unet_train.models.unet import UNet
from unet_train.models.weights.match_state_dict import size_text
from unet_train.symmetries import SYMMETRIES, views_for

FORMAT = 1
"""Number of the checkpoint format; raised when an older reader could misread a newer file."""

NEEDED = ("format", "model", "data", "state_dict")
"""Keys that every checkpoint of ours has had; a file of an earlier version may lack any other."""

MOST_NESTED_CONFIG = 30
"""Sections within sections of a config; the deepest there are have five."""

TRAINING_KEYS = {"ema", "optimizer", "schedule", "scaler", "state"}
"""Keys of last.pt alone."""


@dataclass(frozen=True)
class AverageState:
    """The averaged weights and what `unet_train.training.averages.EMA` needs to go on with them.

    Attributes
    ----------
    updates : int
        Updates taken in so far.
    average : dict of str to Tensor
        Under the bare model's names.
    """

    updates: int
    average: dict[str, Tensor]


@dataclass
class EpochSums:
    """Sums over the batches of the epoch under way, so that a resumed epoch reports what the undisturbed one does.

    Attributes
    ----------
    numerators, totals : Tensor or None
        Of the loss's fractions, one element a term; None before the first update.
    counts : Tensor or None
        K×K pixels: true class down, predicted class across; None before the first batch.
    """

    numerators: Tensor | None = None
    totals: Tensor | None = None
    counts: Tensor | None = None

    def cpu(self) -> EpochSums:
        """The sums on the CPU."""
        return EpochSums(*(None if value is None else value.cpu() for value in vars(self).values()))


@dataclass
class Position:
    """Where a run stands; plain numbers, and this process's sums of the epoch under way.

    Attributes
    ----------
    epoch : int
        Finished epochs.
    batches : int
        Batches of this process done in the epoch under way.
    update : int
        Optimizer updates so far: the step of TensorBoard and of the schedule.
    best, best_epoch
        Best validation score and the epoch it was reached in.
    stale : int
        Validations since then.
    monitor : str
        Name of the score that `best` is; empty in files of before it was kept.
    sums : EpochSums
        Not written here: a file holds those of every process, see `TrainingState`.
    stopped_early : bool
        Whether early stopping ended the run.
    """

    epoch: int = 0
    batches: int = 0
    update: int = 0
    best: float = -math.inf
    best_epoch: int = 0
    stale: int = 0
    monitor: str = ""
    sums: EpochSums = field(default_factory=EpochSums)
    stopped_early: bool = False


@dataclass(frozen=True)
class TrainingState:
    """What a resume needs besides the weights; in last.pt alone.

    Attributes
    ----------
    position : Position
        Where the run stands.
    sums : list of EpochSums
        Of the epoch under way, one for each process of the run, in the order of their ranks.
    optimizer, schedule, scaler : dict
        What their `state_dict` returned.
    ema : AverageState or None
        None for a run without averaged weights.
    """

    position: Position
    sums: list[EpochSums] = field(default_factory=lambda: [EpochSums()])
    optimizer: dict[str, Any] = field(default_factory=dict)
    schedule: dict[str, Any] = field(default_factory=dict)
    scaler: dict[str, Any] = field(default_factory=dict)
    ema: AverageState | None = None

    def to_dict(self) -> dict[str, Any]:
        """Under the keys of the file."""
        ema = {"updates": self.ema.updates, "average": self.ema.average} if self.ema is not None else None
        return {
            "ema": ema,
            "optimizer": self.optimizer,
            "schedule": self.schedule,
            "scaler": self.scaler,
            "state": {**vars(self.position), "sums": [_given(sums) for sums in self.sums]},
        }

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> TrainingState | None:
        """The inverse of `to_dict`; None where a file holds no training state."""
        if not content.keys() & TRAINING_KEYS:
            return None
        ema, position = content.get("ema"), dict(content["state"])
        sums = position.pop("sums", {})
        # Earlier files hold the sums of the first process alone, and the states of generators, which are no longer
        # needed: what the net draws is a function of the seed and the update.
        sums = sums if isinstance(sums, list) else [sums]
        return cls(
            position=Position(**position),
            sums=[EpochSums(**part) for part in sums],
            optimizer=content["optimizer"],
            schedule=content.get("schedule") or {},
            scaler=content.get("scaler") or {},
            ema=AverageState(int(ema["updates"]), ema["average"]) if ema is not None else None,
        )


def _given(part: EpochSums) -> dict[str, Any]:
    """The fields of a part that are not None, which the file leaves out."""
    return {name: value for name, value in vars(part).items() if value is not None}


@dataclass
class Checkpoint:
    """What a run leaves: best.pt with what inference needs, last.pt with what a resume needs.

    Attributes
    ----------
    model : ModelSpec
        Enough to build the net.
    data : DataDescription
        What the net must know of its data.
    state_dict : dict of str to Tensor
        The weights, under the bare model's names: in best.pt the averaged ones where there are any, in last.pt
        those in training.
    config : dict
        The run's config as plain values, see `section`.
    split : SplitKeys
        Keys of the records in each part.
    image_hashes, truth_hashes : dict of str to str
        Key of a training record → hash of its image and of its mask.
    versions : dict of str to str
        Library → version it was trained with.
    epoch, step : int or None
        Finished epochs and optimizer updates when it was written; in best.pt alone (last.pt has `training`).
    metrics : dict of str to float, or None
        Validation scores of these weights; in best.pt alone.
    objects : PostprocessingParameters or None
        How objects are cut out, as chosen on validation images.
    views : tuple of str or None
        Flips and quarter turns (`symmetries`) that training showed the net; None in files of before they were kept.
    training : TrainingState or None
        In last.pt alone.
    format : int
        Number of the format the file was written in.
    path : Path or None
        Where it was read from. Not written.
    """

    model: ModelSpec
    data: DataDescription
    state_dict: dict[str, Tensor]
    config: dict[str, Any] = field(default_factory=dict)
    split: SplitKeys = field(default_factory=SplitKeys)
    image_hashes: dict[str, str] = field(default_factory=dict)
    truth_hashes: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    epoch: int | None = None
    step: int | None = None
    metrics: dict[str, float] | None = None
    objects: PostprocessingParameters | None = None
    views: tuple[str, ...] | None = None
    training: TrainingState | None = None
    format: int = FORMAT
    path: Path | None = None

    # --- files ----------------------------------------------------------------------------------------
    @classmethod
    def read(cls, path: str | Path) -> Checkpoint:
        """Read a checkpoint of ours, onto the CPU; nothing in it can run code.

        Raises
        ------
        UserError
            In one line, with the file's name: it cannot be read or is damaged (see
            `unet_train.models.files.read_checkpoint`), is of another program or a newer format, or its
            descriptions are not understood.
        """
        path = Path(path)
        content = read_checkpoint(path)
        missing = _missing(content)
        if missing:
            raise UserError(
                f"{path}: not a checkpoint of unet-train (it has no {missing[0]}); a plain state dict has no "
                "description of its model, but a training can start from it: unet-train weights=file weights.path=…"
            )
        return cls._from_content(content, path)

    @classmethod
    def read_if_ours(cls, path: str | Path) -> Checkpoint | None:
        """As `read`; None for a file of another program, such as a plain state dict or safetensors."""
        path = Path(path)
        if path.suffix.lower() == ".safetensors":
            return None
        content = read_checkpoint(path)
        return None if _missing(content) else cls._from_content(content, path)

    @classmethod
    def _from_content(cls, content: dict[str, Any], path: Path) -> Checkpoint:
        try:
            number = content["format"]
            if type(number) is int and number > FORMAT:
                raise UserError(f"written by a newer unet-train (format {number}); update unet-train")
            if type(number) is not int or number < 1:
                raise ValueError(f"format is {str(number)[:20]}")
            rule = _mapping(content, "objects")
            found = cls(
                model=ModelSpec.from_dict(content["model"]),
                data=DataDescription.from_dict(content["data"]),
                state_dict=content["state_dict"],
                config=_mapping(content, "config"),
                split=SplitKeys.from_json(_mapping(content, "split")),
                image_hashes=_mapping(content, "image_hashes"),
                truth_hashes=_mapping(content, "truth_hashes"),
                versions=_mapping(content, "versions"),
                epoch=content.get("epoch"),
                step=content.get("step"),
                metrics=content.get("metrics"),
                objects=PostprocessingParameters(**rule) if rule else None,
                views=tuple(content["views"]) if content.get("views") is not None else None,
                training=TrainingState.from_dict(content),
                format=number,
                path=path,
            )
            found.check()
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
        except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            raise UserError(f"{path}: its descriptions are not understood ({_short(error)})") from error
        return found

    def check(self) -> None:
        """Check that every part is of the type it is declared as: the file may be anybody's.

        Raises
        ------
        ValueError
        """
        for part in (self.model, self.data, self.split, self):
            check_fields(part)
        if self.objects is not None:
            check_fields(self.objects)
        if self.views is not None and (not self.views or set(self.views) - set(SYMMETRIES)):
            raise ValueError("its views are no flips and quarter turns")
        if self.training is not None:
            check_fields(self.training)
            check_fields(self.training.position)
            if self.training.ema is not None:
                check_fields(self.training.ema)
        _check_config(self.config)

    def write(self, path: Path) -> None:
        """Write the file whole or not at all: to a temporary one beside it first, flushed to the disk."""
        write_checkpoint(path, self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Under the keys of the file; what the file does not have (None) is left out."""
        content: dict[str, Any] = {
            "format": self.format,
            "model": self.model.to_dict(),
            "data": self.data.to_dict(),
            "config": self.config,
            "split": self.split.to_json(),
            "image_hashes": self.image_hashes,
            "truth_hashes": self.truth_hashes,
            "versions": self.versions,
            "state_dict": self.state_dict,
        }
        optional = {
            "epoch": self.epoch,
            "step": self.step,
            "metrics": self.metrics,
            "objects": self.objects.to_dict() if self.objects is not None else None,
            "views": list(self.views) if self.views is not None else None,
        }
        content |= {name: value for name, value in optional.items() if value is not None}
        return content | (self.training.to_dict() if self.training is not None else {})

    # --- parts ----------------------------------------------------------------------------------------
    @property
    def weights(self) -> dict[str, Tensor]:
        """The weights to predict with: the averaged ones where there are any."""
        average = self.training.ema if self.training is not None else None
        return average.average if average is not None else self.state_dict

    @property
    def resume_state(self) -> TrainingState:
        """What a resume needs.

        Raises
        ------
        UserError
            If the file does not hold it, as best.pt does not.
        """
        if self.training is None:
            raise UserError(f"{self.path}: holds weights alone; a run is resumed from its last.pt")
        return self.training

    def section(self, name: str) -> dict[str, Any]:
        """One section of the run's config, as plain values; empty where the file has none.

        Raises
        ------
        UserError
            If it is something else than a section; later, when a key is asked for that it does not have.
        """
        found = self.config.get(name)
        if found is not None and not isinstance(found, dict):
            raise UserError(f"{self.path}: the {name} section of its config is no mapping")
        return _Section(f"{self.path}: its config has no {name}", found or {})

    @property
    def trained_views(self) -> tuple[str, ...]:
        """Flips and quarter turns that training showed the net; of an earlier file by its config.

        Raises
        ------
        UserError
            If such a file's list of transforms is not understood.
        """
        if self.views is not None:
            return self.views
        from unet_train.data.augmentation.pipeline import build_augmentation, oriented
        from unet_train.data.augmentation.views import training_views  # albumentations takes a second

        section = self.section("augmentation")
        orientation = section.get("orientation", "any")
        try:
            transforms = oriented(section["transforms"], "any" if orientation == "auto" else orientation)
            return training_views(build_augmentation(transforms, check=False).transforms)[0]
        except (ArithmeticError, AttributeError, LookupError, TypeError, UserError, ValueError) as error:
            raise UserError(
                f"{self.path}: the augmentation of its config is not understood ({_short(error)}); say tta=all or "
                "tta=false"
            ) from error

    # --- models ---------------------------------------------------------------------------------------
    def to_model(self, custom: nn.Module | Callable[[int], nn.Module] | None = None) -> UNet:
        """Build the net and fill it, averaged weights first, in evaluation mode.

        Parameters
        ----------
        custom
            The encoder, or a function from the number of input channels to it, for a net with an encoder of
            the user's own: a file never builds that.

        Raises
        ------
        UserError
            For a description that cannot be built, weights that do not fit it, or a missing encoder (with the
            override that gives it).
        """
        name = self.path or "this checkpoint"
        try:
            if custom is None:
                _check_sizes(self.model, self.weights)
            model = build_model(self.model, custom)
            model.load_state_dict(self.weights)
            _check_values(model)
        except UserError as error:
            raise UserError(f"{name}: {error}") from error
        except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            raise UserError(
                f"{name}: its weights do not fit its own description ({_short(error)})"
            ) from error
        return model.eval()

    def to_predictor(
        self,
        *,
        device: str = "cpu",
        dtype: torch.dtype | None = None,
        tiling: Tiling = Tiling("auto"),  # noqa: B008 (frozen)
        tta: bool | str = False,
        custom: nn.Module | Callable[[int], nn.Module] | None = None,
    ) -> Predictor:
        """The net on a device, with everything it needs to turn an image into classes.

        Parameters
        ----------
        device, dtype, tiling
            As `Predictor` has them.
        tta : bool or "all"
            Whether to average over the views of training, or over all eight.
        custom
            As `to_model` takes it.

        Raises
        ------
        UserError
            As `to_model`.
        """
        try:
            self.data.check_outputs(self.model.in_channels, self.model.outputs)
        except (UserError, ValueError) as error:
            raise UserError(f"{self.path or 'this checkpoint'}: {error}") from error
        return Predictor(
            model=self.to_model(custom).to(device).requires_grad_(False),
            data=self.data,
            device=device,
            dtype=dtype,
            tiling=tiling,
            views=views_for(tta, self.trained_views if tta is True else ()),
            postprocessing=self.objects,
        )


class _Section(dict[str, Any]):
    """A section of a config that may lack any key, since a file may be anybody's."""

    def __init__(self, lacks: str, values: dict[str, Any]):
        super().__init__(values)
        self.lacks = lacks

    def __missing__(self, key: str) -> Any:
        raise UserError(f"{self.lacks}.{key}")


def _check_sizes(spec: ModelSpec, weights: dict[str, Tensor]) -> None:
    """Refuse a description of another net than that of the weights, before memory is given to it.

    Raises
    ------
    RuntimeError, ValueError
        What differs.
    """
    largest = max((length for value in weights.values() for length in value.shape), default=0)
    widths = [spec.in_channels, spec.input_skip, *(spec.decoder_channels or [])]
    too_wide = [width for width in widths if width > largest]
    if too_wide:
        raise ValueError(f"no tensor has {too_wide[0]} channels")
    try:
        with torch.device("meta"):
            planned = build_model(spec).state_dict()
    except UserError:
        raise
    except Exception:
        return  # a net of another library that cannot be built without memory; its size goes by its name
    for name, wanted in planned.items():
        given = weights.get(name)
        if given is None:
            raise ValueError(f"{name} is missing")
        if given.shape != wanted.shape:
            raise ValueError(f"{name} is {size_text(given)}, the description says {size_text(wanted)}")
        if given.dtype.is_floating_point != wanted.dtype.is_floating_point or given.dtype.is_complex:
            raise ValueError(f"{name} is {str(given.dtype).removeprefix('torch.')}")


def _check_values(model: nn.Module) -> None:
    """Refuse weights that make every prediction NaN, which would be told as class 0.

    Raises
    ------
    UserError
    """
    for name, value in model.state_dict().items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise UserError(f"{name} holds values that are not finite: these weights predict nothing")
        if name.endswith("running_var") and bool((value < 0).any()):
            raise UserError(f"{name} holds negative variances: these weights predict nothing")


def _mapping(content: dict[str, Any], name: str) -> dict[str, Any]:
    """A part of the file that is a dict; empty where it is missing or None."""
    found = content.get(name)
    if found is not None and not isinstance(found, dict):
        raise ValueError(f"{name} is no dict")
    return found or {}


def _check_config(value: Any, depth: int = 0) -> None:
    """Check that a config is what YAML could hold, and resolved.

    An interpolation ``${…}`` could make it hold what stands in the reader's environment; a run writes none.

    Raises
    ------
    ValueError
    """
    if depth > MOST_NESTED_CONFIG:
        raise ValueError(f"its config is nested more than {MOST_NESTED_CONFIG} deep")
    if isinstance(value, dict):
        _check_config([*value, *value.values()], depth)
    elif isinstance(value, list | tuple):
        for item in value:
            _check_config(item, depth + 1)
    elif isinstance(value, str):
        if "${" in value:
            raise ValueError("its config has an interpolation ${…}")
    elif value is not None and not isinstance(value, bool | int | float):
        raise ValueError(f"its config has a {type(value).__name__}")


def versions_here() -> dict[str, str]:
    """Library → version, of those that decide what a model computes."""
    return {
        "unet_train": __version__,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
    }


def _missing(content: Any) -> list[str]:
    """Keys that make a file a checkpoint of ours and that it lacks."""
    return [name for name in NEEDED if not isinstance(content, dict) or name not in content]


def _short(error: Exception) -> str:
    """What is wrong, in one line of bearable length."""
    return " ".join(str(error).split())[:200]
