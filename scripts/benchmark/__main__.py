"""Measures what is not measured yet, then writes the table and the chart: `make bench`.

    python -m scripts.benchmark [--only ROW …] [--folder build/bench] [--list] [--again] [--report]

Each case that has been measured is a line of FOLDER/benchmarks.jsonl; the next call goes on from there. All values of
a case are from one run in which what is compared takes turns. FOLDER/benchmarks.md and FOLDER/images/benchmarks.png
are made from that file alone. What a missing library is needed for is said and left out (pip install -e ".[bench]").
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import os
import platform
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from scripts.benchmark import report
from scripts.benchmark.measuring import REPOSITORY, Missing, counts_processor_time

ROWS = ("loop", "step", "prediction", "start", "growth", "elastic")
LIBRARIES = (
    "torch",
    "numpy",
    "albumentations",
    "segmentation-models-pytorch",
    "monai",
    "timm",
    "torchvision",
)


def machine() -> dict[str, Any]:
    """What the figures depend on: processor, cores in use, threads, libraries."""
    import torch

    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        processor = platform.processor() or platform.machine()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    from unet_train.training.precision import choose_accelerator, choose_precision

    accelerator = choose_accelerator()
    return {
        "processor": processor,
        "cores": cores,
        "threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name() if accelerator == "cuda" else accelerator,
        "precision": choose_precision(accelerator).name,
        "clock": "processor time" if counts_processor_time() else "wall clock",
        "python": platform.python_version(),
        "libraries": found,
    }


def main(words: Sequence[str] | None = None) -> int:
    """Measure and report; 1 if a case failed."""
    parser = argparse.ArgumentParser(prog="benchmark", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--only", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW", help=", ".join(ROWS)
    )
    parser.add_argument("--folder", type=Path, default=REPOSITORY / "build" / "bench")
    parser.add_argument("--list", action="store_true", help="list rows and cases, measure nothing")
    parser.add_argument("--again", action="store_true", help="measure the chosen rows again")
    parser.add_argument("--report", action="store_true", help="only write the table and the chart")
    options = parser.parse_args(words)
    rows = {name: importlib.import_module(f"scripts.benchmark.{name}") for name in ROWS}
    file = options.folder / "benchmarks.jsonl"
    records = report.read(file)
    if options.again:
        records = [record for record in records if record["row"] not in options.only]
    done = {(record["row"], record["case"]) for record in records}
    if options.list:
        for name in options.only:
            print(f"{name:11} {rows[name].TITLE}")
            for case in rows[name].CASES:
                print(f"{'':11} {'done' if (name, case) in done else '    '} {case}")
        return 0
    options.folder.mkdir(parents=True, exist_ok=True)
    failed = False
    if not options.report:
        logging.disable(logging.INFO)  # what each run and prediction says
        here = machine()
        report.refuse_others(records, here, file)
        report.write(file, records)
        for name in options.only:
            for case, measure in rows[name].CASES.items():
                if (name, case) in done:
                    continue
                print(f"{name}: {case} …", flush=True)
                try:
                    measurement = measure()
                except Missing as error:
                    print(f"  left out: {error}")
                    continue
                except Exception as error:  # the other cases are measured all the same
                    print(f"  failed: {error}", file=sys.stderr)
                    failed = True
                    continue
                record = {
                    "row": name,
                    "case": case,
                    **asdict(measurement),
                    "date": datetime.now(UTC).date().isoformat(),
                    "command": shlex.join(["python", "-m", "scripts.benchmark", "--only", name]),
                    "machine": here,
                }
                with open(file, "a", encoding="utf-8") as lines:
                    lines.write(json.dumps(record, ensure_ascii=False) + "\n")
                records.append(record)
                print("\n".join(report.said(record)), flush=True)
    texts = {name: (row.TITLE, row.ABOUT, list(row.CASES)) for name, row in rows.items()}
    report.write_report(options.folder, records, texts)
    print(f"written: {options.folder / 'benchmarks.md'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
