"""In-process commands on tiny demo runs."""

import os
from pathlib import Path

import pytest
import torch
from torch import nn

torch.set_num_threads(1)

TINY = ["experiment=smoke", "trainer.epochs=2", "trainer.samples_per_epoch=8"]


def command(name: str, *words: str) -> int:
    """Run a command in this process; its exit code."""
    from unet_train.commands import eval as evaluation
    from unet_train.commands import export, predict, shell, train

    bodies = {
        "train": train.train,
        "eval": evaluation.evaluate,
        "predict": predict.predict,
        "export": export.export,
    }
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


@torch.no_grad()
def save_threshold_model(
    path: Path,
    *,
    classes: tuple[str, ...] = ("background", "cell"),
    channels: int = 1,
    normalisation: str = "fixed",
    steepness: float = 40.0,
    threshold: float = 0.5,
    objects: dict | None = None,
    config: dict | None = None,
    **data,
) -> Path:
    """Write a checkpoint whose net says "foreground" where the last channel is above `threshold`.

    A real net with weights set by hand: every convolution hands on its last channel's middle pixel, the
    transposed ones hand on nothing. So what a prediction must be is known without training.
    """
    from unet_train.checkpoint import FORMAT
    from unet_train.data.description import DataDescription
    from unet_train.models.files import write_checkpoint
    from unet_train.models.spec import ModelSpec, build_model

    spec = ModelSpec(
        encoder={"kind": "unet", "init_features": 2, "depth": 2},
        in_channels=channels,
        outputs=list(classes),
        norm="none",
        normalisation={"mode": normalisation, "mean": None, "std": None},
    )
    model = build_model(spec)
    for part in model.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
            part.weight.zero_()
            part.bias.zero_()
            if isinstance(part, nn.Conv2d):
                part.weight[:, -1, part.kernel_size[0] // 2, part.kernel_size[1] // 2] = 1
    model.head.weight.zero_()
    for k in range(1, len(classes)):
        # With more than one foreground class the threshold of class k is that much of the way to white.
        model.head.weight[k, -1] = steepness * k
        model.head.bias[k] = -steepness * threshold * k * (k + 1) / 2
    description = DataDescription(
        name="drawn", classes=classes, channels=channels, normalisation=normalisation, **data
    )
    content = {
        "format": FORMAT,
        "model": spec.to_dict(),
        "data": description.to_dict(),
        "config": config or {},
        "state_dict": model.state_dict(),
        "objects": objects,
        "epoch": 3,
        "metrics": {"val/iou/mean": 0.5},
    }
    write_checkpoint(path, content)
    return path


@pytest.fixture
def threshold_model(tmp_path):
    """`save_threshold_model` under a name in the test's own folder."""

    def save(name: str = "best.pt", **keys) -> Path:
        return save_threshold_model(tmp_path / name, **keys)

    return save


@pytest.fixture(scope="session")
def brain_file(tmp_path_factory) -> Path:
    """A file with the published brain model's names and shapes, and random weights."""
    from unet_train.models.spec import build_model
    from unet_train.models.weights import brain_mri_spec
    from unet_train.models.weights.key_maps import brain_mri_names

    torch.manual_seed(0)
    state = build_model(brain_mri_spec()).state_dict()
    path = tmp_path_factory.mktemp("brain") / "unet.pt"
    torch.save({theirs: state[ours] for theirs, ours in brain_mri_names().items()}, path)
    return path
