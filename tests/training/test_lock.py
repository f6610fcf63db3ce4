"""One run at a time trains in a folder; a process that died, by whatever signal, keeps nobody out."""

import errno
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from unet_train.errors import UserError
from unet_train.training import lock
from unet_train.training.lock import LOCK, only_run

HOLD = """
import os, sys, time
from pathlib import Path
from unet_train.training.lock import only_run
with only_run(Path(sys.argv[1])):
    if sys.argv[2] == "fork" and os.fork() == 0:
        time.sleep(60)  # as a loader process that outlives its run
        os._exit(0)
    print("held", flush=True)
    time.sleep(60)
"""


def holder(folder: Path, how: str = "") -> subprocess.Popen:
    """Another process that holds the folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder), how],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def refusal(folder: Path) -> str:
    with pytest.raises(UserError) as caught, only_run(folder):
        pass
    return str(caught.value)


@pytest.mark.parametrize(
    "how", ["", pytest.param("fork", marks=pytest.mark.skipif(os.name == "nt", reason="no fork"))]
)
def test_a_killed_process_keeps_no_lock(tmp_path, how):
    """Nor do the processes it forked, which outlive it for a while: the reason for lockf instead of flock."""
    process = holder(tmp_path, how)
    try:
        said = refusal(tmp_path)
        assert str(tmp_path) in said
        assert f"process {process.pid}" in said
        process.kill()
        process.wait()
        assert (tmp_path / LOCK).exists()
        with only_run(tmp_path):
            assert f"process {os.getpid()}" in (tmp_path / LOCK).read_text()
        assert not (tmp_path / LOCK).exists()
    finally:
        if os.name != "nt":
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # the forked one, in the session of its own


def test_the_same_process_is_refused_too(tmp_path):
    with only_run(tmp_path):
        assert str(tmp_path) in refusal(tmp_path)
    with only_run(tmp_path):
        pass


def test_a_file_that_is_removed_meanwhile_is_not_taken_for_the_lock(tmp_path, monkeypatch):
    """A run that ends removes its file; who had opened that file before must lock the one that is there."""
    locking, removed = lock.try_lock, []

    def slow(file):
        if not removed:
            removed.append(os.fstat(file.fileno()).st_ino)
            (tmp_path / LOCK).unlink()
            (tmp_path / "keeps the inode").touch()
        locking(file)

    monkeypatch.setattr(lock, "try_lock", slow)
    with only_run(tmp_path):
        assert (tmp_path / LOCK).exists()
        other = subprocess.run(
            [sys.executable, "-c", HOLD, str(tmp_path), ""],
            capture_output=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert other.returncode == 1
        assert b"is training in it" in other.stderr


def test_a_folder_made_for_nothing_goes_away(tmp_path):
    with only_run(tmp_path / "a" / "b"):
        pass
    assert list(tmp_path.iterdir()) == []
    with only_run(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b" / "config.yaml").touch()
    assert (tmp_path / "a" / "b" / "config.yaml").exists()


def test_a_file_system_without_locks_is_said(tmp_path, monkeypatch, caplog):
    def refuse(file):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock, "try_lock", refuse)
    monkeypatch.setattr(lock.LOGGER, "propagate", True)
    with caplog.at_level("INFO"), only_run(tmp_path):
        pass
    assert "No locks available" in caplog.text


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").touch()
    assert f"hydra.run.dir={tmp_path / 'file' / 'run'}" in refusal(tmp_path / "file" / "run")


def test_a_second_training_is_refused(tmp_path, tiny_words):
    """A new run in a folder that is being trained in, and two resumes of one run."""
    from unet_train.commands import shell, train

    folder = tmp_path / "run"
    assert shell.run("train", train.train, [*tiny_words, f"hydra.run.dir={folder}"]) == 0
    process = holder(folder)
    try:
        before = sorted(path.name for path in folder.iterdir())
        for words in ([f"resume={folder}", "trainer.epochs=2"], [*tiny_words, f"hydra.run.dir={folder}"]):
            assert shell.run("train", train.train, words) == 2
        assert sorted(path.name for path in folder.iterdir()) == before
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def tiny_words(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return ["experiment=smoke", "trainer.epochs=1", "trainer.samples_per_epoch=4"]
