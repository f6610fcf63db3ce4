"""The one way of an image to the network and of its probabilities back: crop, grey values, working resolution.

Training, prediction whole, in tiles and streamed, the export's check and the API all go through here, so that
their order stands in one place.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from unet_train.preprocessing.brain_crop import SIDE, background
from unet_train.preprocessing.intensity import (
    VOLUME_MODES,
    Statistics,
    check_image,
    move_labels,
    own_statistics,
    rescale,
    volume_statistics,
)
from unet_train.preprocessing.parts import AxisPart, part_from_working, part_to_working
from unet_train.preprocessing.resampling import (
    resample_image,
    resample_labels,
    resample_probabilities,
    working_size,
)


@dataclass(frozen=True)
class Prepared:
    """An image as the network sees it, and what is needed for the way back.

    Attributes
    ----------
    image : ndarray
        h×w×C, uint8 or float32 in [0, 1]: cut to the window, if any, clipped and stretched, at the working
        resolution.
    native : (int, int)
        Height and width of the image it was made from.
    statistics : Statistics or None
        What it was rescaled with and is to be standardised with; None: by the model's own numbers.
    blank : bool
        Whether its volume is cut to the brain and it shows none: all of it is background.
    """

    image: np.ndarray
    native: tuple[int, int]
    statistics: Statistics | None
    blank: bool = False

    def background(self, outputs: int) -> np.ndarray:
        """Probabilities (outputs×H×W float32, native size) of a `blank` one."""
        return background(outputs, self.native)


@dataclass(frozen=True)
class Preprocessing:
    """How images are prepared, as the checkpoint keeps it (see `inference.predictor.DataDescription`).

    Attributes
    ----------
    normalisation : {'fixed', 'image', 'volume', 'brain'}
        See `intensity`. ``brain`` also cuts to the brain and brings it to one size.
    scale : float
        Working over native resolution (of the window, where there is one).

    Raises
    ------
    ValueError
        For a scale that is not positive.
    """

    normalisation: str = "image"
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not self.scale > 0:
            raise ValueError(f"scale must be positive, not {self.scale}")

    @property
    def per_volume(self) -> bool:
        """Whether the statistics belong to all slices of a volume together."""
        return self.normalisation in VOLUME_MODES

    def working_size(self, native: tuple[int, int]) -> tuple[int, int]:
        """Height and width at which the network sees an image of `native` size."""
        return working_size((SIDE, SIDE) if self.normalisation == "brain" else native, self.scale)

    def volume_statistics(self, images: Iterable[np.ndarray]) -> Statistics | None:
        """Statistics all slices of a volume share, None where each image has its own or none.

        Parameters
        ----------
        images : iterable of ndarray
            The slices in their order, as `intensity.volume_statistics` takes them.

        Raises
        ------
        ValueError
            For slices of different kinds.
        """
        return volume_statistics(images, self.normalisation) if self.per_volume else None

    def apply(self, image: np.ndarray, statistics: Statistics | None = None) -> Prepared:
        """Prepare an image for the network.

        Parameters
        ----------
        image : ndarray
            H×W×C, uint8 or float32 in [0, 1].
        statistics : Statistics or None
            Of the image or its volume. None: computed from the image, as its own volume where the mode is a
            volume's, and none under ``fixed``.

        Raises
        ------
        ValueError
            For another array, or a slice of another size than its volume's.
        """
        image = check_image(image)
        if statistics is None:
            statistics = own_statistics(image, self.normalisation)
        window = statistics.window if statistics else None
        return Prepared(
            image=resample_image(rescale(image, statistics), self.scale),
            native=(image.shape[0], image.shape[1]),
            statistics=statistics,
            blank=window is not None and window.blank(image),
        )

    def apply_labels(self, labels: np.ndarray, statistics: Statistics | None) -> np.ndarray:
        """Labels where `apply` puts the image's pixels: each the nearest, none mixed.

        Parameters
        ----------
        labels : ndarray
            H×W of any dtype.
        statistics : Statistics or None
            Those of the prepared image.

        Returns
        -------
        ndarray
            h×w, the same dtype.
        """
        return resample_labels(move_labels(labels, statistics), self.scale)

    def undo(self, probabilities: np.ndarray, prepared: Prepared) -> np.ndarray:
        """Probabilities of a prepared image at the native size and place; what its window left out is background.

        Parameters
        ----------
        probabilities : ndarray
            K×h×w float32, background first where there is a window.
        prepared : Prepared
            What `apply` gave.

        Returns
        -------
        ndarray
            K×H×W float32.
        """
        if prepared.blank:
            return prepared.background(len(probabilities))
        window = prepared.statistics.window if prepared.statistics else None
        if window is None:
            return resample_probabilities(probabilities, prepared.native)
        moved = resample_probabilities(probabilities, (window.side, window.side))
        return window.place(resample_probabilities(moved, (window.square, window.square)))

    def working_length(self, length: int) -> int:
        """Pixels at the working resolution of an axis of `length` native ones."""
        return working_size((length, length), self.scale)[0]

    def part(self, length: int, start: int, stop: int) -> AxisPart:
        """Working pixels start … stop-1 along an axis of `length` native pixels, for `apply_part`, `undo_part`."""
        return AxisPart(length, self.working_length(length), start, stop)

    def apply_part(
        self, pixels: np.ndarray, statistics: Statistics | None, rows: AxisPart, columns: AxisPart
    ) -> np.ndarray:
        """A rectangle of what `apply` makes of an image, from the pixels it takes alone.

        Parameters
        ----------
        pixels : ndarray
            ``rows.source`` × ``columns.source`` × C native pixels, uint8 or float32 in [0, 1].
        statistics : Statistics or None
            Of the whole image, without a window.
        rows, columns : AxisPart

        Returns
        -------
        ndarray
            ``rows.length`` × ``columns.length`` × C, as the same rectangle of the prepared image: see
            `parts.part_to_working`.
        """
        return part_to_working(rescale(pixels, statistics), rows, columns)

    def undo_part(self, probabilities: np.ndarray, rows: AxisPart, columns: AxisPart) -> np.ndarray:
        """The native pixels in which a rectangle of the prepared image has a say.

        Parameters
        ----------
        probabilities : ndarray
            K × ``rows.length`` × ``columns.length`` float32.
        rows, columns : AxisPart

        Returns
        -------
        ndarray
            K × ``rows.target`` × ``columns.target`` float32; at an edge inside of the image made from the
            rectangle's own pixels alone.
        """
        return part_from_working(probabilities, rows, columns)
