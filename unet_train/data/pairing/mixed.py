"""Images and masks in one folder: told apart by a word in their names or by their endings."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from unet_train.data.pairing.names import Name
from unet_train.data.pairing.numbering import without_numbers
from unet_train.data.pairing.words import Role, role_of

_SEPARATORS = "_-. "


@dataclass(frozen=True)
class Division:
    """One way to divide a list of names into two.

    Attributes
    ----------
    first, second : list of Name
    marks : (str, str)
        What tells them: the last or first word of each name with its separator, or an ending; "" for no word.
    role_of_second : {"image", "mask"} or None
        What the marks say; None where the pixels must tell.
    """

    first: list[Name]
    second: list[Name]
    marks: tuple[str, str]
    role_of_second: Role | None


def divisions(names: Sequence[Name]) -> Iterator[Division]:
    """Ways to divide names so that most in one half have a partner in the other."""
    by_stem: dict[tuple[str | None, str], list[Name]] = defaultdict(list)
    for name in names:
        by_stem[name.part, name.stem].append(name)
    yield from _by_endings(names, by_stem)
    for at_end in (True, False):
        yield from _by_words(names, at_end)


def _by_endings(
    names: Sequence[Name], by_stem: dict[tuple[str | None, str], list[Name]]
) -> Iterator[Division]:
    """``a.jpg`` and ``a.png``."""
    pairs = Counter(
        tuple(sorted({name.ending for name in same}))
        for same in by_stem.values()
        if len({name.ending for name in same}) == 2
    )
    for endings, count in pairs.most_common(1):
        if count * 2 >= len(by_stem):
            yield Division(
                [name for name in names if name.ending == endings[0]],
                [name for name in names if name.ending == endings[1]],
                (endings[0], endings[1]),
                None,
            )


def _by_words(names: Sequence[Name], at_end: bool) -> Iterator[Division]:
    """``a`` and ``a_mask``, ``a_img`` and ``a_mask``, ``img_1`` and ``mask_1``, ``case/img`` and ``case/mask``."""
    numbered = without_numbers(name.stem for name in names)
    cut = {name.path: _cut(numbered[name.stem], at_end) for name in names}
    stems = {(name.part, name.stem) for name in names}
    by_rest: dict[tuple[str | None, str], set[str]] = defaultdict(set)
    for name in names:
        rest, mark = cut[name.path]
        if mark:
            by_rest[name.part, rest].add(mark)
    for key in by_rest.keys() & stems:
        by_rest[key].add("")
    pairs: Counter[tuple[str, str]] = Counter()
    for marks in by_rest.values():
        ordered = sorted(marks)
        pairs.update((a, b) for i, a in enumerate(ordered) for b in ordered[i + 1 :])
    frequent = [pair for pair, count in pairs.most_common(6) if count * 3 >= len(by_rest)]
    added = {b for a, b in frequent if not a}
    for a, b in frequent:
        # Where a word is added to an image's name, an image without a mask has no word either.
        first = [n for n in names if (cut[n.path][1] == a if a else cut[n.path][1] not in added)]
        second = [n for n in names if cut[n.path][1] == b]
        yield Division(first, second, (a, b), _second_role(a, b))


def _second_role(first: str, second: str) -> Role | None:
    one, other = role_of(first), role_of(second)
    if other == "mask" and one != "mask":
        return "mask"
    if one == "mask" and other != "mask":
        return "image"
    if other == "image" and one is None and first:
        return "image"
    return "mask" if one == "image" and other is None else None


def _cut(stem: str, at_end: bool) -> tuple[str, str]:
    """A name without its last (or first) word, and that word with its separator; numbers are no words.

    A word that is the whole file name belongs to the folder it lies in: ``case1/mask`` is ``case1`` and ``/mask``.
    """
    folder, slash, file = stem.rpartition("/")
    start = folder + slash
    if at_end:
        at = max(file.rfind(separator) for separator in _SEPARATORS)
        word = file[at + 1 :]
        if at > 0 and not word.isdigit():
            return start + file[:at].rstrip(_SEPARATORS), file[len(file[:at].rstrip(_SEPARATORS)) :]
        if at <= 0 and slash and not file.isdigit():
            return folder, slash + file
        return stem, ""
    at = min((place for place in map(file.find, _SEPARATORS) if place > 0), default=-1)
    if at > 0 and not file[:at].isdigit():
        rest = file[at:].lstrip(_SEPARATORS)
        return start + rest, file[: len(file) - len(rest)]
    return stem, ""
