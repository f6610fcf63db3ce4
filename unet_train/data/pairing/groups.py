"""What a split must not tear apart: groups of records by a pattern of their keys or by a table."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from unet_train.data.records import Record
from unet_train.errors import UserError


class _Groups:
    """Each file its own group."""

    def group(self, record: Record) -> str | None:
        return record.group or record.key

    def fail(self, missing: Sequence[Record]) -> UserError:
        raise NotImplementedError


class _RegexGroups(_Groups):
    def __init__(self, pattern: str) -> None:
        try:
            self._pattern = re.compile(pattern)
        except re.error as error:
            raise UserError(f"dataset.group_regex={pattern}: no regular expression ({error})") from None
        if self._pattern.groups < 1:
            raise UserError(
                f"dataset.group_regex={pattern}: needs brackets around the part that names the group"
            )

    def group(self, record: Record) -> str | None:
        match = self._pattern.search(record.key)
        return match[1] if match else None

    def fail(self, missing: Sequence[Record]) -> UserError:
        return UserError(
            f"dataset.group_regex={self._pattern.pattern}: matches nothing in {len(missing)} keys, "
            f"for example {missing[0].key!r}"
        )


class _TableGroups(_Groups):
    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with open(path, newline="", encoding="utf-8-sig") as file:
                reader = csv.DictReader(file)
                columns = reader.fieldnames or []
                if "file" not in columns or "group" not in columns:
                    raise UserError(
                        f"dataset.group_csv: {path} needs the columns file and group, not {columns}"
                    )
                rows = [
                    (row["file"].strip(), row["group"].strip())
                    for row in reader
                    if row["file"] and row["group"]
                ]
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise UserError(f"dataset.group_csv: {path} cannot be read ({error})") from None
        self._table: dict[str, str] = {}
        for file_name, group in rows:
            if self._table.setdefault(file_name, group) != group:
                raise UserError(f"dataset.group_csv: {path} puts {file_name!r} into two groups")

    def group(self, record: Record) -> str | None:
        image = Path(record.image)
        for name in (record.key, record.key + image.suffix, image.name, image.stem):
            if name in self._table:
                return self._table[name]
        return None

    def fail(self, missing: Sequence[Record]) -> UserError:
        names = ", ".join(Path(record.image).name for record in missing[:5])
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        return UserError(f"dataset.group_csv: {self._path} has no row for {names}{more}")


def group_records(
    records: Sequence[Record], root: Path, *, regex: str | None = None, table: str | Path | None = None
) -> list[Record]:
    """The records with group and position within it; without regex and table each file is its own group.

    Parameters
    ----------
    records : sequence of Record
        A group that a record has already stays, where neither is given.
    root : Path
        Where a relative path of the table is looked for too.
    regex : str, optional
        Its first group, searched in the key, names the group.
    table : path, optional
        CSV with the columns ``file`` (key, relative path or name) and ``group``.

    Raises
    ------
    UserError
        Both given, a broken one, or one that misses a record.
    """
    if regex is not None and table is not None:
        raise UserError("dataset.group_regex and dataset.group_csv: give one of the two, not both")
    groups: _Groups = _Groups()
    if regex is not None:
        groups = _RegexGroups(regex)
    elif table is not None:
        path = Path(table).expanduser()
        inside = root / path
        groups = _TableGroups(inside if not path.exists() and inside.exists() else path)
    found = [(record, groups.group(record)) for record in records]
    missing = [record for record, group in found if not group]
    if missing:
        raise groups.fail(missing)
    position: Counter[str] = Counter()
    result = []
    for record, group in found:
        result.append(replace(record, group=str(group), order=position[str(group)]))
        position[str(group)] += 1
    return result
