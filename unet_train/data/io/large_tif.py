"""Tif images larger than the memory: regions are read, tiles are written, nothing is ever held whole.

The rules for axes, alpha, palettes, turns and scaling are those of `unet_train.data.io.images`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from unet_train.atomic import replacing
from unet_train.data.io.files import broken
from unet_train.data.io.frame import Frame
from unet_train.data.io.tif import has_alpha, one_series, shown_colours, tif_layout, tif_turn
from unet_train.data.io.turns import stored_box, turned, turned_size
from unet_train.data.io.values import fit_channels, scale
from unet_train.errors import UserError

CACHE_BYTES = 64 << 20
"""Decoded strips and tiles kept for the next region: a band of 512 rows of 20,000 pixels is 10 MB."""

LARGEST_SEGMENT = 256 << 20
"""A compressed strip or tile must be decoded whole; larger ones are refused."""


class TifRegions:
    """Reads rectangles of one tif image.

    Parameters
    ----------
    path : path
        Tif file with one image: strips or tiles, compressed or not, channels interleaved, planar, or pages.
    intensity_range : (float, float) or None
        As in `images.read_image`.
    channels : int or None
        As in `images.read_image`.
    cache_bytes : int
        Bound of the memory for decoded strips and tiles.

    Attributes
    ----------
    shape : tuple of int
        (H, W, C) as `read` gives them.

    Raises
    ------
    UserError
        As `images.read_image`, and for a compressed file whose strips are too large to be read by parts.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        intensity_range: tuple[float, float] | None = None,
        channels: int | None = None,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        import tifffile

        self.path = Path(path)
        self.intensity_range = intensity_range
        self.channels = channels
        self._cache: OrderedDict[tuple[int, int], np.ndarray | None] = OrderedDict()
        self._cache_bytes = cache_bytes
        self._cached = 0
        if not self.path.is_file():
            raise UserError(f"{self.path}: no such file")
        try:
            self._file = tifffile.TiffFile(self.path)
        except Exception as error:
            raise broken(self.path, error) from None
        try:
            self._open()
        except UserError:
            self._file.close()
            raise
        except Exception as error:
            self._file.close()
            raise broken(self.path, error) from None

    def _open(self) -> None:
        series = one_series(self.path, self._file)
        self._axes, shape = tif_layout(self.path, series, self.channels)
        pages = [page.aspage() if hasattr(page, "aspage") else page for page in series.pages]
        page = self._page = pages[0]
        height, width = page.imagelength, page.imagewidth
        samples = 1 if self._axes == "YX" else shape[self._axes.index("S")]
        stored = (shape[self._axes.index("Y")], shape[self._axes.index("X")])
        if stored != (height, width) or len(pages) not in (1, samples):
            raise UserError(
                f"{self.path}: its {len(pages)} pages are no channels of one large image; save it with "
                "interleaved channels"
            )
        # Channels as pages, each with one sample; else one page with all.
        self._pages = pages
        self._samples = samples
        self._dtype = np.dtype(page.dtype)
        self._alpha = has_alpha(page, samples, self.channels)
        self._turn = tif_turn(page)
        self._stored_size = (height, width)
        segment = self._segment_rows * self._segment_columns * self._dtype.itemsize
        segment *= page.samplesperpixel if page.planarconfig == 1 else 1
        if not self._plain and segment > LARGEST_SEGMENT:
            raise UserError(
                f"{self.path}: compressed in strips of {segment >> 20} MiB, which cannot be read by parts; "
                "save it as a tiled tif"
            )
        probe = self.read(0, 1, 0, 1)
        self.shape = (*turned_size((height, width), self._turn), probe.shape[2])

    @property
    def _segment_rows(self) -> int:
        return int(self._page.tilelength if self._page.is_tiled else self._page.rowsperstrip)

    @property
    def _segment_columns(self) -> int:
        return int(self._page.tilewidth if self._page.is_tiled else self._page.imagewidth)

    @property
    def _plain(self) -> bool:
        """Whether rows lie in the file as they are, so that parts of a strip can be read."""
        page = self._page
        whole_bytes = page.bitspersample == 8 * self._dtype.itemsize
        return not page.is_tiled and page.compression == 1 and page.fillorder == 1 and whole_bytes

    def read(self, top: int, bottom: int, left: int, right: int) -> np.ndarray:
        """Pixels of rows top..bottom−1, columns left..right−1.

        Returns
        -------
        ndarray
            h×w×C, uint8, or float32 in [0, 1].

        Raises
        ------
        UserError
            If that part of the file is damaged or has values without a rule.
        """
        page = self._page
        top, bottom, left, right = stored_box((top, bottom, left, right), self._stored_size, self._turn)
        try:
            if len(self._pages) > 1:
                planes = [
                    self._pixels(i, 0, top, bottom, left, right)[..., 0] for i in range(len(self._pages))
                ]
                array = np.stack(planes, -1)
            elif page.planarconfig == 2 and self._samples > 1:
                planes = [self._pixels(0, s, top, bottom, left, right)[..., 0] for s in range(self._samples)]
                array = np.stack(planes, -1)
            else:
                array = self._pixels(0, 0, top, bottom, left, right)
        except UserError:
            raise
        except Exception as error:
            raise broken(self.path, error) from None
        if self._alpha:
            array = array[..., :-1]
        array = turned(shown_colours(array, page, self.channels), self._turn)
        if self.channels is not None:
            array = fit_channels(array, self.channels, self.path)
        return np.ascontiguousarray(scale(array, self.intensity_range, self.path))

    def _pixels(
        self, page_number: int, plane: int, top: int, bottom: int, left: int, right: int
    ) -> np.ndarray:
        """h×w×samples as stored, of one page and, where planes are apart, one plane."""
        page = self._pages[page_number]
        contiguous = page.samplesperpixel if page.planarconfig == 1 else 1
        result = np.zeros((bottom - top, right - left, contiguous), self._dtype)
        rows, columns = self._segment_rows, self._segment_columns
        down, across = -(-page.imagelength // rows), -(-page.imagewidth // columns)
        for i in range(top // rows, -(-bottom // rows)):
            for j in range(left // columns, -(-right // columns)):
                index = plane * down * across + i * across + j
                first, last = max(top, i * rows), min(bottom, (i + 1) * rows, page.imagelength)
                begin, end = max(left, j * columns), min(right, (j + 1) * columns, page.imagewidth)
                target = result[first - top : last - top, begin - left : end - left]
                if self._plain:
                    self._read_rows(page, index, first - i * rows, begin, target)
                    continue
                segment = self._segment(page_number, index)
                if segment is not None:  # None: a hole in a sparse file, which reads as zero
                    target[...] = segment[
                        first - i * rows : last - i * rows, begin - j * columns : end - j * columns
                    ]
        return result

    def _read_rows(self, page: Any, index: int, row: int, column: int, target: np.ndarray) -> None:
        """Fill `target` from row `row`, column `column` of an uncompressed strip, row by row."""
        handle = self._file.filehandle
        stored = self._dtype.newbyteorder(self._file.byteorder)
        pixel = target.shape[2] * self._dtype.itemsize
        for k in range(target.shape[0]):
            handle.seek(page.dataoffsets[index] + ((row + k) * page.imagewidth + column) * pixel)
            data = handle.read(target.shape[1] * pixel)
            if len(data) != target.shape[1] * pixel:
                raise EOFError("the file ends within a strip")
            target[k] = np.frombuffer(data, stored).reshape(target.shape[1:])

    def _segment(self, page_number: int, index: int) -> np.ndarray | None:
        """One decoded strip or tile, h×w×samples."""
        key = (page_number, index)
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        page = self._pages[page_number]
        decoded: np.ndarray | None = None
        if page.databytecounts[index]:
            self._file.filehandle.seek(page.dataoffsets[index])
            data = self._file.filehandle.read(page.databytecounts[index])
            if len(data) != page.databytecounts[index]:
                raise EOFError("the file ends within a strip or tile")
            decoded = page.decode(data, index, jpegtables=page.jpegtables)[0]
            if decoded is not None:
                decoded = decoded[0]  # its first axis is depth
        size = 0 if decoded is None else decoded.nbytes
        while self._cache and self._cached + size > self._cache_bytes:
            _, old = self._cache.popitem(last=False)
            self._cached -= 0 if old is None else old.nbytes
        self._cache[key] = decoded
        self._cached += size
        return decoded

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> TifRegions:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def write_label_tiles(
    path: str | Path,
    tiles: Iterator[np.ndarray],
    size: tuple[int, int],
    tile: int,
    *,
    frame: Frame | None = None,
) -> None:
    """Write a uint8 label image from its tiles.

    Parameters
    ----------
    path : path
        Written under another name first and renamed when complete.
    tiles : iterator of ndarray
        tile×tile uint8 in raster order; what reaches over the right or lower edge is cut off.
    size : (int, int)
        Height and width of the image.
    tile : int
        Side of a tile, a multiple of 16.
    frame : Frame or None
        Where the pixels lie.
    """
    import tifffile

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        tifffile.imwrite(
            temporary,
            tiles,
            shape=size,
            dtype=np.uint8,
            tile=(tile, tile),
            compression="zlib",
            photometric="minisblack",
            metadata=None,
            maxworkers=1,
            bigtiff=size[0] * size[1] > 1 << 31,
            **(frame or Frame()).tif_options("255"),
        )
