"""`unet-predict shard=k/n`: n calls side by side do what one call does."""

import csv
from pathlib import Path

import numpy as np
import pytest

from unet_train.data.io.images import write_image
from unet_train.errors import UserError
from unet_train.runs.object_files import join_tables
from unet_train.runs.prediction_inputs import parse_shard

OBJECTS = {"seed_threshold": 0.5, "threshold": 0.5, "min_size": 1, "open": 0}


@pytest.fixture
def images(tmp_path) -> Path:
    """Slices of growing brightness: normalised one by one they would look alike."""
    folder = tmp_path / "images"
    for number in range(7):
        image = np.full((20, 24), 20 + 10 * number, np.uint8)
        image[4:10, 4:10] = 250
        write_image(folder / f"s_{number}.png", image)
    return folder


def results(folder: Path) -> dict[str, bytes]:
    files = (p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("predicted"))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.mark.parametrize("normalisation", ["fixed", "volume"])
def test_shards_together_are_the_whole(tmp_path, images, threshold_model, run_command, normalisation):
    """Of a volume too: its statistics are those of all slices, whichever a shard predicts."""
    model = threshold_model(normalisation=normalisation, objects=OBJECTS, has_instances=True)
    command = ["predict", f"ckpt={model}", f"input={images}", "probabilities=true"]
    assert run_command(*command, f"output={tmp_path / 'whole'}") == 0
    for k in (3, 1, 2):
        assert run_command(*command, f"output={tmp_path / 'shards'}", f"shard={k}/3") == 0
    assert results(tmp_path / "shards") == results(tmp_path / "whole")
    names = set()
    for k, count in ((1, 3), (2, 2), (3, 2)):
        with open(tmp_path / "shards" / f"predicted-{k}-of-3.csv", newline="") as file:
            rows = [row["name"] for row in csv.DictReader(file)]
        assert len(rows) == count
        names |= set(rows)
    assert len(names) == 7


def test_what_any_shard_has_done_is_skipped(tmp_path, images, threshold_model, run_command, capsys):
    command = ["predict", f"ckpt={threshold_model()}", f"input={images}", f"output={tmp_path / 'o'}"]
    assert run_command(*command, "shard=1/2") == 0
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "o" / "classes").glob("*.tif")}
    capsys.readouterr()
    assert run_command(*command) == 0
    assert "4 of 7" in capsys.readouterr().out
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    assert len(list((tmp_path / "o" / "classes").glob("*.tif"))) == 7


def test_an_output_of_shards_inside_the_images_is_no_input(
    tmp_path, images, threshold_model, run_command, capsys
):
    command = ["predict", f"ckpt={threshold_model()}", f"input={images}", f"output={images / 'o'}"]
    assert run_command(*command, "shard=1/2") == 0
    assert run_command(*command[:-1], f"output={tmp_path / 'p'}") == 0
    assert "7 of 7 images" in capsys.readouterr().out


def test_a_table_that_another_shard_adds_meanwhile_is_joined(tmp_path, monkeypatch):
    from unet_train.runs import object_files

    def table(name):
        object_files.write_object_rows(tmp_path / "objects" / f"{name}.csv", name, [{"id": 1}], 1)

    table("a")
    real, calls = object_files.replacing, []

    def replacing(path, **keys):
        if path.name == object_files.TABLE and not calls:
            calls.append(path)
            table("b")  # after the folder was listed, before the table is in its place
        return real(path, **keys)

    monkeypatch.setattr(object_files, "replacing", replacing)
    with open(join_tables(tmp_path), newline="") as file:
        assert [row["image"] for row in csv.DictReader(file)] == ["a", "b"]


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "1/0", "1/2/3", "-1/2", ""])
def test_what_is_no_shard(text):
    with pytest.raises(UserError, match="shard="):
        parse_shard(text)
    assert parse_shard(None) is None
    assert parse_shard(" 2/8 ") == (2, 8)


def test_a_sequence_is_not_split(tmp_path, images, threshold_model, run_command, capsys):
    words = [
        f"ckpt={threshold_model()}",
        f"input={images}",
        f"output={tmp_path / 'o'}",
        "format=ctc",
        "shard=1/2",
    ]
    assert run_command("predict", *words) == 2
    assert "shard" in capsys.readouterr().err


def test_the_latest_results_of_an_image_count_whichever_call_wrote_them(
    tmp_path, images, threshold_model, run_command, capsys
):
    """All by one model, then some anew by another in a shard: those are the other's now."""
    words = [f"input={images}", f"output={tmp_path / 'o'}"]
    first, second = threshold_model("a.pt"), threshold_model("b.pt", threshold=0.99)
    assert run_command("predict", f"ckpt={first}", *words) == 0
    assert run_command("predict", f"ckpt={second}", *words, "shard=1/2", "overwrite=true") == 0
    capsys.readouterr()
    assert run_command("predict", f"ckpt={second}", *words, "shard=1/2") == 0
    assert "4 of 4 done already" in capsys.readouterr().out
    assert run_command("predict", f"ckpt={first}", *words) == 2
    assert "holds results of 4 of these images by another model" in capsys.readouterr().err
    assert run_command("predict", f"ckpt={first}", *words, "overwrite=true") == 0
    capsys.readouterr()
    assert run_command("predict", f"ckpt={first}", *words) == 0
    assert "7 of 7 done already" in capsys.readouterr().out
