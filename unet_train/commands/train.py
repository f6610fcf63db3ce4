"""`unet-train`: config, checks, then the run."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from unet_train.commands import folds, shell
from unet_train.config.checks import check_train
from unet_train.config.command_line import open_mappings, quote_paths, replace_mappings
from unet_train.config.compose import AUTO_RESUME, Composed, compose_train, go_on_with, named_run_folder
from unet_train.config.plans import AUTO_PLAN, from_plan, lay_plan, minutes_of, plan_named
from unet_train.config.recipes import keys_not_used, sections_chosen_anew
from unet_train.config.schema import TrainConfig
from unet_train.config.typed import typed
from unet_train.errors import UserError

SWEEPS: list[str] = []
"""Folders of the sweeps whose jobs ran in this process; a cluster's run in others."""


def main() -> None:
    """Entry point of the console script."""
    shell.main("train", train)


def train(arguments: shell.Arguments) -> int:
    """Compose, check, train; the exit code."""
    if folds.asked(arguments):
        return folds.train_folds(arguments, train)
    arguments = with_the_runs_plan(arguments)
    automatic = plan_named(arguments.overrides) == AUTO_PLAN
    minutes = next((o for o in arguments.overrides if o.startswith("minutes=")), None)
    if minutes and not automatic:
        raise UserError(
            f"{minutes}: goes with plan=auto; the length of a training is trainer.epochs, which "
            "unet-data plan minutes=… chooses"
        )
    if automatic:
        if arguments.multirun or int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise UserError(
                "plan=auto: each run or process would make a plan of its own; make one first with unet-data plan, "
                "then say plan=FILE"
            )
        with tempfile.TemporaryDirectory() as folder:
            return train(with_plan(arguments, Path(folder)))
    if arguments.multirun or arguments.hydra_flags:
        flags = [word for word in arguments.raw if word not in arguments.overrides]
        words = open_mappings(quote_paths(lay_plan(in_sweep_folder(arguments.overrides))))
        words = [*words, *searching_upwards(words)]
        check_plugins(words)
        shell.hydra_main("train", sweep_job, [*flags, *words, *named_by_what_varies(words)])
        tell_sweeps()
        return 0
    composed = compose_train(arguments.overrides, arguments.config_dir)
    try:
        check_train(composed.config)
    except UserError as error:
        raise UserError(f"{error}{from_plan(str(error), arguments.overrides)}") from error
    if composed.config.trainer.devices > 1 and "RANK" not in os.environ:
        return start_processes(composed, arguments)
    return run(composed)


def with_the_runs_plan(arguments: shell.Arguments) -> shell.Arguments:
    """The arguments with the plan that a run to go on with was made by, in the place of ``plan=auto``."""
    words, folder = arguments.overrides, named_run_folder(arguments.overrides)
    if AUTO_RESUME not in words or plan_named(words) != AUTO_PLAN or folder is None:
        return arguments
    if not (folder / "last.pt").is_file():
        return arguments
    plan = folder / "plan.yaml"
    kept = [o for o in words if o.partition("=")[0] not in ("plan", "minutes")]
    return dataclasses.replace(arguments, overrides=[*kept, *quote_paths([f"plan={plan}"])])


def with_plan(arguments: shell.Arguments, folder: Path) -> shell.Arguments:
    """The arguments with a plan, made now and written to a file in `folder`, in the place of ``plan=auto``."""
    shell.tell_loading()
    from unet_train.planning.make import make_plan
    from unet_train.training.run_folder import refuse_taken

    words = [o for o in arguments.overrides if o.partition("=")[0] not in ("plan", "minutes")]
    minutes = next((o.partition("=")[2] for o in arguments.overrides if o.startswith("minutes=")), "30")
    about_the_run = ("hydra.",)
    named = named_run_folder(words)
    if named is not None:
        refuse_taken(named)
    about_the_data = [o for o in words if not o.startswith(about_the_run) and o != AUTO_RESUME]
    text = make_plan(about_the_data, minutes_of(minutes), arguments.config_dir)
    file = folder / "plan.yaml"
    file.write_text(text, encoding="utf-8")
    print(text)
    return dataclasses.replace(arguments, overrides=[*words, f"plan={file}"])


def run(composed: Composed[TrainConfig]) -> int:
    """Train in this process; a signal's exit code if one stopped it."""
    shell.tell_loading()
    from unet_train.runs.training import NotSaved, Stopped, train_run
    from unet_train.training.distributed import lost_peer

    try:
        train_run(composed)
    except NotSaved as error:
        print(f"unet-train: {error}", file=sys.stderr)
        return 1
    except RuntimeError as error:
        if not lost_peer(error):
            raise
        print("unet-train: another process of this run has ended, and so does this one", file=sys.stderr)
        return 1
    except Stopped as stopped:
        print(f"stopped by {stopped}; go on with: unet-train resume={composed.run_folder}", file=sys.stderr)
        return 128 + stopped.signal_number
    return 0


def in_sweep_folder(words: Sequence[str]) -> list[str]:
    """A sweep's words with ``hydra.run.dir=FOLDER`` as the folder that its runs lie in.

    Raises
    ------
    UserError
        Where that cannot be meant: beside hydra.sweep.dir, or with a value to be filled in by each run.
    """
    named = [word for word in words if word.startswith("hydra.run.dir=")]
    if not named:
        return list(words)
    folder = named[-1].partition("=")[2]
    if "${" in folder or any(word.startswith("hydra.sweep.dir=") for word in words):
        raise UserError(
            f"{named[-1]}: with -m, the runs' folders are hydra.sweep.dir=FOLDER and hydra.sweep.subdir=NAME in it; "
            "leave hydra.run.dir out"
        )
    return [*(word for word in words if word not in named), *quote_paths([f"hydra.sweep.dir={folder}"])]


PLUGINS = {
    "hydra/launcher=slurm": ("hydra_plugins.hydra_submitit_launcher", "cluster"),
    "hydra/sweeper=optuna": ("hydra_plugins.hydra_optuna_sweeper", "sweep"),
}
"""What a word needs: a package, and the extra that installs it."""


def check_plugins(words: Sequence[str]) -> None:
    """Refuse a launcher or sweeper whose extra is not installed.

    Raises
    ------
    UserError
    """
    for word, (package, extra) in PLUGINS.items():
        if word in words and importlib.util.find_spec(package) is None:
            raise UserError(f'{word}: needs the extra, pip install "unet-train[{extra}]"')


def searching_upwards(words: Sequence[str]) -> list[str]:
    """The word that has Optuna look for the highest score, which it would take for a loss; none where it is given."""
    named = {word.lstrip("+").partition("=")[0] for word in words}
    is_search = "hydra/sweeper=optuna" in words and "hydra.sweeper.direction" not in named
    return ["hydra.sweeper.direction=maximize"] if is_search else []


def named_by_what_varies(words: Sequence[str]) -> list[str]:
    """Words that name a sweep's folders ``0,encoder=unet,seed=1`` by its number and the keys it sweeps.

    None where the user names them, or where a value holds what no file name may: then by the number alone.
    """
    parser = OverridesParser.create()
    try:
        parsed = [parser.parse_override(word) for word in words]
    except HydraException:
        return []  # Hydra says what is wrong
    swept = [override for override in parsed if override.is_sweep_override()]
    plain = all(re.fullmatch(r"[\w.+,=()\[\]-]+", override.input_line or "") for override in swept)
    if not swept or not plain or any(o.key_or_group == "hydra.sweep.subdir" for o in parsed):
        return []
    fixed = {
        o.key_or_group for o in parsed if not o.is_sweep_override() and not o.key_or_group.startswith("hydra")
    }
    return [
        f"hydra.job.config.override_dirname.exclude_keys=[{','.join(sorted(fixed))}]",
        "hydra.sweep.subdir='${hydra.job.num},${hydra.job.override_dirname}'",
    ]


def tell_sweeps() -> None:
    """The runs of the sweeps that ran in this process, side by side."""
    from unet_train.config.schema import RunsConfig
    from unet_train.runs.run_tables import list_runs

    for folder in SWEEPS:
        with contextlib.suppress(UserError):  # jobs that failed have been told, and left no run
            print(list_runs([Path(folder)], RunsConfig(score=None, part=None, csv=None, plot=None)))
            print(f"compare them: unet-runs compare {shlex.quote(folder)}")
    SWEEPS.clear()


def sweep_job(config: Any) -> float:
    """One job of a sweep, as Hydra's launchers call it: the best validation score."""
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf, open_dict

    from unet_train.runs.training import NotSaved, Stopped, train_run

    if HydraConfig.get().sweep.dir not in SWEEPS:
        SWEEPS.append(HydraConfig.get().sweep.dir)
    folders = [
        Path(source.path) for source in HydraConfig.get().runtime.config_sources if source.schema == "file"
    ]
    with open_dict(config):
        words = list(HydraConfig.get().overrides.task)
        sections = sections_chosen_anew("train", words, folders)
        notes = tuple(keys_not_used(words, folders, sections))
        config.update(sections)
        replace_mappings(config, words)
    OmegaConf.resolve(config)
    tree: dict[str, Any] = OmegaConf.to_container(config)  # type: ignore[assignment]
    folder = HydraConfig.get().runtime.output_dir
    # A job that the cluster queued again goes on in its own folder.
    if f"resume={tree['resume']}" == AUTO_RESUME or int(os.environ.get("SLURM_RESTART_COUNT", "0")) > 0:
        begun = (Path(folder) / "last.pt").is_file()
        tree = go_on_with(Path(folder), tree) if begun else tree | {"resume": None}
    fixed = HydraConfig.get().job.config.override_dirname.exclude_keys
    names = [OverridesParser.create().parse_override(word).key_or_group for word in words]
    varies = tuple(name for name in names if name not in fixed)
    composed = Composed(typed(TrainConfig, tree), tree, folder, varies, notes)
    check_train(composed.config)
    if composed.config.trainer.devices > 1:
        raise UserError("trainer.devices: a sweep's job runs on one device; use a launcher, or a single run")
    try:
        return train_run(composed)
    except NotSaved as error:
        sys.exit(f"unet-train: {error}")
    except Stopped as stopped:
        sys.exit(128 + stopped.signal_number)


def start_processes(composed: Composed[TrainConfig], arguments: shell.Arguments) -> int:
    """Start `trainer.devices` processes of this command, as torchrun does, and wait for them; the exit code.

    Not through torchrun itself, which answers a bad file with a traceback and a code of its own.
    """
    from unet_train.training.interrupts import LAUNCHER, SIGNALS

    folder = str(Path(composed.run_folder).absolute())
    overrides = [o for o in arguments.overrides if o.partition("=")[0] != "hydra.run.dir"]
    if composed.config.resume is None or AUTO_RESUME in overrides:
        overrides += quote_paths([f"hydra.run.dir={folder}"])
    config_dir = ["--config-dir", arguments.config_dir] if arguments.config_dir else []
    command = [sys.executable, "-m", "unet_train.commands.train", *overrides, *config_dir]
    size = composed.config.trainer.devices
    threads = os.environ.get("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // size)))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    together = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    together["OMP_NUM_THREADS"] = threads
    with contextlib.ExitStack() as stack:
        # All of them find the same fault, which one should say: the others' words are kept aside.
        said = [None, *(stack.enter_context(tempfile.TemporaryFile("w+")) for _ in range(size - 1))]
        processes = []
        for rank in range(size):
            own = {"RANK": str(rank), "LOCAL_RANK": str(rank), LAUNCHER: str(os.getpid())}
            environment = {**os.environ, **together, **own}
            # A session of their own: Ctrl-C reaches them once, through us.
            processes.append(
                subprocess.Popen(command, env=environment, stderr=said[rank], start_new_session=True)
            )

        def forward(received: int, _: Any) -> None:
            for process in processes:
                process.send_signal(received)

        for number in SIGNALS:
            signal.signal(number, forward)
        rank = wait_for(processes)
        code = processes[rank].returncode
        if code < 0:
            print(
                f"unet-train: process {rank + 1} of {size} was killed by {signal.Signals(-code).name}, and all have "
                f"ended; if memory ran out, try smaller crops or batches. Go on with: unet-train resume={folder}",
                file=sys.stderr,
            )
            return 128 - code
        words = said[rank]
        if words is not None and not told_by_the_first([process.returncode for process in processes], rank):
            words.seek(0)
            sys.stderr.write(words.read())
        return code


def told_by_the_first(codes: Sequence[int], failed: int) -> bool:
    """Whether rank 0 has said what made rank `failed` end, by the exit codes of all: or nothing went wrong.

    What is wrong with the input every process finds, whichever ends first, and a signal reaches all of them. A crash is
    its own rank's alone.
    """
    told_by_all = codes[failed] == 2 or codes[failed] > 128
    return codes[failed] == 0 or failed == 0 or (told_by_all and codes[0] == codes[failed])


def wait_for(processes: Sequence[subprocess.Popen[bytes]], grace: float = 10.0) -> int:
    """Wait until all have ended; the first whose exit code is not 0, or 0.

    Once one has failed the others, which may wait for it for ever, get `grace` seconds to end by themselves.
    """
    failed, since = 0, 0.0
    while any(process.poll() is None for process in processes):
        bad = [rank for rank, process in enumerate(processes) if process.poll()]
        if bad and not since:
            # One that was killed is why the others fail, however soon they do.
            failed = min(bad, key=lambda rank: (processes[rank].returncode > 0, rank))
            since = time.monotonic()
        if since and time.monotonic() - since > grace:
            for process in processes:
                process.kill()
        time.sleep(0.1)
    if not since:
        failed = next((rank for rank, process in enumerate(processes) if process.returncode), 0)
    return failed


if __name__ == "__main__":
    main()
