"""A checkpoint of every format number, and of every time at which its keys changed, loads and predicts as it did."""

from pathlib import Path

import numpy as np
import pytest

from tests.fixtures.checkpoints.make import image
from unet_train.checkpoint import FORMAT, Checkpoint

FOLDER = Path(__file__).resolve().parent / "fixtures" / "checkpoints"
FILES = sorted(FOLDER.glob("*.pt"))


def test_every_format_has_its_files():
    found = {(Checkpoint.read(path).format, path.stem.rpartition("_")[2]) for path in FILES}
    assert found == {(number, name) for number in range(1, FORMAT + 1) for name in ("best", "last")}
    assert len(FILES) == 12


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_predicts_what_it_predicted(path):
    checkpoint = Checkpoint.read(path)
    prediction = checkpoint.to_predictor().predict(image())
    np.testing.assert_allclose(prediction.outputs, np.load(path.with_suffix(".npy")), atol=1e-5)
    assert prediction.classes.shape == (16, 20)
    if path.stem.endswith("last"):
        assert checkpoint.resume_state.position.epoch == 1
        assert checkpoint.resume_state.optimizer["state"]
        assert checkpoint.resume_state.ema is not None
    assert checkpoint.section("dataset")["target"] == "foreground_border"
    assert checkpoint.split.train
