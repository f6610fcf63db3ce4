"""data.json: what a data set holds and how it was understood, as plain values."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from unet_train.data.check import Report
from unet_train.data.records import Record, Source
from unet_train.data.splits import Split

ALL = "all"
"""Name of the one part of a data set that is not split."""

IN_NO_PART = "in no part of the split"


def summarise(
    source: Source,
    records: list[Record],
    report: Report,
    split: Split | None = None,
    root: Path | None = None,
) -> dict[str, Any]:
    """The content of data.json.

    Parameters
    ----------
    source : Source
    records : list of Record
        Those that `report` is about.
    report : Report
    split : Split or None
        None: the records are one part, `ALL`.
    root : Path or None
        Folder of the data set: files in it are named from there.

    Returns
    -------
    dict
        ``name``, ``root``;
        ``parts`` {"train": images, "val": …, "test": …}, those that there are, or {"all": images};
        ``pairing``; ``classes`` names by id; ``pixels`` {class name: pixels of all labelled images}; ``unknown``
        pixels that count nowhere; ``objects`` {"count", "per_image", "diameter"} (medians; the diameter is that of
        a circle of the same area, in pixels) or None; ``intensity`` as `Intensities.describe`; ``sizes`` [{"height",
        "width", "images"}], the commonest first; ``left_out`` {file: why}, broken files among them; ``problems``
        [{"file", "what"}], all of them; ``near_duplicates`` [{"file", "part", "like", "like_part", "correlation"}],
        images of different parts that look alike; ``warnings`` and ``notes``, sentences.
    """
    facts = report.facts
    sizes = Counter(report.shapes.values()).most_common()
    return {
        "name": source.name,
        "root": None if root is None else str(root),
        "parts": _parts(records, split),
        "pairing": source.pairing,
        "classes": list(source.classes),
        "pixels": facts["class_pixels"],
        "unknown": facts["ignored_pixels"],
        "objects": facts["objects"],
        "intensity": facts["intensity"],
        "sizes": [{"height": height, "width": width, "images": images} for (height, width), images in sizes],
        "left_out": {
            from_root(path, root): why for path, why in _left_out(source, records, report, split).items()
        },
        "problems": [
            {"file": from_root(problem.file, root), "what": problem.what} for problem in report.problems
        ],
        "near_duplicates": _near_duplicates(records, report, root),
        "warnings": list(report.warnings),
        "notes": [*source.notes, *report.notes, *(split.notes if split is not None else [])],
    }


def _near_duplicates(records: list[Record], report: Report, root: Path | None) -> list[dict[str, Any]]:
    files = {record.key: from_root(record.image, root) for record in records}
    return [
        {
            "file": files[found.second],
            "part": found.second_part,
            "like": files[found.first],
            "like_part": found.first_part,
            "correlation": round(found.correlation, 4),
        }
        for found in report.near_duplicates
    ]


def from_root(path: str, root: Path | None) -> str:
    """The path as seen from the data set's folder, with slashes, where it lies in it; else as it is."""
    if root is None:
        return path
    try:
        return Path(path).relative_to(root).as_posix()
    except ValueError:
        return path


def _parts(records: list[Record], split: Split | None) -> dict[str, int]:
    if split is None:
        return {ALL: len(records)}
    return {part: len(found) for part, found in split.parts.items() if found}


def _left_out(source: Source, records: list[Record], report: Report, split: Split | None) -> dict[str, str]:
    """Files that are not used: by the layout, by the split, and those that are broken."""
    left_out = dict(source.left_out)
    if split is not None:
        used = {record.key for found in split.parts.values() for record in found}
        left_out |= {record.image: IN_NO_PART for record in records if record.key not in used}
    files = {path for record in records for path in (record.image, *record.labels.values())}
    files |= {path for path, _ in source.layout_problems()}
    for problem in report.problems:
        if problem.file in files:
            left_out[problem.file] = problem.what
    return left_out
