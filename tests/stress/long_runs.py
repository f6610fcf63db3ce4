"""Runs of 200 epochs on small data, whose memory and open files must not grow."""

from __future__ import annotations

from pathlib import Path
from statistics import median

from tests.stress.kills import CLASSIC, ended_codes, saved, sleep, start
from tests.stress.signals import alive, processes_below

EPOCHS = 200

KINDS = {
    "no workers": [],
    "two workers": ["trainer.workers=2"],
    "pictures, averaged weights": ["trainer.pictures=2", "trainer.ema_decay=0.9", "trainer.val_every=1"],
}
CASES = len(KINDS)

WARM_UP = 0.2
"""Share of the run in which memory may still grow."""

MORE_FILES = 8

ROOM = 12.0
"""MiB by which it may grow afterwards: arenas of the allocator, not a leak by the epoch."""


def run(seed: int, folder: Path, epochs: int = EPOCHS) -> str:
    """Train, and look at memory and files at every save."""
    name, words = list(KINDS.items())[seed % CASES]
    run_folder = folder / "run"
    words = ["experiment=smoke", "trainer.samples_per_epoch=8", *CLASSIC, *words, f"trainer.epochs={epochs}"]
    started = start([*words, f"hydra.run.dir={run_folder}"], 1, folder / "log.txt")
    memory, files, seen = [], [], 0
    while not sleep(started, lambda seen=seen: saved(run_folder) != seen, 60):  # type: ignore[misc]
        seen = saved(run_folder)
        family = [started[0], *processes_below(started[0])]
        memory.append(sum(map(resident, family)))
        files.append(sum(map(open_files, family)))
    assert ended_codes(started) == [0], (folder / "log.txt").read_text()
    assert len(memory) > epochs / 2
    first = int(WARM_UP * len(memory))
    before, after = (median(part) for part in (memory[first : first + 10], memory[-10:]))
    assert after - before < ROOM, f"memory grew from {before:.0f} to {after:.0f} MiB"
    # Batches on their way from a worker are open files too: it is what stays that counts.
    opened, still = (median(part) for part in (files[first : first + 10], files[-10:]))
    assert still - opened < MORE_FILES, f"open files: {opened:.0f} at first, {still:.0f} at the end"
    return f"{name}: {before:.0f} → {after:.0f} MiB, {opened:.0f} → {still:.0f} files"


def resident(process: int) -> float:
    """MiB of memory that a process holds alone; of what it shares with others its part."""
    try:
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return 0.0


def open_files(process: int) -> int:
    """Open files of a process."""
    try:
        return len(list(Path(f"/proc/{process}/fd").iterdir())) if alive(process) else 0
    except OSError:
        return 0
