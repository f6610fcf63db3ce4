"""What a model must know of the data it was trained on."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from unet_train.preprocessing.preprocessing import Preprocessing


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
        """The description a checkpoint holds."""
        values = dict(values)
        values["classes"] = tuple(values["classes"])
        if values.get("intensity_range") is not None:
            low, high = values["intensity_range"]
            values["intensity_range"] = (float(low), float(high))
        if values.get("mask_values") is not None:
            values["mask_values"] = {int(v): int(index) for v, index in values["mask_values"].items()}
        if values.get("palette") is not None:
            values["palette"] = tuple((int(r), int(g), int(b)) for r, g, b in values["palette"])
        return cls(**values)
