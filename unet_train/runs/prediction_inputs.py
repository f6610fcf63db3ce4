"""What an `unet-predict` command names, checked without torch: models, images, and each result's name."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from unet_train.config.checks import check_own_encoder, check_whole_model, expand
from unet_train.config.folds import with_folds
from unet_train.config.schema import PredictConfig
from unet_train.data.io.images import IMAGE_SUFFIXES, list_images, natural_key
from unet_train.data.io.libraries import import_extra
from unet_train.errors import UserError

RECORD = "predicted{}.csv"
"""In the output folder: what is done, see `prediction_record`; each shard has its own, and none waits for another."""

RESULT_FOLDERS = ("masks", "classes", "objects", "rois", "overlays", "probabilities")
"""Folders below `output`."""


@dataclass(frozen=True)
class Job:
    """One input and its name in the output folders.

    Attributes
    ----------
    path : Path
    name : Path
        Sub-folders and stem; the source's ending is kept where two inputs would collide.
    """

    path: Path
    name: Path


@dataclass(frozen=True)
class Inputs:
    """The images of a command.

    Attributes
    ----------
    jobs : list of Job
        Those to predict, in natural order.
    named : list of Job
        All that the command names, whatever the shard: volumes are made of them.
    folder : bool
        Whether a whole folder was named, not chosen images.
    notes : list of str
        What was left out.
    """

    jobs: list[Job]
    named: list[Job]
    folder: bool
    notes: list[str]

    def of_shard(self, k: int, n: int) -> Inputs:
        """Every n-th image from the k-th on, k from 1; the names are those they have among all."""
        jobs = self.named[k - 1 :: n]
        note = f"shard {k}/{n}: {len(jobs)} of {len(self.named)} images"
        return replace(self, jobs=jobs, notes=[*self.notes, note])


def check_predict(config: PredictConfig) -> Inputs:
    """Refuse what cannot be predicted before torch is imported; the images otherwise.

    Raises
    ------
    UserError
    """
    check_whole_model(checkpoint_names(config.ckpt), config.weights)
    check_own_encoder(config.encoder)
    given = config.intensity_range
    if given is not None and (len(given) != 2 or not given[0] < given[1]):
        raise UserError(f"intensity_range={list(given)}: two numbers [LOW,HIGH], the smaller first")
    output = expand(config.output)
    for folder in (output, *output.parents):
        if folder.is_dir():
            break
        if folder.exists():
            raise UserError(f"output={config.output}: {folder} is a file; name a folder")
    if config.format == "ctc":
        check_sequence(config)
    if config.roi:
        import_extra("roifile", "annotations", "ImageJ's regions (roi=true)", output)
    shard = parse_shard(config.shard)
    inputs = find_inputs(config.input, output)
    return inputs if shard is None else inputs.of_shard(*shard)


def parse_shard(text: str | None) -> tuple[int, int] | None:
    """The numbers k and n of ``shard=k/n``.

    Raises
    ------
    UserError
        Unless 1 ≤ k ≤ n.
    """
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text.strip())
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise UserError(f"shard={text}: write k/n with k from 1 to n, such as shard=2/8")
    return int(found[1]), int(found[2])


def check_sequence(config: PredictConfig) -> None:
    """Refuse what does not go with ``format=ctc``.

    Raises
    ------
    UserError
    """
    folder, output = expand(config.input), expand(config.output)
    if not folder.is_dir():
        missing = "" if folder.exists() else " (no such folder)"
        raise UserError(f"input={config.input}: format=ctc takes the folder of one sequence{missing}")
    if config.shard is not None:
        raise UserError("shard does not go with format=ctc, which links the objects of all frames")
    if config.roi:
        raise UserError("roi=true does not go with format=ctc; use format=images")
    if config.probabilities:
        raise UserError("probabilities=true does not go with format=ctc; use format=images")
    if output.is_dir() and output.samefile(folder):
        raise UserError(f"output={config.output}: is the input itself; name another folder, such as 01_RES")


def checkpoint_names(ckpt: str | Sequence[str] | None) -> list[str]:
    """The checkpoints a `ckpt` names: none, one or several; a folder of folds stands for its runs.

    Raises
    ------
    UserError
        For an empty list, or folds that are not all trained.
    """
    if ckpt is None or ckpt == "":
        return []
    names = [str(name) for name in ckpt if name] if isinstance(ckpt, list | tuple) else [str(ckpt)]
    if not names:
        raise UserError("ckpt=[]: name at least one checkpoint")
    return with_folds(names)


def record_name(shard: tuple[int, int] | None) -> str:
    """``predicted.csv``; of a shard ``predicted-2-of-8.csv``."""
    return RECORD.format("" if shard is None else f"-{shard[0]}-of-{shard[1]}")


def is_record(path: Path) -> bool:
    """Whether a file is called as `record_name` does."""
    return re.fullmatch(RECORD.format(r"(-\d+-of-\d+)?").replace(".csv", r"\.csv"), path.name) is not None


# --- images -------------------------------------------------------------------------------------------
def find_inputs(typed: str, output: Path | None = None) -> Inputs:
    """The images an input names: a file, a folder (with its sub-folders), or a pattern; an existing path wins.

    Results of an earlier run that lie in the folder of the images are no inputs.

    Raises
    ------
    UserError
        If there are none.
    """
    path = expand(typed)
    if path.is_dir():
        root, files = path, list_images(path, recursive=True)
    elif path.exists():
        root, files = path.parent, [path]
    else:
        root, files = _matching(path)
        if not files and not glob.has_magic(str(path)):
            raise UserError(f"input={typed}: no such file or folder")
    notes = []
    if not path.is_file():
        results = _result_folders(root, output)
        files = [f for f in files if not any(_real(f).is_relative_to(r) for r in results)]
        asked_for = "_mask" in path.name and not path.is_dir()
        chosen = files if asked_for else _without_masks(files)
        if len(chosen) < len(files):
            notes.append(
                f"{len(files) - len(chosen)} masks left out ({_named_mask(files, chosen)} beside its image)"
            )
        files = chosen
        unread = _unread(root, results) if path.is_dir() else []
        if unread:
            more = ", …" if len(unread) > 3 else ""
            notes.append(f"not read, by their endings ({len(unread)}): {', '.join(unread[:3])}{more}")
    if not files:
        raise UserError(f"input={typed}: no image found (files ending in {', '.join(IMAGE_SUFFIXES)})")
    names = unique_names([f.relative_to(root) for f in files])
    jobs = [Job(f, n) for f, n in zip(files, names, strict=True)]
    return Inputs(jobs, jobs, path.is_dir(), notes)


def _matching(pattern: Path) -> tuple[Path, list[Path]]:
    """The folder a pattern starts from (its parts without wildcards), and the images it matches.

    A folder that matches stands for the images in it.
    """
    parts = pattern.parts
    plain = next((i for i, part in enumerate(parts) if glob.has_magic(part)), len(parts) - 1)
    found: set[Path] = set()
    for match in map(Path, glob.glob(str(pattern), recursive=True)):
        if match.is_dir():
            found.update(list_images(match, recursive=True))
        elif match.suffix.lower() in IMAGE_SUFFIXES:
            found.add(match)
    return Path(*parts[:plain]), sorted(found, key=lambda file: natural_key(file.as_posix()))


def _unread(root: Path, results: Sequence[Path]) -> list[str]:
    """Files of a folder that are no images by their ending, hidden files and results of a run aside."""
    found = []
    for path in sorted(root.rglob("*")):
        parts = path.relative_to(root).parts
        hidden = any(part.startswith(".") for part in parts)
        if hidden or path.suffix.lower() in IMAGE_SUFFIXES or is_record(path) or not path.is_file():
            continue
        if not any(_real(path).is_relative_to(folder) for folder in results):
            found.append("/".join(parts))
    return found


def _real(path: Path) -> Path:
    """`Path.resolve` that takes a link to itself, which the reading refuses, as it is."""
    return Path(os.path.realpath(path))


def _result_folders(root: Path, output: Path | None) -> list[Path]:
    """Folders of results below the images, of this output or of earlier ones (by their predicted.csv).

    None where the images themselves are such results.
    """
    here = root.resolve()
    outputs = (
        {path.parent for path in here.rglob("predicted*.csv") if is_record(path)} if here.is_dir() else set()
    )
    outputs |= {output.resolve()} if output is not None else set()
    folders = [folder / name for folder in outputs for name in RESULT_FOLDERS]
    return [folder for folder in folders if not here.is_relative_to(folder)]


def _without_masks(files: Sequence[Path]) -> list[Path]:
    """Files but those called ``x_mask.tif`` beside ``x.tif`` (kaggle_3m): a label, not an input."""
    there = {(f.parent, f.stem) for f in files}
    return [f for f in files if not (f.stem.endswith("_mask") and (f.parent, f.stem[:-5]) in there)]


def _named_mask(files: Sequence[Path], chosen: Sequence[Path]) -> str:
    kept = set(chosen)
    return next(f.name for f in files if f not in kept)


def unique_names(relative: Iterable[Path]) -> list[Path]:
    """Names of the results: without the ending, unless two would be the same on some file system."""
    files = list(relative)
    names = [f.with_suffix("") for f in files]
    while True:
        # A name that keeps its ending may collide with one that does not need to: a.png, a.tif, a.png.tif.
        count = Counter(str(name).lower() for name in names)
        longer = [f if count[str(n).lower()] > 1 else n for f, n in zip(files, names, strict=True)]
        if longer == names:
            return names
        names = longer
