"""What an exported file is tried on: whole images of the run's own data, and odd sizes in a batch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np

from unet_train.checkpoint import Checkpoint
from unet_train.config.checks import check_dataset
from unet_train.config.schema import TrainConfig
from unet_train.config.typed import typed
from unet_train.data.description import DataDescription
from unet_train.data.io.images import scale_pixels
from unet_train.data.loading.normaliser import Normaliser
from unet_train.demo.drawing import draw_demo_image
from unet_train.errors import UserError
from unet_train.inference.graph import GREATEST, PredictionGraph
from unet_train.inference.predictor import Predictor
from unet_train.inference.tiled import Tiling
from unet_train.preprocessing.intensity import Statistics, rescale
from unet_train.runs.factory import build_source
from unet_train.symmetries import IDENTITY

WHOLE_IMAGES = 2
LARGEST_SIDE = 1024
"""Larger images are cut to their middle."""

ODD_SIZE = (37, 53)
"""Height and width of the crops, more where the graph of torch.export wants more (`smallest_side`)."""


@dataclass
class OwnImages:
    """Images to try a model on.

    Attributes
    ----------
    names : list of str
    pictures : list of ndarray
        H×W×C, as the data set reads them: uint8 or float32 in [0, 1].
    statistics : list of Statistics or None
        Of the volume a picture belongs to; None where it stands for itself.
    found : bool
        Whether they are of the run's data set, or drawn.
    """

    names: list[str] = field(default_factory=list)
    pictures: list[np.ndarray] = field(default_factory=list)
    statistics: list[Statistics | None] = field(default_factory=list)
    found: bool = True


@dataclass(frozen=True)
class Case:
    """One call of the graph.

    Attributes
    ----------
    name : str
    inputs : tuple of ndarray
        Image (N×C×H×W) and, per volume, mean and std (N×C).
    expected : ndarray
        N×P×H×W float32, as PyTorch predicts it.
    """

    name: str
    inputs: tuple[np.ndarray, ...]
    expected: np.ndarray

    def difference(self, found: np.ndarray) -> float:
        """Greatest difference of a probability; infinite for another shape."""
        if found.shape != self.expected.shape:
            return float("inf")
        return float(np.abs(found - self.expected).max())


def own_images(checkpoint: Checkpoint | None, data: DataDescription) -> OwnImages:
    """A few images of the data the run was validated on; drawn ones where its files are not here."""
    try:
        found = _of_the_run(checkpoint, data) if checkpoint is not None and checkpoint.config else OwnImages()
    except (UserError, KeyError, OSError):  # moved, deleted, or a config of another version
        found = OwnImages()
    if found.pictures:
        return found
    drawn = draw_demo_image(0, 0, (128, 160))[0]
    # Not the same in all channels, or a mistake in their order would not be seen.
    channels = [np.roll(drawn, 7 * c, axis=1) for c in range(data.channels)]
    return OwnImages(["a drawn image"], [np.stack(channels, -1)], [None], found=False)


def _of_the_run(checkpoint: Checkpoint, data: DataDescription) -> OwnImages:
    dataset = typed(TrainConfig, checkpoint.config | {"resume": None}).dataset
    images = OwnImages()
    if dataset.layout == "custom":  # a class that a checkpoint names is never imported by that alone
        return images
    check_dataset(dataset)
    source = build_source(dataset)
    records = {record.key: record for record in source.records()}
    split = checkpoint.split
    keys = [key for key in (*split.val, *split.test, *split.train) if key in records]
    normaliser = Normaliser(source, data.normalisation)
    for key in keys[: 8 * WHOLE_IMAGES]:
        picture = source.read_image(records[key])
        statistics = normaliser.statistics(records[key], picture) if data.preprocessing.per_volume else None
        if statistics is not None and statistics.window is not None and statistics.window.blank(picture):
            continue
        if statistics is not None:
            # Rescaled whole: a crop cannot be moved into a volume's window.
            picture = rescale(picture, statistics)
            statistics = statistics.rescaled()
        images.names.append(key)
        images.pictures.append(picture)
        images.statistics.append(statistics)
        if len(images.names) == WHOLE_IMAGES:
            break
    return images


def draw_cases(graph: PredictionGraph, predictor: Predictor, images: OwnImages) -> list[Case]:
    """Every image whole, and a batch of three crops of an odd size of the first."""
    cases = []
    predictor = replace(predictor, tiling=Tiling(), views=(IDENTITY,))  # as the graph does it
    for name, picture, statistics in zip(images.names, images.pictures, images.statistics, strict=True):
        cases.append(_case(name, graph, predictor, [_middle(picture)], statistics))
    first, statistics = images.pictures[0], images.statistics[0]
    least = smallest_side(graph)
    height, width = (
        min(max(side, least + extra), length)
        for side, extra, length in zip(ODD_SIZE, (1, 17), first.shape, strict=False)
    )
    corners = [(0, 0), (first.shape[0] - height, 0), (first.shape[0] - height, first.shape[1] - width)]
    crops = [first[top : top + height, left : left + width] for top, left in corners]
    cases.append(_case(f"3 crops of {height}×{width}", graph, predictor, crops, statistics))
    return cases


def smallest_side(graph: PredictionGraph) -> int:
    """Pixels a side must have for torch.export's program: more than one cell of the coarsest level.

    It is traced on an example above that size, and refuses what would have taken another way.
    """
    return math.ceil(graph.model.stride / graph.scale) + 1


def _case(
    name: str,
    graph: PredictionGraph,
    predictor: Predictor,
    pictures: list[np.ndarray],
    statistics: Statistics | None,
) -> Case:
    """Inputs of the graph for some pictures, and what the predictor makes of the same."""
    preprocessing = predictor.data.preprocessing
    batch, means, stds, expected = [], [], [], []
    for picture in pictures:
        if graph.per_volume:
            own = statistics or preprocessing.volume_statistics([picture])
            assert own is not None
            raw = rescale(picture, own)
            raw = raw if raw.dtype == np.float32 else raw.astype(np.float32) / np.float32(255)
            means.append(own.mean)
            stds.append(own.std)
            outputs = predictor.outputs(raw, own.rescaled())
        else:
            raw = to_pixels(picture, graph)
            outputs = predictor.outputs(scale_pixels(raw, predictor.data.intensity_range))
        batch.append(raw.transpose(2, 0, 1))
        expected.append(predictor.decode(outputs).probabilities)
    inputs = [np.ascontiguousarray(np.stack(batch))]
    if graph.per_volume:
        inputs += [np.asarray(means, np.float32), np.asarray(stds, np.float32)]
    return Case(name, tuple(inputs), np.stack(expected))


def to_pixels(picture: np.ndarray, graph: PredictionGraph) -> np.ndarray:
    """A picture (uint8 or float32 in [0, 1]) as the numbers a file of the graph's type holds."""
    unit = picture / np.float32(255) if picture.dtype == np.uint8 else picture
    if graph.intensity_range is not None:
        low, high = graph.intensity_range
        unit = unit * np.float32(high - low) + np.float32(low)
        return unit.astype(np.float32) if graph.pixels == "float32" else unit.round().astype(graph.pixels)
    if picture.dtype == np.uint8 and graph.pixels == "uint8":
        return picture
    if graph.pixels == "float32":
        return unit.astype(np.float32)
    return (unit * GREATEST[graph.pixels]).round().astype(graph.pixels)


def _middle(picture: np.ndarray) -> np.ndarray:
    top, left = (max(0, (length - LARGEST_SIDE) // 2) for length in picture.shape[:2])
    return picture[top : top + LARGEST_SIDE, left : left + LARGEST_SIDE]
