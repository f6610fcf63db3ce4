"""A sweep on a Slurm cluster whose programs are small scripts: saved, queued again and resumed; a search by Optuna."""

import contextlib
import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from unet_train.commands.train import PLUGINS, check_plugins, searching_upwards
from unet_train.errors import UserError

TINY = ["experiment=smoke", "trainer.samples_per_epoch=8", "trainer.epochs=40", "encoder.depth=2"]

PROGRAMS = {
    # The last word is the submission script. Its job gets a number, and runs beside us.
    "sbatch": """
for script; do :; done
echo "$script" > "$SLURM_FAKE/script"
export SLURM_JOB_ID=7 SLURM_NTASKS=1 SLURM_JOB_NUM_NODES=1
export SLURM_NODEID=0 SLURM_JOB_NODELIST=here SLURM_PROCID=0 SLURM_LOCALID=0
nohup setsid bash "$script" > "$SLURM_FAKE/out" 2>&1 &
echo $! >> "$SLURM_FAKE/groups"
echo "Submitted batch job 7"
""",
    "srun": """
while [ "${1#-}" != "$1" ]; do [ "$1" = --output ] || [ "$1" = --error ] && shift; shift; done
exec "$@"
""",
    "scontrol": """
echo "$@" >> "$SLURM_FAKE/queued_again"
export SLURM_RESTART_COUNT=1
nohup setsid sh -c 'sleep 1; bash "$(cat "$SLURM_FAKE/script")"' > "$SLURM_FAKE/out_again" 2>&1 &
echo $! >> "$SLURM_FAKE/groups"
""",
    "sacct": """
echo "JobID|State|NodeList"
echo "7|RUNNING|here"
""",
}


@pytest.fixture
def cluster(tmp_path, monkeypatch) -> Path:
    """Slurm's programs, first on the path; the folder of what they note."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    for name, body in PROGRAMS.items():
        (folder / name).write_text(f"#!/bin/bash\n{body}")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_FAKE", str(folder))
    return folder


def wait_until(condition, seconds=120):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "not in time"
        time.sleep(0.2)


@pytest.mark.skipif(sys.platform == "win32", reason="Slurm's signals")
def test_a_job_whose_time_is_up_is_queued_again_and_goes_on(tmp_path, cluster):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="needs the extra cluster")
    sweep = tmp_path / "sweep"
    words = [*TINY, "hydra/launcher=slurm", "hydra.launcher.gpus_per_node=null", f"hydra.sweep.dir={sweep}"]
    command = [sys.executable, "-m", "unet_train.commands.train", "-m", *words, "seed=3"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path
    )
    try:
        wait_until(lambda: list(sweep.glob("*/last.pt")))
        last = next(sweep.glob("*/last.pt"))
        jobs = subprocess.run(
            ["pgrep", "-f", "submitit.core._submit"], capture_output=True, text=True
        ).stdout.split()
        own = [int(job) for job in jobs if str(sweep).encode() in Path(f"/proc/{job}/cmdline").read_bytes()]
        for job in own:
            os.kill(job, signal.SIGUSR2)  # what Slurm sends signal_delay_s before the end
        wait_until(lambda: (cluster / "queued_again").exists())
        assert (cluster / "queued_again").read_text().split() == ["requeue", "7"]
        said, _ = process.communicate(timeout=240)
    finally:
        process.kill()
        for group in (cluster / "groups").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(int(group), signal.SIGKILL)
    assert process.returncode == 0, said
    log = (last.parent / "train.log").read_text()
    assert "resum" in log
    assert len((last.parent / "metrics.csv").read_text().splitlines()) == 41, "each epoch once"


def test_a_search_looks_for_the_highest_score():
    assert searching_upwards(["hydra/sweeper=optuna"]) == ["hydra.sweeper.direction=maximize"]
    assert searching_upwards(["hydra/sweeper=optuna", "hydra.sweeper.direction=minimize"]) == []
    assert searching_upwards(["seed=1,2"]) == []


@pytest.mark.parametrize("word", list(PLUGINS))
def test_a_missing_extra_is_named(word, monkeypatch):
    package, extra = PLUGINS[word]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else object())
    with pytest.raises(UserError, match=rf"{re.escape(word)}.*{extra}"):
        check_plugins(["seed=1,2", word])
    check_plugins(["seed=1,2"])
