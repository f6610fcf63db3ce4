"""A file that breaks while a run is going: the line names it, what was saved stays, and the run goes on after."""

from functools import partial
from pathlib import Path

import pytest
import torch

from unet_train.data.loading.kept import KeptSource


@pytest.mark.parametrize(("part", "workers"), [("train", 0), ("train", 1), ("val", 0)])
def test_an_image_that_breaks_after_the_check(
    own_folder, run_command, write_images, short, capsys, monkeypatch, part, workers
):
    from unet_train.runs import validation
    from unet_train.training.run_folder import History

    # As with more validation images than fit into the memory that is kept for them; those kept are not read again.
    monkeypatch.setattr(validation, "KeptSource", partial(KeptSource, most_bytes=0))

    root = write_images(Path("mine"), 6)
    whole = {path: path.read_bytes() for path in sorted((root / "images").iterdir())}
    add = History.add

    def add_and_break(self, *args):
        add(self, *args)
        import json

        keys = json.loads(Path("run/split.json").read_text())[part]
        for path, content in whole.items():
            if path.stem in keys:
                path.write_bytes(content[: len(content) // 2])

    monkeypatch.setattr(History, "add", add_and_break)
    # Two of the five training images are read in the first epoch, others in the second; a loss that weighs classes
    # by their pixels would read them all before.
    words = ["dataset=folder", f"dataset.root={root}", f"trainer.workers={workers}", "trainer.epochs=2"]
    words += ["loss=cross_entropy_dice", "trainer.val_every=1"]
    assert run_command("train", *short, *words, "hydra.run.dir=run") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    assert f"{root / 'images'}" in error
    assert "truncated" in error
    assert "Traceback" not in error

    monkeypatch.undo()
    monkeypatch.chdir(own_folder)
    assert torch.load("run/last.pt", weights_only=True)["state"]["epoch"] == 1
    for path, content in whole.items():
        path.write_bytes(content)
    assert run_command("train", "resume=run") == 0
    assert torch.load("run/last.pt", weights_only=True)["state"]["epoch"] == 2
