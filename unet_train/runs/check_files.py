"""The check of a data set's files as the commands make it: with a bar, and unchanged files not read again."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import TypeVar

from unet_train.data.check import Report, check_source
from unet_train.data.check_cache import cache_folder
from unet_train.data.records import Record, Source

_Item = TypeVar("_Item")


def check_files(
    source: Source,
    records: Sequence[Record],
    *,
    keys: Collection[str] = ("channels", "intensity_range"),
    anew: bool = False,
    bar: bool = True,
) -> Report:
    """`check_source` with a bar on a terminal and the user's cache of earlier checks; `anew`: reads all files."""
    folder = None if anew else cache_folder()
    return check_source(source, records, keys=keys, cache_folder=folder, progress=_bar if bar else None)


def _bar(items: Iterable[_Item], total: int) -> Iterable[_Item]:
    from tqdm import tqdm

    return tqdm(items, total=total, desc="checking", disable=None, leave=False, unit="image")
