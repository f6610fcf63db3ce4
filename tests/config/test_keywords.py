"""Keyword arguments of the Python functions: the same keys as on the command line."""

from pathlib import Path

import pytest

from unet_train.config.compose import compose_command
from unet_train.config.keywords import keyword_words
from unet_train.errors import UserError


def test_a_key_may_be_given_by_its_last_word(tmp_path):
    words = keyword_words(
        "train",
        {
            "dataset": "folder",
            "root": tmp_path,
            "values": {0: 0, 255: 1},
            "classes": ["back ground", "it's"],
            "epochs": 3,
            "seed": 7,
            "ema_decay": None,
            "tile": {"size": 64},
            "optimizer.lr": 0.1,
            "folder": Path("a b"),
        },
    )
    composed = compose_command("train", words)
    config = composed.config
    assert (config.dataset.root, config.dataset.values) == (str(tmp_path), {0: 0, 255: 1})
    assert config.dataset.classes == ["back ground", "it's"]
    assert (config.trainer.epochs, config.seed, config.trainer.ema_decay) == (3, 7, None)
    assert (config.tile.size, config.optimizer.lr, composed.run_folder) == (64, 0.1, "a b")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("epoch", "did you mean epochs"),
        ("size", "several sections.*dataset=.*tile="),
        ("folder", "no such key"),
    ],
)
def test_a_name_that_is_no_key_or_several_is_refused(name, says):
    with pytest.raises(UserError, match=says):
        keyword_words("predict" if name == "folder" else "train", {name: 1})
