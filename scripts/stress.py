"""The campaigns of tests/stress, whole: killed runs, bad inputs, hostile checkpoints and configs.

    python scripts/stress.py [CAMPAIGN …] [--folder DIR] [--cases N] [--jobs 2]

Each case is a seed; what is done is written to DIR/CAMPAIGN.jsonl, and the next call goes on from there. Cases run in
processes of their own, so that a crash of the interpreter or a hang is a result like any other. Prints a table and
ends with 1 if a promise was broken. `--again SEED` does one case of one campaign in this process, to look into it.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pkgutil
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tqdm import tqdm

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import tests.stress  # noqa: E402

CHUNK = 50
"""Cases of one process, at most."""

SILENCE = 900
"""Seconds without a result after which a process is taken to hang."""


def main() -> int:
    """Run what is not done yet, and tell of everything."""
    campaigns = sorted(
        module.name
        for module in pkgutil.iter_modules(tests.stress.__path__)
        if not module.name.startswith("test_") and hasattr(load(module.name), "CASES")
    )
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("campaigns", nargs="*", metavar="CAMPAIGN", help=f"of {', '.join(campaigns)}; all")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "stress")
    parser.add_argument("--cases", type=int, help="of each campaign; as many as it names")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--again", type=int, metavar="SEED")
    parser.add_argument("--worker", type=int, nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    unknown = set(options.campaigns) - set(campaigns)
    if unknown:
        parser.error(f"no campaign {', '.join(sorted(unknown))}; there are {', '.join(campaigns)}")
    chosen = options.campaigns or campaigns
    if options.worker is not None:
        return work(chosen[0], options.worker)
    if options.again is not None:
        with tempfile.TemporaryDirectory() as folder:
            print(load(chosen[0]).run(options.again, Path(folder)))
        return 0
    options.folder.mkdir(parents=True, exist_ok=True)
    for name in chosen:
        run_campaign(name, options.folder / f"{name}.jsonl", options.cases or load(name).CASES, options.jobs)
    return tell(chosen, options.folder)


def load(name: str) -> Any:
    """The module of a campaign."""
    return importlib.import_module(f"tests.stress.{name}")


# --- a process of cases -------------------------------------------------------------------------------
def work(name: str, seeds: list[int]) -> int:
    """Do cases one after the other; a line of JSON for each."""
    module = load(name)
    for seed in seeds:
        started, broken = time.monotonic(), False
        folder = Path(tempfile.mkdtemp(prefix=f"stress-{name}-"))
        try:
            outcome = module.run(seed, folder)
        except AssertionError as error:
            outcome, broken = str(error) or "a promise was broken", True
        except BaseException as error:  # whatever escapes is a broken promise too
            outcome, broken = f"{type(error).__name__}: {error}", True
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        seconds = round(time.monotonic() - started, 3)
        line = {"seed": seed, "outcome": outcome[-500:], "broken": broken, "seconds": seconds}
        print("\n" + json.dumps(line), flush=True)
    return 0


# --- all of them --------------------------------------------------------------------------------------
def read(path: Path) -> list[dict[str, Any]]:
    """What is done of a campaign."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def run_campaign(name: str, path: Path, cases: int, jobs: int) -> None:
    """Do the seeds that are not done yet, in `jobs` processes."""
    done = {line["seed"] for line in read(path)}
    left = [seed for seed in range(cases) if seed not in done]
    size = max(1, min(CHUNK, -(-len(left) // jobs)))
    chunks: queue.Queue[list[int]] = queue.Queue()
    for start in range(0, len(left), size):
        chunks.put(left[start : start + size])
    lock = threading.Lock()
    bar = tqdm(total=cases, initial=len(done), desc=name, unit="case", mininterval=1)

    def record(line: dict[str, Any]) -> None:
        with lock, open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
            bar.update()
            if line["broken"]:
                bar.write(f"{name} {line['seed']}: {line['outcome']}")

    def take() -> None:
        while True:
            try:
                seeds = chunks.get_nowait()
            except queue.Empty:
                return
            while seeds:
                seeds = one_process(name, seeds, record)

    threads = [threading.Thread(target=take) for _ in range(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    bar.close()


def one_process(name: str, seeds: list[int], record: Any) -> list[int]:
    """Start a process for these seeds; those it left over when it crashed or hung."""
    command = [sys.executable, str(Path(__file__).resolve()), name, "--worker", *map(str, seeds)]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    watch = threading.Timer(SILENCE, process.kill)
    watch.start()
    left = list(seeds)
    assert process.stdout is not None
    for text in process.stdout:
        if text.startswith('{"seed"'):
            watch.cancel()
            line = json.loads(text)
            left.remove(line["seed"])
            record(line)
            watch = threading.Timer(SILENCE, process.kill)
            watch.start()
    watch.cancel()
    code = process.wait()
    if left:
        what = f"crash or hang: the process ended with {code}"
        record({"seed": left[0], "outcome": what, "broken": True, "seconds": 0.0})
    return left[1:]


def tell(names: list[str], folder: Path) -> int:
    """Print a Markdown table; 1 if anything is broken."""
    broken = 0
    print("| campaign | cases | outcomes | broken | minutes of one core |")
    print("| --- | --- | --- | --- | --- |")
    for name in names:
        lines = read(folder / f"{name}.jsonl")
        fine = Counter(line["outcome"] for line in lines if not line["broken"])
        bad = sum(line["broken"] for line in lines)
        outcomes = ", ".join(f"{count} {outcome}" for outcome, count in fine.most_common())
        print(
            f"| {name} | {len(lines)} | {outcomes} | {bad} | {sum(line['seconds'] for line in lines) / 60:.1f} |"
        )
        broken += bad
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
