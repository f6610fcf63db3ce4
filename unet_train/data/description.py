"""What a model must know of the data it was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from unet_train.data.layouts import DatasetKeys
from unet_train.data.targets import get_target
from unet_train.errors import UserError
from unet_train.keys import schema_fields, wrong_value
from unet_train.preprocessing.preprocessing import Preprocessing

FLOAT32 = 3.4e38
"""Numbers beyond have no place in an image."""

LONGEST_NAME = 200
"""Of a data set or a class, in characters; they stand in tables, pictures and folder names."""


@dataclass(frozen=True)
class DataDescription:
    """A data set as its models know it; plain types, stored in the checkpoint.

    Attributes
    ----------
    name : str
        Name of the data set.
    classes : tuple of str
        The data set's own classes.
    channels : int
        Channels of its images.
    target, target_params
        What the net learnt, see `unet_train.data.targets`.
    scale : float
        Working over native resolution.
    normalisation : str
        fixed, image, volume or brain, see `unet_train.preprocessing.intensity`.
    intensity_range : tuple of float or None
        File values that were mapped to 0 and 1.
    margin : int
        Border outside the field of interest, pixels.
    has_instances : bool
        Whether the data set tells objects apart.
    has_background : bool
        Whether class 0 is the background, as in all checkpoints that do not say it.
    palette : tuple of (red, green, blue), or None
        The data set's own colours of its classes, 0 to 255. For pictures alone.
    mask_values : dict of int to int, or None
        Pixel value in the masks → class id, where the masks were read by such a table.
    """

    name: str
    classes: tuple[str, ...]
    channels: int
    target: str = "classes"
    target_params: dict[str, Any] = field(default_factory=dict)
    scale: float = 1.0
    normalisation: str = "image"
    intensity_range: tuple[float, float] | None = None
    margin: int = 0
    has_instances: bool = False
    has_background: bool = True
    palette: tuple[tuple[int, int, int], ...] | None = None
    mask_values: dict[int, int] | None = None

    @property
    def preprocessing(self) -> Preprocessing:
        """The way of an image to the network and back."""
        return Preprocessing(self.normalisation, self.scale)

    def to_dict(self) -> dict[str, Any]:
        """Plain types for the checkpoint."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> DataDescription:
        """The description a checkpoint holds.

        Raises
        ------
        UserError
            For values that no data set has.
        """
        values = dict(values)
        values["classes"] = tuple(values["classes"])
        if values.get("intensity_range") is not None:
            low, high = values["intensity_range"]
            values["intensity_range"] = (float(low), float(high))
        if values.get("mask_values") is not None:
            values["mask_values"] = {int(v): int(index) for v, index in values["mask_values"].items()}
        if values.get("palette") is not None:
            values["palette"] = tuple((int(r), int(g), int(b)) for r, g, b in values["palette"])
        found = cls(**values)
        found._check_ranges()
        return found

    def _check_ranges(self) -> None:
        keys = schema_fields(DatasetKeys)
        for name in ("scale", "normalisation"):
            message = wrong_value(f"dataset.{name}", getattr(self, name), keys[name][1])
            if message:
                raise UserError(message)
        for name in (self.name, *self.classes):
            if not (isinstance(name, str) and name.isprintable() and len(name) <= LONGEST_NAME):
                raise UserError(f"{str(name)[:20]!r} is no name of a data set or a class")
        if self.normalisation == "auto" or self.margin < 0 or self.channels < 1:
            raise UserError("its description of the data has no meaning (normalisation, margin or channels)")
        low, high = self.intensity_range or (0.0, 1.0)
        if not -FLOAT32 < low < high < FLOAT32:
            raise UserError(f"dataset.intensity_range={[low, high]}: two finite numbers, the smaller first")

    def check_outputs(self, in_channels: int, outputs: Sequence[str]) -> None:
        """Check that a net with so many channels and these outputs goes with these data.

        Raises
        ------
        UserError
        """
        if in_channels != self.channels:
            raise UserError(f"its net takes {in_channels} channels, its data have {self.channels}")
        wanted = get_target(self.target, **self.target_params).outputs(self.classes)
        if len(wanted) != len(outputs):
            raise UserError(
                f"its net has {len(outputs)} outputs, dataset.target={self.target} of these data {len(wanted)}"
            )
