"""The annotations of a whole data set: which images they name, and which shapes an image has."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path, PurePosixPath

from unet_train.data.annotations.shapes import BACKGROUND_NAMES, Shape
from unet_train.data.io.images import IMAGE_SUFFIXES
from unet_train.data.part_names import PART_NAMES
from unet_train.errors import UserError

Reader = Callable[[Path, str], list[Shape]]
"""Reads the shapes of one image from an annotation file; picklable. The name is the image's, as in that file."""

_PART_OF_WORD = {word: part for part, words in PART_NAMES.items() for word in words}


@dataclass(frozen=True)
class Entry:
    """One annotated image.

    Attributes
    ----------
    name : str
        As the annotations name it: a file name (COCO), or that of its annotation file without the ending; with
        folders, slashes between them.
    file : Path
        The annotation file.
    alias : str
        Another name that the file gives for the image; "": none.
    """

    name: str
    file: Path
    alias: str = ""


@dataclass(frozen=True)
class Annotations:
    """What the annotation files of a folder say. Picklable.

    Attributes
    ----------
    format : str
        ``COCO JSON``, ``labelme JSON``, ``YOLO text``, ``ImageJ ROI`` or ``GeoJSON``.
    classes : tuple of str
        Names in the file's own order (COCO and YOLO: by id), else sorted; the background is left out.
    files : tuple of Path
        What it was read from.
    root : Path
        The folder that was searched.
    notes : tuple of str
        What was left out or found out, one sentence each, for the user.
    entries : mapping of str to Entry
        By the names that `images` lists.
    reader : Reader
        Reads an entry's shapes.
    """

    format: str
    classes: tuple[str, ...]
    files: tuple[Path, ...]
    root: Path
    notes: tuple[str, ...] = ()
    entries: Mapping[str, Entry] = field(default_factory=dict, repr=False)
    reader: Reader | None = field(default=None, repr=False)
    _by_stem: Mapping[str, list[str]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_stem: dict[str, list[str]] = defaultdict(list)
        for key, entry in self.entries.items():
            for name in dict.fromkeys(filter(None, (entry.name, entry.alias))):
                by_stem[_stem(_parts(name)[-1])].append(key)
        object.__setattr__(self, "_by_stem", dict(by_stem))

    def images(self) -> list[str]:
        """Names of all annotated images, also of those without an object, in the files' order."""
        return list(self.entries)

    def match(self, image: str | Path) -> str | None:
        """The name in `images` that means an image; None: it is not annotated.

        Compared are the file names, without the ending where that differs. Among several images of one name the
        folders decide; an image in a folder of one part (``val/``) is never matched with annotations of another.

        Parameters
        ----------
        image : str or Path
            A name of `images`, or the path of an image file.

        Raises
        ------
        UserError
            Two annotations that fit equally well.
        """
        if str(image) in self.entries:
            return str(image)
        folders, name = self._place(image)
        found = list(dict.fromkeys(self._by_stem.get(_stem(name), [])))
        parts = _parts_named(folders)
        contexts = {key: self._context(key) for key in found}
        found = [key for key in found if not _other_part(parts, _parts_named(contexts[key]))]
        for prefer in (
            lambda key: name in (_parts(self.entries[key].name)[-1], _parts(self.entries[key].alias)[-1]),
            lambda key: bool(parts & _parts_named(contexts[key])),
        ):
            found = [key for key in found if prefer(key)] or found
        if len(found) > 1:
            near = {key: _nearness(folders, contexts[key]) for key in found}
            found = [key for key in found if near[key] == max(near.values())]
        if len(found) > 1:
            first, second = (f"{self.entries[key].file} ({key})" for key in found[:2])
            raise UserError(f"{image}: annotated twice, in {first} and in {second}; keep one of them")
        return found[0] if found else None

    def file_of(self, image: str | Path) -> Path | None:
        """The annotation file of an image; None: it is not annotated."""
        name = self.match(image)
        return None if name is None else self.entries[name].file

    def shapes(self, image: str | Path) -> list[Shape]:
        """The shapes of an image in the order in which they are drawn.

        COCO, YOLO and GeoJSON: from the largest to the smallest, so that small ones stay visible (as Ultralytics
        does; these files' own order means nothing). labelme and ImageJ: in the order of the file, as labelme draws.

        Parameters
        ----------
        image : str or Path
            As in `match`.

        Raises
        ------
        UserError
            An image that is not annotated, or a file that cannot be read.
        """
        name = self.match(image)
        if name is None or self.reader is None:
            raise UserError(f"{image}: no {self.format} annotations for this image in {self.root}")
        entry = self.entries[name]
        return self.reader(entry.file, entry.name)

    def _place(self, image: str | Path) -> tuple[tuple[str, ...], str]:
        """Folders (below what the root and the image have in common) and file name of an image."""
        path = Path(image)
        if path.is_absolute():
            root = self.root.absolute()
            shared = next((up for up in (root, *root.parents) if path.is_relative_to(up)), None)
            path = path if shared is None else path.relative_to(shared)
        *folders, name = _parts(path.as_posix())
        return tuple(folders), name

    def _context(self, key: str) -> tuple[str, ...]:
        """Folders in which an annotated image may lie: those of its name, after the file's and the file's name."""
        entry = self.entries[key]
        folders = (
            entry.file.parent.relative_to(self.root).parts if entry.file.is_relative_to(self.root) else ()
        )
        # What the words of the file's own name say of the part, as in instances_val2017.json.
        stem = () if _stem(entry.file.stem) == _stem(_parts(entry.name)[-1]) else (entry.file.stem,)
        own = _parts(entry.name)[:-1]
        return tuple(map(_normal, (*stem, *(() if own[: len(folders)] == folders else folders), *own)))


def foreground_classes(names: Iterable[str]) -> tuple[str, ...]:
    """The names without repetitions and without the background."""
    return tuple(name for name in dict.fromkeys(names) if name.lower() not in BACKGROUND_NAMES)


def name_of(root: Path, file: Path) -> str:
    """What an annotation file of one image is called: its place below the root, without the ending."""
    return file.relative_to(root).with_suffix("").as_posix()


def entry_by_name(entries: Iterable[Entry]) -> dict[str, Entry]:
    """The entries by their names.

    Raises
    ------
    UserError
        Two files for one image.
    """
    found: dict[str, Entry] = {}
    for entry in entries:
        other = found.setdefault(entry.name, entry)
        if other is not entry:
            raise UserError(
                f"{entry.name}: annotated twice, in {other.file} and in {entry.file}; keep one of them"
            )
    return found


def _normal(text: str) -> str:
    """One spelling of letters with accents: macOS takes them apart."""
    return unicodedata.normalize("NFC", text)


def _parts(name: str) -> tuple[str, ...]:
    """Folders and file name of a name with slashes of either kind."""
    return PurePosixPath(_normal(name).replace("\\", "/")).parts or ("",)


def _stem(name: str) -> str:
    """A file name without the ending of an image."""
    name = _normal(name)
    path = PurePosixPath(name)
    return path.stem if path.suffix.lower() in IMAGE_SUFFIXES else name


def _parts_named(folders: Iterable[str]) -> set[str]:
    """The parts (train, val, test) that folder names speak of: ``val2017`` and ``instances_val`` say val."""
    words = (word for folder in folders for word in re.findall(r"[a-z]+", folder.lower()))
    return {_PART_OF_WORD[word] for word in words if word in _PART_OF_WORD}


def _other_part(one: set[str], other: set[str]) -> bool:
    return bool(one and other and not one & other)


def _nearness(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[int, int]:
    """How many folders two paths share at their very end, and how many in the same order with others between."""
    backwards = zip(reversed(one), reversed(other), strict=False)
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], backwards))
    count = 0
    rest = list(other)
    for folder in reversed(one):
        if folder in rest:
            del rest[len(rest) - 1 - rest[::-1].index(folder) :]
            count += 1
    return same, count
