"""Prediction from tif to class-id tif in a memory that does not grow with the image.

Tiles are predicted in raster order. What a tile shares with its right neighbour waits in memory; what it
shares with the row of tiles below waits in a temporary file, and so do finished rows until they make whole
tiles of the output. Tiles are those of `tiled.predict_tiled` at the working resolution, on the whole image's
grid; each comes back to native pixels by itself and is blended there, so that the result is that of tiled
inference wherever the tiles agree.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np

from unet_train.data.io.frame import read_frame
from unet_train.data.io.large_tif import TifRegions, write_label_tiles
from unet_train.data.records import IGNORE
from unet_train.errors import UserError
from unet_train.inference.decision import class_ids
from unet_train.inference.forward import evaluating, memory_advice
from unet_train.inference.predictor import Predictor
from unet_train.inference.tiled import (
    Tiling,
    axis_weights,
    choose_tile,
    extend,
    stride_of,
    tile_geometry,
    tile_starts,
)
from unet_train.preprocessing.intensity import SMALLEST_STD, Statistics
from unet_train.preprocessing.parts import AxisPart
from unet_train.preprocessing.preprocessing import Preprocessing

LARGE_PIXELS = 64 << 20
"""From this size on (8192 × 8192) an image is better streamed: it has 256 MB of probabilities per class."""

OUTPUT_TILE = 256
"""Side of the tiles of the written tif."""

LARGEST_TILE = 1024
"""Side in working pixels of the tiles that go through the network when none is asked for."""

PREVIEW_SIDE = 2048
"""Longest side of the reduced previews."""


class Regions(Protocol):
    """What streaming needs of an image."""

    shape: tuple[int, int, int]

    def read(self, top: int, bottom: int, left: int, right: int) -> np.ndarray:
        """h×w×C pixels of a rectangle, uint8 or float32 in [0, 1]."""


@dataclass(frozen=True)
class LargePrediction:
    """What is left in memory of a streamed prediction.

    Attributes
    ----------
    size : tuple of int
        Height and width of the image.
    step : int
        The previews hold every `step`-th pixel of every `step`-th row.
    image_preview : ndarray
        h×w×C.
    class_preview : ndarray
        h×w uint8 class ids.
    class_pixels : tuple of int
        Number of pixels per class.
    """

    size: tuple[int, int]
    step: int
    image_preview: np.ndarray
    class_preview: np.ndarray
    class_pixels: tuple[int, ...]


def predict_large(
    predictor: Predictor,
    path: str | Path,
    output: str | Path,
    *,
    intensity_range: tuple[float, float] | None = None,
    statistics: Statistics | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> LargePrediction:
    """Predict one large tif into a class-id tif.

    Parameters
    ----------
    predictor : Predictor
        Its `tiling` gives side and overlap of the tiles in working pixels; None or "auto": what the free
        memory allows, at most `LARGEST_TILE`, with an overlap of a quarter.
    path, output : path
        Tif in; tiled tif out, uint8, written under another name until it is complete.
    intensity_range : (float, float) or None
        As in `images.read_image`; None: the rule of the training data.
    statistics : Statistics or None
        Normalisation of the image; None: computed from it in a first pass, if the model wants it per image.
    progress : callable or None
        Called with (tiles done, tiles in all).

    Returns
    -------
    LargePrediction

    Raises
    ------
    UserError
        For a file that cannot be read by parts, wrong channels, a model that is normalised per volume
        (without `statistics`), or impossible tiles.
    """
    data = predictor.data
    intensity_range = intensity_range or data.intensity_range
    with TifRegions(path, intensity_range=intensity_range, channels=data.channels) as regions:
        if statistics is None and data.preprocessing.per_volume:
            raise UserError(
                f"{path}: too large for a model with dataset.normalisation={data.normalisation}, which needs the grey "
                "values of the whole volume at once; use a model with normalisation=image or fixed"
            )
        if statistics is None and data.normalisation == "image":
            statistics = streamed_statistics(regions)
        multiple = stride_of(predictor.model)
        side, overlap = predictor.tiling.size, predictor.tiling.overlap
        with evaluating(predictor.model):
            if not isinstance(side, int):
                big = (LARGEST_TILE, LARGEST_TILE, regions.shape[2])
                fits = choose_tile(
                    predictor.model, big, device=predictor.device, autocast_dtype=predictor.dtype
                )
                side = fits or LARGEST_TILE
            side, overlap = tile_geometry(side, overlap, multiple)

            def network(block: np.ndarray) -> np.ndarray:
                return predictor.network(block, statistics, Tiling())

            def predict(pixels: np.ndarray, rows: Stretch, columns: Stretch) -> np.ndarray:
                outputs = predict_tile(network, pixels, data.preprocessing, statistics, rows, columns)
                # The way back to the data set's classes looks at neighbouring pixels; it is taken here, where
                # a tile has them, and the tile's edge hardly counts.
                return predictor.target.class_probabilities(outputs, data.scale)

            axes = [
                cut_axis(length, data.preprocessing, tile=side, overlap=overlap, multiple=multiple)
                for length in regions.shape[:2]
            ]
            blocks = to_classes(
                stream_probabilities(
                    predict, regions, axes[0], axes[1], folder=Path(output).parent, progress=progress
                ),
                predictor.threshold,
                predictor.ignore_below,
            )
            preview = _Preview(regions, len(data.classes))
            tiles = raster_tiles(preview.watch(blocks), regions.shape[:2], OUTPUT_TILE, Path(output).parent)
            size = (regions.shape[0], regions.shape[1])
            write_label_tiles(output, tiles, size, OUTPUT_TILE, frame=read_frame(path))
        return preview.result()


Block = tuple[int, int, np.ndarray]
"""Top row, left column and class ids (h×w uint8) or probabilities (K×h×w float32) of a finished rectangle."""


@dataclass(frozen=True)
class Stretch:
    """What a row (column) of tiles takes of an axis.

    Attributes
    ----------
    side : int
        Pixels the network sees, the mirrored ones behind the image's end included.
    seen : AxisPart
        Working pixels of the image that they are made from.
    own : AxisPart
        Those among them that the tile begins with; what is predicted for them comes back to native pixels.
    weights : ndarray
        Blending weights of the native pixels ``own.target``, float32; over all stretches they sum to one.
    """

    side: int
    seen: AxisPart
    own: AxisPart
    weights: np.ndarray

    @property
    def before(self) -> int:
        """Working pixels of `seen` before the tile: mirrored behind the end they may be wanted."""
        return self.own.start - self.seen.start


def cut_axis(
    length: int, preprocessing: Preprocessing, *, tile: int, overlap: int, multiple: int
) -> list[Stretch]:
    """The stretches of an axis, as `tiled.predict_tiled` cuts the axis of the prepared image.

    Parameters
    ----------
    length : int
        Native pixels.
    preprocessing : Preprocessing
        Of it the scale alone.
    tile, overlap, multiple : int
        In working pixels, see `tiled.tile_starts`.

    Returns
    -------
    list of Stretch
        From the first to the last.
    """
    working = preprocessing.working_length(length)
    full = math.ceil(working / multiple) * multiple
    side = min(tile, full)
    starts = tile_starts(full, side, min(overlap, side - 1), multiple)
    # The pixels behind the image's end are mirrored from as many before it.
    first_mirrored = max(0, 2 * working - 1 - full)
    stretches = []
    for start, weights in zip(starts, axis_weights(starts, side), strict=True):
        stop = min(start + side, working)
        own = preprocessing.part(length, start, stop)
        begin = min(start, first_mirrored) if start + side > working else start
        seen = own if begin == start else preprocessing.part(length, begin, stop)
        stretches.append(Stretch(side, seen, own, own.to_native(weights[: own.length])))
    return stretches


def predict_tile(
    network: Callable[[np.ndarray], np.ndarray],
    pixels: np.ndarray,
    preprocessing: Preprocessing,
    statistics: Statistics | None,
    rows: Stretch,
    columns: Stretch,
) -> np.ndarray:
    """Predict one tile: native pixels in, native probabilities out.

    Parameters
    ----------
    network : callable
        h×w×C at the working resolution → K×h×w float32.
    pixels : ndarray
        ``rows.seen.source`` × ``columns.seen.source`` × C, uint8 or float32 in [0, 1].
    preprocessing : Preprocessing
    statistics : Statistics or None
        Of the whole image.
    rows, columns : Stretch

    Returns
    -------
    ndarray
        K × ``rows.own.target`` × ``columns.own.target`` float32.
    """
    part = preprocessing.apply_part(pixels, statistics, rows.seen, columns.seen)
    part = extend(part, (rows.before + rows.side, columns.before + columns.side))
    part = np.ascontiguousarray(part[rows.before :, columns.before :])
    with memory_advice(part.shape[:2]):
        outputs = network(part)
    return preprocessing.undo_part(outputs[:, : rows.own.length, : columns.own.length], rows.own, columns.own)


def stream_probabilities(
    predict: Callable[[np.ndarray, Stretch, Stretch], np.ndarray],
    regions: Regions,
    rows: list[Stretch],
    columns: list[Stretch],
    *,
    folder: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Block]:
    """Predict an image tile by tile and give its blended probabilities, rectangle by rectangle.

    Parameters
    ----------
    predict : callable
        Pixels of a tile and its two stretches → K×h×w float32, see `predict_tile`.
    regions : Regions
        The image.
    rows, columns : list of Stretch
        See `cut_axis`.
    folder : Path or None
        Where the temporary file lives.
    progress : callable or None
        Called with (tiles done, tiles in all).

    Yields
    ------
    Block
        Probabilities, row of tiles by row of tiles, each row from left to right; together they cover the image
        once.
    """
    row_steps, column_steps = _finished(rows), _finished(columns)
    with _Slots(folder) as below:
        for i, row in enumerate(rows):
            right: np.ndarray | None = None
            for j, column in enumerate(columns):
                pixels = regions.read(*row.seen.source, *column.seen.source)
                part = predict(pixels, row, column) * (row.weights[:, None] * column.weights[None])
                if right is not None:
                    part[:, :, : right.shape[2]] += right
                right = part[:, :, column_steps[j] :].copy()
                part = part[:, :, : column_steps[j]]
                if i > 0:
                    above = len(rows[i - 1].weights) - row_steps[i - 1]
                    waiting = below.load(j, (part.shape[0], above, part.shape[2]))
                    part[:, : waiting.shape[1]] += waiting
                if i + 1 < len(rows):
                    slot = (
                        part.shape[0] * max(len(r.weights) for r in rows) * max(column_steps) * part.itemsize
                    )
                    below.save(j, slot, part[:, row_steps[i] :])
                part = part[:, : row_steps[i]]
                if part.shape[1] and part.shape[2]:
                    yield row.own.target[0], column.own.target[0], part
                if progress is not None:
                    progress(i * len(columns) + j + 1, len(rows) * len(columns))


def to_classes(
    blocks: Iterator[Block], threshold: float | None = None, ignore_below: float = 0.0
) -> Iterator[Block]:
    """The class (uint8) of every pixel of the blocks, as `decision.class_ids` takes it."""
    for top, left, probabilities in blocks:
        yield top, left, class_ids(probabilities, threshold, ignore_below)


def _finished(stretches: list[Stretch]) -> list[int]:
    """How many native pixels of each stretch are finished by it: up to where the next one begins."""
    begins = [stretch.own.target[0] for stretch in stretches]
    return [*np.diff(begins).tolist(), len(stretches[-1].weights)]


def raster_tiles(
    blocks: Iterator[Block], size: tuple[int, ...], tile: int, folder: Path | None = None
) -> Iterator[np.ndarray]:
    """Turn the rectangles of `to_classes` into the tiles of a tif.

    Parameters
    ----------
    blocks : iterator of Block
        Band by band, each band from left to right over the full width.
    size : tuple of int
        Height and width.
    tile : int
        Side of the tiles wanted.
    folder : Path or None
        Where the temporary file lives: it holds the image's finished rows, one byte per pixel.

    Yields
    ------
    ndarray
        tile×tile uint8 in raster order, zeros over the right and lower edge.
    """
    height, width = size[:2]
    with tempfile.TemporaryFile(dir=folder) as spool:
        done = 0  # rows of tiles given out
        for top, left, classes in blocks:
            for k, row in enumerate(classes):
                spool.seek((top + k) * width + left)
                spool.write(row.tobytes())
            complete = top + classes.shape[0] if left + classes.shape[1] == width else 0
            while complete and (complete >= (done + 1) * tile or complete == height) and done * tile < height:
                for column in range(0, width, tile):
                    yield _spooled(spool, done * tile, column, (height, width), tile)
                done += 1


def streamed_statistics(regions: Regions, side: int = 1024) -> Statistics:
    """Mean and standard deviation of every channel, as `intensity.image_statistics`, in one pass.

    Parameters
    ----------
    regions : Regions
        The image.
    side : int
        Side of the parts it is read in.

    Returns
    -------
    Statistics
    """
    height, width, channels = regions.shape
    total, squares = np.zeros(channels), np.zeros(channels)
    for top in range(0, height, side):
        for left in range(0, width, side):
            block = regions.read(top, min(top + side, height), left, min(left + side, width))
            values = block.reshape(-1, channels).astype(np.float64)
            values /= 255.0 if block.dtype == np.uint8 else 1.0
            total += values.sum(0)
            squares += (values**2).sum(0)
    mean = total / (height * width)
    std = np.sqrt(np.maximum(squares / (height * width) - mean**2, 0.0))
    return Statistics(None, None, tuple(map(float, mean)), tuple(max(float(s), SMALLEST_STD) for s in std))


class _Slots:
    """A temporary file of numbered places of equal size, each holding one array."""

    def __init__(self, folder: Path | None) -> None:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (closed by __exit__)
        self._size = 0

    def save(self, place: int, size: int, array: np.ndarray) -> None:
        self._size = size
        self._file.seek(place * size)
        self._file.write(np.ascontiguousarray(array, np.float32).tobytes())

    def load(self, place: int, shape: tuple[int, ...]) -> np.ndarray:
        self._file.seek(place * self._size)
        data = self._file.read(4 * math.prod(shape))
        return np.frombuffer(data, np.float32).reshape(shape)

    def __enter__(self) -> _Slots:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


class _Preview:
    """Looks at the finished rectangles on their way and keeps every step-th pixel."""

    def __init__(self, regions: Regions, classes: int) -> None:
        self.regions = regions
        height, width, channels = regions.shape
        self.step = max(1, math.ceil(max(height, width) / PREVIEW_SIDE))
        size = math.ceil(height / self.step), math.ceil(width / self.step)
        self.classes = np.zeros(size, np.uint8)
        self.image: np.ndarray | None = None
        self.counts = np.zeros(classes, np.int64)
        self.channels = channels

    def watch(self, blocks: Iterator[Block]) -> Iterator[Block]:
        for top, left, classes in blocks:
            self.counts += np.bincount(classes.ravel(), minlength=IGNORE + 1)[: len(self.counts)]
            first, begin = -top % self.step, -left % self.step
            kept = classes[first :: self.step, begin :: self.step]
            pixels = self.regions.read(top, top + classes.shape[0], left, left + classes.shape[1])
            if self.image is None:
                self.image = np.zeros((*self.classes.shape, self.channels), pixels.dtype)
            row, column = (top + first) // self.step, (left + begin) // self.step
            place = slice(row, row + kept.shape[0]), slice(column, column + kept.shape[1])
            self.classes[place] = kept
            self.image[place] = pixels[first :: self.step, begin :: self.step]
            yield top, left, classes

    def result(self) -> LargePrediction:
        assert self.image is not None  # every image has a first rectangle
        height, width, _ = self.regions.shape
        return LargePrediction(
            (height, width), self.step, self.image, self.classes, tuple(int(n) for n in self.counts)
        )


def _spooled(spool: BinaryIO, top: int, left: int, size: tuple[int, int], tile: int) -> np.ndarray:
    result = np.zeros((tile, tile), np.uint8)
    n = min(tile, size[1] - left)
    for k in range(min(tile, size[0] - top)):
        spool.seek((top + k) * size[1] + left)
        result[k, :n] = np.frombuffer(spool.read(n), np.uint8)
    return result
