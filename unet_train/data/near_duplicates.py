"""Finds images that stand in two parts of a split as copies: saved anew, turned, flipped, brightened or resized.

The perceptual hash is a thumbnail: the image in grey, averaged to `SIDE` × `SIDE` and stretched to 0..255. Averaging takes
away what lossy compression and noise do; the correlation of two thumbnails does not change with brightness and contrast; and
the eight turned and flipped thumbnails of an image are those of the eight turned and flipped images. Hashes of 64 bits
(average, difference, DCT) were tried beside it: they call consecutive frames of a film copies before they find a flipped one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

SIDE = 32
"""Pixels along each side of a thumbnail."""

LEAST_CORRELATION = 0.995
"""From this correlation of their thumbnails on, two images are near-duplicates (measured: docs/reliability.md)."""

_LEAST_CONTRAST = 2.0 / 255
"""Images whose thumbnail varies by less than this share of the range are taken for empty and not compared."""

_MOST_RESIZED = 4  # channels that OpenCV averages

_ROWS = 1024


@dataclass(frozen=True)
class NearDuplicate:
    """Two images of different parts that look alike.

    Attributes
    ----------
    first, second : str
        Keys of the records.
    first_part, second_part : str
        The parts of the split in which they stand.
    correlation : float
        Of the thumbnails, the best of the eight turned and flipped ones.
    """

    first: str
    first_part: str
    second: str
    second_part: str
    correlation: float


def thumbnail(image: np.ndarray) -> bytes | None:
    """The perceptual hash of an image.

    Parameters
    ----------
    image : ndarray
        H×W×C, uint8, or float32 in [0, 1].

    Returns
    -------
    bytes or None
        `SIDE`² grey values, row by row; None for an image (nearly) of one value.
    """
    # In floating point: averages rounded to whole grey levels would leave little of pale images.
    if image.shape[2] > _MOST_RESIZED:
        image = image.mean(-1, keepdims=True).astype(image.dtype)
    small = cv2.resize(image.astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    grey = small.reshape(SIDE, SIDE, -1).mean(-1)
    low, high = grey.min(), grey.max()
    most = 255.0 if image.dtype == np.uint8 else 1.0
    if not high - low > _LEAST_CONTRAST * most:
        return None
    return ((grey - low) * (255 / (high - low))).round().astype(np.uint8).tobytes()


def near_duplicates(
    thumbnails: Mapping[str, bytes],
    parts: Mapping[str, Sequence[str]],
    *,
    least: float = LEAST_CORRELATION,
) -> list[NearDuplicate]:
    """Pairs of images of different parts whose thumbnails are alike, also turned and flipped.

    Parameters
    ----------
    thumbnails : mapping of str to bytes
        Key → `thumbnail`; images without one are not compared.
    parts : mapping of str to sequence of str
        Part → keys of its records.
    least : float
        Correlation from which on a pair is told.

    Returns
    -------
    list of NearDuplicate
        For each image of a later part the most alike image of each earlier part, in the order of the parts.
    """
    keys = {part: [key for key in own if key in thumbnails] for part, own in parts.items()}
    vectors = {part: _vectors([thumbnails[key] for key in own]) for part, own in keys.items() if own}
    names = list(vectors)
    found = []
    for number, later in enumerate(names):
        for earlier in names[:number]:
            best, which = _most_alike(vectors[later], vectors[earlier])
            found += [
                NearDuplicate(
                    keys[earlier][int(which[index])], earlier, keys[later][int(index)], later, float(best[index])
                )
                for index in np.flatnonzero(best >= least)
            ]
    return found


def _vectors(thumbnails: Sequence[bytes]) -> np.ndarray:
    """N×SIDE² float32 of mean 0 and length 1."""
    values = np.frombuffer(b"".join(thumbnails), np.uint8).reshape(len(thumbnails), -1).astype(np.float32)
    values -= values.mean(1, keepdims=True)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def _most_alike(vectors: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each row the highest correlation with a row of `others` in any of eight positions, and which row it is."""
    best = np.full(len(vectors), -1.0, np.float32)
    which = np.zeros(len(vectors), np.intp)
    for begin in range(0, len(vectors), _ROWS):
        rows = slice(begin, begin + _ROWS)
        for turned in _eight_positions(vectors[rows]):
            for start in range(0, len(others), 8 * _ROWS):
                alike = turned @ others[start : start + 8 * _ROWS].T
                index = alike.argmax(1)
                value = alike[np.arange(len(alike)), index]
                better = value > best[rows]
                best[rows][better] = value[better]
                which[rows][better] = index[better] + start
    return best, which


def _eight_positions(vectors: np.ndarray) -> list[np.ndarray]:
    squares = vectors.reshape(-1, SIDE, SIDE)
    turns = [np.rot90(squares, quarter, (1, 2)) for quarter in range(4)]
    return [np.ascontiguousarray(s).reshape(len(s), -1) for t in turns for s in (t, t[:, :, ::-1])]
