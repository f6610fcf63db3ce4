"""What a plan goes by: figures of a data set and of the machine."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from unet_train.data.check import Report
from unet_train.data.object_target import share_of_contacts
from unet_train.data.records import Record, Source
from unet_train.data.splits import Split


@dataclass(frozen=True)
class DataFigures:
    """Figures of a data set.

    Attributes
    ----------
    images, groups : int
        In all parts.
    validation_images : int
        Held out for validation by the split as it is.
    height, width : int
        Medians, in pixels.
    channels : int
    dtypes : tuple of str
        uint8, or float32 for what has more bits.
    shares : mapping of str to float
        Share of each class of the known pixels, 0 to 1, by class id.
    has_background : bool
    objects : int
        0 where objects are not told apart.
    diameter : float
        Median, of a circle of the same area, in pixels; 0 without objects.
    contacts : float
        Share of the objects that touch another, 0 to 1.
    """

    images: int
    groups: int
    validation_images: int
    height: int
    width: int
    channels: int
    dtypes: tuple[str, ...]
    shares: Mapping[str, float] = field(default_factory=dict)
    has_background: bool = True
    objects: int = 0
    diameter: float = 0.0
    contacts: float = 0.0


@dataclass(frozen=True)
class MachineFigures:
    """What is computed on.

    Attributes
    ----------
    device : {"cpu", "cuda", "mps"}
    threads : int
        Of a CPU.
    precision : str
        Of the numbers, as `trainer.precision` names it.
    """

    device: str
    threads: int
    precision: str

    def __str__(self) -> str:
        threads = f"{self.threads} CPU thread{'s' if self.threads != 1 else ''}"
        return f"{threads if self.device == 'cpu' else self.device} in {self.precision}"


def look_at_data(source: Source, records: Sequence[Record], report: Report, split: Split) -> DataFigures:
    """The figures of a data set that was checked without a fault."""
    shapes = np.array(list(report.shapes.values()))
    pixels = report.facts["class_pixels"]
    total = sum(pixels.values()) or 1
    objects = report.facts["objects"] or {}
    return DataFigures(
        images=len(records),
        groups=len({record.group for record in records}),
        validation_images=len(split.val),
        height=int(np.median(shapes[:, 0])),
        width=int(np.median(shapes[:, 1])),
        channels=source.channels,
        dtypes=tuple(report.facts["dtype"]),
        shares={name: count / total for name, count in pixels.items()},
        has_background=source.has_background,
        objects=objects.get("count", 0),
        diameter=objects.get("diameter") or 0.0,
        contacts=share_of_contacts(source, split.train) if objects else 0.0,
    )


def threads_here() -> int:
    """CPU threads that a training uses."""
    import torch

    return min(torch.get_num_threads(), os.cpu_count() or 1)
