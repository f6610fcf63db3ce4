"""Batches and crops are halved until a step fits into memory; what is timed is timed by something else here."""

import pytest

from unet_train.errors import UserError
from unet_train.planning.trial import Seconds, try_steps

TOOK = Seconds(0.5, 0.1, 0.2)


class Machine:
    """Holds so many pixels of crops; remembers what it was asked for."""

    def __init__(self, pixels, error="out of memory on cpu"):
        self.pixels, self.error, self.asked = pixels, error, []

    def __call__(self, words, config_dir):
        keys = dict(word.split("=", 1) for word in words)
        assert len(keys) == len(words)
        sizes = [int(keys[key]) for key in ("trainer.batch_size", "trainer.accumulate")]
        crop = int(keys.get("augmentation.crop_size", 256))
        self.asked.append((*sizes, crop))
        if sizes[0] * crop**2 > self.pixels:
            raise UserError(self.error)
        return TOOK


@pytest.mark.parametrize(
    ("pixels", "fits"),
    [
        (4 * 256**2, (4, 1, None)),
        (3 * 256**2, (2, 2, None)),
        (256**2, (1, 4, None)),
        (256**2 - 1, (2, 2, 128)),
        (128**2, (1, 4, 128)),
        (128**2 - 1, (2, 2, 64)),
        (64**2, (1, 4, 64)),
    ],
)
def test_halved_until_it_fits(pixels, fits):
    machine = Machine(pixels)
    trial = try_steps(["trainer.batch_size=4"], measure=machine)
    assert (trial.batch_size, trial.accumulate, trial.crop_size) == fits
    assert machine.asked[-1] == (*fits[:2], fits[2] or 256)
    assert len(set(machine.asked)) == len(machine.asked)
    assert trial.seconds == TOOK


@pytest.mark.parametrize(
    ("words", "keys"),
    [
        ([], {"keep_crop": True}),
        (["augmentation.crop_size=64"], {}),
        (["augmentation.crop_size=[64,96]"], {}),
        (["augmentation.crop_size=null"], {}),
    ],
)
def test_crops_that_are_not_halved(words, keys):
    def none(words, config_dir):
        raise UserError("out of memory on cpu")

    with pytest.raises(UserError, match="out of memory"):
        try_steps(words, measure=none, **keys)


def test_another_mistake_is_not_taken_for_memory():
    machine = Machine(0, "loss=x: no")
    with pytest.raises(UserError, match="loss=x"):
        try_steps([], measure=machine)
    assert len(machine.asked) == 1


@pytest.mark.parametrize(("crop", "smaller"), [(224, 96), (200, 96), (96, 64)])
def test_halved_crops_fit_every_encoder(crop, smaller):
    """Sides of crops are multiples of 32, and 64 at least."""
    trial = try_steps(
        [f"augmentation.crop_size={crop}", "trainer.batch_size=1"], measure=Machine(crop**2 - 1)
    )
    assert trial.crop_size == smaller
