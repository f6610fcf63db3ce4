"""Random training samples: functions of (seed, epoch, index) and of nothing else.

So the number of workers, how they are started, the number of processes and a resume cannot change the data.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from torch.utils.data import Dataset, get_worker_info

from unet_train.data.augmentation.pasting import ANY_ANGLE, paste_beside, take_copy
from unet_train.data.augmentation.pipeline import Augmentation
from unet_train.data.loading.normaliser import Normaliser
from unet_train.data.records import IGNORE, Record, Source
from unet_train.data.targets import Target
from unet_train.data.targets.classes import ClassesTarget
from unet_train.errors import UserError
from unet_train.preprocessing.intensity import Statistics
from unet_train.preprocessing.preprocessing import Preprocessing

WeightMap = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Instances (H×W int32) and target (H×W uint8), both at the working resolution → weights (H×W float32)."""

CACHE_BYTES = 512 * 2**20


@dataclass(frozen=True)
class Sample:
    """One crop.

    Attributes
    ----------
    image : ndarray
        H×W×C, uint8 or float32 in [0, 1].
    target : ndarray
        H×W uint8, `IGNORE` where nothing is known.
    weight : ndarray or None
        H×W float32.
    key : str
        Of the record.
    mean, std : ndarray or None
        C float32, what the model standardises this image with; None under ``fixed``.
    """

    image: np.ndarray
    target: np.ndarray
    weight: np.ndarray | None
    key: str
    mean: np.ndarray | None
    std: np.ndarray | None


class ClassPixels:
    """Finds random pixels of the classes of a target; what was counted once is kept, some bytes for a row and class.

    Parameters
    ----------
    target : ndarray
        H×W uint8; `IGNORE` is no class.
    """

    def __init__(self, target: np.ndarray) -> None:
        self._target = target
        self._above: dict[int, np.ndarray] = {}

    @cached_property
    def present(self) -> list[int]:
        """Ids of the classes that the target shows, ascending."""
        return np.flatnonzero(np.bincount(self._target.ravel(), minlength=256)[:IGNORE]).tolist()

    def place(self, index: int, rng: np.random.Generator) -> tuple[int, int]:
        """Row and column of a random pixel of a class that the target shows, drawn evenly."""
        if index not in self._above:
            # How many pixels of the class stand in each row and above it.
            self._above[index] = np.cumsum((self._target == index).sum(axis=1))
        above = self._above[index]
        number = int(rng.integers(above[-1]))
        row = int(np.searchsorted(above, number, side="right"))
        before = int(above[row - 1]) if row else 0
        return row, int(np.flatnonzero(self._target[row] == index)[number - before])


class _Read(NamedTuple):
    """One record at the working resolution."""

    image: np.ndarray
    target: np.ndarray
    weight: np.ndarray | None
    statistics: Statistics | None
    truth: tuple[np.ndarray, np.ndarray] | None
    """Classes and instances, where objects are to be pasted."""
    pixels: ClassPixels
    """Where the target shows which class."""

    @property
    def maps(self) -> dict[str, np.ndarray]:
        """What is cut and moved with the image, by name."""
        maps = {"target": self.target}
        if self.weight is not None:
            maps["weight"] = self.weight
        if self.truth is not None:
            maps["classes"], maps["instances"] = self.truth
        return maps

    @property
    def nbytes(self) -> int:
        arrays = (self.image, self.target, self.weight, *(self.truth or ()))
        return sum(a.nbytes for a in arrays if a is not None)


@dataclass(frozen=True)
class Sampling:
    """Which samples are drawn.

    Attributes
    ----------
    samples_per_epoch : int
        Images are walked through in a new random order each time round, across epochs, so that all are
        used equally often.
    seed : int
    crop_size : int, pair of int or None
        Height and width of the samples at the working resolution; None: whole images (then only images of
        one size fit in a batch). Where an image is smaller, it is reflected, its target padded with `IGNORE`.
    foreground_share : float
        Share of the crops centred on a random pixel of a class, drawn evenly from those in the image (the
        background, where there is one, aside); the others lie anywhere. An image without such a class is
        cropped anywhere.
    balance : bool
        Draw the class of a centred crop evenly from all classes of the training part, and the crop from an
        image that has it: an image without hands its turn over. Reads all labels at the start, unless the set
        is told the `class_pixels`.
    touching_share : float
        Share of the samples in which a copy of one of the image's objects is pasted to touch another
        (`pasting`); target and weights are made anew there. Needs instances.
    paste_angles : (float, float)
        Range of the angle, in degrees, that such a copy is rotated by.
    margin : int or None
        Pixels cut around the crop and cut off again after the augmentation, so that rotation and zooming
        fetch the real surroundings; None: an eighth of the crop if the augmentation warps, else 0.

    Raises
    ------
    ValueError
        For values out of range.
    """

    samples_per_epoch: int
    seed: int
    crop_size: int | tuple[int, int] | None = 256
    foreground_share: float = 0.5
    balance: bool = False
    touching_share: float = 0.0
    paste_angles: tuple[float, float] = ANY_ANGLE
    margin: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.foreground_share <= 1:
            raise ValueError(f"foreground_share={self.foreground_share} must lie between 0 and 1")
        if not 0 <= self.touching_share <= 1:
            raise ValueError(f"touching_share={self.touching_share} must lie between 0 and 1")
        if self.samples_per_epoch < 1:
            raise ValueError(f"samples_per_epoch={self.samples_per_epoch} must be at least 1")
        if self.shape is not None and min(self.shape) < 1:
            raise ValueError(f"crop_size={self.crop_size} must be positive")

    @property
    def shape(self) -> tuple[int, int] | None:
        """Height and width of the crops; None: whole images."""
        return (self.crop_size, self.crop_size) if isinstance(self.crop_size, int) else self.crop_size


class TrainingSet(Dataset[Sample]):
    """Random crops of the training records, indexed by (epoch, index).

    Parameters
    ----------
    source : Source
    records : sequence of Record
        The training part; records without a label are refused.
    target : Target
    sampling : Sampling
    preprocessing : Preprocessing
        Its mean and std, which a sample carries (see `Normaliser`), belong to the whole native image, as they
        do in evaluation; so the model sees what the augmentation does to intensities. Under ``brain`` images
        and labels are cut to the brain and brought to 256² first.
    augmentation : Augmentation
    weights : callable or None
        Makes a weight map, once per image; it moves with the image. Where the data have no instances it
        is given None.
    class_pixels : mapping of str to sequence of int, optional
        Key of a record → pixels of each class in its labels, as the data check counted them; labels of
        records that are not in it are read where they are asked for (`Sampling.balance`, `class_pixels`).
    cache_bytes : int
        Decoded images, targets and weights are kept up to this (in each worker process).

    Raises
    ------
    UserError
        No records, or records without labels.
    """

    def __init__(
        self,
        source: Source,
        records: Sequence[Record],
        *,
        target: Target,
        sampling: Sampling,
        preprocessing: Preprocessing = Preprocessing(),  # noqa: B008 (frozen)
        augmentation: Augmentation | None = None,
        weights: WeightMap | None = None,
        class_pixels: Mapping[str, Sequence[int]] | None = None,
        cache_bytes: int = CACHE_BYTES,
    ):
        if not records:
            raise UserError("the split leaves no record to train on; see split.val_fraction and split.file")
        for record in records:
            if not record.trainable:
                raise UserError(
                    f"{record.key} has no label to train on; leave it out of the split's train part"
                )
        self.source = source
        self.records = list(records)
        self.target = target
        self.sampling = sampling
        self.crop_size = sampling.shape
        self.preprocessing = preprocessing
        self.normaliser = Normaliser(source, preprocessing.normalisation)
        self.augmentation = augmentation or Augmentation([])
        self.weights = weights
        self.margin = sampling.margin or 0
        if sampling.margin is None and self.crop_size is not None and self.augmentation.warps:
            self.margin = min(self.crop_size) // 8
        self.cache_bytes = cache_bytes
        self._cache: OrderedDict[str, _Read] = OrderedDict()
        self._cached = 0
        self._order: tuple[int, np.ndarray] | None = None
        self.being_read: Any = None
        """In memory shared with the workers: the process of each and the record it reads, −1 between samples."""
        self._first = 1 if source.has_background else 0
        self._with_class: dict[int, np.ndarray] = {}
        self._class_pixels = dict(class_pixels or {})
        if sampling.balance:
            self._with_class = self._images_by_class()

    def __len__(self) -> int:
        """Samples per epoch."""
        return self.sampling.samples_per_epoch

    def __getstate__(self) -> dict[str, Any]:
        # A spawned worker gets no cache: it would be copied through a pipe.
        return self.__dict__ | {"_cache": OrderedDict(), "_cached": 0, "_order": None}

    def record_number(self, epoch: int, index: int) -> int:
        """Which record a sample is cut from (before `balance`): the walk through the permutations."""
        walk, step = divmod(epoch * self.sampling.samples_per_epoch + index, len(self.records))
        if self._order is None or self._order[0] != walk:
            self._order = (
                walk,
                np.random.default_rng([self.sampling.seed, walk, 7919]).permutation(len(self.records)),
            )
        return int(self._order[1][step])

    def __getitem__(self, place: tuple[int, int]) -> Sample:
        """The sample of (epoch, index).

        Raises
        ------
        UserError
            A file that cannot be read, naming it.
        """
        worker = get_worker_info()
        if worker is None or self.being_read is None:
            return self._sample(*place)
        self.being_read[2 * worker.id] = os.getpid()
        sample = self._sample(*place, note=2 * worker.id + 1)
        self.being_read[2 * worker.id + 1] = -1
        return sample

    def _sample(self, epoch: int, index: int, note: int | None = None) -> Sample:
        """The sample of (epoch, index); `note` is the place in `being_read` for the record's number."""
        rng = np.random.default_rng([self.sampling.seed, epoch, index])
        number = self.record_number(epoch, index)
        centred = rng.random() < self.sampling.foreground_share
        turn = rng.random()
        wanted: int | None = None
        if centred and self._with_class:
            classes = list(self._with_class)
            if len(classes) > 1:
                wanted = classes[int(rng.integers(len(classes)))]
            having = self._with_class[classes[0] if wanted is None else wanted]
            found = int(np.searchsorted(having, number))  # ascending: no walk through all numbers
            if found == len(having) or having[found] != number:
                number = int(having[int(turn * len(having))])
        record = self.records[number]
        if note is not None:
            self.being_read[note] = number
        read = self._read(record)
        draw = [self.sampling.seed, epoch, index, 1]
        if self.crop_size is None:
            image, masks = self._with_touching(
                read, read.image, read.maps, [self.sampling.seed, epoch, index, 2]
            )
            image, masks = self.augmentation(image, masks, draw)
        else:
            image, masks = self._crop(read, rng, draw, [self.sampling.seed, epoch, index, 2], centred, wanted)
        statistics = read.statistics
        return Sample(
            image=np.ascontiguousarray(image),
            target=np.ascontiguousarray(masks["target"]),
            weight=np.ascontiguousarray(masks["weight"]) if "weight" in masks else None,
            key=record.key,
            mean=None if statistics is None else np.array(statistics.mean, np.float32),
            std=None if statistics is None else np.array(statistics.std, np.float32),
        )

    def _crop(
        self,
        read: _Read,
        rng: np.random.Generator,
        draw: list[int],
        paste_draw: list[int],
        centred: bool,
        wanted: int | None,
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        assert self.crop_size is not None
        masks = read.maps
        height, width = self.crop_size
        classes = self._classes(read.pixels, wanted) if centred else []
        top, left = _place(rng, read.target.shape, self.crop_size, classes, read.pixels)
        # Transforms that turn by 90 degrees need a square; what is too much is cut off after them.
        rows, columns = height, width
        if self.augmentation.turns:
            rows = columns = max(height, width)
        if self.augmentation.transforms:
            rows, columns = rows + 2 * self.margin, columns + 2 * self.margin
        above, before = (rows - height) // 2, (columns - width) // 2
        window = (top - above, left - before, rows, columns)
        cut = {
            name: _cut(mask, *window, fill=IGNORE if name in ("target", "classes") else 0)
            for name, mask in masks.items()
        }
        image, cut = self._with_touching(read, _cut(read.image, *window, fill=None), cut, paste_draw)
        image, cut = self.augmentation(image, cut, draw)
        inner = (slice(above, above + height), slice(before, before + width))
        return image[inner], {name: mask[inner] for name, mask in cut.items()}

    def _classes(self, pixels: ClassPixels, wanted: int | None) -> Sequence[int]:
        """Classes a crop may be centred on: the wanted one where the target has it, else all but the background."""
        if wanted is not None and wanted in pixels.present:
            return [wanted]
        return [index for index in pixels.present if index >= self._first]

    def _images_by_class(self) -> dict[int, np.ndarray]:
        """Class id → numbers of the records whose labels show it; without the background."""
        found: dict[int, list[int]] = {}
        for number, record in enumerate(self.records):
            pixels: Any = self._class_pixels.get(record.key)
            if pixels is None:
                pixels = np.bincount(self.source.read_truth(record).classes.ravel())[:IGNORE]
            for index in np.flatnonzero(pixels).tolist():
                if index >= self._first:
                    found.setdefault(index, []).append(number)
        return {index: np.array(found[index], np.intp) for index in sorted(found)}

    def class_pixels(self, outputs: int) -> np.ndarray:
        """Pixels of each class of the target in each training image.

        Where the target is the data set's classes and the whole image is seen, they are what the check counted, at
        native size, and no file is read. Else every image is read once, as the first epoch would, and they are
        at the working resolution.

        Parameters
        ----------
        outputs : int
            Classes K of the target.

        Returns
        -------
        ndarray
            R×K int64, a row per record; unknown pixels count nowhere.
        """
        counted = isinstance(self.target, ClassesTarget) and self.preprocessing.normalisation != "brain"
        if counted and all(record.key in self._class_pixels for record in self.records):
            return np.array([self._class_pixels[record.key][:outputs] for record in self.records], np.int64)
        return np.stack(
            [np.bincount(self._read(r).target.ravel(), minlength=256)[:outputs] for r in self.records]
        ).astype(np.int64)

    def faulty(self, keys: Sequence[str]) -> str:
        """What is wrong with the image of one of these records, read again: unreadable, not finite, or all one value.

        Returns
        -------
        str
            In a few words, with the file; empty if nothing is.
        """
        by_key = {record.key: record for record in self.records}
        for key in keys:
            record = by_key[key]
            try:
                image = self.source.read_image(record)
            except UserError as error:
                return str(error)
            if not np.isfinite(image).all():
                return f"{record.image} holds pixels that are not finite"
            if image.size and (image == image.flat[0]).all():
                return f"all pixels of {record.image} have the value {image.flat[0]:g}"
        return ""

    def _with_touching(
        self, read: _Read, image: np.ndarray, maps: dict[str, np.ndarray], draw: list[int]
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """The window with an object pasted beside another, in its share of the cases; target and weight alone."""
        if read.truth is None:
            return image, maps
        classes, instances = maps.pop("classes"), maps.pop("instances")
        rng = np.random.default_rng(draw)
        if rng.random() >= self.sampling.touching_share:
            return image, maps
        patch = take_copy(read.image, *read.truth, rng, self.sampling.paste_angles)
        if patch is None:
            return image, maps
        image, classes, instances = paste_beside(image, classes, instances, patch, rng)
        target, weight = self._target(classes, instances)
        return image, {"target": target} | ({} if weight is None else {"weight": weight})

    def _target(
        self, classes: np.ndarray, instances: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        target = self.target.make(classes, instances, self.preprocessing.scale)
        if self.weights is None:
            return target, None
        return target, self.weights(instances, target).astype(np.float32, copy=False)  # type: ignore[arg-type]

    def _read(self, record: Record) -> _Read:
        if record.key in self._cache:
            self._cache.move_to_end(record.key)
            return self._cache[record.key]
        native = self.source.read_image(record)
        truth = self.source.read_truth(record)
        if truth.classes.shape != native.shape[:2]:
            raise UserError(
                f"{record.key}: the image {record.image} is {native.shape[:2]}, "
                f"its label {truth.classes.shape}"
            )
        statistics = self.normaliser.statistics(record, native)
        image = self.preprocessing.apply(native, statistics).image
        classes = self.preprocessing.apply_labels(truth.classes, statistics)
        instances = truth.instances
        if instances is not None:
            instances = self.preprocessing.apply_labels(instances, statistics)
        elif self.sampling.touching_share > 0:
            raise UserError(
                f"augmentation.touching_share={self.sampling.touching_share}: {record.key} has no instances to paste; "
                "set it to 0, or say dataset.instances=true if its mask holds one number per object"
            )
        target, weight = self._target(classes, instances)
        pasted_from = (
            (classes, instances) if self.sampling.touching_share > 0 and instances is not None else None
        )
        read = _Read(image, target, weight, statistics, pasted_from, ClassPixels(target))
        if read.nbytes <= self.cache_bytes:
            self._cache[record.key] = read
            self._cached += read.nbytes
            while self._cached > self.cache_bytes:
                self._cached -= self._cache.popitem(last=False)[1].nbytes
        return read


def _place(
    rng: np.random.Generator,
    shape: tuple[int, ...],
    crop: tuple[int, int],
    classes: Sequence[int],
    pixels: ClassPixels,
) -> tuple[int, int]:
    """Top and left of a crop inside the picture; where it is larger, the picture lies in its middle.

    Centred on a pixel of one of `classes`, drawn evenly; anywhere if there are none.
    """
    middle: tuple[float, float] | None = None
    uniform = rng.random(2)
    if len(classes):
        middle = pixels.place(classes[int(rng.integers(len(classes)))], rng)
    corner = []
    for axis in (0, 1):
        room = shape[axis] - crop[axis]
        if room <= 0:
            corner.append(-((-room) // 2))
        elif middle is None:
            corner.append(int(uniform[axis] * (room + 1)))
        else:
            corner.append(int(np.clip(middle[axis] - crop[axis] // 2, 0, room)))
    return corner[0], corner[1]


def _cut(array: np.ndarray, top: int, left: int, height: int, width: int, fill: int | None) -> np.ndarray:
    """A window of a picture; beyond the edge `fill`, or the picture reflected if that is None."""
    bottom, right = top + height, left + width
    part = array[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    padding = [
        (max(-top, 0), max(bottom - array.shape[0], 0)),
        (max(-left, 0), max(right - array.shape[1], 0)),
    ]
    if not any(map(sum, padding)):
        return part
    if fill is not None:
        return np.pad(part, padding, constant_values=fill)
    # Reflect the whole picture, not the part: the part may be narrower than what is missing.
    rows, columns = (
        _reflected(start, count, length)
        for start, count, length in ((top, height, array.shape[0]), (left, width, array.shape[1]))
    )
    return array[rows[:, None], columns]


def _reflected(start: int, count: int, length: int) -> np.ndarray:
    """Indices start … start+count-1, folded into 0 … length-1 by reflection that repeats no edge."""
    if length == 1:
        return np.zeros(count, np.intp)
    folded = np.arange(start, start + count) % (2 * length - 2)
    return np.where(folded < length, folded, 2 * length - 2 - folded)
