"""The Cell Tracking Challenge's layout, with what is not annotated in it kept apart from background.

::

    root/01/t000.tif                   frames of sequence 01 (numbers may be sparse)
    root/01_GT/SEG/man_seg000.tif      gold: outlines drawn by hand, few frames, not every cell
    root/01_ST/SEG/man_seg000.tif      silver: outlines fused from computer methods
    root/01_GT/TRA/man_track000.tif    markers: one per cell and frame, place but not shape
    root/02/…

Zero in gold does not always mean background. Three regions are unknown there and become `IGNORE`, wherever no
object is outlined:

* the margin of `margin` pixels, in which the challenge outlines no cell unless it reaches into the field;
* around a marker that no gold object covers (more than half of it): the silver outline with the marker's
  number where there is one, else a disc;
* boxes the configuration names, for copies without markers.

Silver labels are treated alike. In DIC-C2DH-HeLa the silver truth follows gold's rule for the margin: none of
its 2,092 objects lies wholly in the border of 50 pixels, though cells are visible there, and in the gold
frames that outline every cell it covers the same share of that border as gold does, to 0.01. 58 tracked
cells have no silver outline; a disc around their marker is ignored.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from unet_train.data.distances import distance_to_zero
from unet_train.data.layouts import LAYOUTS, DatasetKeys, Layout
from unet_train.data.layouts.common import FilesSource, read_sized_labels, refuse_binary
from unet_train.data.records import IGNORE, Record, Truth
from unet_train.errors import UserError
from unet_train.keys import key

_SEQUENCE = re.compile(r"\d\d")
_FRAME = re.compile(r"t(\d+)\.tiff?", re.IGNORECASE)
_SEGMENTATION = re.compile(r"man_seg_?(\d+)\.tiff?", re.IGNORECASE)
_MARKERS = re.compile(r"man_track_?(\d+)\.tiff?", re.IGNORECASE)

_LARGEST_NUMBER = 2**24  # the challenge's own limit is 2¹⁶ − 1; counts per number must fit into memory

_KINDS = {
    "gold": ("_GT", "SEG", _SEGMENTATION),
    "silver": ("_ST", "SEG", _SEGMENTATION),
    "markers": ("_GT", "TRA", _MARKERS),
}


@dataclass(frozen=True)
class Annotation:
    """Which labels are used, and where nothing is annotated.

    Attributes
    ----------
    labels : {"gold", "silver", "both"}
        What is trained on. ``both``: gold where the frame has it (and is not left out), else silver. Scored
        is always against gold.
    leave_out : sequence of str
        Frames (``"01/067"``; numbers are compared by value) whose gold labels are not used at all: they are
        not scored, and not trained on unless from silver.
    margin : int
        Width in pixels of the border without annotation.
    ignore_boxes : mapping
        ``{"02/026": [[first row, last row, first column, last column], …]}``, ends included: regions that are
        unknown except where a gold object is.
    marker_radius : int
        Radius in pixels of the disc ignored around a cell without an outline.
    ring : int
        Training only: pixels of the margin up to this far from an outlined cell count as background, so that
        the net learns where a cell ends that reaches into the margin. The cells beyond, not outlined, are
        wrong there where they touch it; a ring narrower than the usual gap costs little.

    Raises
    ------
    ValueError
        For other labels, or a number out of its range.
    """

    labels: str = "gold"
    leave_out: Sequence[str] = ()
    margin: int = 0
    ignore_boxes: Mapping[str, Sequence[Sequence[int]]] = field(default_factory=dict)
    marker_radius: int = 40
    ring: int = 0

    def __post_init__(self) -> None:
        if self.labels not in ("gold", "silver", "both"):
            raise ValueError(f"labels={self.labels}: choose gold, silver or both")
        if self.margin < 0 or self.marker_radius < 1 or self.ring < 0:
            raise ValueError("margin and ring must be at least 0, marker_radius at least 1")


class ChallengeSource(FilesSource):
    """A data set in the challenge's layout.

    Parameters
    ----------
    root : path
        Folder that holds ``01``, ``01_GT``, …
    annotation : Annotation
    classes : sequence of str
        Two names: background and the objects.
    intensity_range, channels
        As in `read_image`.
    name : str
        Name of the data set, for messages.

    Raises
    ------
    UserError
        No such folder, no sequence in it, no labels of the asked kind, a malformed frame name or box.
    """

    one_size_per_group = True
    orientation = "any"
    """Cells in a dish have no up."""

    def __init__(
        self,
        root: str | Path,
        annotation: Annotation = Annotation(),
        *,
        classes: Sequence[str] = ("background", "cell"),
        intensity_range: tuple[float, float] | None = None,
        channels: int | None = None,
        name: str = "challenge",
    ) -> None:
        if len(classes) != 2:
            raise UserError(
                f"dataset.classes: {len(classes)} names; the challenge's layout has two: background, object"
            )
        super().__init__(
            root,
            f"fetch it with `unet-data fetch {name}`, or set dataset.root to the folder of 01, 01_GT, …",
            name=name,
            intensity_range=intensity_range,
            channels=channels,
        )
        self._classes = tuple(classes)
        self._annotation = annotation
        self.margin = annotation.margin
        self._left_out = {_frame_id(text, "dataset.leave_out") for text in annotation.leave_out}
        self._boxes = {
            _frame_id(text, "dataset.ignore_boxes"): _checked_boxes(text, boxes)
            for text, boxes in annotation.ignore_boxes.items()
        }
        self._records = self._list()

    def reading_key(self) -> str | None:
        """The keys of reading, and what is unknown where."""
        return repr((self._annotation, self._range, self._declared_channels))

    def read_truth(self, record: Record, *, scoring: bool = False) -> Truth:
        """Labels of one frame at native size.

        Parameters
        ----------
        record : Record
            One of `records`.
        scoring : bool
            False: the labels to train on under the chosen kind; True: gold, whatever the kind.

        Returns
        -------
        Truth
            ``classes`` with the unknown regions as `IGNORE`; ``instances`` the ids of gold or silver;
            ``markers`` the tracking markers where the set has them.

        Raises
        ------
        UserError
            The frame has no such labels, or its label file has another size or does not hold object numbers.
        """
        kind = "gold" if scoring else self._training_kind(record)
        if kind is None or kind not in record.labels or (kind == "gold" and not self._has_gold(record)):
            why = "is left out" if self._is_left_out(record) else "has no labels to use"
            wanted = "scoring" if scoring else f"dataset.labels={self._annotation.labels}"
            raise UserError(f"{record.key}: the frame {why} for {wanted}")
        instances = self._read(record, kind)
        markers = self._read(record, "markers") if "markers" in record.labels else None
        unknown = self._unknown(
            record, kind, instances, markers, ring=0 if scoring else self._annotation.ring
        )
        classes = (instances > 0).astype(np.uint8)
        classes[unknown & (instances == 0)] = IGNORE
        return Truth(classes=classes, instances=instances, markers=markers)

    # --- which labels ---------------------------------------------------------------------------------------

    def _is_left_out(self, record: Record) -> bool:
        return (record.group, record.order) in self._left_out

    def _has_gold(self, record: Record) -> bool:
        return "gold" in record.labels and not self._is_left_out(record)

    def _training_kind(self, record: Record) -> str | None:
        if self._annotation.labels in ("gold", "both") and self._has_gold(record):
            return "gold"
        if self._annotation.labels in ("silver", "both") and "silver" in record.labels:
            return "silver"
        return None

    # --- pixels ---------------------------------------------------------------------------------------------

    def _read(self, record: Record, kind: str) -> np.ndarray:
        """Object numbers, H×W int32."""
        path = record.labels[kind]
        labels = read_sized_labels(path, record.image, self._declared_channels).astype(np.int32)
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high > _LARGEST_NUMBER:
            raise UserError(f"{path}: values from {low} to {high} are not object numbers")
        if kind != "markers":
            refuse_binary(path, labels)
        return labels

    def _unknown(
        self, record: Record, kind: str, instances: np.ndarray, markers: np.ndarray | None, ring: int
    ) -> np.ndarray:
        """Where zero in the labels does not mean background; H×W bool."""
        unknown = np.zeros(instances.shape, bool)
        if self.margin:
            inner = slice(self.margin, -self.margin)
            unknown[:] = True
            unknown[inner, inner] = False
            if ring and instances.any():
                away = distance_to_zero(instances == 0)
                unknown &= away > ring
        if kind == "gold":  # the boxes say where gold is missing
            for first_row, last_row, first_column, last_column in self._boxes.get(
                (record.group, record.order), ()
            ):
                unknown[first_row : last_row + 1, first_column : last_column + 1] = True
        if markers is None:
            return unknown
        missing = uncovered_markers(markers, instances)
        if not missing:
            return unknown
        silver = self._read(record, "silver") if kind == "gold" and "silver" in record.labels else None
        for number in missing:
            place = markers == number
            unknown |= place
            outline = silver == number if silver is not None else None
            if outline is not None and outline.any():
                unknown |= outline
            else:
                unknown |= _disc(place, self._annotation.marker_radius)
        return unknown

    # --- files ----------------------------------------------------------------------------------------------

    def _list(self) -> list[Record]:
        sequences = sorted(
            path.name for path in self._root.iterdir() if path.is_dir() and _SEQUENCE.fullmatch(path.name)
        )
        records: list[Record] = []
        for sequence in sequences:
            records += self._list_sequence(sequence)
        if not records:
            raise UserError(
                f"dataset.root: {self._root} holds no sequence folder such as 01 with frames t000.tif in it"
            )
        if not any(record.trainable for record in records):
            part, kind = ("_ST", "silver") if self._annotation.labels == "silver" else ("_GT", "gold")
            raise UserError(
                f"dataset.labels={self._annotation.labels}: no frame in {self._root} has labels to use "
                f"(the {kind} ones would be {self._root / (records[0].group + part) / 'SEG'})"
            )
        known = {(record.group, record.order): record.key for record in records}
        for name, frames in (("leave_out", self._left_out), ("ignore_boxes", set(self._boxes))):
            missing = sorted(frames - set(known))
            if missing:
                names = ", ".join(f"{group}/{order:03d}" for group, order in missing)
                self.notes.append(f"dataset.{name} names frames that are not there: {names}")
        left_out = sorted(known[frame] for frame in self._left_out & set(known))
        if left_out:
            self.notes.append(f"gold labels left out (dataset.leave_out): {', '.join(left_out)}")
        for path, what in self._problems:
            self.notes.append(f"{path}: {what}")
        return records

    def _list_sequence(self, sequence: str) -> list[Record]:
        frames = self._numbered(self._root / sequence, _FRAME)
        if not frames:
            return []
        labels: dict[str, dict[int, tuple[str, Path]]] = {}
        for kind, (suffix, folder, pattern) in _KINDS.items():
            labels[kind] = self._numbered(self._root / f"{sequence}{suffix}" / folder, pattern)
            for number in sorted(set(labels[kind]) - set(frames)):
                path = labels[kind][number][1]
                self._problems.append((str(path), f"{kind} labels without a frame of that number"))
        records = []
        for number in sorted(frames):
            digits, path = frames[number]
            own = {kind: str(found[number][1]) for kind, found in labels.items() if number in found}
            gold = "gold" in own and (sequence, number) not in self._left_out
            silver = "silver" in own
            records.append(
                Record(
                    key=f"{sequence}/{digits}",
                    image=str(path),
                    labels=own,
                    group=sequence,
                    order=number,
                    trainable={"gold": gold, "silver": silver, "both": gold or silver}[
                        self._annotation.labels
                    ],
                    scorable=gold,
                )
            )
        return records

    def _numbered(self, folder: Path, pattern: re.Pattern[str]) -> dict[int, tuple[str, Path]]:
        """Frame number → (digits as written, path); numbers are compared by value, whatever their digits."""
        found: dict[int, tuple[str, Path]] = {}
        if not folder.is_dir():
            return found
        for path in sorted(folder.iterdir()):
            match = pattern.fullmatch(path.name)
            if match is None:
                continue
            number = int(match[1])
            if number in found:
                self._problems.append((str(path), f"has the same number as {found[number][1].name}"))
            else:
                found[number] = (match[1], path)
        return found


def uncovered_markers(markers: np.ndarray, instances: np.ndarray) -> list[int]:
    """Numbers of the markers of which at most half lies on outlined objects, ascending.

    Parameters
    ----------
    markers, instances : ndarray
        H×W non-negative integers of one shape.
    """
    total = np.bincount(markers.ravel())
    covered = np.bincount(markers[instances > 0], minlength=len(total))
    numbers = np.flatnonzero((total > 0) & (2 * covered <= total))
    return [int(number) for number in numbers if number > 0]


def _disc(place: np.ndarray, radius: int) -> np.ndarray:
    """Disc around the centre of a marker."""
    rows, columns = np.nonzero(place)
    row_axis, column_axis = np.ogrid[: place.shape[0], : place.shape[1]]
    return (row_axis - rows.mean()) ** 2 + (column_axis - columns.mean()) ** 2 <= radius**2


def _frame_id(text: str, key: str) -> tuple[str, int]:
    """``"01/067"`` → ``("01", 67)``."""
    match = re.fullmatch(r"(\d{1,2})/t?(\d+)", str(text).strip())
    if match is None:
        raise UserError(f'{key}: {text!r} is no frame; write sequence and number, such as "01/067"')
    return f"{int(match[1]):02d}", int(match[2])


def _checked_boxes(text: str, boxes: Sequence[Sequence[int]]) -> list[tuple[int, int, int, int]]:
    checked = []
    for box in boxes:
        try:
            first_row, last_row, first_column, last_column = (int(value) for value in box)
        except (TypeError, ValueError):
            first_row, last_row, first_column, last_column = -1, -1, -1, -1
        if not (0 <= first_row <= last_row and 0 <= first_column <= last_column):
            raise UserError(
                f'dataset.ignore_boxes: {box!r} of "{text}" is no box; '
                "write [first row, last row, first column, last column], ends included"
            )
        checked.append((first_row, last_row, first_column, last_column))
    return checked


@dataclass
class ChallengeKeys(DatasetKeys):
    """The Cell Tracking Challenge's layout: 01/, 01_GT/, 01_ST/, 02/, …"""

    classes: list[str] = key("class names by id, background first")
    labels: str = key("labels to train on; both: gold where there is one", choices=("gold", "silver", "both"))
    leave_out: list[str] = key("frames whose gold labels are not to be used")
    margin: int = key("width of the border in which objects are not annotated, pixels", at_least=0)
    ignore_boxes: dict[str, Any] = key(
        "frame: [[first row, last row, first column, last column], …] to ignore"
    )
    marker_radius: int = key(
        "radius of the ignored disc around a cell without an outline, pixels", at_least=1
    )
    ring: int = key(
        "training: pixels around an outlined cell that count as background even in the margin",
        at_least=0,
        before=0,
    )


def _from_keys(
    root: str, name: str, intensity_range: tuple[float, float] | None, classes: list[str], **annotation: Any
) -> ChallengeSource:
    labels = Annotation(**annotation)
    return ChallengeSource(root, labels, classes=classes, intensity_range=intensity_range, name=name)


LAYOUTS.register(
    "challenge",
    Layout(
        ChallengeKeys,
        _from_keys,
        how_to_get="set dataset.root=FOLDER, or fetch it: unet-data fetch {name}",
    ),
)
