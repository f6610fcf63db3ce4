"""A disk that is full or goes away while results are written: one line, and nothing half-written counts as done."""

import errno
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from unet_train import atomic
from unet_train.data.io.images import read_image, write_image
from unet_train.runs.prediction_inputs import Job
from unet_train.runs.prediction_record import COLUMNS, DoneRecord

RUN = Path(__file__).resolve().parent.parent / "fixtures" / "run_0.1" / "cells"


def images(folder: Path, count: int = 3, side: int = 40) -> Path:
    rng = np.random.default_rng(0)
    for index in range(count):
        write_image(folder / f"im_{index}.png", rng.integers(0, 255, (side, side), np.uint8))
    return folder


def results(folder: Path) -> dict[str, np.ndarray]:
    """All images below a folder, each of which must be whole, by name."""
    assert not [path for path in folder.rglob(".*") if path.is_file()]
    files = [path for path in folder.rglob("*") if path.suffix in (".png", ".tif")]
    return {path.relative_to(folder).as_posix(): read_image(path) for path in files}


def one_line(capsys) -> str:
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("unet-")]
    assert len(said) == 1
    return said[0]


@pytest.fixture
def full_after(monkeypatch):
    """A disk that takes so many files and is full then."""

    def fill(files: int) -> None:
        left = iter(range(files))

        def replace(source, target):
            if next(left, None) is None:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
            os.rename(source, target)

        monkeypatch.setattr(atomic.os, "replace", replace)

    return fill


@pytest.mark.parametrize("files", [0, 4, 8])
def test_prediction_goes_on_where_the_disk_was_full(
    tmp_path, threshold_model, run_command, full_after, monkeypatch, capsys, files
):
    """Three files an image: in the middle of the first, of the second, of the third."""
    words = [
        f"ckpt={threshold_model()}",
        f"input={images(tmp_path / 'in')}",
        "accelerator=cpu",
        "precision=32",
    ]
    with monkeypatch.context():
        full_after(files)
        assert run_command("predict", *words, f"output={tmp_path / 'o'}") == 2
    monkeypatch.undo()
    assert "No space left" in one_line(capsys)
    before = results(tmp_path / "o")
    assert len(before) == files
    assert run_command("predict", *words, f"output={tmp_path / 'o'}") == 0
    if files >= 3:
        assert f"{files // 3} of 3 done already" in capsys.readouterr().out
    after = results(tmp_path / "o")
    assert len(after) == 9
    for name, image in before.items():
        np.testing.assert_array_equal(after[name], image)


def test_prediction_on_a_disk_that_is_full_indeed(tmp_path, threshold_model, run_command, capsys):
    """Skipped where mounting is not allowed; the test above stands for it there."""
    disk = tmp_path / "disk"
    disk.mkdir()
    try:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=40k", "tmpfs", str(disk)], capture_output=True
        )
    except FileNotFoundError:
        pytest.skip("no mount here")
    if done.returncode:
        pytest.skip("mounting a small disk is not allowed here")
    try:
        words = [
            f"ckpt={threshold_model()}",
            f"input={images(tmp_path / 'in', side=64)}",
            f"output={disk / 'o'}",
        ]
        assert run_command("predict", *words, "accelerator=cpu", "precision=32") == 2
        assert "No space left" in one_line(capsys)
        assert 0 < len(results(disk / "o")) < 9
        subprocess.run(["mount", "-o", "remount,size=10m", str(disk)], check=True)
        assert run_command("predict", *words, "accelerator=cpu", "precision=32") == 0
        assert len(results(disk / "o")) == 9
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("files", [0, 1, 2])
def test_an_evaluation_without_metrics_is_none(tmp_path, run_command, full_after, monkeypatch, capsys, files):
    """metrics.json is written last: where it stands, tables and pictures are whole and of the same evaluation."""
    shutil.copytree(RUN / "run", tmp_path / "run")
    words = [
        f"ckpt={tmp_path / 'run'}",
        f"dataset.root={RUN / 'drawn'}",
        "overlays=0",
        f"output={tmp_path / 'o'}",
    ]
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / "metrics.json").write_text("{}")  # of an earlier one
    full_after(files)
    assert run_command("eval", *words, "accelerator=cpu", "precision=32") == 2
    monkeypatch.undo()
    said = one_line(capsys)
    assert "No space left" in said
    assert str(tmp_path / "o") in said
    assert sorted(path.name for path in (tmp_path / "o").iterdir()) == [
        "confusion_matrix.png",
        "per_image.csv",
    ][-files:] * (files > 0)


def test_a_line_that_was_cut_off_spoils_no_other(tmp_path):
    """A kill or a full disk in the middle of a line of predicted.csv: that image is not done, the next one is."""
    for name in ("a", "b"):
        (tmp_path / f"{name}.png").write_bytes(b"x")
    jobs = [Job(tmp_path / f"{name}.png", Path(name)) for name in ("a", "b")]
    record = DoneRecord(tmp_path, "m")
    record.add(jobs[0])
    whole = record.path.read_bytes()
    for length in range(len(whole)):
        record.path.write_bytes(whole[:length])
        again = DoneRecord(tmp_path, "m")
        assert not again.done(jobs[0], []) or length >= len(whole) - 2  # the line's own end alone is missing
        again.add(jobs[1])
        assert DoneRecord(tmp_path, "m").done(jobs[1], [])
    assert whole.decode().splitlines()[0] == ",".join(COLUMNS)
