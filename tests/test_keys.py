"""Choices and ranges of keys: each is said once, in a schema, and checked there before torch is imported."""

import subprocess
import sys
from dataclasses import dataclass

import pytest

from unet_train.config.checks import check_train
from unet_train.config.compose import compose_command
from unet_train.config.schema import COMMANDS, SECTIONS
from unet_train.errors import UserError
from unet_train.keys import BOUNDS, check_values, key, schema_fields


@dataclass
class Sample:
    """One key for each kind of range."""

    share: float = key("a share", at_least=0, below=1)
    factor: float | None = key("a factor", above=0, at_most=2)
    pair: list[float] = key("two numbers", at_least=0)
    word: str = key("a word", choices=("gold", "silver"))


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({}, None),
        ({"share": 0}, None),
        ({"share": -0.1}, "a.share=-0.1 is too small: at least 0"),
        ({"share": 1}, "a.share=1 is too large: below 1"),
        ({"share": float("nan")}, "a.share=nan is too small: at least 0"),
        ({"factor": None}, None),
        ({"factor": 2}, None),
        ({"factor": 0}, "a.factor=0 is too small: above 0, or null"),
        ({"factor": 2.5}, "a.factor=2.5 is too large: at most 2, or null"),
        ({"pair": [1, -1]}, "a.pair=[1, -1] is too small: at least 0"),
        ({"word": "silvr"}, "a.word=silvr: choose one of gold, silver (did you mean silver?)"),
    ],
)
def test_a_range_is_kept_at_both_ends(values, says):
    sample = Sample(**{"share": 0.5, "factor": 1.0, "pair": [0, 1], "word": "gold"} | values)
    assert check_values(sample, "a") == says


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["optimizer.lr=0"], "optimizer.lr=0.0 is too small: above 0"),
        (["optimizer.lr=nan"], "optimizer.lr=nan is too small"),
        (["optimizer.weight_decay=-1"], "optimizer.weight_decay=-1.0"),
        (["optimizer.encoder_lr_factor=0"], "optimizer.encoder_lr_factor=0.0"),
        (["optimizer.betas=[0.9]"], "optimizer.betas=[0.9]: two numbers"),
        (["optimizer.betas=[0.9,1.0]"], "optimizer.betas=[0.9, 1.0] is too large: below 1"),
        (["optimizer=sgd", "optimizer.momentum=1"], "optimizer.momentum=1.0 is too large: below 1"),
        (["optimizer=sgd", "optimizer.momentum=0", "optimizer.nesterov=true"], "optimizer.nesterov=true"),
        (["scheduler=plateau", "scheduler.factor=1"], "scheduler.factor=1.0 is too large: below 1"),
        (["scheduler=plateau", "scheduler.patience=-1"], "scheduler.patience=-1"),
        (["trainer.ema_decay=1"], "trainer.ema_decay=1.0 is too large: below 1, or null"),
        (["trainer.workers=-2"], "trainer.workers=-2"),
        (["trainer.samples_per_epoch=0"], "trainer.samples_per_epoch=0"),
        (["split.val_fraction=1"], "split.val_fraction=1.0 is too large: below 1"),
        (["split.test_fraction=-0.1"], "split.test_fraction=-0.1"),
        (["split.by=slice"], "split.by=slice: choose one of group, block"),
        (["augmentation.foreground_share=1.5"], "augmentation.foreground_share=1.5 is too large: at most 1"),
        (["augmentation.touching_share=2"], "augmentation.touching_share=2.0 is too large: at most 1"),
        (["dataset.scale=0"], "dataset.scale=0 is too small"),
        (["dataset.size=20"], "dataset.size=20 is too small: at least 32"),
        (["dataset.data_seed=-1"], "dataset.data_seed=-1"),
        (
            ["dataset=dic_hela", "dataset.labels=bronze"],
            "dataset.labels=bronze: choose one of gold, silver, both",
        ),
        (["dataset.target=forground"], "(did you mean foreground?)"),
        (["encoder.depth=7"], "encoder.depth=7 is too large: at most 6"),
        (["encoder=resnet", "encoder.depth=51"], "encoder.depth=51: choose one of 18, 34, 50, 101, 152"),
        (["seed=-1"], "seed=-1"),
        (["seed=4294967296"], "seed=4294967296 is too large: at most 4294967295"),
    ],
)
def test_a_value_beyond_its_range_is_refused_by_its_key(words, says):
    with pytest.raises(UserError) as caught:
        check_train(compose_command("train", words).config)
    assert says in str(caught.value)


def test_ranges_are_checked_without_torch():
    code = (
        "import sys\n"
        "from unet_train.commands import shell, train\n"
        "assert shell.run('train', train.train, ['trainer.ema_decay=1']) == 2\n"
        "assert not {'torch', 'scipy', 'albumentations'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "trainer.ema_decay=1.0 is too large" in done.stderr


def test_every_key_has_a_meaning_and_known_bounds():
    schemas = {schema for _, kinds in SECTIONS.values() for schema in kinds.values()} | set(COMMANDS.values())
    assert len(schemas) > 20
    for schema in schemas:
        for name, (_, described) in schema_fields(schema).items():
            assert described.metadata["meaning"], f"{schema.__name__}.{name}"
            assert set(described.metadata["bounds"]) <= set(BOUNDS)
