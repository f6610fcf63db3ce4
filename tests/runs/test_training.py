"""Whole runs: what they write, that they go on exactly after a stop, that several processes are one."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
import yaml
from scipy.ndimage import distance_transform_edt
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from unet_train.commands import train
from unet_train.data.io.images import read_image, write_image
from unet_train.data.layouts.demo import DemoSource
from unet_train.data.records import Record
from unet_train.errors import UserError
from unet_train.models.spec import ModelSpec, build_model
from unet_train.preprocessing.preprocessing import Preprocessing
from unet_train.runs.training_data import pixels_seen

CONFIGS = Path(__file__).resolve().parents[2] / "configs"

TINY = ["experiment=smoke", "trainer.samples_per_epoch=8"]


def load(path: Path) -> dict:
    return torch.load(path, weights_only=True)


def same_tensors(a: dict, b: dict) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


def rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


def timeless(table: list[dict[str, str]]) -> list[dict[str, str]]:
    return [{k: v for k, v in row.items() if "per_second" not in k} for row in table]


EXPLODES = ["optimizer=sgd", "optimizer.lr=1e30", "trainer.clip_grad_norm=null", "model.norm=none"]
"""A learning rate that no net survives."""


def test_the_run_folder_holds_what_is_promised(tiny_run):
    files = ("config.yaml", "split.json", "data.json", "data.png", "best.pt", "last.pt", "train.log")
    for name in (*files, "metrics.csv", "crops.png", "curves.png"):
        assert (tiny_run / name).is_file(), name
    assert list((tiny_run / "tensorboard").iterdir())
    config = yaml.safe_load((tiny_run / "config.yaml").read_text())
    assert config["trainer"]["epochs"] == 2
    split = json.loads((tiny_run / "split.json").read_text())
    assert split["train"]
    assert not set(split["train"]) & (set(split["val"]) | set(split["test"]))


def test_the_data_are_shown_before_the_first_step_and_not_again(tmp_path, run_command, write_images):
    data, run = write_images(tmp_path / "mine"), tmp_path / "run"
    words = [*TINY, "dataset=folder", f"dataset.root={data}", f"hydra.run.dir={run}"]
    assert run_command("train", *words, "trainer.epochs=1") == 0
    figures = json.loads((run / "data.json").read_text())
    split = json.loads((run / "split.json").read_text())
    assert figures["parts"] == {part: len(split[part]) for part in ("train", "val")} == {"train": 4, "val": 1}
    assert figures["classes"] == ["background", "foreground"]
    height = [34 - 10 - i for i in range(5)]
    foreground = sum(height[i] * (34 + i - 8) for i in range(5))
    assert figures["pixels"] == {"background": 5 * 48 * 64 - foreground, "foreground": foreground}
    picture = read_image(run / "data.png")

    def shown():
        events = EventAccumulator(str(run / "tensorboard"), size_guidance={"images": 0}).Reload()
        return events.Images("data")

    (event,) = shown()
    assert event.step == 0
    (tmp_path / "shown.png").write_bytes(event.encoded_image_string)
    np.testing.assert_array_equal(read_image(tmp_path / "shown.png"), picture)

    for name in ("data.json", "data.png"):
        (run / name).unlink()
    assert run_command("train", f"resume={run}", "trainer.epochs=2") == 0
    assert len(shown()) == 1
    assert not (run / "data.png").exists()


def test_training_crops_are_shown_augmented_with_the_target_that_is_learnt(
    tmp_path, run_command, write_images, capsys
):
    """Images of one red value each, inverted by the augmentation: the sheet shows the inverse, the data as they are."""
    reds = [40, 80, 120, 160, 200]

    def red(i, _):
        return np.full((48, 64, 3), (reds[i], 0, 0), np.uint8)

    data, run = write_images(tmp_path / "mine", image=red), tmp_path / "run"
    words = [*TINY, "dataset=folder", f"dataset.root={data}", f"hydra.run.dir={run}", "split.val_fraction=0"]
    words += ["augmentation.transforms=[{name: InvertImg, p: 1}]", "trainer.epochs=1"]
    assert run_command("train", *words, "dataset.target=foreground_border") == 0

    def colours(name):
        return set(map(tuple, read_image(run / name).reshape(-1, 3).tolist()))

    inverted = {(255 - value, 255, 255) for value in reds}
    assert inverted <= colours("crops.png"), "two of each in eight crops"
    assert not inverted & colours("data.png")
    assert {(value, 0, 0) for value in reds} <= colours("data.png")
    both = [(230, 159, 0), (86, 180, 233)]  # inner and border
    assert set(both) <= colours("crops.png")
    assert not set(both) <= colours("data.png")
    said = capsys.readouterr().out
    assert str(run / "crops.png") in said
    assert str(run / "curves.png") in said
    assert "experiment=smoke with dataset=folder: not used are the recipe's dataset.images=4" in said
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"images": 0}).Reload()
    (event,) = events.Images("crops")
    (tmp_path / "shown.png").write_bytes(event.encoded_image_string)
    np.testing.assert_array_equal(read_image(tmp_path / "shown.png"), read_image(run / "crops.png"))


def test_the_recipe_for_cells_works_at_a_scale_by_their_size_and_keeps_it(tmp_path, run_command, capsys):
    root, run = tmp_path / "mine", tmp_path / "run"
    for i in range(3):
        mask = np.zeros((160, 170), np.uint8)
        cv2.circle(mask, (80, 80), 50 + i, 7, -1)
        write_image(root / "masks" / f"{i}.png", mask)
        write_image(root / "images" / f"{i}.png", mask * 20)
    small = ["encoder.init_features=4", "encoder.depth=2", "augmentation.crop_size=64", "trainer.epochs=1"]
    small += ["trainer.samples_per_epoch=4", "trainer.batch_size=2", f"hydra.run.dir={run}"]
    assert run_command("train", "experiment=cells", f"dataset.root={root}", *small) == 0
    assert "dataset.scale=0.5" in capsys.readouterr().out
    assert yaml.safe_load((run / "config.yaml").read_text())["dataset"]["scale"] == 0.5
    assert load(run / "best.pt")["data"]["scale"] == 0.5
    assert run_command("train", f"resume={run}", "trainer.epochs=2") == 0
    assert "pixels across" not in capsys.readouterr().out, "settled"


def test_the_curves_are_drawn_anew_after_a_longer_run(tmp_path, run_command):
    run = tmp_path / "run"
    assert run_command("train", *TINY, "trainer.epochs=1", f"hydra.run.dir={run}") == 0
    before = read_image(run / "curves.png")
    assert run_command("train", f"resume={run}", "trainer.epochs=3") == 0
    assert not np.array_equal(before, read_image(run / "curves.png"))


def test_curves_that_cannot_be_drawn_cost_a_line_and_not_the_run(tmp_path, run_command, capsys):
    run = tmp_path / "run"
    (run / "curves.png").mkdir(parents=True)
    assert run_command("train", *TINY, "trainer.epochs=1", f"hydra.run.dir={run}") == 0
    said = capsys.readouterr().out
    assert f"warning: {run / 'curves.png'}: cannot be written" in said
    assert (run / "best.pt").is_file()


def test_a_run_that_failed_before_its_first_save_leaves_the_folder_to_a_better_try(
    tmp_path, run_command, write_images
):
    data, run = write_images(tmp_path / "mine"), tmp_path / "run"
    words = [*TINY, "dataset=folder", f"dataset.root={data}", f"hydra.run.dir={run}"]
    assert run_command("train", *words, "checkpoint.monitor=iou/nothing") == 2
    assert not run.exists(), "found out before anything was written"
    assert run_command("train", *words, *EXPLODES) == 2
    assert {path.name for path in run.iterdir()} == {"train.log"}
    assert run_command("train", *words, "trainer.epochs=1") == 0
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"images": 0}).Reload()
    assert len(events.Images("data")) == 1


def test_best_holds_what_inference_needs_and_last_what_resume_needs(tiny_run):
    best, last = load(tiny_run / "best.pt"), load(tiny_run / "last.pt")
    assert {"format", "model", "data", "state_dict", "config", "split", "metrics", "versions"} <= best.keys()
    assert "optimizer" not in best
    assert {"optimizer", "ema", "state", "scaler", "image_hashes"} <= last.keys()


def test_best_holds_the_averaged_weights_which_are_the_ones_that_were_validated(tmp_path, run_command):
    """Of a run of one epoch, which is its best."""
    assert run_command("train", *TINY, "trainer.epochs=1", f"hydra.run.dir={tmp_path / 'run'}") == 0
    best, last = (load(tmp_path / "run" / name) for name in ("best.pt", "last.pt"))
    assert (best["epoch"], last["state"]["best_epoch"]) == (1, 1)
    same_tensors(best["state_dict"], last["ema"]["average"])
    assert not torch.equal(best["state_dict"]["head.weight"], last["state_dict"]["head.weight"])


def test_tensorboard_and_metrics_csv_tell_the_same(tiny_run):
    events = EventAccumulator(str(tiny_run / "tensorboard"), size_guidance={"scalars": 0, "images": 0})
    events.Reload()
    table = rows(tiny_run)
    names = [name for name in table[0] if name not in ("epoch", "step")]
    assert set(events.Tags()["scalars"]) == {name for name in names if any(row[name] for row in table)}
    assert {"val/iou/cell", "val/iou/background", "val/iou/mean", "val/dice/cell", "val/loss"} <= set(names)
    assert {"train/loss", "train/lr", "train/images_per_second"} <= set(names)
    for name in names:
        written = [(int(row["step"]), float(row[name])) for row in table if row[name]]
        scalars = events.Scalars(name) if name in events.Tags()["scalars"] else []
        read = [(event.step, event.value) for event in scalars]
        assert [step for step, _ in written] == [step for step, _ in read], name
        np.testing.assert_allclose([v for _, v in written], [v for _, v in read], rtol=1e-6)
    assert len(table) == 2
    pictures = [tag for tag in events.Tags()["images"] if tag.startswith("val/")]
    assert pictures
    assert events.Images(pictures[0])[0].step == int(table[0]["step"])


def test_a_run_stopped_after_two_of_four_epochs_ends_like_the_undisturbed_one(tmp_path, run_command):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run_command("train", *TINY, "trainer.epochs=4", f"hydra.run.dir={whole}") == 0
    stop_after(parts, epochs=2)
    assert run_command("train", f"resume={parts}") == 0
    a, b = load(whole / "last.pt"), load(parts / "last.pt")
    same_tensors(a["state_dict"], b["state_dict"])
    same_tensors(a["ema"]["average"], b["ema"]["average"])
    for key, moments in a["optimizer"]["state"].items():
        same_tensors(moments, b["optimizer"]["state"][key])
    assert a["state"] == b["state"]
    same_tensors(load(whole / "best.pt")["state_dict"], load(parts / "best.pt")["state_dict"])
    assert timeless(rows(whole)) == timeless(rows(parts))
    scalars = [sorted_scalars(folder) for folder in (whole, parts)]
    assert scalars[0] == scalars[1]
    assert re.search(r"resuming .*epoch 2, step 4\b", (parts / "train.log").read_text())


@pytest.mark.parametrize("stopped", [{"epochs": 1}, {"batches": 6}], ids=["before the thaw", "after it"])
def test_a_run_stopped_around_the_thaw_ends_like_the_undisturbed_one(tmp_path, run_command, capsys, stopped):
    """The encoder is frozen in the first epoch of two updates, and trains from the second on."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    more = ["weights.freeze_encoder=all", "weights.unfreeze_epoch=2", "trainer.epochs=3"]
    if "batches" in stopped:
        more.append("trainer.samples_per_epoch=16")
    assert run_command("train", *TINY, *more, f"hydra.run.dir={whole}") == 0
    assert re.search(
        r"model .* of which 2,\d\d\d train \(the encoder frozen until epoch 2", capsys.readouterr().out
    )
    stop_after(parts, more=more, **stopped)
    saved = load(parts / "last.pt")
    thawed = [group["name"] for group in saved["optimizer"]["param_groups"] if "thawed" in group["name"]]
    assert bool(thawed) == ("batches" in stopped)
    if thawed:
        assert run_command("train", f"resume={parts}", "weights.unfreeze_epoch=3") == 2
        assert "weights.unfreeze_epoch=3" in capsys.readouterr().err
    assert run_command("train", f"resume={parts}", "weights.freeze_encoder=1") == 2
    assert "weights.freeze_encoder=1" in capsys.readouterr().err
    assert run_command("train", f"resume={parts}") == 0
    a, b = load(whole / "last.pt"), load(parts / "last.pt")
    same_tensors(a["state_dict"], b["state_dict"])
    same_tensors(a["ema"]["average"], b["ema"]["average"])
    for key, moments in a["optimizer"]["state"].items():
        same_tensors(moments, b["optimizer"]["state"][key])
    assert timeless(rows(whole)) == timeless(rows(parts))


def test_a_stop_within_an_epoch_loses_nothing_either(tmp_path, run_command, capsys):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    more = ["trainer.epochs=2", "trainer.samples_per_epoch=16"]
    assert run_command("train", *TINY, *more, f"hydra.run.dir={whole}") == 0
    stop_after(parts, batches=6, more=more)
    saved = load(parts / "last.pt")["state"]
    assert (saved["epoch"], saved["batches"]) == (1, 2)
    for change in ("trainer.batch_size=2", "trainer.samples_per_epoch=4"):
        assert run_command("train", f"resume={parts}", change) == 2
        assert re.search(rf"{re.escape(change)}: .*epoch 2\b", capsys.readouterr().err)
    assert run_command("train", f"resume={parts}") == 0
    same_tensors(load(whole / "last.pt")["state_dict"], load(parts / "last.pt")["state_dict"])
    assert timeless(rows(whole)) == timeless(rows(parts))


def test_a_stop_at_the_last_batch_of_an_epoch_loses_nothing_either(tmp_path, run_command):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run_command("train", *TINY, "trainer.epochs=2", f"hydra.run.dir={whole}") == 0
    stop_after(parts, batches=2, more=["trainer.epochs=2"])
    saved = load(parts / "last.pt")["state"]
    assert (saved["epoch"], saved["batches"]) == (0, 2)
    assert run_command("train", f"resume={parts}") == 0
    same_tensors(load(whole / "last.pt")["state_dict"], load(parts / "last.pt")["state_dict"])
    assert timeless(rows(whole)) == timeless(rows(parts))


@pytest.mark.parametrize(
    ("normalisation", "scale", "crop", "pixels"),
    [
        ("image", 1.0, (32, 48), (30 * 40, 10 * 32 * 48)),
        ("image", 0.5, (32, 32), (15 * 20, 10 * 32 * 32)),
        ("brain", 1.0, (192, 192), (256 * 256, 10 * 192 * 192)),
        ("image", 1.0, None, (30 * 40, 10 * (20 * 20 + 40 * 40) // 2)),
        ("brain", 0.5, None, (128 * 128, 10 * 128 * 128)),
    ],
)
def test_the_pixels_of_a_validation_and_of_an_epoch_by_hand(normalisation, scale, crop, pixels):
    records = [Record(key=key, image=key, group="g") for key in ("val", "small", "large")]
    data = SimpleNamespace(
        shapes={"val": (30, 40), "small": (20, 20), "large": (40, 40)},
        split=SimpleNamespace(train=records[1:], val=records[:1]),
        description=SimpleNamespace(preprocessing=Preprocessing(normalisation, scale)),
    )

    class Ten:
        crop_size = crop

        def __len__(self):
            return 10

    assert pixels_seen(data, Ten()) == pixels


OFTEN_ENOUGH = ["dataset.size=96", "trainer.epochs=8"]
"""One validation image of 96² against 8 crops of 32² an epoch: three validations fit into a fifth of 8 epochs."""


def validated(folder: Path) -> list[int]:
    return [int(row["epoch"]) for row in rows(folder) if row["val/iou/mean"]]


def test_validation_does_not_eat_the_run_and_a_resume_validates_where_the_undisturbed_run_does(
    tmp_path, run_command, capsys
):
    """Validation once took four fifths of each epoch: 710 slices against 400 crops."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run_command("train", *TINY, *OFTEN_ENOUGH, f"hydra.run.dir={whole}") == 0
    assert re.search(r"\b3 epochs .*\b0\.\d.*trainer\.val_every=1", capsys.readouterr().out)
    assert validated(whole) == [3, 6, 8]
    stop_after(parts, epochs=4, more=OFTEN_ENOUGH)
    assert validated(parts) == [3]
    assert run_command("train", f"resume={parts}") == 0
    assert timeless(rows(whole)) == timeless(rows(parts))
    a, b = load(whole / "last.pt"), load(parts / "last.pt")
    assert a["state"] == b["state"]
    same_tensors(a["state_dict"], b["state_dict"])
    same_tensors(load(whole / "best.pt")["state_dict"], load(parts / "best.pt")["state_dict"])
    config = yaml.safe_load((parts / "config.yaml").read_text())
    assert config["trainer"]["val_every"] == "auto"


def test_training_is_the_same_however_often_it_is_validated(tmp_path, run_command):
    for every in ("1", "3"):
        words = [*OFTEN_ENOUGH, "trainer.epochs=4", f"trainer.val_every={every}"]
        assert run_command("train", *TINY, *words, f"hydra.run.dir={tmp_path / every}") == 0
    assert validated(tmp_path / "1") == [1, 2, 3, 4]
    assert validated(tmp_path / "3") == [3, 4]
    often, seldom = (load(tmp_path / every / "last.pt") for every in ("1", "3"))
    same_tensors(often["state_dict"], seldom["state_dict"])
    same_tensors(often["ema"]["average"], seldom["ema"]["average"])


def test_more_epochs_validate_where_the_longer_run_does(tmp_path, run_command, capsys):
    folder = tmp_path / "run"
    words = [*OFTEN_ENOUGH, "trainer.epochs=2"]
    assert run_command("train", *TINY, *words, f"hydra.run.dir={folder}") == 0
    assert re.search(r"last epoch.*trainer\.val_every=1", capsys.readouterr().out)
    assert run_command("train", f"resume={folder}", "trainer.epochs=8") == 0
    assert validated(folder) == [2, 3, 6, 8]


def stop_after(
    folder: Path, *, epochs: int | None = None, batches: int | None = None, more: Sequence[str] = ()
) -> None:
    """Train in a process of its own that sends itself SIGTERM after so many epochs or batches."""
    code = f"""
import os, signal, sys, torch
torch.set_num_threads(1)
from unet_train.commands import shell, train
from unet_train.training import loop
seen = {{"epochs": 0, "batches": 0}}
def count(name, limit):
    seen[name] += 1
    if seen[name] == limit:
        os.kill(os.getpid(), signal.SIGTERM)
add, update = loop.History.add, loop.update
def counted_add(self, *args):
    add(self, *args); count("epochs", {epochs})
def counted_update(*args):
    update(*args); count("batches", {batches})
loop.History.add, loop.update = counted_add, counted_update
sys.exit(shell.run("train", train.train, sys.argv[1:]))
"""
    words = [*TINY, "trainer.epochs=4", *more, f"hydra.run.dir={folder}"]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=120)
    assert done.returncode == 128 + signal.SIGTERM, done.stderr
    assert f"resume={folder}" in done.stderr


def sorted_scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    return {
        name: [(e.step, e.value) for e in events.Scalars(name)]
        for name in events.Tags()["scalars"]
        if "per_second" not in name
    }


def test_resume_says_when_a_run_is_finished_and_takes_more_epochs(tmp_path, run_command, capsys):
    folder = tmp_path / "run"
    assert run_command("train", *TINY, "trainer.epochs=1", f"hydra.run.dir={folder}") == 0
    capsys.readouterr()
    assert run_command("train", f"resume={folder}") == 0
    assert "finished already" in capsys.readouterr().out
    # As a kill between the last epoch and the choice of the objects' parameters leaves it.
    best = load(folder / "best.pt")
    chosen, seg = best.pop("objects"), best["metrics"].pop("seg")
    torch.save(best, folder / "best.pt")
    assert run_command("train", f"resume={folder}") == 0
    assert "objects: " in capsys.readouterr().out
    best = load(folder / "best.pt")
    assert (best["objects"], best["metrics"]["seg"]) == (chosen, seg)
    assert run_command("train", f"resume={folder}", "trainer.epochs=2") == 0
    said = capsys.readouterr().out
    assert re.search(r"trainer\.epochs 1 → 2.*\b4 steps", said)
    assert len(rows(folder)) == 2


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("encoder.init_features=8", "encoder"),
        ("dataset.classes=[a,b]", "dataset.classes"),
        ("encoder=resnet", "encoder=resnet: "),
        ("dataset.data_seed=5", "training image 01/0"),
        ("model.norm=group", "norm"),
        ("split.val_fraction=0.3", "split.val_fraction"),
        ("dataset.test_groups=[]", "dataset.test_groups"),
        ("dataset.scale=0.5", "scale"),
        ("trainer.epoch=9", "trainer.epochs"),
        ("seed=5", "(0)"),
    ],
)
def test_a_resume_that_would_change_the_run_is_refused(tiny_run, run_command, capsys, override, says):
    before = (tiny_run / "last.pt").read_bytes()
    assert run_command("train", f"resume={tiny_run}", "trainer.epochs=3", override) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert (tiny_run / "last.pt").read_bytes() == before


def test_a_resume_with_other_masks_is_refused(tmp_path, run_command, capsys):
    for number in range(4):
        labels = np.zeros((64, 64), np.uint8)
        labels[10 + number : 40, 10:40] = 255
        for folder, array in (("images", labels // 2 + number), ("masks", labels)):
            (tmp_path / "data" / folder).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(tmp_path / "data" / folder / f"{number}.png"), array)
    run = tmp_path / "run"
    size = ["encoder.init_features=4", "encoder.depth=2", "augmentation.crop_size=32"]
    length = ["trainer.epochs=1", "trainer.samples_per_epoch=4", "trainer.pictures=0"]
    data = ["dataset=folder", f"dataset.root={tmp_path / 'data'}"]
    assert run_command("train", *data, *size, *length, f"hydra.run.dir={run}") == 0
    key = json.loads((run / "split.json").read_text())["train"][0]
    mask = cv2.imread(str(tmp_path / "data" / "masks" / f"{key}.png"), cv2.IMREAD_UNCHANGED)
    cv2.imwrite(str(tmp_path / "data" / "masks" / f"{key}.png"), np.roll(mask, 3, axis=0))
    assert run_command("train", f"resume={run}", "trainer.epochs=2") == 2
    assert re.search(rf"mask of .*\b{key}\b", capsys.readouterr().err)


def test_training_into_a_folder_with_a_run_is_refused_with_the_way_on(tiny_run, run_command, capsys):
    assert run_command("train", *TINY, f"hydra.run.dir={tiny_run}") == 2
    assert f"resume={tiny_run}" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "text"])
def test_a_damaged_checkpoint_is_refused_in_one_line(tiny_run, tmp_path, run_command, capsys, damage):
    content = bytearray((tiny_run / "best.pt").read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 0xFF
    bad = tmp_path / "bad.pt"
    bad.write_bytes({"truncate": content[:-200], "empty": b"", "text": b"hello"}.get(damage, bytes(content)))
    assert run_command("eval", f"ckpt={bad}") == 2
    error = capsys.readouterr().err
    assert "bad.pt" in error
    assert error.count("\n") == 1


def test_one_batch_can_be_learnt_by_heart(tmp_path, run_command):
    folder = tmp_path / "run"
    words = ["augmentation=none", "augmentation.crop_size=32", "augmentation.foreground_share=1"]
    long = [
        "trainer.epochs=1",
        "trainer.samples_per_epoch=480",
        "trainer.ema_decay=null",
        "optimizer.lr=0.01",
    ]
    few = ["dataset.images=2", "split.val_fraction=0", "encoder.init_features=8", "dataset.size=32"]
    assert run_command("train", "experiment=smoke", *words, *few, *long, f"hydra.run.dir={folder}") == 0
    assert run_command("eval", f"ckpt={folder / 'last.pt'}", "part=train") == 0
    metrics = json.loads((folder / "eval" / "demo-train" / "metrics.json").read_text())
    assert metrics["iou/cell"] > 0.9


# The loss is one that a divided batch leaves as it is, which the default's Dice over the batch is not.
FREE_OF_NORMS = [
    *("experiment=smoke", "trainer.precision=32", "loss=cross_entropy_dice", "trainer.ema_decay=null"),
    *("model.norm=none", "optimizer=sgd", "optimizer.lr=0.05"),
    *("optimizer.momentum=0", "optimizer.nesterov=false", "scheduler=constant", "trainer.epochs=1"),
    *("trainer.samples_per_epoch=16", "trainer.clip_grad_norm=1.0", "augmentation.crop_size=16"),
]


def test_accumulating_2_times_4_equals_a_batch_of_8(tmp_path, run_command):
    for name, words in {
        "eight": ["trainer.batch_size=8"],
        "twice_four": ["trainer.batch_size=4", "trainer.accumulate=2"],
    }.items():
        assert run_command("train", *FREE_OF_NORMS, *words, f"hydra.run.dir={tmp_path / name}") == 0
    a, b = (load(tmp_path / name / "last.pt")["state_dict"] for name in ("eight", "twice_four"))
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=0, atol=2e-6)


def test_two_processes_equal_one_with_twice_the_batch(tmp_path, run_command):
    """Across a thaw too: the encoder is frozen in the first of two epochs."""
    one, two = tmp_path / "one", tmp_path / "two"
    thaw = ["weights.freeze_encoder=all", "weights.unfreeze_epoch=2", "trainer.epochs=2"]
    assert run_command("train", *FREE_OF_NORMS, *thaw, "trainer.batch_size=8", f"hydra.run.dir={one}") == 0
    words = [*FREE_OF_NORMS, *thaw, "trainer.batch_size=4", "trainer.devices=2", f"hydra.run.dir={two}"]
    done = subprocess.run(
        [sys.executable, "-m", "unet_train.commands.train", *words],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    a, b = (load(folder / "last.pt")["state_dict"] for folder in (one, two))
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=0, atol=2e-6)
    one_row, two_row = timeless(rows(one))[-1], timeless(rows(two))[-1]
    assert one_row.keys() == two_row.keys()
    assert {"train/loss", "val/loss", "val/iou/mean"} <= one_row.keys()
    for name, value in one_row.items():
        assert float(two_row[name]) == pytest.approx(float(value), rel=1e-4, abs=1e-5), name


def test_two_processes_say_a_bad_file_once_and_exit_with_2(tmp_path):
    for name in ("images", "masks"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(3):
            cv2.imwrite(str(tmp_path / "data" / name / f"{number}.png"), np.eye(64, dtype=np.uint8))
    (tmp_path / "data" / "images" / "1.png").write_bytes(b"no picture")
    words = ["dataset=folder", f"dataset.root={tmp_path / 'data'}", "trainer.devices=2", "encoder.depth=2"]
    done = subprocess.run(
        [sys.executable, "-m", "unet_train.commands.train", *words],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 2, done.stderr
    assert "1.png" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("unet-train: ") == 1, done.stderr


def test_after_a_resume_with_other_batches_the_schedule_ends_with_the_run(tmp_path, run_command, capsys):
    """Eight steps were made of two epochs; the two to come have one each, and are not beyond the end."""
    folder = tmp_path / "run"
    words = [*TINY, "trainer.batch_size=2", "trainer.epochs=2", "trainer.val_every=1"]
    assert run_command("train", *words, f"hydra.run.dir={folder}") == 0
    assert len(rows(folder)) == 2
    assert int(rows(folder)[-1]["step"]) == 8
    capsys.readouterr()
    assert run_command("train", f"resume={folder}", "trainer.batch_size=8", "trainer.epochs=4") == 0
    assert "10 steps" in capsys.readouterr().out
    later = rows(folder)[2:]
    assert [int(row["step"]) for row in later] == [9, 10]
    # A cosine over ten steps, the rate that the last step of each epoch was made with.
    top = load(folder / "best.pt")["config"]["optimizer"]["lr"]
    found = [float(row["train/lr"]) for row in later]
    assert found == pytest.approx([top * (1 + np.cos(np.pi * step / 10)) / 2 for step in (8, 9)], rel=1e-6)


@pytest.mark.parametrize(
    ("codes", "failed", "told"),
    [
        *[([2, 2], 0, True), ([2, 2], 1, True), ([1, 2], 1, False), ([-9, 1], 1, False), ([0, 0], 0, True)],
        *[([138, 138], 1, True), ([1, 138], 1, False)],
    ],
)
def test_a_line_of_another_process_is_said_only_where_the_first_has_not(codes, failed, told):
    """Both processes find a bad file, and either may end first: once in CI it was said twice."""
    assert train.told_by_the_first(codes, failed) == told


def test_two_processes_stopped_through_their_parent_can_be_resumed(tmp_path):
    run = tmp_path / "run"
    words = [*TINY, "trainer.epochs=500", "trainer.devices=2", "trainer.accelerator=cpu"]
    program = [sys.executable, "-m", "unet_train.commands.train"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*program, *words, f"hydra.run.dir={run}"],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env=environment,
    )
    for _ in range(1200):
        if (run / "last.pt").is_file() or process.poll() is not None:
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM, error
    assert "Traceback" not in error
    stopped = load(run / "last.pt")["state"]
    assert 0 < stopped["epoch"] < 500
    before = rows(run)
    again = [*program, f"resume={run}", f"trainer.epochs={stopped['epoch'] + 2}"]
    done = subprocess.run(again, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    resumed = load(run / "last.pt")["state"]
    assert resumed["epoch"] == stopped["epoch"] + 2
    assert resumed["update"] == resumed["epoch"], "twice four crops are one update"
    after = rows(run)
    assert [int(row["epoch"]) for row in after] == list(range(1, resumed["epoch"] + 1))
    assert after[: len(before)] == before, "images per second and all: no epoch was trained again"


@pytest.mark.parametrize(
    "words",
    [
        ["encoder=unet", "encoder.init_features=4", "encoder.depth=2"],
        ["encoder=resnet", "encoder.depth=18"],
        ["encoder=efficientnet", "encoder.variant=b0"],
        ["encoder=timm", "encoder.name=test_efficientnet"],
    ],
)
def test_train_eval_predict_resume_with_every_encoder(tmp_path, run_command, words, capsys):
    folder = tmp_path / "run"
    short = ["dataset.images=4", "dataset.test_images=1", "dataset.size=64", "augmentation.crop_size=32"]
    trainer = ["trainer.epochs=1", "trainer.samples_per_epoch=4", "trainer.batch_size=2", "trainer.workers=0"]
    assert run_command("train", *words, *short, *trainer, f"hydra.run.dir={folder}") == 0
    assert run_command("eval", f"ckpt={folder}") == 0
    image = tmp_path / "cells.png"
    cv2.imwrite(str(image), np.random.default_rng(0).integers(0, 256, (50, 70), np.uint8))
    assert run_command("predict", f"ckpt={folder}", f"input={image}", f"output={tmp_path / 'out'}") == 0
    assert cv2.imread(str(tmp_path / "out" / "classes" / "cells.tif"), -1).shape == (50, 70)
    assert run_command("train", f"resume={folder}", "trainer.epochs=2") == 0
    assert re.search(r"resuming .*epoch 1\b", capsys.readouterr().out)


def test_early_stopping_ends_the_run_and_says_so(tmp_path, run_command, capsys):
    words = ["optimizer.lr=1e-12", "trainer.early_stopping=1", "trainer.epochs=6", "trainer.ema_decay=null"]
    words += ["model.norm=none", "optimizer.weight_decay=0"]
    folder = tmp_path / "run"
    assert run_command("train", *TINY, *words, f"hydra.run.dir={folder}") == 0
    assert "stopped early" in capsys.readouterr().out
    assert len(rows(folder)) == 2
    assert run_command("train", f"resume={folder}") == 0
    assert "finished already" in capsys.readouterr().out


def choices(group: str) -> list[str]:
    """Every choice of a config group, so that the tables below cannot leave a new one out."""
    return sorted(path.stem for path in (CONFIGS / group).glob("*.yaml"))


# Words → the factors of four updates by hand: one of warm-up, then t = 0, 1/3, 2/3 of the way.
FACTORS = {
    "constant": ([], [1 / 2, 1, 1, 1]),
    "poly": (["scheduler.power=2"], [1 / 2, 1, 4 / 9, 1 / 9]),
    "cosine": (["scheduler.final_factor=0.1"], [1 / 2, 1, 0.1 + 0.9 * 3 / 4, 0.1 + 0.9 / 4]),
    # Such small steps change no pixel's class, so that no score after the first is better.
    "plateau": (["scheduler.patience=0", "scheduler.factor=0.25"], [1 / 2, 1, 1 / 4, 1 / 16]),
}


@pytest.mark.parametrize("kind", choices("scheduler"))
def test_every_scheduler_sets_the_rates_of_its_formula(tmp_path, run_command, kind):
    words, factors = FACTORS[kind]
    words = [f"scheduler={kind}", "scheduler.warmup_steps=1", *words, "optimizer.lr=1e-12"]
    words += ["trainer.epochs=4", "trainer.samples_per_epoch=4", "trainer.batch_size=4"]
    words += ["trainer.val_every=1", "trainer.ema_decay=null", "model.norm=none"]
    assert run_command("train", *TINY, *words, f"hydra.run.dir={tmp_path / 'run'}") == 0
    rates = [float(row["train/lr"]) for row in rows(tmp_path / "run")]
    assert rates == pytest.approx([1e-12 * factor for factor in factors], rel=1e-6, abs=0)
    used = [group["lr"] for group in load(tmp_path / "run" / "last.pt")["optimizer"]["param_groups"]]
    assert used == pytest.approx([rates[-1]] * len(used), rel=1e-6, abs=0)


def picked(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """N×H×W probabilities of the true class."""
    return logits.softmax(1).gather(1, target[:, None])[:, 0]


def cross_entropy_by_hand(logits, target, weights=None):
    weights = torch.ones(target.shape) if weights is None else weights
    return -(weights * picked(logits, target).log()).sum() / weights.sum()


def dice_by_hand(logits, target, over=(1, 2)):
    cell, truth = logits.softmax(1)[:, 1], (target == 1).float()
    return (1 - (2 * (cell * truth).sum(over) + 1) / (cell.sum(over) + truth.sum(over) + 1)).mean()


def focal_by_hand(logits, target):
    p = picked(logits, target)
    return -((1 - p) ** 2 * p.log()).mean()


def tversky_by_hand(logits, target):
    cell, truth = logits.softmax(1)[:, 1], (target == 1).float()
    tp, fp, fn = ((a * b).sum((1, 2)) for a, b in ((cell, truth), (cell, 1 - truth), (1 - cell, truth)))
    return (1 - (tp + 1) / (tp + 0.3 * fp + 0.7 * fn + 1)).mean()


def lovasz_by_hand(logits, target):
    losses = []
    for cell, truth in zip(logits.softmax(1)[:, 1].flatten(1), (target == 1).flatten(1), strict=True):
        if truth.any():
            errors, order = (truth.float() - cell).abs().sort(descending=True)
            right, place = truth[order].cumsum(0), torch.arange(1, len(order) + 1)
            iou = (truth.sum() - right) / (truth.sum() + place - right)
            losses.append((errors * -torch.diff(iou, prepend=torch.ones(1))).sum())
    return torch.stack(losses).mean()


def topk_by_hand(logits, target):
    losses = -logits.log_softmax(1).gather(1, target[:, None])[:, 0].flatten(1)
    return losses.topk(int(0.1 * losses.shape[1]), 1).values.mean()


def border_weights_by_hand(instances: np.ndarray) -> torch.Tensor:
    """½ over the class's share, and 10·exp(−(d1 + d2)²/(2·5²)) between cells; d: to the two nearest cells."""
    labels = np.unique(instances[instances > 0])
    if len(labels) == 0:
        return torch.ones(instances.shape)
    share = (instances > 0).mean()
    distances = np.sort([distance_transform_edt(instances != label) for label in labels], axis=0)
    between = 10 * np.exp(-((distances[0] + distances[1]) ** 2) / 50)
    weights = np.where(instances > 0, 0.5 / share, 0.5 / (1 - share) + between)
    return torch.from_numpy(weights.astype(np.float32))


def rarity_by_hand(target: torch.Tensor, train: torch.Tensor) -> torch.Tensor:
    """N×H×W: √(median share / own share) of each pixel's class, by all training pixels; of two the mean is it."""
    share = torch.stack([(train == label).float().mean() for label in (0, 1)])
    return (share.mean() / share).sqrt()[target]


# Loss by hand from logits, target, instances and the targets of the training part.
LOSSES = {
    "border_weighted": lambda z, y, cells, _: cross_entropy_by_hand(
        z, y, torch.stack([border_weights_by_hand(one) for one in cells])
    ),
    "cross_entropy": lambda z, y, *_: cross_entropy_by_hand(z, y),
    "cross_entropy_batch_dice": lambda z, y, _, train: (
        cross_entropy_by_hand(z, y, rarity_by_hand(y, train)) + dice_by_hand(z, y, (0, 1, 2))
    ),
    "cross_entropy_dice": lambda z, y, *_: cross_entropy_by_hand(z, y) + dice_by_hand(z, y),
    "dice": lambda z, y, *_: dice_by_hand(z, y),
    "focal": lambda z, y, *_: focal_by_hand(z, y),
    "lovasz": lambda z, y, *_: cross_entropy_by_hand(z, y) + lovasz_by_hand(z, y),
    "topk_cross_entropy": lambda z, y, *_: topk_by_hand(z, y),
    "tversky": lambda z, y, *_: tversky_by_hand(z, y),
}


@pytest.mark.parametrize("name", choices("loss"))
def test_every_loss_is_logged_and_followed_as_its_formula_says(tmp_path, run_command, name):
    """One step of plain gradient descent on four whole images, from weights that the test has drawn."""
    torch.manual_seed(0)
    encoder = {"kind": "unet", "init_features": 4, "depth": 2}
    normalisation = {"mode": "image", "mean": None, "std": None}
    spec = ModelSpec(encoder, 1, ["background", "cell"], norm="none", normalisation=normalisation)
    model = build_model(spec)
    torch.save(model.state_dict(), tmp_path / "start.pt")

    words = [f"loss={name}", "weights=file", f"weights.path={tmp_path / 'start.pt'}", "model.norm=none"]
    words += [
        "augmentation=none",
        "augmentation.crop_size=null",
        "dataset.images=7",
        "dataset.target=classes",
    ]
    words += [
        "trainer.samples_per_epoch=4",
        "trainer.batch_size=4",
        "trainer.epochs=1",
        "trainer.precision=32",
    ]
    words += ["trainer.ema_decay=null", "trainer.clip_grad_norm=null", "scheduler=constant", "optimizer=sgd"]
    words += [
        "optimizer.lr=0.5",
        "optimizer.momentum=0",
        "optimizer.nesterov=false",
        "optimizer.weight_decay=0",
    ]
    assert run_command("train", *TINY, *words, f"hydra.run.dir={tmp_path / 'run'}") == 0
    (row,) = rows(tmp_path / "run")

    source = DemoSource(images=7, test_images=1, size=64)
    split = json.loads((tmp_path / "run" / "split.json").read_text())
    assert (len(split["train"]), len(split["val"])) == (4, 1)

    def read(part: str) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
        records = [record for record in source.records() if record.key in split[part]]
        images = np.stack([source.read_image(record) for record in records]).transpose(0, 3, 1, 2) / 255
        truths = [source.read_truth(record) for record in records]
        classes = torch.from_numpy(np.stack([truth.classes for truth in truths])).long()
        return torch.from_numpy(images).float(), classes, np.stack([truth.instances for truth in truths])

    def logits(images: torch.Tensor) -> torch.Tensor:
        return model(images, images.mean((2, 3)), images.std((2, 3), correction=0))

    images, target, instances = read("train")
    loss = LOSSES[name](logits(images), target, instances, target)
    assert float(row["train/loss"]) == pytest.approx(loss.item(), rel=1e-5)
    loss.backward()
    after = load(tmp_path / "run" / "last.pt")["state_dict"]
    for key, weight in model.named_parameters():
        assert weight.grad.abs().max() > 0, key
        torch.testing.assert_close(after[key], weight.detach() - 0.5 * weight.grad, rtol=1e-5, atol=1e-5)

    # Validated on the whole image, where every pixel counts alike: the border weights belong to training.
    model.load_state_dict(after)
    train, (images, target, instances) = target, read("val")
    with torch.no_grad():
        # From probabilities, of which none is taken to be smaller than this.
        log_p = logits(images).softmax(1).clamp(1e-7, 1).log()
        loss = LOSSES[name](log_p, target, np.zeros_like(instances), train)
    assert float(row["val/loss"]) == pytest.approx(loss.item(), rel=1e-5)


def test_a_run_without_validation_keeps_its_newest_weights(tmp_path, run_command):
    folder = tmp_path / "run"
    assert run_command("train", *TINY, "split.val_fraction=0", f"hydra.run.dir={folder}") == 0
    best, last = (load(folder / name) for name in ("best.pt", "last.pt"))
    assert best["epoch"] == 2
    same_tensors(best["state_dict"], last["ema"]["average"])


def test_the_sigmoid_head_trains_and_evaluates(tmp_path, run_command):
    folder = tmp_path / "run"
    assert run_command("train", *TINY, "model.head=sigmoid", f"hydra.run.dir={folder}") == 0
    assert load(folder / "best.pt")["state_dict"]["head.weight"].shape[0] == 1
    assert run_command("eval", f"ckpt={folder}") == 0
    assert "iou/background" in json.loads((folder / "eval" / "demo-test" / "metrics.json").read_text())


def test_a_sweep_runs_one_job_per_value(tmp_path):
    words = [*TINY, "trainer.epochs=1", "-m", "seed=0,1", f"hydra.run.dir={tmp_path / 'sweep'}"]
    done = subprocess.run(
        [sys.executable, "-m", "unet_train.commands.train", *words],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    runs = sorted(p.parent for p in (tmp_path / "sweep").glob("*/best.pt"))
    assert [run.name for run in runs] == ["0,seed=0", "1,seed=1"]
    table = done.stdout[done.stdout.index("2 runs") :].splitlines()
    assert table[1].split()[:2] == ["run", "seed"], "what differs, and nothing else"
    for line, run in zip(table[3:5], runs, strict=True):
        assert line.startswith(str(run))
        with open(run / "metrics.csv", newline="") as file:
            scores = [float(row["val/iou/mean"]) for row in csv.DictReader(file) if row["val/iou/mean"]]
        assert f"{max(scores):.4f}" in line


def test_a_sweep_is_named_by_what_it_varies_where_that_is_a_file_name():
    from unet_train.commands.train import named_by_what_varies

    words = ["encoder=unet,resnet", "trainer.epochs=3", "seed=range(0,3)", "hydra.sweep.dir=x"]
    exclude, subdir = named_by_what_varies(words)
    assert exclude.endswith("exclude_keys=[trainer.epochs]")
    assert "override_dirname" in subdir
    for word in ("dataset.root=a/b,c/d", "dataset.values={0:0},{0:1}", "dataset.suffix='a b','c'"):
        assert named_by_what_varies([word, "seed=1,2"]) == []
    assert named_by_what_varies(["seed=1,2", "hydra.sweep.subdir=x"]) == []
    assert named_by_what_varies(["seed=1"]) == []


def test_the_run_folder_of_a_sweep_is_the_folder_of_its_runs_or_refused():
    assert train.in_sweep_folder(["seed=1,2", "hydra.run.dir=a,b"]) == ["seed=1,2", "hydra.sweep.dir='a,b'"]
    assert train.in_sweep_folder(["seed=1,2"]) == ["seed=1,2"]
    for words in (["hydra.run.dir=x-${seed}"], ["hydra.run.dir=x", "hydra.sweep.dir=y"]):
        with pytest.raises(UserError, match=r"^hydra\.run\.dir=x.*hydra\.sweep\.subdir"):
            train.in_sweep_folder(words)


def test_a_sweep_over_encoders_drops_the_recipes_keys_for_another(tmp_path):
    words = ["experiment=smoke", "trainer.epochs=1", "trainer.samples_per_epoch=2", "trainer.batch_size=2"]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "unet_train.commands.train", *words),
            *("-m", "encoder=unet,resnet", f"hydra.sweep.dir={tmp_path / 'sweep'}"),
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    kept = [
        yaml.safe_load(next((tmp_path / "sweep").glob(f"{n},encoder=*/config.yaml")).read_text())["encoder"]
        for n in "01"
    ]
    classic = {"kind": "unet", "init_features": 4, "depth": 2, "dropout": 0.0}
    assert kept == [classic, {"kind": "resnet", "depth": 34}]


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_out_of_memory_ends_with_advice_and_keeps_what_was_saved(
    tmp_path, run_command, capsys, monkeypatch, error
):
    from unet_train.training import loop

    folder, updates = tmp_path / "run", []
    real_update = loop.update

    def fail_in_the_second_epoch(*arguments):
        updates.append(1)
        if len(updates) > 2:
            raise error
        real_update(*arguments)

    monkeypatch.setattr(loop, "update", fail_in_the_second_epoch)
    assert run_command("train", *TINY, f"hydra.run.dir={folder}") == 2
    said = capsys.readouterr().err
    for key in (
        "trainer.batch_size=2",
        "trainer.accumulate=2",
        "augmentation.crop_size",
        "trainer.precision",
    ):
        assert key in said
    assert said.count("\n") == 1
    assert load(folder / "last.pt")["state"]["epoch"] == 1


def test_a_loss_that_is_not_finite_is_said_with_what_to_do(tmp_path, run_command, capsys):
    assert run_command("train", *TINY, *EXPLODES, f"hydra.run.dir={tmp_path / 'run'}") == 2
    assert "optimizer.lr" in capsys.readouterr().err


def test_a_run_whose_reader_goes_away_goes_on_in_silence(tmp_path):
    command = [sys.executable, "-m", "unet_train.commands.train", *TINY, f"hydra.run.dir={tmp_path / 'run'}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=120) == 0
    assert process.stderr.read() == ""
    assert len(rows(tmp_path / "run")) == 2


def test_what_a_resume_asks_for_is_kept_for_the_next_one(tmp_path, run_command, capsys):
    folder = tmp_path / "run"
    assert (
        run_command("train", *TINY, "trainer.epochs=1", "scheduler=constant", f"hydra.run.dir={folder}") == 0
    )
    assert run_command("train", f"resume={folder}", "trainer.epochs=2", "optimizer.lr=0.0005") == 0
    assert [float(row["train/lr"]) for row in rows(folder)] == [0.001, 0.0005]
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert (config["trainer"]["epochs"], config["optimizer"]["lr"], config["resume"]) == (2, 0.0005, None)


@pytest.mark.parametrize("words", [["seed=-1"], ["dataset.root=somewhere"], ["seed=0,1"]])
def test_mistakes_of_a_first_user_are_refused(run_command, capsys, words):
    assert run_command("train", *words) == 2
    assert capsys.readouterr().err.count("\n") == 1
