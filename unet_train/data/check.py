"""Looks at every file before any training time is spent, and lists all that is wrong, not the first thing."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from unet_train.data.check_cache import CheckCache
from unet_train.data.intensities import Histogram, Intensities, histogram
from unet_train.data.near_duplicates import (
    NearDuplicate,
    describe_near_duplicates,
    near_duplicates,
    thumbnail,
)
from unet_train.data.problems import Problem, list_problems
from unet_train.data.records import IGNORE, Record, Source, Truth
from unet_train.errors import UserError


@dataclass
class Report:
    """What a look at all files gave.

    Attributes
    ----------
    problems : list of Problem
        In the order of the records; empty where all is well.
    warnings : list of str
        Nothing to stop for: the same picture under two keys, truths in which nothing is known.
    notes : list of str
        What might be set better: a range of 16 bits of which the images use a part.
    facts : dict
        Plain values: ``n`` images read; ``sizes`` {"H×W": images}; ``channels`` {count: images}; ``dtype``
        {"uint8": images}; ``values`` [least, greatest] pixel value as handed out (uint8 0..255, float 0..1);
        ``class_pixels`` {class name: pixels}; ``ignored_pixels``; ``empty`` images without foreground;
        ``instances`` objects (0 where there are none to count); ``objects`` {"count": objects, "per_image":
        median, "diameter": median of the diameters of circles of their areas, in pixels, or None}, None where
        the data set does not tell objects apart; ``intensity`` as `Intensities.describe`.
    hashes : dict
        Key → sha1 of the picture (shape, dtype, pixels), the same for a file saved anew without loss.
    truth_hashes : dict
        Key → sha1 of the labels.
    class_pixels : dict
        Key → pixels of each of the K classes in the labels.
    shapes : dict
        Key → height and width of the picture.
    thumbnails : dict
        Key → perceptual hash of the picture, see `near_duplicates.thumbnail`; none for an empty one.
    near_duplicates : list of NearDuplicate
        Images of different parts that look alike; empty until a split is known.
    """

    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)
    truth_hashes: dict[str, str] = field(default_factory=dict)
    class_pixels: dict[str, list[int]] = field(default_factory=dict)
    shapes: dict[str, tuple[int, int]] = field(default_factory=dict)
    thumbnails: dict[str, bytes] = field(default_factory=dict)
    near_duplicates: list[NearDuplicate] = field(default_factory=list)

    @property
    def class_ids(self) -> dict[str, list[int]]:
        """Key → ids of the classes that stand in the labels, ascending."""
        return {key: np.flatnonzero(pixels).tolist() for key, pixels in self.class_pixels.items()}


@dataclass
class _Look:
    """What one record gave; small, so that no picture is held."""

    problems: list[Problem] = field(default_factory=list)
    digest: str | None = None
    thumbnail: bytes | None = None
    truth_digest: str = ""
    size: tuple[int, int] | None = None
    channels: int = 0
    dtype: str = ""
    low: float = 0.0
    high: float = 0.0
    class_pixels: np.ndarray | None = None  # 256 counts
    areas: np.ndarray | None = None
    """Pixels of each object; None where objects are not told apart."""
    grey: bool = False
    """Whether the channels are equal everywhere."""
    values: Histogram | None = None
    """Taken out as soon as it is counted."""


@dataclass
class _Totals:
    """What is added up while the images are read, because it is too much to keep for each."""

    intensities: Intensities = field(default_factory=Intensities)
    areas: Counter[int] = field(default_factory=Counter)

    def take(self, look: _Look) -> _Look:
        """Count one image in."""
        if look.values is not None:
            self.intensities.add(look.values)
            look.values = None
        if look.areas is not None:
            self.areas.update(look.areas.tolist())
        return look


def check_source(
    source: Source,
    records: Sequence[Record],
    *,
    workers: int | None = None,
    keys: Collection[str] = ("channels", "intensity_range"),
    cache_folder: Path | None = None,
    progress: Callable[[Iterable[_Look], int], Iterable[_Look]] | None = None,
) -> Report:
    """Read every image and every truth once and report.

    Parameters
    ----------
    source : Source
        Where pixels come from. Its `layout_problems` are part of the report: names that do not pair.
    records : sequence of Record
        Those to look at.
    workers : int, optional
        Threads that read; decoding releases Python's lock. None: up to four. The report does not depend on
        it.
    keys : collection of str
        Keys of the data set's section that are not set: only these are proposed as a remedy.
    cache_folder : Path, optional
        Of `CheckCache`: files that have not changed since an earlier check are not opened. None: all are read.
    progress : callable, optional
        ``progress(iterable, total)`` returns the iterable with a bar around it.

    Returns
    -------
    Report
        Unreadable or empty files, NaN, sizes and channel counts that do not fit, label values outside the
        classes, keys that occur twice; and facts.
    """
    report = Report()
    for path, what in source.layout_problems():
        report.problems.append(Problem(path, what))
    for key, count in Counter(record.key for record in records).items():
        if count > 1:
            report.problems.append(Problem(key, f"{count} records have this key"))
    try:
        channels = source.channels
    except UserError:
        channels = 0  # the first image is not readable; it is reported with the others

    cache = CheckCache.of(source, records, cache_folder) if channels else None

    def look(record: Record) -> _Look:
        if cache is None:
            return _look_at(source, record, channels)
        return cache.recall(record, _Look, lambda: _look_at(source, record, channels))

    workers = min(4, os.cpu_count() or 1) if workers is None else max(1, workers)
    totals = _Totals()

    def gathered(looks: Iterable[_Look]) -> list[_Look]:
        return [totals.take(one) for one in (progress(looks, len(records)) if progress else looks)]

    try:
        if workers == 1 or len(records) < 2:
            looks = gathered(map(look, records))
        else:
            with ThreadPoolExecutor(workers) as pool:
                try:
                    looks = gathered(pool.map(look, records))
                except BaseException:
                    pool.shutdown(cancel_futures=True)  # Ctrl-C does not wait for all other files
                    raise
    finally:
        if cache is not None:
            cache.save()
    _name_channels_key(looks, channels, keys)
    _gather(report, source, records, looks, totals)
    unused = totals.intensities.unused_range() if "intensity_range" in keys else None
    if unused is not None:
        report.notes.append(_unused_note(totals.intensities, unused))
    return report


def _unused_note(intensities: Intensities, fitting: tuple[int, int]) -> str:
    found = intensities.describe() or {}
    return (
        f"16-bit images with values from {found['low']} to {found['high']}, 99.8 % of them from "
        f"{found['percentile_0.1']} to {found['percentile_99.9']}: a small part of 0 to 65535; "
        f"dataset.intensity_range=[{fitting[0]},{fitting[1]}] would use the whole range"
    )


def _name_channels_key(looks: Sequence[_Look], channels: int, keys: Collection[str]) -> None:
    """Where grey and colour are mixed, say which value of dataset.channels reads both."""
    colour = [look for look in looks if look.channels == 3]
    if "channels" not in keys or channels not in (1, 3):
        return
    if not colour or not any(look.channels == 1 for look in looks):
        return
    all_grey = all(look.grey for look in colour)
    remedy = (
        "dataset.channels=1 reads all as grey (those of three channels have three equal ones)"
        if all_grey
        else "dataset.channels=3 reads grey images as RGB too"
    )
    for look in looks:
        look.problems = [
            Problem(problem.file, f"{problem.what}; {remedy}")
            if look.channels in (1, 3) and problem.what == _other_channels(look.channels, channels)
            else problem
            for problem in look.problems
        ]


def _other_channels(found: int, expected: int) -> str:
    return f"{found} channel{'s' if found > 1 else ''} where the data set has {expected}"


def missing_classes(report: Report, classes: Sequence[str], parts: Mapping[str, Sequence[str]]) -> list[str]:
    """Say which classes stand in one part of a split and not in another, where that spoils the training.

    Parameters
    ----------
    report : Report
    classes : sequence of str
        Names by class id.
    parts : mapping of str to sequence of str
        Keys of the records of train, val and test; an empty part is not looked at.

    Returns
    -------
    list of str
        A sentence for the classes of val or test that no training image shows, and one for those of train that
        neither val nor test can score.
    """
    ids = report.class_ids
    shown = {
        part: {index for key in keys for index in ids.get(key, [])} for part, keys in parts.items() if keys
    }
    train = shown.pop("train", set())

    def named(ids: set[int]) -> str:
        return ", ".join(classes[index] for index in sorted(ids) if index < len(classes))

    said = [
        f"in {part}, but in no training image, so not learnt: {named(found - train)} (see split.*)"
        for part, found in shown.items()
        if found - train
    ]
    return said + [
        f"in training, but in no image of {part}, so not scored there: {named(train - found)}"
        for part, found in shown.items()
        if train - found
    ]


def find_copies(report: Report, parts: Mapping[str, Sequence[str]]) -> list[str]:
    """Note in the report which images of a split's parts look alike, and say it in a sentence for each two parts."""
    report.near_duplicates = near_duplicates(report.thumbnails, parts)
    return describe_near_duplicates(report.near_duplicates)


def format_problems(report: Report, all_in: str = "") -> str:
    """All kinds of problems with example files, see `list_problems`; empty where there are none."""
    return list_problems(report.problems, all_in)


def format_facts(report: Report) -> str:
    """The facts as a few lines for a person."""
    facts = report.facts
    counted = sum(facts["class_pixels"].values())
    shares = ", ".join(
        f"{name} {100 * pixels / max(counted, 1):.1f} %" for name, pixels in facts["class_pixels"].items()
    )
    ignored = facts["ignored_pixels"]
    lines = [
        f"images    {facts['n']}",
        f"sizes     {_tally(facts['sizes'])}",
        f"channels  {_tally(facts['channels'])}",
        f"values    {facts['values'][0]:g} to {facts['values'][1]:g} ({_tally(facts['dtype'])})",
        f"classes   {shares} of the known pixels",
        f"unknown   {100 * ignored / max(counted + ignored, 1):.1f} % of all pixels",
        f"empty     {facts['empty']} images without foreground",
    ]
    if facts["instances"]:
        lines.append(f"objects   {facts['instances']}")
    return "\n".join(lines)


def _tally(counts: dict[Any, int]) -> str:
    """``512×512`` where all agree, else ``512×512 (3), 520×696 (2)``."""
    if len(counts) == 1:
        return str(next(iter(counts)))
    shown = [f"{value} ({count})" for value, count in counts.items()]
    return ", ".join(shown[:6] + (["…"] if len(shown) > 6 else []))


def _look_at(source: Source, record: Record, channels: int) -> _Look:
    look = _Look()
    image: np.ndarray | None = None
    try:
        image = source.read_image(record)
    except UserError as error:
        look.problems.append(_problem(record, error))
    if image is not None:
        _look_at_image(look, record, image, channels)
    first = True
    for scoring in _truths_to_read(record):
        try:
            truth = source.read_truth(record, scoring=scoring)
        except UserError as error:
            problem = _problem(record, error)
            if problem not in look.problems:
                look.problems.append(problem)
            continue
        _look_at_truth(look, record, truth, source.classes, first)
        first = False
    return look


def _truths_to_read(record: Record) -> list[bool]:
    """Values of `scoring` to read the truth with; one where the record has one kind of labels only."""
    wanted = ([False] if record.trainable else []) + ([True] if record.scorable else [])
    kinds = set(record.labels) - {"markers"}
    return wanted if len(kinds) > 1 else wanted[:1]


def _look_at_image(look: _Look, record: Record, image: np.ndarray, channels: int) -> None:
    if image.ndim != 3 or image.dtype not in (np.uint8, np.float32) or image.size == 0:
        what = f"{image.dtype} {image.shape} is no H×W×C image of uint8 or float32"
        look.problems.append(Problem(record.image, what))
        return
    look.size = (image.shape[0], image.shape[1])
    look.channels = image.shape[2]
    look.dtype = str(image.dtype)
    look.low, look.high = float(image.min()), float(image.max())
    if channels and look.channels != channels:
        look.problems.append(Problem(record.image, _other_channels(look.channels, channels)))
    if image.dtype == np.float32 and not (look.low >= 0.0 and look.high <= 1.0):  # NaN fails both
        look.problems.append(
            Problem(record.image, f"float values from {look.low:g} to {look.high:g}, not in [0, 1]")
        )
    else:
        look.values = histogram(image)
    # Most colour images show it in the first row.
    look.grey = image.shape[2] == 3 and all(bool((a == a[:, :, :1]).all()) for a in (image[:1], image))
    look.digest = image_digest(image)
    look.thumbnail = thumbnail(image)


def image_digest(image: np.ndarray) -> str:
    """sha1 of a picture's shape, dtype and pixels: the same for a file saved anew without loss."""
    digest = hashlib.sha1(f"{image.shape} {image.dtype}".encode(), usedforsecurity=False)
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()


def _look_at_truth(look: _Look, record: Record, truth: Truth, classes: Sequence[str], count: bool) -> None:
    labels = next(iter(record.labels.values()), record.key)
    digest = hashlib.sha1(look.truth_digest.encode(), usedforsecurity=False)
    for array in (truth.classes, truth.instances):
        if array is not None:
            digest.update(np.ascontiguousarray(array).data)
    look.truth_digest = digest.hexdigest()
    if look.size is not None and truth.classes.shape != look.size:
        height, width = truth.classes.shape
        what = f"{height}×{width} labels for the {look.size[0]}×{look.size[1]} image {record.image}"
        look.problems.append(Problem(labels, what))
    pixels = np.bincount(truth.classes.ravel(), minlength=256)
    outside = [value for value in np.flatnonzero(pixels) if value >= len(classes) and value != IGNORE]
    if outside:
        values = ", ".join(str(value) for value in outside[:8])
        look.problems.append(Problem(labels, f"label values {values} outside the {len(classes)} classes"))
    if count:
        look.class_pixels = pixels
        if truth.instances is not None:
            look.areas = _areas(truth.instances)


def _areas(instances: np.ndarray) -> np.ndarray:
    """Pixels of each object of an H×W map of numbers, 0 for none."""
    numbers, pixels = np.unique(instances, return_counts=True)
    return pixels[numbers > 0]


def _problem(record: Record, error: UserError) -> Problem:
    """Take file and message apart again: a UserError's line begins with the file it is about."""
    text = str(error)
    for path in (record.image, *record.labels.values()):
        if text.startswith(f"{path}: "):
            return Problem(path, text[len(path) + 2 :])
    return Problem(record.key, text.removeprefix(f"{record.key}: "))


def _gather(
    report: Report, source: Source, records: Sequence[Record], looks: Sequence[_Look], totals: _Totals
) -> None:
    sizes: Counter[str] = Counter()
    channels: Counter[int] = Counter()
    dtypes: Counter[str] = Counter()
    pixels = np.zeros(256, np.int64)
    lows, highs = [], []
    empty = 0
    unknown: list[str] = []
    first = 1 if source.has_background else 0
    for record, look in zip(records, looks, strict=True):
        report.problems += look.problems
        if look.digest is not None and look.size is not None:
            report.hashes[record.key] = look.digest
            report.truth_hashes[record.key] = look.truth_digest
            report.shapes[record.key] = look.size
            if look.thumbnail is not None:
                report.thumbnails[record.key] = look.thumbnail
            sizes[f"{look.size[0]}×{look.size[1]}"] += 1
            channels[look.channels] += 1
            dtypes[look.dtype] += 1
            lows.append(look.low)
            highs.append(look.high)
        if look.class_pixels is not None:
            pixels += look.class_pixels
            empty += int(look.class_pixels[first:IGNORE].sum() == 0)
            report.class_pixels[record.key] = look.class_pixels[: len(source.classes)].tolist()
            if look.class_pixels[:IGNORE].sum() == 0:
                unknown.append(record.key)
    if source.one_size_per_group:
        report.problems += _changed_sizes(records, looks)
    report.facts = {
        "n": len(report.hashes),
        "sizes": dict(sizes.most_common()),
        "channels": dict(channels.most_common()),
        "dtype": dict(dtypes.most_common()),
        "values": [min(lows, default=0.0), max(highs, default=0.0)],
        "class_pixels": {name: int(pixels[index]) for index, name in enumerate(source.classes)},
        "ignored_pixels": int(pixels[IGNORE]),
        "empty": empty,
        "instances": totals.areas.total(),
        "objects": _objects(looks, totals.areas),
        "intensity": totals.intensities.describe(),
    }
    if unknown:
        report.warnings.append(f"{len(unknown)} truths hold ignored pixels only, such as {unknown[0]}")
    if looks and all(look.digest is not None and look.low == look.high for look in looks):
        low, high = report.facts["values"]
        value = f"{low:g}" if low == high else f"{low:g} or {high:g}"
        what = f"every image is of one value all over ({value}); does dataset.intensity_range fit the files' values?"
        report.problems.append(Problem(source.name, what))
    report.warnings += _twins(report.hashes, {record.key: record for record in records})


def _objects(looks: Sequence[_Look], areas: Counter[int]) -> dict[str, Any] | None:
    """How many objects of what size; None where objects are not told apart."""
    per_image = [len(look.areas) for look in looks if look.areas is not None]
    if not per_image:
        return None
    diameter = None
    if areas:
        sizes = np.array(sorted(areas))
        diameters = np.sqrt(4 / np.pi * sizes)
        # The median without a list of all objects: the mean of the two in the middle, or of one twice.
        cumulated = np.cumsum([areas[size] for size in sizes.tolist()])
        middle = [(cumulated[-1] - 1) // 2, cumulated[-1] // 2]
        diameter = float(diameters[np.searchsorted(cumulated, middle, side="right")].mean())
    return {"count": areas.total(), "per_image": float(np.median(per_image)), "diameter": diameter}


def _changed_sizes(records: Sequence[Record], looks: Sequence[_Look]) -> list[Problem]:
    """Images of another size than most of their group: a frame of a film, a slice of a volume."""
    sizes: dict[str, Counter[tuple[int, int]]] = {}
    for record, look in zip(records, looks, strict=True):
        if look.size is not None:
            sizes.setdefault(record.group, Counter())[look.size] += 1
    problems = []
    for record, look in zip(records, looks, strict=True):
        if look.size is not None:
            height, width = sizes[record.group].most_common(1)[0][0]
            if look.size != (height, width):
                what = (
                    f"{look.size[0]}×{look.size[1]} pixels, most images of {record.group} have {height}×{width}: "
                    "they must have one size"
                )
                problems.append(Problem(record.image, what))
    return problems


def _twins(hashes: dict[str, str], records: dict[str, Record]) -> list[str]:
    """The same picture in two groups would train and test on itself, whatever the split."""
    first: dict[str, str] = {}
    pairs = []
    for key, digest in hashes.items():
        other = first.setdefault(digest, key)
        if records[other].group != records[key].group:
            pairs.append((other, key))
    if not pairs:
        return []
    return [
        f"{len(pairs)} image{' is' if len(pairs) == 1 else 's are'} the same picture as one of another group, such as "
        f"{pairs[0][0]} and {pairs[0][1]}"
    ]
