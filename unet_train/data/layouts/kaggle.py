"""The brain MRI set of Kaggle (kaggle_3m): a folder per patient, slices by the number in their name.

::

    root/TCGA_CS_4942_19970222/TCGA_CS_4942_19970222_1.tif        256×256×3: pre-contrast, FLAIR,
    post-contrast root/TCGA_CS_4942_19970222/TCGA_CS_4942_19970222_1_mask.tif   0 and 255
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unet_train.data.layouts import LAYOUTS, DatasetKeys, Layout
from unet_train.data.layouts.common import FilesSource, read_sized_labels
from unet_train.data.records import Record, Truth
from unet_train.errors import UserError
from unet_train.keys import key

_SLICE = re.compile(r"(.+)_(\d+)(_mask)?\.tiff?", re.IGNORECASE)
PAGE = "https://www.kaggle.com/datasets/mateuszbuda/lgg-mri-segmentation"


class KaggleSource(FilesSource):
    """Slices of patients with a binary mask each.

    Parameters
    ----------
    root : path
        Folder that holds a folder per patient (``kaggle_3m``).
    classes : sequence of str
        Two names: background and what the masks show.
    intensity_range, channels
        As in `read_image`.
    name : str
        Name of the data set, for messages.

    Raises
    ------
    UserError
        No such folder, no patient with pairs in it.
    """

    one_size_per_group = True
    orientation = "upright"
    volumes = True
    """The slices of a group lie on each other: a patient is scored as one volume too."""

    def __init__(
        self,
        root: str | Path,
        *,
        classes: Sequence[str] = ("background", "lesion"),
        intensity_range: tuple[float, float] | None = None,
        channels: int | None = None,
        name: str = "brain_mri",
    ) -> None:
        if len(classes) != 2:
            raise UserError(f"dataset.classes: {len(classes)} names; masks of 0 and 255 have two classes")
        super().__init__(
            root,
            f"get the set from {PAGE} and set dataset.root to its kaggle_3m folder",
            name=name,
            intensity_range=intensity_range,
            channels=channels,
        )
        self._classes = tuple(classes)
        self._records = self._list()

    def reading_key(self) -> str | None:
        """The keys of reading."""
        return repr((self._range, self._declared_channels))

    def read_truth(self, record: Record, *, scoring: bool = False) -> Truth:
        """Class map of one slice: 1 where the mask is 255 (or 1).

        Raises
        ------
        UserError
            Another size than the image, or values other than 0 and 255 (or 0 and 1).
        """
        path = record.labels["mask"]
        labels = read_sized_labels(path, record.image, self._declared_channels)
        values = (
            np.unique(labels) if labels.dtype == np.int32 else np.flatnonzero(np.bincount(labels.ravel()))
        )
        if not (set(values.tolist()) <= {0, 255} or set(values.tolist()) <= {0, 1}):
            text = ", ".join(str(value) for value in values[:8])
            raise UserError(f"{path}: mask values {text} where 0 and 255 are expected")
        return Truth(classes=(labels > 0).astype(np.uint8))

    def _list(self) -> list[Record]:
        records: list[Record] = []
        for folder in sorted(self._root.iterdir()):
            if folder.is_dir() and not folder.name.startswith("."):
                records += self._list_patient(folder)
        if not records:
            raise UserError(
                f"dataset.root: {self._root} holds no folder of slices such as "
                "TCGA_CS_4942_19970222/TCGA_CS_4942_19970222_1.tif with …_1_mask.tif beside it"
            )
        return records

    def _list_patient(self, folder: Path) -> list[Record]:
        images: dict[int, Path] = {}
        masks: dict[int, Path] = {}
        for path in sorted(folder.iterdir()):
            match = _SLICE.fullmatch(path.name)
            if match is None or path.name.startswith("."):
                continue
            found = masks if match[3] else images
            number = int(match[2])
            if number in found:
                self._problems.append((str(path), f"has the same number as {found[number].name}"))
            else:
                found[number] = path
        for number in sorted(set(images) - set(masks)):
            self._problems.append((str(images[number]), "has no mask"))
        for number in sorted(set(masks) - set(images)):
            self._problems.append((str(masks[number]), "is a mask without a slice"))
        return [
            Record(
                key=f"{folder.name}/{number}",
                image=str(images[number]),
                labels={"mask": str(masks[number])},
                group=folder.name,
                order=number,
            )
            for number in sorted(set(images) & set(masks))
        ]


@dataclass
class KaggleKeys(DatasetKeys):
    """kaggle_3m: one folder per patient with slices and masks."""

    classes: list[str] = key("class names by id, background first")


LAYOUTS.register(
    "kaggle",
    Layout(
        KaggleKeys, KaggleSource, how_to_get="set dataset.root=FOLDER; how to get it: unet-data fetch {name}"
    ),
)
