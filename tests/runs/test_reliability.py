"""What happens to real runs: stops, full disks, other monitors, several processes, numbers that are not finite."""

import ast
import contextlib
import csv
import errno
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from tests.stress.kills import DROPOUT, EFFICIENTNET, compare, rows
from unet_train.atomic import remove_leftovers

TINY = ["experiment=smoke", "trainer.samples_per_epoch=16", "trainer.precision=32"]
NETS = {"stochastic depth": EFFICIENTNET, "dropout and own generators": DROPOUT}
PROGRAM = [sys.executable, "-m", "unet_train.commands.train"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def load(path: Path) -> dict:
    return torch.load(path, weights_only=True)


def run_processes(*words: str, timeout: int = 200) -> subprocess.CompletedProcess:
    return subprocess.run(
        [*PROGRAM, *words], capture_output=True, text=True, timeout=timeout, env=ENVIRONMENT
    )


@pytest.fixture
def stopped(monkeypatch, run_command):
    """Train until so many updates are made, then as by SIGTERM."""

    def train(*words: str, updates: int, number: int = signal.SIGTERM) -> int:
        from unet_train.training import loop

        made, real = [], loop.update

        def count(*arguments):
            real(*arguments)
            made.append(1)
            if len(made) == updates:
                os.kill(os.getpid(), number)

        with monkeypatch.context() as patch:
            patch.setattr(loop, "update", count)
            return run_command("train", *words)

    return train


# --- exact resume -------------------------------------------------------------------------------------
@pytest.mark.parametrize("net", NETS)
def test_a_stop_within_an_epoch_changes_nothing(tmp_path, run_command, stopped, net):
    """Torch's loader draws a number from the global generator at each start, which used to shift what the net drew."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    words = [*TINY, *NETS[net], "trainer.ema_decay=0.9"]
    assert run_command("train", *words, f"hydra.run.dir={whole}") == 0
    assert stopped(*words, f"hydra.run.dir={parts}", updates=6) == 128 + signal.SIGTERM
    assert load(parts / "last.pt")["state"]["batches"] == 2
    assert run_command("train", f"resume={parts}", *(DROPOUT if net.startswith("dropout") else [])) == 0
    compare(whole, parts)


def test_what_the_net_draws_depends_on_seed_update_and_process():
    from unet_train.training.seeding import seed_update

    def drawn(*place: int) -> tuple:
        seed_update(*place)
        return torch.rand(1).item(), float(np.random.random())  # noqa: NPY002

    places = [(seed, update, rank) for seed in (0, 1) for update in (0, 1) for rank in (0, 1)]
    assert len({drawn(*place) for place in places}) == len(places)
    torch.rand(7)
    assert drawn(0, 1, 0) == drawn(0, 1, 0)


def test_a_file_that_a_killed_process_was_writing_is_removed_by_the_resume(tmp_path, run_command, stopped):
    run = tmp_path / "run"
    assert stopped(*TINY, f"hydra.run.dir={run}", updates=2) == 128 + signal.SIGTERM
    left, own = run / f".{'0a' * 16}.part", run / ".notes"
    for path in (left, own):
        path.write_bytes(b"half a checkpoint")
    assert run_command("train", f"resume={run}") == 0
    assert (left.exists(), own.exists()) == (False, True)
    remove_leftovers(tmp_path / "nowhere")


# --- resume=auto --------------------------------------------------------------------------------------
def test_resume_auto_starts_and_goes_on_by_the_same_command_line(tmp_path, run_command, stopped, capsys):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    words = [*TINY, "encoder.init_features=6"]
    assert run_command("train", *words, f"hydra.run.dir={whole}") == 0
    again = [*words, f"hydra.run.dir={parts}", "resume=auto"]
    assert stopped(*again, updates=3) == 128 + signal.SIGTERM
    assert run_command("train", *again) == 0
    compare(whole, parts)
    capsys.readouterr()
    assert run_command("train", *again) == 0
    assert "finished already" in capsys.readouterr().out
    assert run_command("train", *again, "trainer.epochs=3") == 0
    assert len(rows(parts)) == 3
    assert run_command("train", *again, "encoder.init_features=8") == 2
    assert "init_features" in capsys.readouterr().err


def test_resume_auto_keeps_what_the_run_has_settled_on(tmp_path, run_command, stopped, write_images):
    data, run = write_images(tmp_path / "mine"), tmp_path / "run"
    words = [*TINY, "dataset=folder", f"dataset.root={data}", f"hydra.run.dir={run}", "resume=auto"]
    assert stopped(*words, updates=1) == 128 + signal.SIGTERM
    before = yaml.safe_load((run / "config.yaml").read_text())
    assert before["augmentation"]["orientation"] != "auto"
    assert run_command("train", *words) == 0
    after = yaml.safe_load((run / "config.yaml").read_text())
    assert after == before


def test_resume_auto_without_a_fixed_folder_is_refused(run_command, capsys):
    assert run_command("train", *TINY, "resume=auto") == 2
    assert "hydra.run.dir" in capsys.readouterr().err


# --- signals ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2])
def test_a_cluster_s_signals_save_and_say_how_to_go_on(tmp_path, stopped, capsys, number):
    run = tmp_path / "run"
    assert stopped(*TINY, f"hydra.run.dir={run}", updates=1, number=number) == 128 + number
    assert load(run / "last.pt")["state"]["update"] == 1
    assert f"resume={run}" in capsys.readouterr().err


def test_a_signal_in_a_validation_does_not_wait_for_its_end(tmp_path, run_command, monkeypatch):
    """A cluster gives half a minute: the run goes on before that validation, and ends like the undisturbed one."""
    from unet_train.runs import validation

    whole, parts = tmp_path / "whole", tmp_path / "parts"
    words = [*TINY, "dataset.images=9", "trainer.val_every=1"]
    assert run_command("train", *words, f"hydra.run.dir={whole}") == 0
    drawn, real = [], validation.evaluate

    def signalled(predictor, source, records, *, look=None, **keywords):
        def looked(*image):
            drawn.append(1)
            if len(drawn) == 4:
                os.kill(os.getpid(), signal.SIGTERM)
            look(*image)

        return real(predictor, source, records, look=looked if look else None, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(validation, "evaluate", signalled)
        assert run_command("train", *words, f"hydra.run.dir={parts}") == 128 + signal.SIGTERM
    images = len(yaml.safe_load((whole / "split.json").read_text())["val"])
    assert images > 1
    assert len(drawn) == 4 < 2 * images + 1
    assert len(rows(parts)) == 1
    assert run_command("train", f"resume={parts}") == 0
    compare(whole, parts)


def test_a_run_killed_between_its_first_best_pt_and_last_pt_can_be_gone_on_with(
    tmp_path, run_command, monkeypatch
):
    from unet_train.runs.checkpoint_writing import CheckpointWriter

    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run_command("train", *TINY, f"hydra.run.dir={whole}") == 0
    real = CheckpointWriter.best

    def killed(self, scores):
        real(self, scores)
        os._exit(9)

    child = os.fork()
    if child == 0:
        CheckpointWriter.best = killed
        run_command("train", *TINY, f"hydra.run.dir={parts}")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert (parts / "best.pt").is_file()
    assert run_command("train", *TINY, f"hydra.run.dir={parts}", "resume=auto") == 0
    compare(whole, parts)


@pytest.mark.parametrize("left", [(), ("best.pt",)])
def test_a_folder_of_a_run_that_died_unsaved_is_free_and_one_with_weights_is_not(
    tmp_path, run_command, capsys, left
):
    run = tmp_path / "run"
    run.mkdir()
    config = yaml.safe_dump({name: {"kind": "x"} for name in ("encoder", "dataset", "trainer", "checkpoint")})
    (run / "config.yaml").write_text(config)
    for name in ("metrics.csv", *left):
        (run / name).write_text("of a run that was killed")
    assert run_command("train", *TINY, f"hydra.run.dir={run}") == (2 if left else 0)
    if left:
        assert "resume=" in capsys.readouterr().err
        assert (run / "best.pt").read_text() == "of a run that was killed"


def test_a_folder_with_files_of_somebody_else_loses_none(tmp_path, run_command, capsys):
    """A project may have a config.yaml of its own, and hydra.run.dir may name its folder by mistake."""
    run = tmp_path / "run"
    (run / "tensorboard").mkdir(parents=True)
    mine = {"config.yaml": "of my project", "split.json": "mine", "tensorboard/notes.txt": "mine"}
    for name, text in mine.items():
        (run / name).write_text(text)
    assert run_command("train", *TINY, f"hydra.run.dir={run}") == 2
    assert "config.yaml" in capsys.readouterr().err
    assert {name: (run / name).read_text() for name in mine} == mine


def test_signals_to_the_whole_group_leave_the_workers_to_their_run(tmp_path):
    """Ctrl-C and clusters reach the loader's workers too; a run that waits for a batch then died unsaved."""
    run = tmp_path / "run"
    words = [
        *TINY,
        "trainer.epochs=500",
        "trainer.workers=2",
        "trainer.val_every=500",
        f"hydra.run.dir={run}",
    ]
    process = subprocess.Popen(
        [*PROGRAM, *words],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env=ENVIRONMENT,
        start_new_session=True,
    )
    wait_for(run / "last.pt", process)
    os.killpg(process.pid, signal.SIGTERM)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, error
    assert "Traceback" not in error
    assert load(run / "last.pt")["state"]["update"] > 0


def wait_for(path: Path, process: subprocess.Popen, seconds: int = 120) -> None:
    end = time.monotonic() + seconds
    while not path.is_file():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.05)


# --- another monitor ----------------------------------------------------------------------------------
def test_another_monitor_is_compared_with_what_best_pt_has_of_it(tmp_path, run_command, capsys):
    """The best IoU of the old monitor is no accuracy: comparing the two would keep, or replace, the wrong weights."""
    run = tmp_path / "run"
    assert run_command("train", *TINY, f"hydra.run.dir={run}") == 0
    accuracy = load(run / "best.pt")["metrics"]["accuracy"]
    words = [f"resume={run}", "trainer.epochs=3", "optimizer.lr=1e-12", "trainer.ema_decay=null"]
    capsys.readouterr()
    assert run_command("train", f"resume={run}", "trainer.epochs=3", "checkpoint.monitor=acuracy") == 2
    assert "accuracy" in capsys.readouterr().err
    assert yaml.safe_load((run / "config.yaml").read_text())["checkpoint"]["monitor"] == "iou/mean"
    assert run_command("train", *words[:2], "checkpoint.monitor=accuracy") == 0
    assert f"accuracy {accuracy:.4f}" in capsys.readouterr().out
    state, scores = load(run / "last.pt")["state"], [float(row["val/accuracy"]) for row in rows(run)]
    assert state["monitor"] == "accuracy"
    assert state["best"] == pytest.approx(max(accuracy, scores[-1]), rel=1e-9)
    assert state["best_epoch"] == (3 if scores[-1] > accuracy + 1e-9 else load(run / "best.pt")["epoch"])


# --- without validation -------------------------------------------------------------------------------
@pytest.mark.parametrize("words", ["trainer.early_stopping=2", "scheduler=plateau"])
def test_what_waits_for_validations_is_refused_where_there_are_none(run_command, capsys, words):
    assert run_command("train", *TINY, "split.val_fraction=0", words) == 2
    error = capsys.readouterr().err
    assert words in error
    assert "split.val_fraction" in error


def test_a_finished_run_without_validation_has_no_score(tmp_path):
    from unet_train.config.compose import compose_train
    from unet_train.runs.training import train_run

    words = [*TINY, "trainer.epochs=1", "split.val_fraction=0", f"hydra.run.dir={tmp_path / 'run'}"]
    assert np.isnan(train_run(compose_train(words)))
    assert np.isnan(train_run(compose_train([f"resume={tmp_path / 'run'}"])))


# --- numbers ------------------------------------------------------------------------------------------
class Breaks(nn.Module):
    """An encoder whose features, or whose gradient, are NaN at one forward pass."""

    channels = (4, 4)
    strides = (1, 2)

    def __init__(self, in_channels: int, at: int = 0, gradient: bool = False):
        super().__init__()
        self.in_channels, self.at, self.gradient, self.passes = in_channels, at, gradient, 0
        self.layer = nn.Conv2d(in_channels, 4, 3, padding=1)

    def forward(self, x):
        features = self.layer(x)
        if self.training:
            self.passes += 1
            if self.passes == self.at and self.gradient:
                features = _NotFinite.apply(features)
            elif self.passes == self.at:
                features = features * float("nan")
        return [features, nn.functional.max_pool2d(features, 2)]


class _NotFinite(torch.autograd.Function):
    @staticmethod
    def forward(context, x):
        return x.clone()

    @staticmethod
    def backward(context, gradient):
        return gradient * float("nan")


BREAKS = ["encoder._target_=tests.runs.test_reliability.Breaks", "model.norm=none"]


@pytest.mark.parametrize("words", [[], ["encoder.gradient=true"]], ids=["loss", "gradient"])
def test_what_is_not_finite_is_noticed_before_the_next_save_and_never_saved(
    tmp_path, run_command, capsys, words
):
    """The seventh update is the third of the second epoch; each update is saved."""
    run = tmp_path / "run"
    words = [*TINY, *BREAKS, "encoder.at=7", *words, "checkpoint.every_minutes=0", f"hydra.run.dir={run}"]
    assert run_command("train", *words) == 2
    said = capsys.readouterr().err
    assert "gradient" in said if "encoder.gradient=true" in words else "loss" in said
    assert re.search(r"update 7 in epoch 2\b", said)
    keys = yaml.safe_load((run / "split.json").read_text())["train"]
    assert any(key in said for key in keys)
    assert said.count("\n") == 1
    last = load(run / "last.pt")
    assert last["state"]["update"] == 6
    for tensor in (*last["state_dict"].values(), *load(run / "best.pt")["state_dict"].values()):
        assert torch.isfinite(tensor).all()


def test_a_gradient_scaler_skips_and_counts_but_not_for_ever():
    from unet_train.errors import UserError
    from unet_train.training.distributed import DistributedContext
    from unet_train.training.finiteness import ASKED_EVERY, FiniteWatch

    watch, alone = FiniteWatch(skips=True), DistributedContext()
    fine, bad = torch.tensor(1.0), torch.tensor(float("inf"))

    def note(update, numerators, norm):
        watch.note(torch.stack([numerators]), norm, update=update, epoch=1, keys=[f"image{update}"])

    for update in range(1, 11):
        note(update, fine, bad if update <= 4 else fine)
    watch.check(alone, {})
    assert (watch.take_skipped(), watch.take_skipped()) == (4, 0)
    for update in range(11, 11 + ASKED_EVERY):
        note(update, fine, bad)
    with pytest.raises(UserError, match=r"update 11 in epoch 1.*image11"):
        watch.check(alone, {})
    note(1, bad, bad)
    with pytest.raises(UserError, match="loss"):
        watch.check(alone, {})


def test_weights_that_are_not_finite_are_not_saved_though_every_update_was():
    from unet_train.errors import UserError
    from unet_train.training.distributed import DistributedContext
    from unet_train.training.finiteness import FiniteWatch

    weights = {"a": torch.ones(2), "steps": torch.tensor(3), "norm.running_var": torch.tensor([1, np.inf])}
    with pytest.raises(UserError, match=r"norm\.running_var"):
        FiniteWatch().check(DistributedContext(), weights)


def test_a_file_that_explains_a_bad_update_is_named():
    from unet_train.data.layouts.demo import DemoSource
    from unet_train.data.loading.training_set import Sampling, TrainingSet
    from unet_train.data.targets import get_target

    source = DemoSource(images=3, test_images=1, size=64)
    records = source.records()
    training = TrainingSet(source, records, target=get_target("classes"), sampling=Sampling(4, 0, 32))
    images = {record.key: source.read_image(record).astype(np.float32) for record in records}
    source.read_image = lambda record: images[record.key]
    keys = [record.key for record in records]
    assert training.faulty(keys) == ""
    images[keys[1]][:] = 7
    assert records[1].image in training.faulty(keys)
    assert "7" in training.faulty(keys)
    images[keys[0]][3, 4] = np.nan
    assert records[0].image in training.faulty(keys)
    assert training.faulty(keys[2:]) == ""


# --- disk ---------------------------------------------------------------------------------------------
@pytest.fixture
def full_disk(monkeypatch):
    """Make the saves with these numbers fail, as on a full disk: half a file is written."""

    def fill(numbers):
        from unet_train.models import files

        real, tried = torch.save, []

        def save(content, file):
            tried.append(file.name)
            if len(tried) in numbers:
                file.write(b"half")
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            real(content, file)

        monkeypatch.setattr(files.torch, "save", save)
        return tried

    return fill


def test_a_full_disk_costs_a_save_and_not_the_run(tmp_path, run_command, full_disk, capsys):
    """best.pt and last.pt of the second of three epochs do not fit; best.pt is caught up on with the next save."""
    whole, run = tmp_path / "whole", tmp_path / "run"
    words = [*TINY, "trainer.epochs=3", "split.val_fraction=0"]
    assert run_command("train", *words, f"hydra.run.dir={whole}") == 0
    full_disk({4, 5, 6})
    assert run_command("train", *words, f"hydra.run.dir={run}") == 0
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning")]
    assert [Path(line.split()[1]).name for line in said] == ["best.pt", "best.pt", "last.pt"]
    assert all("No space left" in line for line in said)
    compare(whole, run)
    assert not [path for path in run.iterdir() if path.suffix == ".part"]


def test_weights_that_could_not_be_saved_as_the_best_are_kept_for_the_next_save(
    tmp_path, run_command, full_disk, monkeypatch
):
    """Of three epochs the second is the best, and its best.pt fails: it must not become the third one's weights."""
    from unet_train.training.evaluation import Evaluation

    scores = iter([0.1, 0.1, 0.5, 0.2])
    real = Evaluation.scores

    def judged(self):
        self.score = getattr(self, "score", None) or next(scores)
        return real(self) | {"iou/mean": self.score}

    monkeypatch.setattr(Evaluation, "scores", judged)
    whole, run = tmp_path / "whole", tmp_path / "run"
    words = [*TINY, "trainer.epochs=3", "trainer.val_every=1", "dataset.target=classes"]
    assert run_command("train", *words, f"hydra.run.dir={whole}") == 0
    scores = iter([0.1, 0.1, 0.5, 0.2])
    full_disk({4})
    assert run_command("train", *words, f"hydra.run.dir={run}") == 0
    best = load(run / "best.pt")
    assert best["epoch"] == 2
    reference = load(whole / "best.pt")
    assert all(torch.equal(best["state_dict"][k], v) for k, v in reference["state_dict"].items())


def test_a_run_whose_last_save_failed_ends_with_1_and_can_be_resumed(
    tmp_path, run_command, full_disk, capsys
):
    run = tmp_path / "run"
    tried = full_disk({5})
    words = [*TINY, "split.val_fraction=0", f"hydra.run.dir={run}"]
    assert run_command("train", *words) == 1
    assert len(tried) == 5
    assert "last.pt" in capsys.readouterr().err
    assert load(run / "last.pt")["state"]["epoch"] == 1
    assert run_command("train", f"resume={run}") == 0
    assert [int(row["epoch"]) for row in rows(run)] == [1, 2]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root mounts a small disk")
def test_a_run_on_a_disk_that_fills_up(tmp_path, run_command, capsys):
    """A real one, of four MiB: everything that a run writes meets it, the log and the curves too."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk], capture_output=True
    ).returncode:
        pytest.skip("no disk can be mounted here; test_a_full_disk_… covers it by a save that fails")
    try:
        run = disk / "run"
        assert run_command("train", *TINY, "trainer.epochs=1", f"hydra.run.dir={run}") == 0
        before = load(run / "last.pt")
        with open(disk / "filler", "wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        capsys.readouterr()
        assert run_command("train", f"resume={run}", "trainer.epochs=2") in (1, 2)
        said = capsys.readouterr()
        assert "Traceback" not in said.err + said.out
        assert len(said.err.splitlines()) == 1
        assert "No space left" in said.err
        after = load(run / "last.pt")
        assert after["state"]["epoch"] == before["state"]["epoch"] == 1
        (disk / "filler").unlink()
        assert run_command("train", f"resume={run}", "trainer.epochs=2") == 0
        assert len(rows(run)) == 2
    finally:
        subprocess.run(["umount", "-l", disk], check=False)


def test_curves_that_could_not_be_written_are_written_later(tmp_path, monkeypatch, capsys):
    from unet_train.log import log_to
    from unet_train.training import run_folder
    from unet_train.training.run_folder import History

    log_to(None)
    history = History(tmp_path)
    history.add(1, 10, {"train/loss": 0.5})
    with monkeypatch.context() as patch:

        def full(*_, **__):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        patch.setattr(run_folder, "replacing", full)
        history.add(2, 20, {"train/loss": 0.25})
        history.add(3, 30, {"train/loss": 0.125})
    history.add(4, 40, {"train/loss": 0.0625})
    history.close()
    assert capsys.readouterr().out.count("No space left") == 1
    with open(tmp_path / "metrics.csv", newline="") as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["10", "20", "30", "40"]
    events = EventAccumulator(str(tmp_path / "tensorboard"), size_guidance={"scalars": 0}).Reload()
    # In the order of the files' names, which may be of one second.
    read = sorted((event.step, event.value) for event in events.Scalars("train/loss"))
    assert read == [(10, 0.5), (20, 0.25), (30, 0.125), (40, 0.0625)]


# --- several processes --------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A run of two processes that saves by the clock, what it said, and every last.pt that it wrote on its way."""
    folder = tmp_path_factory.mktemp("two")
    words = [
        *TINY,
        "trainer.devices=2",
        "trainer.batch_size=1",
        "trainer.samples_per_epoch=48",
        "trainer.pictures=3",
    ]
    words += ["dataset.images=12", *DROPOUT, "trainer.val_every=1", "checkpoint.every_minutes=0"]
    run, copies = folder / "whole", folder / "copies"
    copies.mkdir()
    with open(folder / "told.txt", "w+") as told:
        process = subprocess.Popen(
            [*PROGRAM, *words, f"hydra.run.dir={run}"],
            stderr=subprocess.PIPE,
            stdout=told,
            text=True,
            env=ENVIRONMENT,
        )
        wait_for(run / "last.pt", process)
        seen = set()
        while process.poll() is None:
            with contextlib.suppress(OSError):
                modified = (run / "last.pt").stat().st_mtime_ns
                if modified not in seen:
                    seen.add(modified)
                    shutil.copy(run / "last.pt", copies / f"{modified}.pt")
            time.sleep(0.005)
    _, error = process.communicate()
    assert process.returncode == 0, error
    return folder, (folder / "told.txt").read_text(), copies


def test_several_processes_save_by_the_clock_and_go_on_exactly_within_an_epoch(two, run_command, capsys):
    folder, _, copies = two
    within = [path for path in sorted(copies.iterdir()) if load(path)["state"]["batches"]]
    assert within, "checkpoint.every_minutes=0 saves at every tenth update"
    last = load(within[-1])["state"]
    assert len(last["sums"]) == 2
    assert not torch.equal(last["sums"][0]["counts"], last["sums"][1]["counts"]), "each process has its own"
    again = folder / "again"
    shutil.copytree(folder / "whole", again)
    shutil.copy(within[-1], again / "last.pt")
    if last["epoch"] == 0:
        (again / "best.pt").unlink()
    assert run_command("train", f"resume={again}", *DROPOUT, "trainer.devices=1") == 2
    assert "trainer.devices=2" in capsys.readouterr().err
    done = run_processes(f"resume={again}", *DROPOUT)
    assert done.returncode == 0, done.stderr
    compare(folder / "whole", again)


def test_several_processes_say_each_line_once_and_show_all_pictures(two):
    folder, told, _ = two
    lines = [line for line in told.splitlines() if line.strip() and not set(line) <= {"─"}]
    assert len(lines) == len(set(lines)), [line for line in lines if lines.count(line) > 1]
    events = EventAccumulator(str(folder / "whole" / "tensorboard"), size_guidance={"images": 0}).Reload()
    shown = [tag for tag in events.Tags()["images"] if tag.startswith("val/")]
    val = yaml.safe_load((folder / "whole" / "split.json").read_text())["val"]
    assert sorted(shown) == sorted(f"val/{key}" for key in val[:3])
    assert len(shown) > 1


def test_a_resume_by_another_number_of_processes_is_told(two, run_command, capsys):
    folder, _, _ = two
    again = folder / "alone"
    shutil.copytree(folder / "whole", again)
    assert run_command("train", f"resume={again}", *DROPOUT, "trainer.devices=1", "trainer.epochs=3") == 0
    assert re.search(r"processes 2 → 1\b", capsys.readouterr().out)
    assert len(rows(again)) == 3


# --- words --------------------------------------------------------------------------------------------
def test_messages_name_keys_that_exist():
    """`objects.min_size` was recommended, and no command took it."""
    from unet_train.config.schema import SECTIONS
    from unet_train.keys import schema_fields

    known = {
        f"{section}.{name}"
        for section, (_, kinds) in SECTIONS.items()
        for schema in kinds.values()
        for name in schema_fields(schema)
    } | {f"{section}._target_" for section in SECTIONS}
    package = Path(__file__).resolve().parents[2] / "unet_train"
    sections = "|".join([*SECTIONS, "objects"])
    pattern = re.compile(
        rf"(?<![\w./{{])({sections})\.(?!json|csv|pt2|onnx|safetensors|read|predict|overlay)([a-z][a-z_]+)(?=[=\s,;:)]|$)"
    )
    unknown = set()
    for path in package.rglob("*.py"):
        for text in strings_of(path):
            unknown |= {found.group() for found in pattern.finditer(text) if found.group() not in known}
    assert not unknown


def strings_of(path: Path) -> list[str]:
    """The strings of a program, those in f-strings too, without its docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documents = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documents
    ]
