"""Names that look like frames of a film, slices of a patient or tiles of an image, which a split should not part."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from unet_train.data.records import Record

_COUNTED = re.compile(r"(.*[^\d_\-. /])[_\-. /]*\d+")
_FEWEST = 3  # images of one stem that look like a sequence


def describe_sequences(records: Sequence[Record]) -> list[str]:
    """What is to be said of names that end in a counter.

    Parameters
    ----------
    records : sequence of Record
        Each its own group; those of a layout that has parts or groups itself are not judged.

    Returns
    -------
    list of str
        At most one sentence: with several stems the ``dataset.group_regex`` that keeps each together, with one stem
        ``split.by=block``.
    """
    if any(record.part or record.group != record.key for record in records):
        return []
    stems = [match[1] if (match := _COUNTED.fullmatch(record.key)) else None for record in records]
    if not stems or None in stems:
        return []
    count = Counter(stems)
    first = str(stems[0])
    if len(count) == 1:
        return [
            f"all names are {first} and a number; if these are frames of a film, slices of a volume or tiles of an "
            "image, split.by=block keeps the neighbours of training images out of validation"
        ]
    if len(records) < _FEWEST * len(count):
        return []
    separator = re.escape(records[0].key[len(first) :].rstrip("0123456789"))
    pattern = f"^(.*[^0-9_. /-]){separator}[0-9]+$"
    if not all(re.search(pattern, record.key) for record in records):
        pattern = "^(.*[^0-9_. /-])[_. /-]*[0-9]+$"
    return [
        f"{len(records)} names are {len(count)} stems with numbers ({', '.join(map(str, list(count)[:3]))}, …); if "
        f"images of a stem belong together (film, patient, slide), keep them in one part: "
        f"'dataset.group_regex={pattern}'"
    ]
