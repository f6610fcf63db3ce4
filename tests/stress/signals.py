"""Runs that get a signal, or two, at a random moment, and runs of two processes of which one is killed."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import torch

from tests.stress.kills import ACCUMULATE, CLASSIC, COMMON, DROPOUT, WORKERS, rows, saved, sleep, start, wait
from unet_train.training.interrupts import SIGNALS

CASES = 60

NETS = [CLASSIC, [*CLASSIC, *ACCUMULATE, *WORKERS], [*DROPOUT, *WORKERS], DROPOUT]

ENDS_WITHIN = 60
"""Seconds after which all processes must have ended."""


def run(seed: int, folder: Path) -> str:
    """Train, send a signal, and go on; or kill one of two processes."""
    rng = random.Random(seed)
    run_folder, told = folder / "run", folder / "log.txt"
    words = [*COMMON, *NETS[seed % len(NETS)], f"hydra.run.dir={run_folder}"]
    if seed % 10 == 9:
        return one_of_two_dies(words, told, rng)
    number = rng.choice(SIGNALS)
    often = [*words, "checkpoint.every_minutes=0.0001"]
    (process,) = started = start(often, 1, told)
    sleep(started, lambda: saved(run_folder) > 0, 60)
    if sleep(started, lambda: False, rng.uniform(0, 0.3)):
        return ended(started, told)
    before = time.monotonic()
    if rng.random() < 0.5:
        os.kill(process, number)
    else:
        os.killpg(process, number)
    if (
        rng.random() < 0.3
        and number == signal.SIGINT
        and not sleep(started, lambda: False, rng.uniform(0, 0.02))
    ):
        os.kill(process, number)
    code = wait(started, ENDS_WITHIN)
    took = time.monotonic() - before
    if code == 0:  # it had ended by itself before the signal was looked at
        return ended([], told)
    assert code == 128 + number, f"{signal.Signals(number).name}: exit code {code}: {told.read_text()}"
    assert took < ENDS_WITHIN
    assert "Traceback" not in told.read_text(), told.read_text()
    state = torch.load(run_folder / "last.pt", weights_only=True)["state"]
    assert state["update"] > 0
    assert wait(start([f"resume={run_folder}", *own(words)], 1, told)) == 0, told.read_text()
    assert [int(row["epoch"]) for row in rows(run_folder)] == list(range(1, 7))
    return f"{signal.Signals(number).name}: {128 + number}, resumed"


def ended(started: list[int], told: Path) -> str:
    """The run was quicker than the signal."""
    assert not started or wait(started) == 0, told.read_text()
    return "ended before the signal"


def own(words: list[str]) -> list[str]:
    """The override of an encoder of one's own, which a resume needs again."""
    return [word for word in words if word.startswith("encoder._target_")]


def one_of_two_dies(words: list[str], told: Path, rng: random.Random) -> str:
    """Started as users do, by trainer.devices=2: the command ends with an error, and leaves nothing behind."""
    folder = Path(words[-1].partition("=")[2])
    started = start([*words, "trainer.devices=2", "trainer.epochs=500"], 1, told)
    sleep(started, lambda: saved(folder) > 0, 120)
    children, trainers = processes_below(started[0]), children_of(started[0])
    assert len(trainers) == 2, told.read_text()
    killed = rng.choice([*trainers, started[0]])
    os.kill(killed, signal.SIGKILL)
    code = wait(started, ENDS_WITHIN)
    assert code not in (0, 2), f"exit code {code}"
    if killed != started[0]:
        said = told.read_text()
        assert code == 128 + signal.SIGKILL, f"exit code {code}: {said}"
        assert f"process {trainers.index(killed) + 1} of 2 was killed by SIGKILL" in said, said
        assert "Traceback" not in said, said
    end = time.monotonic() + ENDS_WITHIN
    while any(alive(child) for child in children):
        assert time.monotonic() < end, "a process was left behind"
        time.sleep(0.05)
    torch.load(folder / "last.pt", weights_only=True)
    return "the launcher of two killed: all ended" if killed == started[0] else "one of two killed: all ended"


def children_of(process: int) -> list[int]:
    """Processes that a process has started."""
    children = Path(f"/proc/{process}/task/{process}/children")
    return [int(word) for word in children.read_text().split()] if children.exists() else []


def processes_below(process: int) -> list[int]:
    """All descendants of a process."""
    own = children_of(process)
    return [*own, *(below for child in own for below in processes_below(child))]


def alive(process: int) -> bool:
    """Whether a process runs, and is no zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
