"""What a plan leaves as it is: the values as composed, the reasons by the figures."""

from dataclasses import replace

import pytest

from tests.planning.test_choose import CELLS
from unet_train.planning.kept import REASONS, kept_choices

VALUES = {
    "dataset.instances": False,
    "dataset.intensity_range": "auto",
    "dataset.scale": 0.5,
    "dataset.target": "classes",
    "dataset.normalisation": "auto",
    "split.val_fraction": 0.2,
    "augmentation.crop_size": 256,
    "augmentation.balance": False,
    "trainer.batch_size": 4,
    "trainer.accumulate": 1,
}


def kept(data=CELLS, decided=(), **values):
    changed = VALUES | {key.replace("__", "."): value for key, value in values.items()}
    return {choice.key: choice for choice in kept_choices(data, changed, set(decided))}


def test_values_stay_as_they_are():
    assert {key: choice.value for key, choice in kept().items()} == {key: VALUES[key] for key in REASONS}


@pytest.mark.parametrize("key", list(REASONS))
def test_what_is_decided_is_left_out(key):
    assert kept(decided=[key]).keys() == REASONS.keys() - {key}


def test_a_data_set_without_a_key():
    values = {key: value for key, value in VALUES.items() if key != "dataset.instances"}
    assert [c.key for c in kept_choices(CELLS, values, set())] == list(REASONS)[1:]


FEW = replace(CELLS, objects=321, diameter=40.0, contacts=0.012)


@pytest.mark.parametrize(
    ("key", "data", "figures"),
    [
        ("dataset.instances", CELLS, ["cell 10.0%"]),
        ("dataset.instances", FEW, ["321"]),
        ("dataset.intensity_range", CELLS, ["8-bit"]),
        ("dataset.scale", CELLS, ["512×600"]),
        ("dataset.scale", FEW, ["20 pixels", "256", "12.8"]),
        ("dataset.target", FEW, ["1.2%"]),
        ("dataset.target", replace(FEW, contacts=0.4), ["40%"]),
        ("dataset.normalisation", CELLS, ["1 channel:"]),
        ("dataset.normalisation", replace(CELLS, channels=4), ["4 channels:"]),
        ("split.val_fraction", CELLS, ["6 of 30", "30 groups"]),
        ("augmentation.crop_size", CELLS, ["256×300"]),
        ("trainer.accumulate", CELLS, ["4 crops"]),
    ],
)
def test_reasons_name_the_figures(key, data, figures):
    reason = kept(data)[key].reason
    for figure in figures:
        assert figure in reason


def test_values_of_the_data_set_are_not_called_the_default():
    assert "data set" in kept(dataset__normalisation="brain")["dataset.normalisation"].reason
