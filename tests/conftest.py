"""Fixtures every test may use: the real data where it exists, commands run in this process, small images."""

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ["UNET_TRAIN_CHECK_CACHE"] = "off"  # the user's own stays as it is

import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets; the test is skipped, and says so, where it does not exist."""
    folder = Path(os.environ.get("UNET_TRAIN_REAL_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder} (set UNET_TRAIN_REAL_DATA)")
    return folder


COMMANDS = {
    "train": ("train", "train"),
    "eval": ("eval", "evaluate"),
    "predict": ("predict", "predict"),
    "data": ("data", "data"),
    "export": ("export", "export"),
    "runs": ("runs", "runs"),
}
"""Command → its module in unet_train.commands, and the function in it."""

SHORT = [
    *("trainer.epochs=1", "trainer.samples_per_epoch=2", "trainer.batch_size=2", "trainer.workers=0"),
    *("trainer.pictures=0", "augmentation.crop_size=32", "encoder.init_features=4", "encoder.depth=2"),
]
"""Two crops through a small net, whatever the data set."""


@pytest.fixture(scope="session")
def run_command():
    """Run a command in this process: ``run_command("train", "seed=1")``; its exit code."""

    def run(name: str, *words: object) -> int:
        import torch

        from unet_train.commands import shell

        torch.set_num_threads(1)
        module, function = COMMANDS[name]
        body = getattr(importlib.import_module(f"unet_train.commands.{module}"), function)
        return shell.run(name, body, [str(word) for word in words])

    return run


@pytest.fixture
def own_folder(tmp_path, monkeypatch) -> Path:
    """The test's own working folder, where commands write; modules in it are importable as a user's are."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("UNET_TRAIN_DATA", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


@pytest.fixture(scope="session")
def short() -> list[str]:
    """The words that make any training short."""
    return list(SHORT)


@pytest.fixture(scope="session")
def write_images():
    """Write small images of bright rectangles and their masks of 0 and 255 into a folder: `_write_images`."""
    return _write_images


def _write_images(
    root: Path,
    count: int = 5,
    *,
    image: Callable[[int, np.ndarray], np.ndarray] | None = None,
    mask: Callable[[int, np.ndarray], np.ndarray] | None = None,
    names: Sequence[str] | None = None,
) -> Path:
    """Write ``root/images`` and ``root/masks``, 48×64 uint8; `image` and `mask` may change what is written."""
    from unet_train.data.io.images import write_image

    rng = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names or [f"im_{i}.png" for i in range(count)]):
        labels = np.zeros((48, 64), np.uint8)
        labels[10 + i : 34, 8 : 34 + i] = 255
        pixels = (rng.integers(20, 60, labels.shape) + (labels > 0) * 120).astype(np.uint8)
        write_image(root / "images" / name, image(i, pixels) if image else pixels)
        write_image(root / "masks" / Path(name).with_suffix(".png"), mask(i, labels) if mask else labels)
    return root
