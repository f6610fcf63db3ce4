"""From a mask file to numbers: grey values, palettes, colours, a threshold, one page per class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from unet_train.data.io.images import Stored
from unet_train.data.masks.colours import (
    BLACK,
    Colour,
    colour_codes,
    colour_of,
    hex_of,
    ids_of_colours,
    nearly_grey,
    suggest_colours,
)
from unet_train.data.masks.legend import Legend
from unet_train.data.masks.palettes import PaletteRule, find_palette_rule
from unet_train.data.masks.threshold import grey_of, propose_threshold
from unet_train.data.masks.values import MOST_CLASSES, distinct
from unet_train.errors import UserError

_FEWEST_LEVELS = 8
"""Fewer grey values are classes or two values, not soft edges."""


@dataclass(frozen=True)
class MaskSample:
    """What one mask of a data set shows, without its pixels' places: hundreds of whole masks would fill the memory.

    Attributes
    ----------
    path : str
    stored : Stored
        Its distinct values or colours as one row (1×N or 1×N×3); pages as they are.
    counts : ndarray
        How many pixels have each of them.
    """

    path: str
    stored: Stored
    counts: np.ndarray

    @classmethod
    def of(cls, path: str, stored: Stored) -> MaskSample:
        """The sample of a whole mask."""
        array = stored.array
        if stored.pages:
            return cls(path, stored, np.ones(1, np.int64))
        if array.ndim == 3:
            codes, counts = np.unique(colour_codes(array), return_counts=True)
            colours = np.array([colour_of(int(code)) for code in codes], np.uint8)[None]
            return cls(path, Stored(colours), counts)
        values, counts = np.unique(array, return_counts=True)
        return cls(path, Stored(values.astype(array.dtype)[None], stored.palette), counts)


@dataclass(frozen=True)
class MaskReader:
    """How the masks of a data set become numbers; picklable.

    Attributes
    ----------
    palette : PaletteRule
        For masks of indexed colour.
    colours : mapping of Colour to int, or None
        Class id of each colour, where colours count.
    threshold : int or None
        Grey value from which a pixel is 1, below it 0.
    pages : int
        How many pages a mask has, one per class; 0: one image.
    objects : bool
        Numbers of objects are wanted, not of classes: each colour and each page is an object.
    """

    palette: PaletteRule = field(default_factory=PaletteRule)
    colours: Mapping[Colour, int] | None = None
    threshold: int | None = None
    pages: int = 0
    objects: bool = False

    def labels(self, path: str, stored: Stored) -> np.ndarray:
        """The numbers of a mask, H×W uint8, uint16 or int32.

        Raises
        ------
        UserError
            Names the file: another form than the data set's masks have.
        """
        if stored.pages:
            return self._from_pages(path, stored.array)
        if self.threshold is not None:
            array = stored.array if stored.palette is None else stored.palette[stored.array]
            return (grey_of(array) >= self.threshold).astype(np.uint8)
        if self.colours is not None:
            shown = stored.array if stored.palette is None else stored.palette[stored.array]
            return ids_of_colours(path, shown, self.colours)
        if stored.array.ndim == 3:
            if self.objects:
                return colour_codes(stored.array)
            raise UserError(f"{path}: a mask in colour, where the others are grey; save all masks alike")
        return self.palette.labels(path, stored)

    def _from_pages(self, path: str, pages: np.ndarray) -> np.ndarray:
        if self.objects:
            numbers = np.zeros(pages.shape[1:], np.int32)
            for number, page in enumerate(pages, 1):
                numbers[page > 0] = number
            return numbers
        if len(pages) != self.pages:
            wanted = f"{self.pages} pages as the others have" if self.pages else "one image"
            raise UserError(f"{path}: {len(pages)} pages where a mask of {wanted} is expected")
        marked = (pages > 0).sum(axis=0)
        if (marked != 1).any():
            raise UserError(
                f"{path}: of {len(pages)} pages, one per class, several mark {(marked > 1).mean():.1%} of the pixels "
                f"and none marks {(marked == 0).mean():.1%}; every pixel must be marked once"
            )
        return np.argmax(pages > 0, axis=0).astype(np.uint8)


@dataclass
class Reading:
    """What was found out about the masks.

    Attributes
    ----------
    reader : MaskReader
    names : tuple of str or None
        Class names that come with the colours.
    notes : list of str
    """

    reader: MaskReader
    names: tuple[str, ...] | None = None
    notes: list[str] = field(default_factory=list)

    def values(self, sample: MaskSample) -> list[int]:
        """The distinct numbers of a mask, read by `reader`."""
        return distinct(self.reader.labels(sample.path, sample.stored))


def foreground_of(stored: Stored) -> np.ndarray:
    """Where a mask of one object is brighter than half its brightest pixel, H×W bool; nowhere if all is black."""
    shown = stored.array if stored.palette is None else stored.palette[stored.array]
    grey = grey_of(shown)
    return 2 * grey.astype(np.int64) > int(grey.max())


def find_reader(
    samples: Sequence[MaskSample],
    *,
    threshold: int | None = None,
    colours: Mapping[str, Colour] | None = None,
    legend: Legend | None = None,
) -> Reading:
    """Tell in which form masks are, as far as keys do not say it.

    Parameters
    ----------
    samples : sequence of MaskSample
        At least one.
    threshold : int, optional
        As declared.
    colours : mapping of str to Colour, optional
        Class name → colour, as declared, in the order of the class ids.
    legend : Legend, optional
        A file that names colours.

    Raises
    ------
    UserError
        Where keys must say what the masks mean; it lists colours or proposes a threshold.
    """
    if threshold is not None:
        return Reading(MaskReader(threshold=threshold))
    if colours is not None:
        ids = {colour: index for index, colour in enumerate(colours.values())}
        return Reading(MaskReader(colours=ids), tuple(colours))
    paged = [sample for sample in samples if sample.stored.pages]
    if paged:
        count = len(paged[0].stored.array)
        return Reading(MaskReader(pages=count), notes=[f"masks of {count} pages, one for each class"])
    if any(sample.stored.array.ndim == 3 for sample in samples):
        return _by_colour(samples, legend)
    palette, said = find_palette_rule((sample.path, sample.stored) for sample in samples)
    _propose_threshold(samples)
    return Reading(MaskReader(palette), notes=[said] if said else [])


def _by_colour(samples: Sequence[MaskSample], legend: Legend | None) -> Reading:
    counts: Counter[Colour] = Counter()
    for sample in samples:
        for colour, count in zip(_colours_of(sample), sample.counts.tolist(), strict=True):
            counts[colour] += count
    coloured = next(sample for sample in samples if sample.stored.array.ndim == 3)
    if legend and legend.colours and set(counts) <= set(legend.colours.values()):
        ids = {colour: index for index, colour in enumerate(legend.colours.values())}
        return Reading(
            MaskReader(colours=ids), tuple(legend.colours), [f"masks in colour, named by {legend.path}"]
        )
    if len(counts) == 2 and BLACK in counts:
        other = next(colour for colour in counts if colour != BLACK)
        note = f"masks in black and {hex_of(other)}, taken as classes 0 and 1"
        return Reading(MaskReader(colours={BLACK: 0, other: 1}), notes=[note])
    if len(counts) > MOST_CLASSES:
        if all(nearly_grey(sample.stored.array) for sample in samples):
            values = grey_of(coloured.stored.array)[0]
            order = np.argsort(values, kind="stable")
            proposed = propose_threshold(values[order], coloured.counts[order])
            if proposed is not None:
                raise _want_threshold(coloured.path, len(np.unique(values)), proposed)
        raise UserError(
            f"{coloured.path}: {len(coloured.counts)} colours ({len(counts)} in all the masks looked at), too many for "
            "classes; save masks in colour without JPEG and soft edges; if each object has its own colour, say "
            "dataset.instances=true"
        )
    files = Counter(colour for sample in samples for colour in _colours_of(sample))
    own = sum(count == 1 for count in files.values())
    if len(samples) > 2 and 2 * own > len(files):
        raise UserError(
            f"{coloured.path}: a mask in colour, and {own} of {len(files)} colours occur in one mask only; if each "
            f"object has its own colour, say dataset.instances=true; else {suggest_colours(counts)}"
        )
    extra = ""
    if legend and legend.colours:
        missing = sorted(set(counts) - set(legend.colours.values()))
        extra = f"{legend.path} has no name for {', '.join(map(hex_of, missing[:5]))}; "
    raise UserError(f"{coloured.path}: a mask in colour; {extra}{suggest_colours(counts)}")


def _colours_of(sample: MaskSample) -> list[Colour]:
    """The colours that a mask shows, in the order of its counts."""
    array, palette = sample.stored.array, sample.stored.palette
    shown = array if palette is None else palette[array]
    return [colour_of(code) for code in colour_codes(shown)[0].tolist()]


def _propose_threshold(samples: Sequence[MaskSample]) -> None:
    """Refuse grey levels between two heaps with the threshold that parts them."""
    counts: Counter[int] = Counter()
    for sample in samples:
        if sample.stored.palette is None:
            counts.update(dict(zip(sample.stored.array[0].tolist(), sample.counts.tolist(), strict=True)))
    if len(counts) < _FEWEST_LEVELS or (len(counts) <= MOST_CLASSES and max(counts) < MOST_CLASSES):
        return
    values = np.array(sorted(counts))
    proposed = propose_threshold(values, np.array([counts[value] for value in values.tolist()]))
    if proposed is not None:
        worst = max(samples, key=lambda sample: sample.stored.array.size)
        raise _want_threshold(worst.path, len(values), proposed)


def _want_threshold(path: str, values: int, proposed: int) -> UserError:
    return UserError(
        f"{path}: the masks hold {values} grey values in two heaps, as JPEG or soft edges make of black and white; say "
        f"dataset.threshold={proposed} to take brighter pixels as foreground"
    )
