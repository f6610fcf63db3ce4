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
    stems = _stems(records)
    if not stems:
        return []
    count = Counter(stems)
    first = str(stems[0])
    if len(count) == 1:
        return [
            f"all names are {first} and a number; if these are frames of a film, slices of a volume or tiles of an "
            "image, split.by=block keeps the neighbours of training images out of validation"
        ]
    pattern = propose_group_regex(records)
    if pattern is None:
        return []
    return [
        f"{len(records)} names are {len(count)} stems with numbers ({', '.join(list(count)[:3])}, …); if images of a "
        f"stem belong together (film, patient, slide), keep them in one part: 'dataset.group_regex={pattern}'"
    ]


def propose_group_regex(records: Sequence[Record]) -> str | None:
    """The ``dataset.group_regex`` that keeps images of one stem together; None where names tell no such groups.

    Parameters
    ----------
    records : sequence of Record
        As in `describe_sequences`.
    """
    stems = _stems(records)
    if len(set(stems)) < 2 or len(stems) < _FEWEST * len(set(stems)):
        return None
    separator = re.escape(records[0].key[len(stems[0]) :].rstrip("0123456789"))
    pattern = f"^(.*[^0-9_. /-]){separator}[0-9]+$"
    if not all(re.search(pattern, record.key) for record in records):
        pattern = "^(.*[^0-9_. /-])[_. /-]*[0-9]+$"
    return pattern


def _stems(records: Sequence[Record]) -> list[str]:
    """What stands before each key's counter; [] where a key has none, or the layout has parts or groups itself."""
    if any(record.part or record.group != record.key for record in records):
        return []
    found = [_COUNTED.fullmatch(record.key) for record in records]
    return [match[1] for match in found if match] if all(found) else []
