"""What the rows share: a measurement, interleaved rounds, other processes and the memory they took."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

REPOSITORY = Path(__file__).resolve().parent.parent.parent

PEAK = "PEAK_MIB "
"""What a process that `run_python` started says its peak after."""


def counts_processor_time() -> bool:
    """Whether `clock` is processor time: one thread on a CPU, where what else the machine does then takes no part."""
    import torch

    return resource is not None and torch.get_num_threads() == 1 and not torch.cuda.is_available()


def clock() -> float:
    """Seconds, of this process and the ones it has waited for, or of the wall; see `counts_processor_time`."""
    if resource is None or not counts_processor_time():
        return time.perf_counter()
    others = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + others.ru_utime + others.ru_stime


class Missing(Exception):
    """A library that a measurement is made with is not installed; the message says which, and how to get it."""


@dataclass(frozen=True)
class Measurement:
    """What was measured of one case, all of it in one interleaved run.

    Attributes
    ----------
    unit : str
        Of the values. Less is better.
    values : dict
        Variant → one value per round. The first variant is the one that the others are divided by, round by round.
    goals : dict
        Variant → the smallest ratio that was aimed at.
    sizes : dict
        Variant → how large its task is, where the values are to be fitted by a power of it.
    notes : list of str
        What else was seen.
    """

    unit: str
    values: dict[str, list[float]]
    goals: dict[str, float] = field(default_factory=dict)
    sizes: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


Case = Callable[[], Measurement]


def interleaved(
    variants: Mapping[str, Callable[[], float | None]], rounds: int, warm: int = 1
) -> dict[str, list[float]]:
    """Values of each variant over the rounds, in each of which every variant has its turn.

    Parameters
    ----------
    variants : mapping
        Name → what is to be measured; if it returns None, the seconds it took are the value.
    rounds : int
    warm : int
        Rounds before these that do not count.
    """
    values: dict[str, list[float]] = {name: [] for name in variants}
    for index in range(warm + rounds):
        for name, variant in variants.items():
            start = clock()
            found = variant()
            seconds = clock() - start
            if index >= warm:
                values[name].append(seconds if found is None else found)
    return values


@contextmanager
def stopwatch(places: Mapping[str, tuple[Any, str]]) -> Iterator[dict[str, float]]:
    """Seconds spent inside functions while the block runs, by name.

    Parameters
    ----------
    places : mapping
        Name → the module or class that holds the function, and the function's name there.
    """
    seconds = dict.fromkeys(places, 0.0)
    originals = {name: getattr(holder, function) for name, (holder, function) in places.items()}

    def timed(name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            start = clock()
            try:
                return originals[name](*args, **kwargs)
            finally:
                seconds[name] += clock() - start

        return call

    for name, (holder, function) in places.items():
        setattr(holder, function, timed(name))
    try:
        yield seconds
    finally:
        for name, (holder, function) in places.items():
            setattr(holder, function, originals[name])


# --- other processes ----------------------------------------------------------------------------------
def run_python(code: str, *words: object, cache: str | Path = "off", expected: int = 0) -> str:
    """What a Python process of its own writes to its standard output.

    Parameters
    ----------
    code : str
    *words
        Its arguments, ``sys.argv[1:]``.
    cache : path or 'off'
        Where it remembers what the check of the data found.
    expected : int
        The exit code.

    Raises
    ------
    RuntimeError
        For another exit code, with what it wrote to its standard error.
    """
    path = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)],
        env={**os.environ, "PYTHONPATH": path, "UNET_TRAIN_CHECK_CACHE": str(cache)},
        cwd=tempfile.gettempdir(),
        capture_output=True,
        text=True,
    )
    if done.returncode != expected:
        raise RuntimeError(
            f"exit code {done.returncode} of {' '.join(map(str, words))}\n{done.stderr[-2000:]}"
        )
    return done.stdout


def command(name: str) -> str:
    """Code that runs a command as its console script does; for `run_python` and `peak_mib`."""
    return f"from unet_train.commands.{name} import main\nmain()"


TELL_PEAK = f"""
import atexit, resource, sys
def peak():
    try:
        lines = open("/proc/self/status").read().splitlines()
        kib = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "darwin" else 1)
    print("{PEAK}" + str(kib / 1024), flush=True)
atexit.register(peak)
"""
"""Code that lets a process say its peak of resident memory at its end. The kernel's own figure for a child
(``ru_maxrss``) starts from what its parent held."""


def peak_mib(code: str, *words: object) -> float:
    """Peak of resident memory of a Python process of its own, MiB."""
    said = run_python(f"{TELL_PEAK}\n{code}", *words)
    return float(said.rpartition(PEAK)[2].split()[0])


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """The power of the size that the values grow with: the slope of a straight line through their logarithms."""
    import numpy as np

    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])
