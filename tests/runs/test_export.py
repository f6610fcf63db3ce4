"""What `unet-export` writes runs elsewhere and gives what PyTorch gives; its card and its refusals."""

import hashlib
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from unet_train.checkpoint import FORMAT
from unet_train.data.description import DataDescription
from unet_train.data.write_demo import write_demo
from unet_train.inference.graph import PredictionGraph, area_weights, linear_weights
from unet_train.inference.predictor import Predictor
from unet_train.models.files import write_checkpoint
from unet_train.models.spec import ModelSpec, build_model
from unet_train.models.weights import brain_mri
from unet_train.preprocessing.intensity import image_statistics, volume_statistics
from unet_train.preprocessing.resampling import resample_image, resample_probabilities
from unet_train.runs import export
from unet_train.runs.checkpoint_files import PredictorSettings, brain_mri_predictor, load_predictor

OUTPUTS = {
    "classes": ["background", "cell"],
    "foreground": ["background", "cell"],
    "foreground_border": ["background", "inner", "border"],
    "foreground_core": ["background", "inner", "border", "core"],
}


def predictor(
    normalisation: str = "image", *, target: str = "classes", channels: int = 1, head: str = "softmax", **data
) -> Predictor:
    """A small net with random weights."""
    torch.manual_seed(0)
    fixed = {"mean": [0.4] * channels, "std": [0.2] * channels} if normalisation == "fixed" else {}
    mode = "volume" if normalisation == "brain" else normalisation
    spec = ModelSpec(
        encoder={"kind": "unet", "init_features": 4, "depth": 2},
        in_channels=channels,
        outputs=OUTPUTS[target],
        head=head,
        normalisation={"mode": mode, "mean": None, "std": None, **fixed},
    )
    model = build_model(spec).eval().requires_grad_(False)
    description = DataDescription(
        "drawn", ("background", "cell"), channels, target=target, normalisation=normalisation, **data
    )
    return Predictor(model, description)


def save(path: Path, model: Predictor, **content) -> Path:
    spec = model.model.spec.to_dict()
    common = {"format": FORMAT, "model": spec, "data": model.data.to_dict(), "config": {}}
    write_checkpoint(path, {**common, "state_dict": model.model.state_dict(), "epoch": 7, **content})
    return path


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).integers(0, 256, shape, np.uint8)


# --- the graph ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("size", [(24, 24), (31, 45), (5, 9), (1, 3)])
@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"normalisation": "fixed", "channels": 3},
        {"head": "sigmoid"},
        {"target": "foreground", "target_params": {"gap": 4.0}},
        {"target": "foreground_border"},
        {"target": "foreground_core"},
    ],
    ids=str,
)
def test_the_graph_predicts_what_the_predictor_predicts(size, keys):
    model = predictor(**keys)
    images = noise(2, *size, model.data.channels)
    found = PredictionGraph(model).eval()(torch.from_numpy(images.transpose(0, 3, 1, 2)))
    for i, image in enumerate(images):
        prediction = model.predict(image)
        np.testing.assert_allclose(found[0][i], prediction.probabilities, atol=2e-6)
        np.testing.assert_allclose(found[-1][i], prediction.outputs, atol=2e-6)
    assert len(found) == (1 if keys.get("target", "classes") == "classes" else 2)


@pytest.mark.parametrize("scale", [0.5, 0.4, 1.5])
@pytest.mark.parametrize("size", [(32, 40), (29, 41), (3, 50)])
def test_the_graph_resamples_as_training_did(scale, size):
    model = predictor(scale=scale, target="foreground_border")
    image = noise(*size, 1)
    (found, _) = PredictionGraph(model).eval()(torch.from_numpy(image.transpose(2, 0, 1)[None]))
    np.testing.assert_allclose(found[0], model.predict(image).probabilities, atol=1e-2)
    pixels = np.random.default_rng(0).random((*size, 1), np.float32)
    (found, _) = PredictionGraph(model, "float32").eval()(torch.from_numpy(pixels.transpose(2, 0, 1)[None]))
    np.testing.assert_allclose(
        found[0], model.predict(pixels).probabilities, atol=1e-4, err_msg="no rounding"
    )


@pytest.mark.parametrize(("size", "new"), [(12, 6), (13, 6), (50, 17), (7, 7), (5, 1)])
def test_the_resampling_matrices_are_opencvs(size, new):
    image = np.random.default_rng(0).random((size, size, 1)).astype(np.float32)
    small = area_weights(size, new) @ torch.from_numpy(image[..., 0]) @ area_weights(size, new).T
    np.testing.assert_allclose(small, resample_image(image, new / size)[..., 0], atol=1e-5)
    large = linear_weights(new, size) @ small @ linear_weights(new, size).T
    np.testing.assert_allclose(large, resample_probabilities(small.numpy()[None], (size, size))[0], atol=1e-5)


@pytest.mark.parametrize(
    ("pixels", "raw"),
    [("uint16", noise(20, 20, 1).astype(np.uint16) * 200), ("float32", noise(20, 20, 1) / 255)],
)
def test_other_pixels_go_in_as_they_stand_in_the_file(pixels, raw):
    model = predictor()
    raw = raw.astype(pixels)
    (found,) = PredictionGraph(model, pixels).eval()(torch.from_numpy(raw.transpose(2, 0, 1)[None].copy()))
    np.testing.assert_allclose(found[0], model.predict(raw).probabilities, atol=2e-6)
    ranged = predictor(intensity_range=(10.0, 30000.0))
    counts = noise(20, 20, 1).astype(np.uint16) * 150
    (found,) = PredictionGraph(ranged, "float32").eval()(
        torch.from_numpy(counts.transpose(2, 0, 1)[None].astype(np.float32))
    )
    np.testing.assert_allclose(found[0], ranged.predict(counts).probabilities, atol=2e-6)


def test_an_even_image_is_no_division_by_zero():
    model = predictor()
    flat = np.full((16, 16, 1), 200, np.uint8)
    (found,) = PredictionGraph(model).eval()(torch.from_numpy(flat.transpose(2, 0, 1)[None]))
    np.testing.assert_allclose(found[0], model.predict(flat).probabilities, atol=2e-6)
    assert image_statistics(flat).std[0] > 0


# --- files --------------------------------------------------------------------------------------------
def test_onnx_takes_raw_pixels_of_any_size_and_batch(tmp_path, tiny_run, run_command, capsys):
    onnxruntime = pytest.importorskip("onnxruntime")
    output = tmp_path / "my model"
    assert run_command("export", f"ckpt={tiny_run}", f"output={output}") == 0
    said = capsys.readouterr().out
    assert sorted(p.name for p in output.iterdir()) == ["model.onnx", "model_card.md"]
    assert re.search(r"\b3 crops of 37×53: onnxruntime .*PyTorch", said)
    assert "01/" in said, "checked on images of the run"
    assert float(re.search(r"greatest difference of a probability: (\S+)", said)[1]) < 1e-4
    session = onnxruntime.InferenceSession(str(output / "model.onnx"), providers=["CPUExecutionProvider"])
    (image,) = session.get_inputs()
    assert (image.name, image.type, image.shape) == (
        "image",
        "tensor(uint8)",
        ["batch", 1, "height", "width"],
    )
    assert session.get_outputs()[0].name == "probabilities"
    assert session.get_outputs()[0].shape == ["batch", 2, "height", "width"]
    model = load_predictor(str(tiny_run), PredictorSettings("cpu", "32"))[0]
    for size in ((64, 64), (101, 67), (9, 200), (2, 3)):
        images = noise(3, *size, 1)
        found = session.run(None, {"image": images.transpose(0, 3, 1, 2)})[0]
        for got, picture in zip(found, images, strict=True):
            np.testing.assert_allclose(got, model.predict(picture).probabilities, atol=1e-4)
    card = (output / "model_card.md").read_text(encoding="utf-8")
    for part in (
        "0. background",
        "1. cell",
        "## Data",
        "Licence of the data: None",
        "iou/cell",
        "model.onnx",
        "1 train, 1 val, 1 test images",
        "own mean and standard deviation",
    ):
        assert part in card
    call = re.search(r"```python\n(.*?)```", card, re.DOTALL)[1]
    names = {"image": noise(1, 1, 20, 30)}
    here = Path.cwd()
    os.chdir(output)
    try:
        exec(call, names)
    finally:
        os.chdir(here)
    assert names["classes"].shape == (1, 20, 30)


def test_torch_export_of_a_model_normalised_per_volume(tmp_path, run_command, capsys):
    model = predictor("volume", channels=3)
    ckpt = save(tmp_path / "best.pt", model)
    output = tmp_path / "out"
    assert run_command("export", f"ckpt={ckpt}", "format=torch_export", f"output={output}") == 0
    assert re.search(r"torch\.export .*PyTorch", capsys.readouterr().out)
    module = torch.export.load(output / "model.pt2").module(check_guards=False)
    slices = [noise(33, 47, 3) // (n + 1) for n in range(3)]
    statistics = volume_statistics(slices)
    low, high = statistics.low, statistics.high
    stretched = np.stack([np.clip((s / 255 - low) / (high - low), 0, 1) for s in slices]).astype(np.float32)
    mean, std = (torch.tensor([v] * 3, dtype=torch.float32) for v in (statistics.mean, statistics.std))
    (found,) = module(torch.from_numpy(stretched.transpose(0, 3, 1, 2).copy()), mean, std)
    for got, picture in zip(found, slices, strict=True):
        np.testing.assert_allclose(got, model.predict(picture, statistics).probabilities, atol=1e-5)
    card = (output / "model_card.md").read_text(encoding="utf-8")
    assert "| input | `mean` | float32 | batch × 3 |" in card
    assert "percentiles 10 and 99" in card
    assert "Fill this in" in card, "whose licence is not known"


def test_safetensors_of_ours_load_again_as_weights(tmp_path, tiny_run, run_command, capsys):
    output = tmp_path / "out"
    assert run_command("export", f"ckpt={tiny_run}", "format=safetensors", f"output={output}") == 0
    assert float(re.search(r"greatest difference of a probability: (\S+)", capsys.readouterr().out)[1]) < 1e-5
    tensors = load_file(output / "model.safetensors")
    state = torch.load(tiny_run / "best.pt", weights_only=True)["state_dict"]
    assert tensors.keys() == state.keys()
    assert all(torch.equal(tensors[name], state[name]) for name in state)
    words = ["experiment=smoke", "trainer.epochs=1", "optimizer.lr=1e-12", "trainer.ema_decay=null"]
    words += [
        "weights=file",
        f"weights.path={output / 'model.safetensors'}",
        f"hydra.run.dir={tmp_path / 'run'}",
    ]
    assert run_command("train", *words) == 0
    weight = "encoder.levels.0.conv1.weight"
    again = torch.load(tmp_path / "run" / "last.pt", weights_only=True)["state_dict"]
    torch.testing.assert_close(again[weight], state[weight])


def test_a_card_names_scores_objects_and_how_a_brain_is_prepared(tmp_path, run_command):
    folder = tmp_path / "run"
    model = predictor("brain", channels=3)
    save(folder / "best.pt", model, metrics={"iou/cell": 0.5, "iou/mean_over": 1, "loss": 3.0}, objects=None)
    (folder / "eval" / "x-test").mkdir(parents=True)
    scores = {"dataset": "x", "part": "test", "n_images": 4, "dice/cell": 0.75, "epoch": 7}
    (folder / "eval" / "x-test" / "metrics.json").write_text(json.dumps(scores))
    assert run_command("export", f"ckpt={folder}", "format=safetensors", f"output={tmp_path / 'a'}") == 0
    card = (tmp_path / "a" / "model_card.md").read_text(encoding="utf-8")
    assert "| iou/cell | 0.5000 |" in card
    assert "x, test part, 4 images:" in card
    assert "| dice/cell | 0.7500 |" in card
    assert "mean_over" not in card
    assert "tenth of the volume's maximum" in card
    rule = {"min_size": 33}
    other = predictor(
        target="foreground_border", scale=0.5, has_instances=True, intensity_range=(0.0, 4095.0)
    )
    ckpt = save(tmp_path / "other.pt", other, objects=rule)
    assert run_command("export", f"ckpt={ckpt}", "format=safetensors", f"output={tmp_path / 'b'}") == 0
    card = (tmp_path / "b" / "model_card.md").read_text(encoding="utf-8")
    for part in ('"min_size": 33', "inner and border together", "0 to 4095", "0.5 of the image's resolution"):
        assert part in card


def test_the_published_brain_model_is_exported_without_a_checkpoint(
    tmp_path, brain_file, run_command, capsys, monkeypatch
):
    onnxruntime = pytest.importorskip("onnxruntime")
    output = tmp_path / "out"
    words = ["weights=brain_mri", f"weights.path={brain_file}", f"output={output}"]
    assert run_command("export", *words) == 0
    assert re.search("onnxruntime .*PyTorch", capsys.readouterr().out)
    session = onnxruntime.InferenceSession(str(output / "model.onnx"), providers=["CPUExecutionProvider"])
    assert [value.name for value in session.get_inputs()] == ["image", "mean", "std"]
    # The reference is a prediction of the same file through the package.
    model = brain_mri_predictor(str(brain_file), PredictorSettings("cpu", "32"))[0]
    slices = [noise(256, 256, 3) // (n + 1) for n in range(2)]
    statistics = volume_statistics(slices)
    low, high = statistics.low, statistics.high
    stretched = np.stack([np.clip((s / 255 - low) / (high - low), 0, 1) for s in slices]).astype(np.float32)
    mean, std = (np.array([v] * 2, np.float32) for v in (statistics.mean, statistics.std))
    feed = {"image": stretched.transpose(0, 3, 1, 2), "mean": mean, "std": std}
    found = session.run(["probabilities"], feed)[0]
    for got, picture in zip(found, slices, strict=True):
        np.testing.assert_allclose(got, model.predict(picture, statistics).probabilities, atol=1e-5)
    card = (output / "model_card.md").read_text(encoding="utf-8")
    assert re.search(r"mateuszbuda/brain-segmentation-pytorch.*\bnot that file", card, re.S)
    assert "0.91" not in card, "a figure of the published file alone"
    # The published file itself is not here: let this one pass for it.
    digest = hashlib.sha256(brain_file.read_bytes()).hexdigest()
    monkeypatch.setattr(brain_mri, "PUBLISHED_SHA256", digest[:8])
    assert run_command("export", *words, "format=safetensors") == 0
    card = (output / "model_card.md").read_text(encoding="utf-8")
    for part in (
        "selected on ten of these patients",
        "CC BY-NC-SA 4.0",
        "MIT licence",
        "None were measured here",
    ):
        assert part in card


def test_a_brain_model_is_checked_on_slices_of_its_patients(tmp_path, run_command, capsys):
    """A slice is moved into its patient's window before it is cropped to odd sizes; the card has Dice per patient."""
    root = write_demo(tmp_path / "kaggle_3m", "kaggle_3m", groups=3, images=4, size=(40, 28))
    words = ["dataset=brain_mri", f"dataset.root={root}", 'dataset.test_groups=["DEMO_AA_0003_20000101"]']
    words += ["encoder=unet", "encoder.init_features=2", "encoder.depth=2", "augmentation.crop_size=64"]
    words += ["trainer.epochs=1", "trainer.samples_per_epoch=2", "trainer.batch_size=2", "trainer.workers=0"]
    run = tmp_path / "run"
    assert run_command("train", *words, f"hydra.run.dir={run}") == 0
    assert run_command("eval", f"ckpt={run}", "overlays=0") == 0
    capsys.readouterr()
    for kind in ("safetensors", "torch_export"):
        assert run_command("export", f"ckpt={run}", f"format={kind}", f"output={tmp_path / kind}") == 0
    assert "checked   DEMO_AA_" in capsys.readouterr().out
    assert "dice_per_patient/mean" in (tmp_path / "safetensors" / "model_card.md").read_text(encoding="utf-8")


def test_torch_export_of_a_coarse_net_at_half_resolution(tmp_path, run_command):
    """Its program takes no image of less than a coarse cell, so the check has to use larger crops than usual."""
    pytest.importorskip("timm")
    torch.manual_seed(0)
    spec = ModelSpec(
        encoder={"kind": "timm", "name": "test_efficientnet"},
        in_channels=1,
        outputs=OUTPUTS["foreground_core"],
        normalisation={"mode": "image", "mean": None, "std": None},
    )
    description = DataDescription(
        "drawn", ("background", "cell"), 1, target="foreground_core", normalisation="image", scale=0.5
    )
    model = Predictor(build_model(spec).eval().requires_grad_(False), description)
    ckpt = save(tmp_path / "best.pt", model)
    assert run_command("export", f"ckpt={ckpt}", "format=torch_export", f"output={tmp_path / 'o'}") == 0
    card = (tmp_path / "o" / "model_card.md").read_text(encoding="utf-8")
    least = int(re.search(r"a side below (\d+) pixels", card)[1])
    module = torch.export.load(tmp_path / "o" / "model.pt2").module(check_guards=False)
    assert module(torch.zeros(1, 1, least, least, dtype=torch.uint8))[0].shape == (1, 2, least, least)


# --- refusals -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["output={t}/o"], "ckpt"),
        (["ckpt={t}/best.pt"], "output"),
        (["ckpt={t}/no.pt", "output={t}/o"], "/no.pt"),
        (["ckpt={t}/best.pt", "output={t}/best.pt"], "name a folder"),
        (["ckpt={t}/best.pt", "output={t}/best.pt/x"], "output="),
        (["ckpt={t}/best.pt", "output={t}/o", "format=tflite"], "onnx, torch_export, safetensors"),
        (["ckpt={t}/best.pt", "output={t}/o", "pixels=uint8"], "pixels=uint8: "),
        (["ckpt={t}/text.pt", "output={t}/o"], "text.pt"),
        (["ckpt={t}/best.pt", "weights=brain_mri", "output={t}/o"], "ckpt and weights=brain_mri"),
        (["weights=imagenet", "output={t}/o"], "weights=imagenet"),
        (["weights=brain_mri", "weights.path={t}/no.pt", "output={t}/o"], "/no.pt"),
    ],
)
def test_user_errors_are_one_line(tmp_path, run_command, capsys, words, says):
    save(tmp_path / "best.pt", predictor("volume"))
    (tmp_path / "text.pt").write_text("hello")
    assert (
        run_command(
            "export",
            *("format=safetensors",) * ("format" not in str(words)),
            *(w.format(t=tmp_path) for w in words),
        )
        == 2
    )
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert not list(tmp_path.glob("o/*"))


def test_without_the_extra_the_way_to_it_is_said(tmp_path, run_command, monkeypatch, capsys):
    from unet_train.commands import export as command

    save(tmp_path / "best.pt", predictor())
    monkeypatch.setattr(command, "NEEDED", ("onnx", "nothing_of_that_name"))
    assert run_command("export", f"ckpt={tmp_path / 'best.pt'}", f"output={tmp_path / 'o'}") == 2
    assert "pip install 'unet-train[export]'" in capsys.readouterr().err


def test_a_file_that_computes_something_else_is_not_kept(tmp_path, run_command, monkeypatch, capsys):
    ckpt = save(tmp_path / "best.pt", predictor())

    def write_spoilt(graph, path):
        export.write_safetensors(graph, path)
        tensors = load_file(path)
        tensors["head.bias"] += 0.1 * torch.arange(2)
        description = {"model": graph.spec.to_dict()}
        save_file(tensors, path, metadata={"unet_train": json.dumps(description)})

    spoilt = export.Writer(write_spoilt, export.open_safetensors)
    monkeypatch.setitem(export.WRITERS, "safetensors", spoilt)
    assert run_command("export", f"ckpt={ckpt}", "format=safetensors", f"output={tmp_path / 'o'}") == 1
    assert re.search(r"PyTorch .*\d", capsys.readouterr().err)
    assert not list((tmp_path / "o").iterdir())
