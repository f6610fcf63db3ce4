"""`unet-train`: config, checks, then the run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from unet_train.commands import shell
from unet_train.config.compose import (
    Composed,
    compose_train,
    open_mappings,
    quote_paths,
    sections_chosen_anew,
    typed,
)
from unet_train.config.early import check_train
from unet_train.errors import UserError


def main() -> None:
    """Entry point of the console script."""
    shell.main("train", train)


def train(arguments: shell.Arguments) -> int:
    """Compose, check, train; the exit code."""
    if arguments.multirun or arguments.hydra_flags:
        flags = [word for word in arguments.raw if word not in arguments.overrides]
        shell.hydra_main("train", sweep_job, [*flags, *open_mappings(arguments.overrides)])
        return 0
    composed = compose_train(arguments.overrides, arguments.config_dir)
    check_train(composed.config)
    if composed.config.trainer.devices > 1 and "RANK" not in os.environ:
        return start_processes(composed, arguments)
    return run(composed)


def run(composed: Composed) -> int:
    """Train in this process; a signal's exit code if one stopped it."""
    from unet_train.runs.training import Stopped, train_run

    try:
        train_run(composed)
    except Stopped as stopped:
        print(f"stopped by {stopped}; go on with: unet-train resume={composed.run_folder}", file=sys.stderr)
        return 128 + stopped.signal_number
    return 0


def sweep_job(config: Any) -> float:
    """One job of a sweep, as Hydra's launchers call it: the best validation score."""
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf, open_dict

    from unet_train.runs.training import Stopped, train_run

    folders = [
        Path(source.path) for source in HydraConfig.get().runtime.config_sources if source.schema == "file"
    ]
    with open_dict(config):
        config.update(sections_chosen_anew("train", list(HydraConfig.get().overrides.task), folders))
    OmegaConf.resolve(config)
    composed = Composed(
        typed("train", config),
        OmegaConf.to_container(config),  # type: ignore[arg-type]
        HydraConfig.get().runtime.output_dir,
    )
    check_train(composed.config)
    if composed.config.trainer.devices > 1:
        raise UserError("trainer.devices: a sweep's job runs on one device; use a launcher, or a single run")
    try:
        return train_run(composed)
    except Stopped as stopped:
        sys.exit(128 + stopped.signal_number)


def start_processes(composed: Composed, arguments: shell.Arguments) -> int:
    """Start `trainer.devices` processes of this command through torchrun and wait for them."""
    folder = str(Path(composed.run_folder).absolute())
    overrides = [o for o in arguments.overrides if o.partition("=")[0] != "hydra.run.dir"]
    if composed.config.resume is None:
        overrides += quote_paths([f"hydra.run.dir={folder}"])
    config_dir = ["--config-dir", arguments.config_dir] if arguments.config_dir else []
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
        f"--nproc-per-node={composed.config.trainer.devices}",
        *("-m", "unet_train.commands.train", *overrides, *config_dir),
    ]
    process = subprocess.Popen(command)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _: process.send_signal(received))
    return process.wait()


if __name__ == "__main__":
    main()
