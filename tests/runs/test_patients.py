"""Brain MRI from training to Dice per patient, on drawn patients."""

import csv
import json
import re

import numpy as np
import pytest
import torch

from unet_train.data.layouts.kaggle import KaggleSource
from unet_train.data.loading.normaliser import Normaliser
from unet_train.data.records import Record, Truth
from unet_train.data.write_demo import write_demo
from unet_train.inference.predictor import Prediction
from unet_train.metrics.volume import VolumeScore, dice, largest_component
from unet_train.models.files import write_checkpoint
from unet_train.runs.checkpoint_files import load_predictor
from unet_train.runs.evaluation import patient_intervals, patients_table
from unet_train.runs.patient_scores import Patients


@pytest.fixture(scope="module")
def brain(tmp_path_factory):
    """The root of three drawn patients: 4, 5 and 6 slices of 40×28."""
    root = tmp_path_factory.mktemp("drawn") / "kaggle_3m"
    return write_demo(root, "kaggle_3m", groups=3, images=4, size=(40, 28))


@torch.no_grad()
def look_at_flair(path):
    """Set the weights of a checkpoint by hand: lesion where FLAIR lies two deviations above its mean.

    Every convolution hands on the middle pixel of its last channel, the first one that of FLAIR; the
    transposed ones hand on nothing. So there is something to score without a long training.
    """
    content = torch.load(path, weights_only=True)
    weights = content["state_dict"]
    first = True
    for name, tensor in weights.items():
        if not name.startswith("normalisation"):
            tensor.zero_()
        if tensor.ndim == 4 and tensor.shape[-1] == 3:
            tensor[:, 1 if first else -1, 1, 1] = 1
            first = False
    weights["head.weight"][1, -1], weights["head.bias"][1] = 40, -80
    write_checkpoint(path, content)


def test_a_run_on_volumes_reports_dice_per_patient(brain, tmp_path, run_command, capsys):
    run = tmp_path / "run"
    # A slice may be missing in the middle.
    for name in ("_3.tif", "_3_mask.tif"):
        (brain / "DEMO_AA_0003_20000101" / f"DEMO_AA_0003_20000101{name}").unlink()
    words = ["dataset=brain_mri", f"dataset.root={brain}", 'dataset.test_groups=["DEMO_AA_0003_20000101"]']
    words += ["encoder=unet", "encoder.init_features=2", "encoder.depth=2", "augmentation.crop_size=256"]
    words += ["trainer.epochs=1", "trainer.samples_per_epoch=2", "trainer.batch_size=2", "model.norm=none"]
    assert run_command("train", *words, "trainer.workers=0", f"hydra.run.dir={run}") == 0
    content = torch.load(run / "best.pt", weights_only=True)
    assert content["data"]["normalisation"] == "brain"
    assert content["model"]["normalisation"]["mode"] == "volume"
    look_at_flair(run / "best.pt")
    capsys.readouterr()
    assert run_command("eval", f"ckpt={run}", "part=all", "overlays=1") == 0
    said = capsys.readouterr().out
    results = run / "eval" / "brain_mri-all"
    metrics = json.loads((results / "metrics.json").read_text())
    with open(results / "per_patient.csv", newline="") as file:
        rows = {row["patient"]: row for row in csv.DictReader(file)}

    # The same by hand: every slice predicted, stacked by its number, against the masks as they are.
    predictor, _, _ = load_predictor(str(run))
    source = KaggleSource(brain)
    normaliser = Normaliser(source, "brain")
    found = []
    for patient, count in (("0001", 4), ("0002", 5), ("0003", 5)):
        records = [r for r in source.records() if r.group == f"DEMO_AA_{patient}_20000101"]
        assert [r.order for r in records] == (
            [1, 2, 4, 5, 6] if patient == "0003" else [*range(1, count + 1)]
        )
        masks = np.stack([source.read_truth(r).classes for r in records])
        predicted = []
        for record in records:
            prediction = predictor.predict(source.read_image(record), normaliser.statistics(record))
            assert prediction.outputs.shape == (2, 40, 28)
            predicted.append(prediction.classes)
        volume = np.stack(predicted)
        row = rows[records[0].group]
        expected = (dice(volume, masks), dice(largest_component(volume), masks))
        assert (float(row["dice"]), float(row["dice_largest"])) == pytest.approx(expected, abs=1e-5)
        assert (int(row["slices"]), int(row["true_voxels"])) == (count, masks.sum())
        assert f"{records[0].group}{count:>8}  {expected[0]:.4f}" in said
        assert min(expected) > 0.2, "the bright net finds something"
        found.append(expected)
    for i, name in enumerate(("dice_per_patient", "dice_per_patient_largest")):
        values = [pair[i] for pair in found]
        assert metrics[f"{name}/mean"] == pytest.approx(np.mean(values))
        assert metrics[f"{name}/median"] == pytest.approx(np.median(values))
        assert metrics[f"{name}/over"] == 3
    assert "iou/mean" in metrics, "beside the score over all pixels"
    assert "median" in said


def test_other_data_has_no_patients(tiny_run, run_command, capsys):
    assert run_command("eval", f"ckpt={tiny_run}", "part=val", "overlays=0") == 0
    assert "patient" not in capsys.readouterr().out
    assert not list(tiny_run.rglob("per_patient.csv"))


def test_slices_are_stacked_by_number_and_scored_when_the_last_has_come():
    records = [Record(f"p/{n}", "", group="p", order=n) for n in (10, 2, 1)]
    other = Record("q/1", "", group="q", order=1)
    patients = Patients([*records, other])

    def see(record, predicted, true):
        classes = np.array([predicted], np.uint8)
        outputs = np.zeros((2, 1, 3), np.float32)
        patients.look(
            record, outputs, Truth(np.array([true], np.uint8)), Prediction(outputs, outputs, classes)
        )

    # By number: 1 and 2 hang together over a face, 10 lies on 2 without touching.
    see(records[0], [0, 0, 1], [0, 0, 0])
    see(records[1], [1, 0, 0], [1, 0, 0])
    assert not patients.scores
    see(other, [0, 0, 0], [0, 0, 0])
    see(records[2], [1, 0, 0], [1, 0, 0])
    assert list(patients.scores) == ["q", "p"]
    assert patients.scores["p"].dice == pytest.approx(4 / 5)
    assert patients.scores["p"].dice_largest == 1
    assert np.isnan(patients.scores["q"].dice)


def test_a_patient_of_several_sizes_is_named_instead():
    records = [Record(f"p/{n}", "", group="p", order=n) for n in (1, 2)]
    patients = Patients(records)
    for record, width in zip(records, (2, 3), strict=True):
        classes = np.ones((1, width), np.uint8)
        outputs = np.zeros((2, 1, width), np.float32)
        patients.look(record, outputs, Truth(classes), Prediction(outputs, outputs, classes))
    assert not patients.scores
    (note,) = patients.notes
    assert re.match(r"p: .*Dice.* size", note)


def test_mean_and_median_of_the_patients_have_intervals():
    """Patients are drawn; one without a Dice is in no sum, but is one of those drawn from."""
    values = [0.2, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, float("nan")]
    scores = {f"p{i}": VolumeScore(value, value / 2, 3, 9, 9) for i, value in enumerate(values)}
    found = patient_intervals(scores)
    rng = np.random.default_rng(0)
    draws = np.array([np.array(values)[rng.integers(8, size=8)] for _ in range(1000)])
    for what, function in (("mean", np.nanmean), ("median", np.nanmedian)):
        bounds = np.percentile(function(draws, axis=1), [2.5, 97.5])
        assert found[f"dice_per_patient/{what}"] == pytest.approx(bounds)
        assert found[f"dice_per_patient_largest/{what}"] == pytest.approx(bounds / 2)
    table = patients_table(scores, found)
    assert "{:.3f}–{:.3f}".format(*found["dice_per_patient/mean"]) in table
    few = patient_intervals(dict(list(scores.items())[:5]))
    assert set(few.values()) == {None}
    assert "95" not in patients_table(dict(list(scores.items())[:5]), few)
