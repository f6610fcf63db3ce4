"""The drawn data set: nothing on disk, every image a function of the seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unet_train.data.layouts import LAYOUTS, DatasetKeys, Layout
from unet_train.data.records import Record, Source, Truth
from unet_train.errors import UserError
from unet_train.keys import key


class DemoSource(Source):
    """Cell-like images drawn when they are read (about 15 ms for 256²), with exact instance masks.

    Parameters
    ----------
    images : int
        Number of images of group ``01``, to train and validate on.
    test_images : int
        Number of images of group ``02``, part ``test``.
    size : int or pair of int
        Height and width in pixels, at least 32.
    seed : int
        Of the drawing; other seeds give other pictures of the same kind.
    classes : sequence of str
        Names of background and cell.

    Raises
    ------
    UserError
        Numbers that make no data set.
    """

    orientation = "any"

    def __init__(
        self,
        images: int = 24,
        test_images: int = 8,
        size: int | Sequence[int] = 256,
        seed: int = 0,
        classes: Sequence[str] = ("background", "cell"),
        name: str = "demo",
    ):
        height, width = (size, size) if isinstance(size, int) else size
        if min(height, width) < 32:
            raise ValueError(f"size={size}: demo images are at least 32 pixels high and wide")
        if images < 1 or test_images < 0 or seed < 0:
            raise ValueError(
                f"images={images}, test_images={test_images}, seed={seed}: "
                "at least one image is needed, and nothing negative"
            )
        if len(classes) != 2:
            raise UserError(f"dataset.classes={list(classes)}: the demo has two, background and cell")
        self.name = name
        self.size = (int(height), int(width))
        self.seed = seed
        self._counts = {"01": images, "02": test_images}
        self._classes = tuple(classes)

    @property
    def classes(self) -> tuple[str, ...]:
        """Background and cell."""
        return self._classes

    @property
    def channels(self) -> int:
        """Grey: 1."""
        return 1

    def records(self) -> list[Record]:
        """``01/000`` … for training, ``02/000`` … as the test part."""
        return [
            Record(
                key=f"{group}/{order:03d}",
                image=f"<{self.name} {group}/{order:03d}>",
                group=group,
                order=order,
                part="test" if group == "02" else None,
            )
            for group, count in self._counts.items()
            for order in range(count)
        ]

    def _draw(self, record: Record) -> tuple[np.ndarray, np.ndarray]:
        # Here, because the drawing imports scipy, which the check of a config can do without.
        from unet_train.demo.drawing import draw_demo_image

        # Even indices train, odd ones test: more images of one group never change those of the other.
        index = 2 * record.order + (record.group == "02")
        return draw_demo_image(self.seed, index, self.size)

    def read_image(self, record: Record) -> np.ndarray:
        """H×W×1 uint8."""
        return self._draw(record)[0][..., None]

    def read_truth(self, record: Record, *, scoring: bool = False) -> Truth:
        """Exact classes and instances; every cell is its own marker."""
        instances = self._draw(record)[1]
        return Truth((instances > 0).astype(np.uint8), instances, instances.copy())


@dataclass
class DemoKeys(DatasetKeys):
    """Drawn cell-like images; needs no file."""

    images: int = key("training images drawn", at_least=2)
    test_images: int = key("test images drawn", at_least=1)
    size: int = key("height and width in pixels", at_least=32)
    data_seed: int = key("another seed draws other images", at_least=0)


def _drawn(images: int, test_images: int, size: int, data_seed: int) -> DemoSource:
    return DemoSource(images, test_images, size, data_seed)


LAYOUTS.register("demo", Layout(DemoKeys, _drawn, folder="none"))
