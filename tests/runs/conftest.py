"""In-process commands on tiny demo runs."""

import os
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)

TINY = ["experiment=smoke", "trainer.epochs=2", "trainer.samples_per_epoch=8"]


def command(name: str, *words: str) -> int:
    """Run a command in this process; its exit code."""
    from unet_train.commands import eval as evaluation
    from unet_train.commands import predict, shell, train

    bodies = {"train": train.train, "eval": evaluation.evaluate, "predict": predict.predict}
    return shell.run(name, bodies[name], list(words))


@pytest.fixture
def run_command():
    """`command`, as a fixture."""
    return command


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory) -> Path:
    """The folder of one finished tiny run."""
    folder = tmp_path_factory.mktemp("tiny") / "run"
    assert command("train", *TINY, f"hydra.run.dir={folder}") == 0
    return folder


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    """Whatever a command writes beside its run folder lands in a temporary folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONHASHSEED", "0")
    os.environ.pop("UNET_TRAIN_DATA", None)
