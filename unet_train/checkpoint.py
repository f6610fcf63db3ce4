"""A checkpoint with named, typed parts: the one way from a file to a model, and from a run to a file."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unet_train.data.description import DataDescription
from unet_train.data.splits import SplitKeys
from unet_train.errors import UserError
from unet_train.inference.objects import PostprocessingParameters
from unet_train.inference.predictor import Predictor, Tiling
from unet_train.models.files import read_checkpoint, write_checkpoint
from unet_train.models.spec import ModelSpec, build_model
from unet_train.models.unet import UNet

FORMAT = 1
"""Number of the checkpoint format; raised when an older reader could misread a newer file."""

NEEDED = ("format", "model", "data", "state_dict")
"""Keys that every checkpoint of ours has had; a file of an earlier version may lack any other."""

TRAINING_KEYS = {"ema", "optimizer", "schedule", "scaler", "rng", "state"}
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


@dataclass(frozen=True)
class RandomStates:
    """States of the generators a run may draw from; `unet_train.training.random_states` takes and restores them.

    Attributes
    ----------
    torch : Tensor
        As `torch.get_rng_state` returns it.
    numpy, python : list
        The values of `numpy.random.get_state` and `random.getstate`, as plain ones.
    cuda : list of Tensor or None
        One for each device; None where there was none.
    """

    torch: Tensor
    numpy: list[Any]
    python: list[Any]
    cuda: list[Tensor] | None = None


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


@dataclass
class Position:
    """Where a run stands; plain numbers, and the sums of the epoch under way.

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
    sums : EpochSums
    stopped_early : bool
        Whether early stopping ended the run.
    """

    epoch: int = 0
    batches: int = 0
    update: int = 0
    best: float = -math.inf
    best_epoch: int = 0
    stale: int = 0
    sums: EpochSums = field(default_factory=EpochSums)
    stopped_early: bool = False


@dataclass(frozen=True)
class TrainingState:
    """What a resume needs besides the weights; in last.pt alone.

    Attributes
    ----------
    rng : RandomStates
    position : Position
        Where the run stands.
    optimizer, schedule, scaler : dict
        What their `state_dict` returned.
    ema : AverageState or None
        None for a run without averaged weights.
    """

    rng: RandomStates
    position: Position
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
            "rng": _given(self.rng),
            "state": {**vars(self.position), "sums": _given(self.position.sums)},
        }

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> TrainingState | None:
        """The inverse of `to_dict`; None where a file holds no training state."""
        if not content.keys() & TRAINING_KEYS:
            return None
        ema, position = content["ema"], dict(content["state"])
        return cls(
            rng=RandomStates(**content["rng"]),
            position=Position(**{**position, "sums": EpochSums(**position.get("sums", {}))}),
            optimizer=content["optimizer"],
            schedule=content["schedule"],
            scaler=content["scaler"],
            ema=AverageState(int(ema["updates"]), ema["average"]) if ema is not None else None,
        )


def _given(part: RandomStates | EpochSums) -> dict[str, Any]:
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
            if content["format"] > FORMAT:
                raise UserError(
                    f"written by a newer unet-train (format {content['format']}); update unet-train"
                )
            rule = content.get("objects")
            return cls(
                model=ModelSpec.from_dict(content["model"]),
                data=DataDescription.from_dict(content["data"]),
                state_dict=content["state_dict"],
                config=content.get("config") or {},
                split=SplitKeys.from_json(content.get("split") or {}),
                image_hashes=content.get("image_hashes") or {},
                truth_hashes=content.get("truth_hashes") or {},
                versions=content.get("versions") or {},
                epoch=content.get("epoch"),
                step=content.get("step"),
                metrics=content.get("metrics"),
                objects=PostprocessingParameters(**rule) if rule else None,
                training=TrainingState.from_dict(content),
                format=content["format"],
                path=path,
            )
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path}: its descriptions are not understood ({_short(error)})") from error

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
        """One section of the run's config, as plain values; empty where the file has none."""
        return self.config.get(name) or {}

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
            model = build_model(self.model, custom)
            model.load_state_dict(self.weights)
        except UserError as error:
            raise UserError(f"{name}: {error}") from error
        except (RuntimeError, KeyError, TypeError) as error:
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
        tta: bool = False,
        custom: nn.Module | Callable[[int], nn.Module] | None = None,
    ) -> Predictor:
        """The net on a device, with everything it needs to turn an image into classes.

        Parameters
        ----------
        device, dtype, tiling, tta
            As `Predictor` has them.
        custom
            As `to_model` takes it.

        Raises
        ------
        UserError
            As `to_model`.
        """
        return Predictor(
            model=self.to_model(custom).to(device).requires_grad_(False),
            data=self.data,
            device=device,
            dtype=dtype,
            tiling=tiling,
            tta=tta,
            postprocessing=self.objects,
        )


def _missing(content: Any) -> list[str]:
    """Keys that make a file a checkpoint of ours and that it lacks."""
    return [name for name in NEEDED if not isinstance(content, dict) or name not in content]


def _short(error: Exception) -> str:
    """What is wrong, in one line of bearable length."""
    return " ".join(str(error).split())[:200]
