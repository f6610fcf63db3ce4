"""Images that a model was trained on are known again in an evaluation, by what they show and not by their names."""

import json
from pathlib import Path

import numpy as np

from unet_train.data.io.images import read_image, write_image

RNG = np.random.default_rng(0)


def write_pair(root: Path, name: str, image: np.ndarray, ending: str = ".png") -> None:
    write_image(root / "images" / f"{name}{ending}", image)
    write_image(root / "masks" / f"{name}.png", (image[:, :, 0] > 128).astype(np.uint8) * 255)


def test_a_copy_of_a_training_image_in_another_data_set_is_told(tmp_path, run_command, short, capsys):
    mine, other = tmp_path / "mine", tmp_path / "other"
    for part, names in (("train", "abc"), ("val", "d")):
        for name in names:
            write_pair(mine / part, name, RNG.integers(0, 256, (40, 48, 1), dtype=np.uint8))
    run = tmp_path / "run"
    assert run_command("train", "dataset=folder", f"dataset.root={mine}", f"hydra.run.dir={run}", *short) == 0
    # New names, another format; one has only the name of a training image.
    write_pair(other, "x", read_image(mine / "train/images/a.png"), ".tif")
    write_pair(other, "y", read_image(mine / "train/images/c.png"))
    write_pair(other, "b", RNG.integers(0, 256, (40, 48, 1), dtype=np.uint8))
    capsys.readouterr()
    words = ("dataset=folder", f"dataset.root={other}", f"output={tmp_path / 'scores'}", "overlays=0")
    assert run_command("eval", f"ckpt={run}", *words) == 0
    metrics = json.loads((tmp_path / "scores" / "metrics.json").read_text())
    assert (metrics["n_images"], metrics["trained_on"]) == (3, 2)
    assert metrics["trained_on_images"] == ["x", "y"]
    lines = capsys.readouterr().out.splitlines()
    table = next(number for number, line in enumerate(lines) if line.startswith("folder, all part"))
    told = [
        number for number, line in enumerate(lines) if line.startswith("warning") and "2 of the 3" in line
    ]
    assert len(told) == 1
    assert told[0] > table
    assert run_command("eval", f"ckpt={run}", "part=val", "overlays=0") == 0
    metrics = json.loads((run / "eval" / "folder-val" / "metrics.json").read_text())
    assert (metrics["trained_on"], metrics["trained_on_images"]) == (0, [])
    assert "trained on" not in capsys.readouterr().out
