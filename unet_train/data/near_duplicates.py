"""Finds images that stand in two parts of a split as copies: saved anew, turned, flipped, brightened or resized.

The perceptual hash is a thumbnail: the image in grey, averaged to `SIDE` × `SIDE` and stretched to 0..255. Averaging
takes away what lossy compression and noise do. Compared is the correlation of two thumbnails without their shading (the
best fitting polynomial of second degree), which does not change with brightness, contrast and size and does not mistake
the same uneven light for the same image; the eight turned and flipped thumbnails stand for the eight turned and flipped
images. A hash of 64 bits (signs of the lowest 8×8 cosines, as in pHash) was tried: two different frames of DIC-HeLa
have the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

SIDE = 32
"""Pixels along each side of a thumbnail."""

LEAST_CORRELATION = 0.985
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
    return [
        NearDuplicate(keys[earlier][other], earlier, keys[later][number], later, correlation)
        for at, later in enumerate(names)
        for earlier in names[:at]
        for number, (other, correlation) in _most_alike(vectors[later], vectors[earlier], least).items()
    ]


def describe_near_duplicates(found: Sequence[NearDuplicate]) -> list[str]:
    """A sentence for each two parts that share images."""
    pairs: dict[tuple[str, str], list[NearDuplicate]] = {}
    for one in found:
        pairs.setdefault((one.first_part, one.second_part), []).append(one)
    return [
        f"{len(own)} image{'s' if len(own) > 1 else ''} of {second} look like images of {first} (saved anew, turned, "
        f"flipped or brightened?), such as {own[0].second} like {own[0].first}: the scores of {second} will be too "
        "good; take out the copies, or keep them in one part (dataset.group_regex, dataset.group_csv)"
        for (first, second), own in pairs.items()
    ]


def _vectors(thumbnails: Sequence[bytes]) -> np.ndarray:
    """N×SIDE² float32 without brightness and shading, of length 1; of length 0 where nothing else is there."""
    values = np.frombuffer(b"".join(thumbnails), np.uint8).reshape(len(thumbnails), -1).astype(np.float32)
    shading = _shading()
    values -= values @ shading @ shading.T
    length = np.linalg.norm(values, axis=1, keepdims=True)
    return np.where(length > SIDE, values / np.maximum(length, 1), 0).astype(
        np.float32
    )  # one of 255 grey levels


def _shading() -> np.ndarray:
    """SIDE²×6 orthonormal: the polynomials of second degree, which are what uneven light looks like."""
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    terms = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], -1)
    return np.linalg.qr(terms.reshape(SIDE * SIDE, 6))[0].astype(np.float32)


def _most_alike(vectors: np.ndarray, others: np.ndarray, least: float) -> dict[int, tuple[int, float]]:
    """Row → the row of `others` with the highest correlation in any of eight positions, from `least` on.

    The mean of a thumbnail's eight positions is the same for all of them, and takes no two thumbnails farther apart:
    where the means are farther apart than thumbnails of correlation `least` can be, nothing else is computed.
    """
    basis = _symmetric_basis()
    means, other_means = vectors @ basis, others @ basis
    apart = 2 * (1 - least) + 1e-4  # squared distance of two vectors of length 1, with room for rounding
    found: dict[int, tuple[int, float]] = {}
    for begin in range(0, len(vectors), _ROWS):
        block = means[begin : begin + _ROWS]
        for start in range(0, len(others), 8 * _ROWS):
            far = other_means[start : start + 8 * _ROWS]
            distance = (block**2).sum(1)[:, None] + (far**2).sum(1)[None] - 2 * (block @ far.T)
            for row in np.flatnonzero((distance <= apart).any(1)).tolist():
                near = np.flatnonzero(distance[row] <= apart) + start
                alike = (_eight_positions(vectors[begin + row]) @ others[near].T).max(0)
                index = int(alike.argmax())
                if alike[index] >= max(least, found.get(begin + row, (0, -1.0))[1]):
                    found[begin + row] = (int(near[index]), float(min(alike[index], 1.0)))
    return found


def _symmetric_basis() -> np.ndarray:
    """SIDE²×M: what is left of a thumbnail in the mean of its eight positions, in M orthonormal directions."""
    places = np.arange(SIDE * SIDE).reshape(SIDE, SIDE).astype(np.float32)
    first = _eight_positions(places.ravel()).min(
        0
    )  # places that one of the eight positions takes to each other
    _, orbit, size = np.unique(first, return_inverse=True, return_counts=True)
    basis = np.zeros((SIDE * SIDE, len(size)), np.float32)
    basis[np.arange(SIDE * SIDE), orbit] = 1 / np.sqrt(size[orbit])
    return basis


def _eight_positions(vector: np.ndarray) -> np.ndarray:
    """8×SIDE², turned by quarters, each also mirrored."""
    square = vector.reshape(SIDE, SIDE)
    turns = [np.rot90(square, quarter) for quarter in range(4)]
    return np.stack([position.ravel() for turn in turns for position in (turn, turn[:, ::-1])])
