"""Remembers what the data check found in files that have not changed since, so that a second check opens none."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from unet_train.atomic import replacing
from unet_train.data.intensities import Histogram
from unet_train.data.records import Record, Source

FOLDER_VARIABLE = "UNET_TRAIN_CHECK_CACHE"
"""Environment variable: the folder of the cache, or ``off``."""

MOST_ENTRY_BYTES = 32 * 2**10
"""An image whose result is larger (16 bits with many thousand values) is not remembered."""

MOST_BYTES = 512 * 2**20
"""All files of the cache together; those used longest ago are deleted first."""

SETTLED_NS = 3 * 10**9
"""A file changed so shortly before it is read could change again within one tick of its time stamp."""

_ENDING = ".check"
_LIBRARIES = (
    *("numpy", "scipy", "scikit-image", "tifffile", "imagecodecs", "pillow"),
    *("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless"),
)
"""What decodes files; another version may give other pixels."""

_Found = TypeVar("_Found")


def cache_folder() -> Path | None:
    """Where results are kept: ``$UNET_TRAIN_CHECK_CACHE``, else beside torch's weights in the user's cache folder.

    Returns
    -------
    Path or None
        None where the variable is ``off``.
    """
    named = os.environ.get(FOLDER_VARIABLE, "").strip()
    if named.lower() == "off":
        return None
    if named:
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "unet-train" / "checks"


class CheckCache:
    """Results of earlier checks of one data set, read the same way.

    A result is used only where the record, every key of the data set that has a say in reading it, this package's
    reading code, the decoders' versions, and of each of its files path, device, inode, size, mtime and ctime
    are what they were. Results with a problem are never kept. A file of the cache that cannot be read, or a line of
    it that does not fit its checksum, counts as not there.

    Parameters
    ----------
    folder : Path
        Made when the first result is saved.
    identity : str
        What decides the results apart from the files.
    """

    def __init__(self, folder: Path, identity: str) -> None:
        self._path = folder / (hashlib.sha256(identity.encode()).hexdigest()[:40] + _ENDING)
        self._earlier = _read_lines(self._path)
        self._used: dict[str, str] = {}
        self._lock = threading.Lock()
        self._news = False

    @classmethod
    def of(cls, source: Source, records: Sequence[Record], folder: Path | None) -> CheckCache | None:
        """The cache of a data set; None without a folder, or for a source whose reading may depend on more."""
        own = type(source).__module__.startswith("unet_train.")  # a subclass elsewhere may read otherwise
        reading = source.reading_key() if own else None
        if folder is None or reading is None or not records:
            return None
        images = [os.path.abspath(record.image) for record in records]
        parent = os.path.commonpath([os.path.dirname(image) for image in images])
        about = [type(source).__qualname__, reading, source.classes, source.channels, parent, _code_key()]
        return cls(folder, repr(about))

    def recall(self, record: Record, kind: type[_Found], look: Callable[[], _Found]) -> _Found:
        """What `look` found earlier in the same files, else what it finds now.

        Parameters
        ----------
        record : Record
        kind : type
            A dataclass of plain values, tuples, arrays and `Histogram`; with a field `problems`.
        look : callable
            Reads the record's files.
        """
        if record.page is not None:  # a stack or volume may draw on files beside it
            return look()
        name = _record_key(record)
        before = _stamps(record)
        if before is not None:
            line = self._earlier.get(name)
            known = _decode(line, before, kind) if line is not None else None
            if known is not None:
                assert line is not None
                self._keep(name, line, new=False)
                return known
        started = time.time_ns()
        found = look()
        if before is None or found.problems or before != _stamps(record):  # type: ignore[attr-defined]
            return found
        latest = max(max(stamp[-2:]) for stamp in before)
        line = _encode(found, before) if latest < started - SETTLED_NS else ""
        if line and len(line) <= MOST_ENTRY_BYTES:
            self._keep(name, line, new=True)
        return found

    def _keep(self, name: str, line: str, new: bool) -> None:
        with self._lock:
            self._used[name] = line
            self._news |= new

    def save(self) -> None:
        """Write what is known now; where the folder cannot be written, nothing is remembered.

        Two processes that save at once each write a whole file; the later one stays.
        """
        if not self._news:
            if self._used:
                _touch(self._path)
            return
        lines: dict[str, str] = {}
        room = MOST_BYTES
        for name, line in (
            self._used | {n: e for n, e in self._earlier.items() if n not in self._used}
        ).items():
            room -= len(name) + len(line) + 2
            if room < 0:
                break
            lines[name] = line
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(self._path) as temporary, open(temporary, "w", encoding="ascii") as file:
                file.writelines(f"{name} {line}\n" for name, line in lines.items())
            _prune(self._path.parent, MOST_BYTES)
        except OSError:
            return
        self._news = False


def _read_lines(path: Path) -> dict[str, str]:
    """Record key → the rest of its line; checked when used."""
    try:
        text = path.read_bytes().decode("ascii", errors="replace")
    except OSError:
        return {}
    parted = (line.partition(" ") for line in text.split("\n"))
    return {name: rest for name, _, rest in parted if rest}


def _record_key(record: Record) -> str:
    said: dict[str, Any] = {item.name: getattr(record, item.name) for item in fields(record)}
    said["image"] = os.path.abspath(record.image)
    said["labels"] = [(kind, os.path.abspath(path)) for kind, path in record.labels.items()]
    said["more_labels"] = [os.path.abspath(path) for path in record.more_labels]
    return hashlib.sha256(repr(said).encode("utf-8", "surrogateescape")).hexdigest()


def _stamps(record: Record) -> list[list[int]] | None:
    """Device, inode, size, mtime and ctime of each file of a record; None if one is not there."""
    found = []
    for path in (record.image, *record.labels.values(), *record.more_labels):
        try:
            stat = os.stat(path)
        except (OSError, ValueError):
            return None
        found.append([stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns])
    return found


@cache
def _code_key() -> str:
    """Changes with the code that reads, and with the libraries that decode."""
    digest = hashlib.sha256()
    package = Path(__file__).resolve().parent.parent
    for path in sorted([*(package / "data").rglob("*.py"), *package.glob("*.py")]):
        digest.update(f"{path.relative_to(package)}\n".encode() + path.read_bytes())
    for name in _LIBRARIES:
        try:
            digest.update(f"{name} {metadata.version(name)}\n".encode())
        except metadata.PackageNotFoundError:
            continue
    return digest.hexdigest()


def _encode(found: Any, stamps: list[list[int]]) -> str:
    values = {item.name: _plain(getattr(found, item.name)) for item in fields(found)}
    text = json.dumps([stamps, values], separators=(",", ":"))
    return f"{_checksum(text)} {text}"


def _decode(line: str, stamps: list[list[int]], kind: type[_Found]) -> _Found | None:
    checksum, _, text = line.partition(" ")
    if checksum != _checksum(text):
        return None
    stored, values = json.loads(text)
    if stored != stamps:
        return None
    return kind(**{name: _restored(value) for name, value in values.items()})


def _checksum(text: str) -> str:
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        data = base64.b64encode(zlib.compress(np.ascontiguousarray(value).tobytes(), 1)).decode()
        return {"array": [value.dtype.str, value.shape, data]}
    if isinstance(value, Histogram):
        return {"histogram": [_plain(value.counts), value.dtype]}
    if isinstance(value, tuple):
        return {"tuple": list(value)}
    if isinstance(value, bytes):
        return {"bytes": base64.b64encode(value).decode()}
    return value


def _restored(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "array":
        dtype, shape, data = content
        return np.frombuffer(zlib.decompress(base64.b64decode(data)), dtype).reshape(shape)
    if kind == "histogram":
        return Histogram(_restored(content[0]), content[1])
    if kind == "bytes":
        return base64.b64decode(content)
    return tuple(content)


def _touch(path: Path) -> None:
    try:
        os.utime(path)
    except OSError:
        return


def _prune(folder: Path, most: int) -> None:
    """Delete the files used longest ago until the rest fits, and what a killed process left half written."""
    sizes: list[tuple[float, int, Path]] = []
    for path in _files(folder):
        try:
            stat = path.stat()
        except OSError:  # deleted by another process meanwhile
            continue
        if path.suffix == ".part" and stat.st_mtime < time.time() - 3600:
            path.unlink(missing_ok=True)
        elif path.suffix == _ENDING:
            sizes.append((stat.st_mtime, stat.st_size, path))
    total = sum(size for _, size, _ in sizes)
    for _, size, path in sorted(sizes)[:-1]:
        if total <= most:
            return
        path.unlink(missing_ok=True)
        total -= size


def _files(folder: Path) -> Iterable[Path]:
    return [path for path in folder.iterdir() if path.suffix in (_ENDING, ".part")]
