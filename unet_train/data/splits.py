"""Who trains, who validates, who tests: apart by group, fixed by name, written down.

The rules, in the order in which they are asked:

1. A split file (`file`) names the records of each part.
2. Otherwise the layout's own parts (``train/``, ``val/``, ``test/``) stand; a record without one trains.
3. Otherwise test is a fold of the groups (`folds`, `fold`), named groups (`test_groups`), or a share of them
   (`test_fraction`); by blocks, the last sections.
4. Where val is not named by 1 or 2, it is a share of the training groups (`val_fraction`). Where that share
is
   less than half a group (one or two sequences to train on), val is a block of consecutive records at the
   end of the last group, and records within `gap` frames of it leave training.

Test never shares a group with train or val; val may share one with train, by rule 4, and a note says so.
Validation and test records need a truth to score against, training records labels to train on; others are
left out, counted.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unet_train.data.io.images import natural_key
from unet_train.data.records import Record
from unet_train.errors import UserError
from unet_train.nearest import nearest

PARTS = ("train", "val", "test")
FRAME_GAP = 2
"""Frames on each side of a validation block that leave training: neighbours in time are near copies."""
SECTION_GAP = 1
"""The same for serial sections."""

_SHIPPED = Path(__file__).parent / "split_files"


@dataclass(frozen=True)
class SplitKeys:
    """A split by its records' keys, as split.json and checkpoints hold it.

    Attributes
    ----------
    train, val, test : tuple of str
        Keys of the records, in the order of the source.
    notes : tuple of str
        As `Split`.
    by : {"group", "block"}
        As `Split`.
    """

    train: tuple[str, ...] = ()
    val: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    by: str = "group"

    @property
    def parts(self) -> dict[str, tuple[str, ...]]:
        """The keys by the name of their part."""
        return {"train": self.train, "val": self.val, "test": self.test}

    def to_json(self) -> dict[str, Any]:
        """Plain lists of keys by part, with the notes: the content of ``split.json`` and of a split file."""
        by = {"by": self.by} if self.by != "group" else {}
        return {**{part: list(keys) for part, keys in self.parts.items()}, **by, "notes": list(self.notes)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> SplitKeys:
        """The inverse of `to_json`; what is missing is empty."""
        lists = {name: tuple(content.get(name, ())) for name in (*PARTS, "notes")}
        return cls(**lists, by=content.get("by", "group"))


@dataclass
class Split:
    """Records by part, and what was decided on the way.

    Attributes
    ----------
    train, val, test : list of Record
        In the order of the source; val and test may be empty.
    notes : list of str
        Sentences for the user: blocks, gaps, what is left out.
    by : {"group", "block"}
        ``block``: test is a block of sections of a group that trains, too.
    """

    train: list[Record]
    val: list[Record]
    test: list[Record]
    notes: list[str] = field(default_factory=list)
    by: str = "group"

    @property
    def parts(self) -> dict[str, list[Record]]:
        """The records by the name of their part."""
        return {"train": self.train, "val": self.val, "test": self.test}

    @property
    def keys(self) -> SplitKeys:
        """The same by keys."""
        keys = {part: tuple(record.key for record in records) for part, records in self.parts.items()}
        return SplitKeys(**keys, notes=tuple(self.notes), by=self.by)


@dataclass(frozen=True)
class SplitRule:
    """How records are divided.

    Attributes
    ----------
    file : path, optional
        A ``split.json``, the run folder that holds one, or the name of a shipped split (`shipped_splits`).
    folds, fold : int, optional
        Cross-validation: groups in order of their names are dealt out in turn to `folds` folds; number
        `fold`, from 0, is the test part. `test_groups` is not looked at then.
    val_fraction : float
        Share of the training groups that validate, in [0, 1); 0: none.
    test_fraction : float
        Share of the groups (by blocks: of each group's records) that test, where nothing names them.
    by : {"group", "block"}
        ``block``: serial sections; the last share of each group is test, the block before it val, with a gap
        between train and the block after it. Records that are each their own group count as one volume.
    seed : int
        Which groups are drawn; the same groups for the same seed on every machine, whatever others are there.
    test_groups : sequence of str
        Groups that test; ``"1"`` and ``"01"`` are the same.
    gap : int, optional
        Distance to a block, in frames, within which records leave training. None: 2 frames, 1 section.

    Raises
    ------
    ValueError
        For a fraction out of its range, or another `by`.
    """

    file: str | Path | None = None
    folds: int | None = None
    fold: int | None = None
    val_fraction: float = 0.2
    test_fraction: float = 0.0
    by: str = "group"
    seed: int = 0
    test_groups: Sequence[str] = ()
    gap: int | None = None

    def __post_init__(self) -> None:
        for name, fraction in (("val_fraction", self.val_fraction), ("test_fraction", self.test_fraction)):
            if not 0 <= fraction < 1:
                raise ValueError(f"{name}={fraction} must be in [0, 1)")
        if self.by not in ("group", "block"):
            raise ValueError(f"by={self.by}: choose group or block")


def make_split(records: Sequence[Record], rule: SplitRule = SplitRule()) -> Split:
    """Divide the records of a source, in its order, into train, val and test by the rules of this module.

    Raises
    ------
    UserError
        Names the key or file: unknown names (with the nearest known), a group on both sides of test, folds
        out of range, nothing left to train on.
    """
    doubled = [key for key, count in Counter(record.key for record in records).items() if count > 1]
    if doubled:
        raise ValueError(f"keys must be unique; {doubled[0]!r} occurs more than once")
    if rule.fold is not None and rule.folds is None and rule.file is None:
        raise UserError("split.fold needs split.folds, the number of folds (or a split.file with folds)")

    builder = _Builder(records, rule)
    if rule.file is not None:
        builder.from_file(rule.file, rule.folds, rule.fold)
    elif any(record.part for record in records):
        if rule.folds is not None:
            raise UserError("split.folds: the data set says itself what its test part is")
        builder.from_parts()
    elif rule.folds is not None:
        builder.from_folds(rule.folds, rule.fold)
    else:
        builder.from_groups([str(group) for group in rule.test_groups], rule.test_fraction)
    return builder.finish()


def read_split_file(file: str | Path) -> dict[str, Any]:
    """Content of a split file: ``{part: [keys]}``, or ``{"folds": [[keys], …]}``.

    Instead of a key there may stand a group, meaning all its records, or ``"*"`` once: all records not named
    elsewhere. A part ``val`` that is missing is taken from train; one that is empty stays empty.

    Parameters
    ----------
    file : path
        A path, a run folder with a ``split.json``, or the name of a shipped split; an existing path wins.

    Raises
    ------
    UserError
        No such file or shipped split, or a content of another shape.
    """
    path = Path(file).expanduser()
    if path.is_dir() and (path / "split.json").is_file():
        path = path / "split.json"
    if not path.is_file():
        shipped = _SHIPPED / f"{str(file).removesuffix('.json')}.json"
        if shipped.parent != _SHIPPED or not shipped.is_file():
            raise UserError(
                f"split.file={file}: no such file, and no shipped split (these are shipped: "
                f"{', '.join(shipped_splits())})"
            )
        path = shipped
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"split.file={file}: not readable as JSON ({error})") from None
    wrong = _shape_problem(content)
    if wrong:
        raise UserError(
            f'split.file={file}: {wrong}; write {{"train": [keys], "val": [keys], "test": [keys]}}'
        )
    return dict(content)


def shipped_splits() -> list[str]:
    """Names of the splits that come with the package."""
    return sorted(path.stem for path in _SHIPPED.glob("*.json"))


def _shape_problem(content: Any) -> str:
    """What is wrong with a split file's content, or nothing."""
    if not isinstance(content, dict):
        return "not a JSON object"
    unknown = sorted(set(content) - {*PARTS, "folds", "notes", "by"})
    if unknown:
        return f"unknown part {unknown[0]!r}"
    if "folds" in content:
        if any(part in content for part in PARTS):
            return "has folds and parts both"
        lists = content["folds"]
        if not isinstance(lists, list) or len(lists) < 2:
            return "folds is no list of two or more lists"
    else:
        if "train" not in content and "val" not in content and "test" not in content:
            return "has no part"
        lists = [content[part] for part in PARTS if part in content]
    if content.get("by", "group") not in ("group", "block"):
        return f"by is {content['by']!r}, not group or block"
    for names in lists:
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            return "a part is no list of keys"
    return ""


class _Builder:
    """The parts under construction: `parts` holds keys, train and val before they are filtered."""

    def __init__(self, records: Sequence[Record], rule: SplitRule) -> None:
        self.records = list(records)
        self.by = rule.by
        self.val_fraction = rule.val_fraction
        self.seed = rule.seed
        self.gap = rule.gap if rule.gap is not None else (SECTION_GAP if rule.by == "block" else FRAME_GAP)
        self.parts: dict[str, list[Record]] = {part: [] for part in PARTS}
        self.notes: list[str] = []
        self.explicit: set[str] = set()  # keys a file names one by one: those must be usable
        self.unnamed = 0
        self.apart_by_group = True
        self.from_a_file = False
        self.source = ""

    # --- where test (and perhaps val) comes from ------------------------------------------------------------

    def from_file(self, file: str | Path, folds: int | None, fold: int | None) -> None:
        content = read_split_file(file)
        self.from_a_file = True
        self.source = f"split.file={file}: "
        self.by = content.get("by", self.by)
        self.apart_by_group = content.get("by") != "block"
        if "folds" in content:
            lists = content["folds"]
            if folds not in (None, len(lists)):
                raise UserError(f"split.folds={folds}: the split file {file} has {len(lists)} folds")
            number = _checked_fold(fold, len(lists))
            content = {
                "train": [name for index, names in enumerate(lists) if index != number for name in names],
                "test": lists[number],
            }
            self.notes.append(f"fold {number} of {len(lists)} is the test part")
        elif fold is not None or folds is not None:
            raise UserError(f"split.fold: the split file {file} has no folds")
        named = self._expand({part: content[part] for part in PARTS if part in content})
        self.parts.update(named)
        self.unnamed = len(self.records) - sum(len(found) for found in named.values())
        self._refuse_leaks()
        if "val" not in content:
            self._take_val()

    def from_parts(self) -> None:
        for record in self.records:
            if record.part is not None and record.part not in PARTS:
                raise ValueError(f"{record.key}: part is train, val, test or None, not {record.part!r}")
            self.parts[record.part or "train"].append(record)
        self.source = "dataset.root: "
        self._refuse_leaks()
        if not self.parts["val"]:
            self._take_val()

    def from_folds(self, folds: int, fold: int | None) -> None:
        groups = sorted({record.group for record in self.records}, key=natural_key)
        if not 2 <= folds <= len(groups):
            raise UserError(f"split.folds={folds}: choose 2 to {len(groups)}, the number of groups")
        number = _checked_fold(fold, folds)
        self._divide(set(groups[number::folds]))
        self.notes.append(f"fold {number} of {folds} is the test part ({len(groups[number::folds])} groups)")
        self._take_val()

    def from_groups(self, test_groups: Sequence[str], test_fraction: float) -> None:
        groups = sorted({record.group for record in self.records}, key=natural_key)
        if test_groups:
            self._divide({self._named_group(name, groups) for name in test_groups})
        elif test_fraction > 0 and self.by == "block":
            self.apart_by_group = False
            self.parts["train"] = self._take_block("test", self.records, test_fraction)
        elif test_fraction > 0:
            able = [group for group in groups if any(r.scorable for r in self.records if r.group == group)]
            count = max(1, round(test_fraction * len(able)))
            if len(able) < 2:
                raise UserError(
                    f"split.test_fraction={test_fraction}: {len(able)} group(s) cannot be divided; set 0, or "
                    "split.by=block for serial sections"
                )
            self._divide(set(self._drawn(able)[: min(count, len(able) - 1)]))
        else:
            self.parts["train"] = list(self.records)
        self._take_val()

    def _named_group(self, name: str, groups: Sequence[str]) -> str:
        for group in groups:
            if group == name or (group.isdecimal() and name.isdecimal() and int(group) == int(name)):
                return group
        raise UserError(f"dataset.test_groups: no group {name!r}{_near(name, groups)}")

    def _divide(self, test: set[str]) -> None:
        for record in self.records:
            self.parts["test" if record.group in test else "train"].append(record)

    # --- val ------------------------------------------------------------------------------------------------

    def _take_val(self) -> None:
        """Move a share of train to val: groups, or a block where groups are too few."""
        train = self.parts["train"]
        if self.val_fraction == 0 or not train:
            return
        able = sorted({record.group for record in train if record.scorable}, key=natural_key)
        if not able:
            self.notes.append("no validation: no record of the training part has a truth to score against")
            return
        count = min(round(self.val_fraction * len(able)), len(able) - 1)
        if self.by == "block":
            self.parts["train"] = self._take_block("val", train, self.val_fraction)
        elif count == 0:
            last = [record for record in train if record.group == able[-1]]
            others = [record for record in train if record.group != able[-1]]
            if len(last) == 1 and not others:
                raise UserError(
                    "split.val_fraction: one image cannot be divided; set it to 0 to train without validation"
                )
            self.parts["train"] = others + self._cut(last, "val", self.val_fraction, able[-1])
        else:
            chosen = set(self._drawn(able)[:count])
            self.parts["val"] = [record for record in train if record.group in chosen]
            self.parts["train"] = [record for record in train if record.group not in chosen]

    def _drawn(self, groups: Sequence[str]) -> list[str]:
        """Groups in an order that depends on seed and name alone, the same on every machine."""
        return sorted(groups, key=lambda group: hashlib.sha256(f"{self.seed}:{group}".encode()).hexdigest())

    def _take_block(self, part: str, records: Sequence[Record], fraction: float) -> list[Record]:
        """Cut a block off every volume; returns what is left to train."""
        volumes: dict[str, list[Record]] = defaultdict(list)
        single = len({record.group for record in self.records}) == len(self.records)
        for record in records:
            volumes["" if single else record.group].append(record)
        left: list[Record] = []
        for group, volume in volumes.items():
            left += self._cut(volume, part, fraction, group)
        return left

    def _cut(self, records: Sequence[Record], part: str, fraction: float, group: str) -> list[Record]:
        """Give the last share of the scorable records of one group to `part`; returns what may train."""
        position = {record.key: record.order for record in records}
        if len({record.group for record in records}) > 1:  # each file its own group: the order of the list
            place = {record.key: index for index, record in enumerate(self.records)}
            position = {record.key: place[record.key] for record in records}
        ordered = sorted(records, key=lambda record: position[record.key])
        scorable = [record for record in ordered if record.scorable]
        if not scorable:
            return list(records)
        block = scorable[-max(1, round(fraction * len(scorable))) :]
        taken = {record.key for record in block}
        first, last = position[block[0].key], position[block[-1].key]
        # what lies next to the block that was cut off before needs no second gap: it is in no part by now
        near = {
            record.key
            for record in ordered
            if record.key not in taken and first - self.gap <= position[record.key] <= last + self.gap
        }
        if part == "test" and self.val_fraction > 0:
            near = set()  # val comes to lie between train and test; it does not train
        self.parts[part] += block
        lost = sum(record.trainable for record in ordered if record.key in near)
        where = f" of group {group}" if group else ""
        span = block[0].key if len(block) == 1 else f"{block[0].key} to {block[-1].key}"
        note = f"{part} is a block of consecutive records{where} ({span}, {len(block)} scored)"
        if lost:
            note += f"; {lost} that could train lie within {self.gap} of it and are left out"
        self.notes.append(note)
        return [record for record in records if record.key not in taken and record.key not in near]

    # --- names ----------------------------------------------------------------------------------------------

    def _expand(self, named: Mapping[str, Sequence[str]]) -> dict[str, list[Record]]:
        """Records of the keys, groups and stars of a file, in the order of the source."""
        by_key = {record.key: record for record in self.records}
        by_group: dict[str, list[Record]] = defaultdict(list)
        for record in self.records:
            by_group[record.group].append(record)
        part_of: dict[str, str] = {}
        star: str | None = None
        unknown: list[str] = []
        for part, names in named.items():
            for name in names:
                if name == "*":
                    if star is not None:
                        raise UserError(f'{self.source}"*" stands in {star} and {part}; it can stand once')
                    star = part
                    continue
                if name in by_key:
                    found = [by_key[name]]
                    self.explicit.add(name)
                elif name in by_group:
                    found = by_group[name]
                else:
                    unknown.append(name)
                    continue
                for record in found:
                    other = part_of.setdefault(record.key, part)
                    if other != part:
                        raise UserError(f"{self.source}{record.key} is in {other} and in {part}")
        if unknown:
            more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
            near = _near(unknown[0], [*by_group] if len(by_group) < len(by_key) else [*by_key])
            if more:
                near = "; a split is for data that have all it names"
            raise UserError(f"{self.source}no record or group {unknown[0]!r}{more} in the data set{near}")
        if star is not None:
            for key in by_key:
                part_of.setdefault(key, star)
        return {part: [r for r in self.records if part_of.get(r.key) == part] for part in PARTS}

    # --- the end --------------------------------------------------------------------------------------------

    def finish(self) -> Split:
        self._refuse_leaks()
        self._drop_unusable("train", "trainable", "no labels to train on")
        self._drop_unusable("val", "scorable", "no truth to score against")
        self._drop_unusable("test", "scorable", "no truth to score against")
        if self.unnamed:
            self.notes.append(f"{self.unnamed} of {len(self.records)} records are in no part and left out")
        place = {record.key: index for index, record in enumerate(self.records)}
        train, val, test = (sorted(self.parts[part], key=lambda record: place[record.key]) for part in PARTS)
        if not train and not (self.from_a_file and test):  # a file may name test alone
            raise UserError(
                f"{self.source}nothing is left to train on ({len(val)} val, {len(test)} test records); "
                "lower split.val_fraction or split.test_fraction, or name fewer test groups"
            )
        shared = {record.group for record in train} & {record.group for record in val}
        if shared and not any("block" in note for note in self.notes):
            self.notes.append(f"val shares {len(shared)} group(s) with train, such as {min(shared)}")
        return Split(train, val, test, self.notes, by="group" if self.apart_by_group else "block")

    def _refuse_leaks(self) -> None:
        if not self.apart_by_group:
            return
        test = {record.group: record for record in self.parts["test"]}
        for part in ("train", "val"):
            for record in self.parts[part]:
                if record.group in test:
                    raise UserError(
                        f"{self.source}group {record.group!r} is in test ({test[record.group].key}) and "
                        f"in {part} ({record.key}); keep a group on one side of test"
                    )

    def _drop_unusable(self, part: str, quality: str, what: str) -> None:
        dropped = [record for record in self.parts[part] if not getattr(record, quality)]
        named = [record for record in dropped if record.key in self.explicit]
        if named:
            raise UserError(
                f"{self.source}{named[0].key} is in {part} and has {what}"
                f"{f' ({len(named)} such records)' if len(named) > 1 else ''}"
            )
        if dropped:
            self.parts[part] = [record for record in self.parts[part] if getattr(record, quality)]
            self.notes.append(f"{len(dropped)} records of {part} have {what} and are left out")


def _checked_fold(fold: int | None, folds: int) -> int:
    if fold is None or not 0 <= fold < folds:
        raise UserError(f"split.fold={fold}: choose 0 to {folds - 1}, the fold that is the test part")
    return fold


def _near(name: str, known: Iterable[str]) -> str:
    """`` (did you mean …?)``, or the first known names where none is near."""
    names = list(dict.fromkeys(known))
    return nearest(name, names) or f" (there are {', '.join(names[:5])}{', …' if len(names) > 5 else ''})"
