"""What a notebook calls, and that the documented example runs."""

import json
import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import unet_train
from unet_train.data.io.images import read_image, read_labels, write_image
from unet_train.errors import UserError
from unet_train.inference.predictor import Tiling

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("api") / "run (1)"
    return unet_train.train(["experiment=smoke", "trainer.epochs=1", f"hydra.run.dir={folder}"])


@pytest.mark.parametrize(
    ("words", "keys"),
    [
        (["split.folds=3", "split.fold=all"], {}),
        (["split.folds=3", "+split.fold='all'"], {}),
        ([], {"folds": 3, "fold": "all"}),
        ([], {"split": {"folds": 3, "fold": "all"}}),
    ],
)
def test_all_folds_are_left_to_the_command_in_one_line(words, keys):
    with pytest.raises(
        UserError, match=r"^split\.fold=all: all folds are trained by the command unet-train alone"
    ):
        unet_train.train(["experiment=smoke", "hydra.run.dir=run", *words], **keys)
    assert not Path("run").exists()


def test_a_folder_of_folds_goes_on_by_the_command_alone():
    Path("cv").mkdir()
    Path("cv/folds.json").write_text('{"count": 3, "words": ["experiment=smoke"]}')
    for words, keys in ((["resume=cv"], {}), ([], {"resume": "cv"})):
        with pytest.raises(
            UserError, match=r"^resume=cv: holds folds, which the command unet-train goes on with"
        ):
            unet_train.train(words, **keys)


def test_importing_the_package_does_not_import_torch():
    code = (
        "import sys, unet_train\n"
        "assert {'load', 'predict', 'train', 'evaluate', 'unet', '__version__'} <= set(dir(unet_train))\n"
        "assert 'torch' not in sys.modules and 'hydra' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nothing"):
        _ = unet_train.nothing


def test_training_returns_the_run(run):
    assert run.checkpoint == run.folder / "best.pt"
    assert run.checkpoint.is_file()
    assert run.monitor == "iou/mean"
    assert 0 <= run.score <= 1 or math.isnan(run.score)


def test_training_goes_on(run, tmp_path):
    again = unet_train.train([f"resume={run.folder}"])
    assert again.folder == run.folder
    with pytest.raises(UserError, match=r"encoder.*resnet"):
        unet_train.train(["encoder=resnt"])
    with pytest.raises(UserError, match="list"):
        unet_train.train("experiment=smoke")
    with pytest.raises(UserError, match=r"trainer\.devices"):
        unet_train.train(["trainer.devices=2"])


def test_arrays_and_files_are_predicted_alike(run, tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (40, 52), np.uint8)
    write_image(tmp_path / "in" / "a.png", image)
    model = unet_train.load(run.folder)
    prediction = model.predict(image)
    assert prediction.classes.shape == (40, 52)
    assert prediction.probabilities.shape == (len(model.data.classes), 40, 52)
    outcome = unet_train.predict(
        run.checkpoint, tmp_path / "in", tmp_path / "o", probabilities=True, tile={"size": None}
    )
    assert (outcome.predicted, outcome.skipped, outcome.bad) == (1, 0, [])
    np.testing.assert_array_equal(read_labels(tmp_path / "o" / "classes" / "a.tif"), prediction.classes)
    assert unet_train.predict(run.checkpoint, tmp_path / "in", tmp_path / "o").skipped == 1
    both = unet_train.predict(
        [run.checkpoint, str(run.folder)], str(tmp_path / "in"), tmp_path / "b", tta=True
    )
    assert both.predicted == 1


def test_every_kind_of_pixels_means_the_same_to_a_model(run):
    model = unet_train.load(run.folder, precision="32")
    grey = np.random.default_rng(1).integers(0, 255, (24, 20), np.uint8)
    kinds = [grey, grey[..., None], grey / np.float32(255), grey / 255, grey.astype(np.uint16) * 257]
    first, *others = [model.predict(kind).probabilities for kind in kinds]
    for other in others:
        np.testing.assert_allclose(other, first, atol=1e-4)
    with pytest.raises(UserError, match="have no rule"):
        model.predict(grey.astype(np.int32))
    with pytest.raises(UserError, match="3 channels"):
        model.predict(np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(UserError, match="H×W"):
        model.predict(np.zeros((0, 8), np.uint8))


def test_what_cannot_be_loaded_is_said_in_one_line(tmp_path):
    (tmp_path / "bad.pt").write_text("no checkpoint")
    torch.save({"format": 1, "model": {}, "data": {}, "state_dict": {}}, tmp_path / "nothing.pt")
    for arguments, says in (
        (((tmp_path / "nothing.pt"),), r"nothing\.pt: .*encoder"),
        (((tmp_path / "no.pt"),), r"/no\.pt"),
        (((tmp_path / "bad.pt"),), "bad.pt"),
        ((), "name a checkpoint"),
    ):
        with pytest.raises(UserError, match=says) as caught:
            unet_train.load(*arguments)
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="no whole model"):
        unet_train.load(weights="imagenet")
    with pytest.raises(UserError, match=r"^accelerator=abacus"):
        unet_train.load(weights="brain_mri", weights_path=tmp_path / "bad.pt", accelerator="abacus")


def test_the_example_of_the_documentation_runs(run, repository, tmp_path, monkeypatch):
    """Every Python block of docs/python.md, in order, in one namespace."""
    text = (repository / "docs" / "python.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert blocks
    assert len([line for line in blocks[0].splitlines() if line]) == 3
    (tmp_path / "my_run").symlink_to(run.folder)
    rng = np.random.default_rng(0)
    write_image(tmp_path / "cells.png", rng.integers(0, 255, (40, 40), np.uint8))
    for n in range(2):
        write_image(tmp_path / "new_images" / f"{n}.png", rng.integers(0, 255, (40, 40), np.uint8))
    names: dict = {}
    for block in blocks:
        exec(compile(block, "docs/python.md", "exec"), names)
    assert names["mask"].classes.shape == (40, 40)
    assert Path("masks").is_dir()


def test_what_predict_and_load_do_not_take_is_said_in_one_line(run):
    for image, says in (
        ("cell.png", r"cell\.png: no such file"),
        (".", r"is a folder; unet_train\.predict takes folders"),
        (np.zeros((2, 3, 8, 8), np.uint8), r"H×W or H×W×C.*\(2, 3, 8, 8\)"),
        (np.full((8, 8), np.nan, np.float32), "no numbers"),
        (np.array([["a", "b"]]), "an image holds numbers"),
        (np.full((8, 8), 180, np.float32), "float32 .*180 to 180.* 0 to 1"),
    ):
        with pytest.raises(UserError, match=says):
            unet_train.load(run.folder).predict(image)
    with pytest.raises(UserError, match=r"unet_train\.predict\b"):
        unet_train.load(["a.pt", "b.pt"])
    with pytest.raises(UserError, match=r"tile=512"):
        unet_train.load("a.pt", tile={"size": 64})


def test_tiles_are_a_side_or_more(run):
    for tile, tiling in ((None, Tiling("auto")), (64, Tiling(64)), (Tiling(64, 8), Tiling(64, 8))):
        assert unet_train.load(run.folder, tile=tile).tiling == tiling


def test_files_lists_and_generators_are_predicted_as_their_arrays(run, tmp_path):
    rng = np.random.default_rng(2)
    images = [rng.integers(0, 255, size, np.uint8) for size in ((24, 20), (32, 40))]
    write_image(tmp_path / "a.png", images[0])
    model = unet_train.load(run.folder)
    wanted = [model.predict(image).probabilities for image in images]
    np.testing.assert_array_equal(model.predict(tmp_path / "a.png").probabilities, wanted[0])
    mixed = model.predict([str(tmp_path / "a.png"), images[1]])
    assert [found.classes.shape for found in mixed] == [(24, 20), (32, 40)]
    read = []
    generated = model.predict(read.append(n) or image for n, image in enumerate(images))
    assert read == [], "an image is taken when its prediction is asked for"
    for found, probabilities in zip(generated, wanted, strict=True):
        np.testing.assert_array_equal(found.probabilities, probabilities)


def test_an_overlay_is_the_picture_that_the_command_writes(run, tmp_path):
    image = np.random.default_rng(3).integers(0, 255, (40, 52), np.uint8)
    write_image(tmp_path / "in" / "a.png", image)
    model = unet_train.load(run.folder)
    unet_train.predict(run.folder, tmp_path / "in", tmp_path / "out")
    written = read_image(tmp_path / "out" / "overlays" / "a.png", channels=3)
    count = int(model.objects(model.predict(image)).max())
    caption = f"a.png  {count} object{'' if count == 1 else 's'}"
    np.testing.assert_array_equal(model.overlay(image, caption=caption), written)
    with pytest.raises(UserError, match="truth: 3×3 pixels, but the image has 40×52"):
        model.overlay(image, truth=np.zeros((3, 3), np.uint8))


def test_evaluate_gives_what_metrics_json_holds(run, tmp_path):
    found = unet_train.evaluate(run.folder, part="val", report=False, output=tmp_path / "e")
    metrics = json.loads((tmp_path / "e" / "metrics.json").read_text())
    assert found.scores["iou/mean"] == metrics["iou/mean"]
    assert set(found.scores) == set(metrics["intervals"])
    assert (found.part, found.folder) == ("val", tmp_path / "e")


def test_nothing_shows_its_weights_or_pixels(run):
    model = unet_train.load(run.folder)
    for shown in (model, model.predict(np.zeros((16, 16), np.uint8)), run):
        assert len(repr(shown)) < 300
        assert "\n" not in repr(shown)
    assert "unet 4 2" in repr(model)


def test_the_net_alone_is_the_one_that_the_commands_train():
    published = unet_train.unet(init_features=32, depth=4, in_channels=3, head="sigmoid")
    assert sum(p.numel() for p in published.parameters()) == 7_763_041
    net = unet_train.unet("resnet", depth=18, classes=3, in_channels=1).eval()
    with torch.no_grad():
        assert net(torch.zeros(2, 1, 33, 40, dtype=torch.uint8)).shape == (2, 3, 33, 40)
    for arguments, says in (
        ({"weights": "imagenet"}, "there are none for encoder=unet"),
        ({"depht": 3}, "did you mean encoder.depth"),
        ({"classes": 1}, "classes=1"),
    ):
        with pytest.raises(UserError, match=says):
            unet_train.unet(**arguments)


def test_the_net_starts_from_a_file(run):
    net = unet_train.unet(init_features=4, depth=2, in_channels=1, weights=run.folder)
    trained = torch.load(run.checkpoint, weights_only=True)["state_dict"]
    name = next(name for name in trained if name.startswith("encoder.") and name.endswith("weight"))
    assert torch.equal(net.state_dict()[name], trained[name])
