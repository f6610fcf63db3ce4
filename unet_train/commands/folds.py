"""`unet-train split.fold=all`: every fold trained and evaluated in turn, then their scores together."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from unet_train.commands import shell
from unet_train.config.checks import check_train, expand
from unet_train.config.command_line import quote_paths
from unet_train.config.compose import AUTO_RESUME, compose_train
from unet_train.config.folds import ALL, FOLDS, Folds, fold_folder, holds_folds, is_for_all, read_folds
from unet_train.config.plans import AUTO_PLAN, plan_named
from unet_train.data.splits import read_split_file
from unet_train.errors import UserError

PLAN = "plan.yaml"
"""In a run folder that was started with a plan."""

Train = Callable[[shell.Arguments], int]
"""`unet-train` for one run; its exit code."""


def asked(arguments: shell.Arguments) -> bool:
    """Whether a command line asks for all folds: by ``split.fold=all``, or by resuming a folder of folds."""
    folder = _resumed(arguments.overrides)
    return any(map(is_for_all, arguments.overrides)) or (folder is not None and holds_folds(folder))


def train_folds(arguments: shell.Arguments, train: Train) -> int:
    """Train and evaluate each fold, going on where an earlier call was stopped; the exit code.

    Raises
    ------
    UserError
        For what makes no folds, or other folds than those in the folder; else as a single run.
    """
    if arguments.multirun or arguments.hydra_flags or "RANK" in os.environ:
        flags = [word for word in arguments.raw if word not in arguments.overrides]
        flag = flags[0] if flags else "torchrun"
        raise UserError(
            f"{ALL} does not go with {flag}: it trains one fold after another; say split.fold=0,1,2 with -m, or "
            "trainer.devices=N in place of torchrun"
        )
    folder, folds = _begin(arguments)
    go_on = f"unet-train resume={shlex.quote(str(folder))}"
    for fold in range(folds.count):
        run = fold_folder(folder, fold)
        print(f"fold {fold} of 0 … {folds.count - 1}: {run}", flush=True)
        code = train(_one_fold(folds, folder, fold))
        if code:
            print(f"fold {fold} was not finished; go on with all folds: {go_on}")
            return code
    from unet_train.runs.folds import evaluate_folds, pool_folds

    runs = [fold_folder(folder, fold) for fold in range(folds.count)]
    print(pool_folds(folder, runs, evaluate_folds(runs)))
    return 0


def _begin(arguments: shell.Arguments) -> tuple[Path, Folds]:
    """The folder, and its folds.json as it now is."""
    words = [
        o for o in arguments.overrides if o.lstrip("+").partition("=")[0] not in ("split.fold", "resume")
    ]
    resumed = _resumed(arguments.overrides)
    config_dir = arguments.config_dir
    if resumed is not None and not holds_folds(resumed):
        raise UserError(
            f"resume={resumed}: is no folder of folds, so {ALL} does not go with it; leave one out"
        )
    if resumed is not None:
        kept = read_folds(resumed)
        inside = [o for o in words if o.startswith("hydra.run.dir=")]
        if inside:
            raise UserError(f"{inside[0]}: folds that go on stay in their folder; leave this out")
        anew = {word.partition("=")[0] for word in words}
        words = [*(word for word in kept.words if word.partition("=")[0] not in anew), *words]
        words, config_dir = _with_the_first_plan(words, resumed), config_dir or kept.config_dir
    without_plan = [o for o in words if plan_named(words) != AUTO_PLAN or o.partition("=")[0] != "plan"]
    composed = compose_train(
        [*(o for o in without_plan if not o.startswith("minutes=")), "split.fold=0"], config_dir
    )
    split = composed.config.split
    listed = read_split_file(split.file).get("folds") if split.file else None
    count = split.folds or len(listed or ())
    if count < 2:
        raise UserError(f"{ALL} needs the number of folds: split.folds=5 {ALL}")
    check_train(composed.config)
    folder = resumed or expand(composed.run_folder)
    words = [o for o in words if not o.startswith("hydra.run.dir=")]
    if holds_folds(folder) and read_folds(folder).count != count:
        raise UserError(
            f"{folder} holds {read_folds(folder).count} folds, not {count}: name another hydra.run.dir"
        )
    from unet_train.training.run_folder import refuse_taken, write_json

    refuse_taken(folder)
    folds = Folds(count, tuple(words), config_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / FOLDS, folds.to_json())
    except OSError as error:
        raise UserError(f"hydra.run.dir={folder}: cannot be written ({error.strerror})") from None
    return folder, folds


def _one_fold(folds: Folds, folder: Path, fold: int) -> shell.Arguments:
    """The command line of one fold: it starts its run, or goes on with it."""
    words = _with_the_first_plan(folds.words, folder)
    words += [f"split.fold={fold}", f"hydra.run.dir={fold_folder(folder, fold)}", AUTO_RESUME]
    return shell.Arguments(words, folds.config_dir, raw=words)


def _with_the_first_plan(words: Sequence[str], folder: Path) -> list[str]:
    """The words with the plan that the first fold has kept, if they name one: one for all, also where it was moved."""
    plan = fold_folder(folder, 0) / PLAN
    if plan_named(words) is None or not plan.is_file():
        return list(words)
    kept = [word for word in words if word.partition("=")[0] not in ("plan", "minutes")]
    return [*kept, *quote_paths([f"plan={plan}"])]


def _resumed(overrides: Sequence[str]) -> Path | None:
    """The folder that ``resume=`` names, or None."""
    named = [o.partition("=")[2].strip("'\"") for o in overrides if o.partition("=")[0] == "resume"]
    return expand(named[-1]) if named and named[-1] not in ("", "null", "auto") else None
