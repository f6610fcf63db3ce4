"""A folder of folds: the runs of one cross-validation, in ``fold_0``, ``fold_1``, …, and the words they came from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from unet_train.config.checks import expand
from unet_train.errors import UserError

FOLDS = "folds.json"
"""What makes a folder one of folds."""

ALL = "split.fold=all"
"""Each fold in turn."""


def is_for_all(word: str) -> bool:
    """Whether an override asks for all folds, however it is typed: ``+split.fold='all'`` too."""
    name, _, value = word.lstrip("+").partition("=")
    plain = value.strip("'\"")
    return f"{name}={plain}" == ALL


@dataclass(frozen=True)
class Folds:
    """What folds.json holds.

    Attributes
    ----------
    count : int
        Number of folds.
    words : tuple of str
        The words of the command, without ``split.fold``, ``hydra.run.dir`` and ``resume``.
    config_dir : str or None
        As ``--config-dir``.
    """

    count: int
    words: tuple[str, ...]
    config_dir: str | None = None

    def to_json(self) -> Mapping[str, object]:
        """In plain types."""
        return asdict(self)


def fold_folder(folder: Path, fold: int) -> Path:
    """The run folder of a fold."""
    return folder / f"fold_{fold}"


def holds_folds(path: str | Path) -> bool:
    """Whether a path, as typed, is a folder of folds."""
    return (expand(str(path)) / FOLDS).is_file()


def read_folds(folder: Path) -> Folds:
    """The folds.json of a folder.

    Raises
    ------
    UserError
        If it cannot be read.
    """
    path = folder / FOLDS
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        count, words, config_dir = content["count"], content["words"], content.get("config_dir")
        if not (isinstance(count, int) and count > 1 and isinstance(words, list)):
            raise ValueError("no folds in it")
        return Folds(count, tuple(map(str, words)), None if config_dir is None else str(config_dir))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: cannot be read ({' '.join(str(error).split())})") from error


def trained_folds(key: str, folder: Path) -> list[Path]:
    """The run folders of all folds.

    Raises
    ------
    UserError
        If a fold has no checkpoint; it begins with the `key` that named the folder.
    """
    runs = [fold_folder(folder, fold) for fold in range(read_folds(folder).count)]
    missing = [run.name for run in runs if not (run / "best.pt").is_file()]
    if missing:
        raise UserError(
            f"{key}={folder}: {', '.join(missing)} of {len(runs)} folds {'has' if len(missing) == 1 else 'have'} no "
            f"best.pt; train the rest: unet-train resume={folder}"
        )
    return runs


def with_folds(names: Sequence[str]) -> list[str]:
    """Checkpoints as typed, a folder of folds replaced by the run folders in it.

    Raises
    ------
    UserError
        As `trained_folds`.
    """
    found: list[str] = []
    for name in names:
        found += [str(run) for run in trained_folds("ckpt", expand(name))] if holds_folds(name) else [name]
    return found
