"""Each rule of a plan, on figures by hand: the choice, and that its reason names the figures."""

from dataclasses import replace

import pytest

from unet_train.planning.choose import choose, choose_length, postprocessing_seconds, without
from unet_train.planning.figures import DataFigures, MachineFigures
from unet_train.planning.pretrained import Pretrained
from unet_train.training.pace import is_validated

CELLS = DataFigures(
    images=30,
    groups=30,
    validation_images=6,
    height=512,
    width=600,
    channels=1,
    dtypes=("uint8",),
    shares={"background": 0.9, "cell": 0.1},
)
MACHINE = MachineFigures("cpu", 2, "bf16")
UP, ANY = ("upright", "they have an up"), ("any", "they have none")
LITE = Pretrained("timm", {"name": "tf_efficientnet_lite0"}, "lite.pth", "the weights named: lite.pth")


def plan(data=CELLS, pretrained=None, orientation=ANY, **keys):
    chosen = choose(replace(data, **keys), MACHINE, pretrained, orientation)
    assert len({choice.key for choice in chosen}) == len(chosen)
    assert all(choice.reason for choice in chosen)
    return {choice.key: choice for choice in chosen}


def test_plain_data_keep_the_defaults():
    chosen = plan()
    assert {key: choice.value for key, choice in chosen.items()} == {
        "encoder": "unet",
        "weights": "random",
        "augmentation": "light",
        "augmentation.orientation": "any",
        "augmentation.foreground_share": 0.5,
        "loss": "cross_entropy_batch_dice",
        "trainer.batch_size": 4,
    }
    assert "weights.path" in chosen["weights"].reason
    assert "10.00%" in chosen["augmentation.foreground_share"].reason
    assert "10.00%" in chosen["loss"].reason


def test_more_than_eight_bits():
    assert plan(dtypes=("float32",))["dataset.intensity_range"].value == "auto"
    assert plan(dtypes=("float32", "uint8"))["dataset.intensity_range"].value == "auto"


def test_touching_objects_are_parted():
    objects = {"objects": 200, "diameter": 56.0}
    assert plan(**objects, contacts=0.01)["dataset.target"].value == "classes"
    chosen = plan(**objects, contacts=0.3)
    assert chosen["dataset.target"].value == "foreground_border"
    assert plan(**objects, contacts=0.3, pretrained=LITE)["dataset.target"].value == "foreground_core"
    assert "30%" in chosen["dataset.target"].reason
    assert chosen["dataset.target_params"].value == {"width": 4}
    assert "56" in chosen["dataset.target_params"].reason
    assert plan(objects=9, diameter=5.0, contacts=1)["dataset.target_params"].value == {"width": 2}
    several = {"background": 0.8, "a": 0.1, "b": 0.1}
    assert "dataset.target" not in plan(**objects, contacts=0.3, shares=several)


@pytest.mark.parametrize(
    ("diameter", "height", "scale", "crop"),
    [
        (89, 512, None, None),
        (110, 512, 0.5, 192),
        (110, 250, None, None),
        (200, 512, 0.25, 128),
        (200, 500, 0.5, 192),
        (900, 9000, 0.25, 160),
    ],
)
def test_large_objects_are_seen_at_less_resolution(diameter, height, scale, crop):
    chosen = plan(objects=50, diameter=float(diameter), height=height)
    assert ("dataset.scale" in chosen) == (scale is not None)
    if scale is not None:
        assert chosen["dataset.scale"].value == scale
        assert str(diameter) in chosen["dataset.scale"].reason
        assert chosen["augmentation.crop_size"].value == crop


@pytest.mark.parametrize(("side", "crop"), [(512, 192), (384, 192), (320, 160), (256, 128)])
def test_a_scaled_crop_is_not_larger_than_the_scaled_image(side, crop):
    assert plan(objects=50, diameter=110.0, height=side)["augmentation.crop_size"].value == crop


@pytest.mark.parametrize(("scale", "crop"), [(1.0, None), (0.5, None), (0.25, 128)])
def test_a_scale_that_was_given_decides_the_crop(scale, crop):
    large = replace(CELLS, objects=50, diameter=110.0)
    chosen = {c.key: c for c in choose(large, MACHINE, None, ANY, scale=scale)}
    assert "dataset.scale" not in chosen
    assert (chosen["augmentation.crop_size"].value if crop else None) == crop
    assert ("augmentation.crop_size" in chosen) == (crop is not None)


def test_touching_objects_are_not_parted_where_a_key_of_the_users_needs_the_classes():
    """model.head=sigmoid has one output: a rim would be one too many, and the plan could not be trained."""
    touching = replace(CELLS, objects=50, diameter=56.0, contacts=0.3)
    chosen = {c.key: c for c in choose(touching, MACHINE, None, ANY, classes_for="model.head=sigmoid")}
    assert chosen["dataset.target"].value == "classes"
    assert "model.head=sigmoid" in chosen["dataset.target"].reason
    assert "dataset.target_params" not in chosen
    assert {c.key: c for c in choose(touching, MACHINE, None, ANY)}[
        "dataset.target"
    ].value == "foreground_border"


def test_why_there_are_no_weights():
    chosen = {c.key: c for c in choose(CELLS, MACHINE, None, ANY, no_weights="as it was given")}
    assert (chosen["weights"].value, chosen["weights"].reason) == ("random", "as it was given")


@pytest.mark.parametrize(("side", "crop"), [(256, None), (255, 256), (200, 224), (96, 96), (20, 32)])
def test_a_crop_is_not_larger_than_the_images_need(side, crop):
    chosen = plan(height=side, width=900)
    assert (chosen["augmentation.crop_size"].value if crop else None) == crop


def test_with_few_images_the_plan_says_what_the_start_decides():
    few, many = (plan(pretrained=LITE, images=count)["weights"] for count in (8, 9))
    assert few.value == many.value == "imagenet"
    assert "few images" in few.reason
    assert "few images" not in many.reason
    assert "weights.freeze_encoder" not in plan(pretrained=LITE, images=2), "freezing gained nothing"


def test_a_pretrained_encoder():
    chosen = plan(pretrained=LITE, objects=5, diameter=20.0)
    values = {key: choice.value for key, choice in chosen.items()}
    assert values["encoder"] == "timm"
    assert values["encoder.name"] == "tf_efficientnet_lite0"
    assert (values["weights"], values["weights.path"]) == ("imagenet", "lite.pth")
    assert "lite.pth" in chosen["encoder"].reason
    assert values["dataset.normalisation"] == "image"
    assert values["model.input_skip"] == 16
    coloured = plan(pretrained=replace(LITE, path=None), channels=3)
    assert coloured["dataset.normalisation"].value == "image"
    assert "model.input_skip" not in coloured
    assert "weights.path" not in coloured


def test_augmentation_by_orientation_and_objects():
    assert plan(objects=5, diameter=9.0)["augmentation"].value == "microscopy"
    chosen = plan(objects=5, diameter=9.0, orientation=UP)
    assert chosen["augmentation"].value == "light"
    assert chosen["augmentation.orientation"].value == "upright"
    assert chosen["augmentation.orientation"].reason == UP[1]


def test_stems_become_groups():
    assert "dataset.group_regex" not in plan()
    chosen = {c.key: c for c in choose(replace(CELLS, groups=5), MACHINE, None, ANY, "^(.+)_[0-9]+$")}
    assert chosen["dataset.group_regex"].value == "^(.+)_[0-9]+$"
    for figure in ("30", "5"):
        assert figure in chosen["dataset.group_regex"].reason


@pytest.mark.parametrize("minutes", [0.5, 3, 30, 300])
@pytest.mark.parametrize("step", [0.02, 0.5, 4.0])
@pytest.mark.parametrize("validation", [0.0, 2.0, 60.0])
def test_training_and_validation_fit_the_minutes(minutes, step, validation):
    chosen = {choice.key: choice.value for choice in choose_length(minutes, step, validation, 4)}
    epochs, samples = chosen["trainer.epochs"], chosen["trainer.samples_per_epoch"]
    assert samples % 4 == 0
    training = epochs * samples / 4 * step
    validations = sum(is_validated(e, chosen["trainer.val_every"], epochs) for e in range(1, epochs + 1))
    total = training + validations * validation
    seconds = 60 * minutes
    if validation + step > 0.95 * seconds:
        assert (epochs, samples) == (1, 4)  # as little as there is
    else:
        assert total <= 0.95 * seconds
        assert total >= 0.75 * seconds  # the time is used
        assert validations == 1 or validations * validation <= 0.2 * seconds
    assert 1 <= validations <= epochs <= 40


@pytest.mark.parametrize("minutes", [0.5, 4, 30])
@pytest.mark.parametrize("step", [0.02, 0.4, 3.0])
@pytest.mark.parametrize("validation", [0.0, 0.3, 8.0])
@pytest.mark.parametrize("epoch", [0.2, 1.5])
@pytest.mark.parametrize("other", [5.0, 20.0, 10_000.0])
def test_reading_and_writing_fit_the_minutes_too(minutes, step, validation, epoch, other):
    chosen = {
        choice.key: choice
        for choice in choose_length(minutes, step, validation, 4, other - 5, before=5.0, epoch_seconds=epoch)
    }
    epochs, samples, every = (
        chosen[f"trainer.{k}"].value for k in ("epochs", "samples_per_epoch", "val_every")
    )
    validations = sum(is_validated(e, every, epochs) for e in range(1, epochs + 1))
    steps = epochs * samples / 4
    besides = validations * validation + epochs * epoch
    seconds = max(60 * minutes * 0.95 - other, 30 * minutes)  # half of the time in any case
    if validation + epoch + step > seconds:
        assert (epochs, samples) == (1, 4)
        return
    assert steps * step + besides <= seconds
    assert steps * step + validation + epoch + step >= 0.6 * seconds  # the time is used
    assert "5 s until" in chosen["trainer.epochs"].reason
    assert f"{epoch:.2g} s" in chosen["trainer.epochs"].reason


def test_time_after_the_last_epoch_is_kept_free():
    def steps(afterwards):
        chosen = {c.key: c.value for c in choose_length(4, 0.5, 1.0, 4, afterwards)}
        return chosen["trainer.epochs"] * chosen["trainer.samples_per_epoch"] / 4

    assert steps(0) * 0.5 > 170
    assert steps(60) * 0.5 < 170
    assert steps(10_000) > 100  # half of the time is for training in any case
    assert postprocessing_seconds(6, 512, 512) == pytest.approx(6 * 8)
    assert postprocessing_seconds(6, 256, 512) == pytest.approx(6 * 4)
    (epochs, *_) = choose_length(4, 0.5, 1.0, 4, 60)
    assert "72 s" in epochs.reason  # these 60, and a twentieth of 240


def test_steps_are_not_lost_to_rounding():
    """79 steps in up to 40 epochs: 39 of 2 steps, not 40 of 1; 950 in 3 epochs: 3 of 316, not 2 of 317."""
    chosen = {choice.key: choice.value for choice in choose_length(79.5 / 60 / 0.95, 1.0, 0.0, 1)}
    assert (chosen["trainer.epochs"], chosen["trainer.samples_per_epoch"]) == (39, 2)
    chosen = {
        choice.key: choice.value for choice in choose_length(0.5, 0.02, 0.0, 1, before=5.0, epoch_seconds=1.5)
    }
    assert (chosen["trainer.epochs"], chosen["trainer.samples_per_epoch"]) == (3, 316)


TOUCHING = replace(CELLS, objects=50, diameter=110.0, contacts=0.5)
TARGET = {"dataset.target", "dataset.target_params"}


@pytest.mark.parametrize(
    ("given", "gone"),
    [
        ({"dataset", "dataset.root", "trainer.batch_size"}, {"trainer.batch_size"}),
        ({"dataset._target_"}, set()),
        ({"dataset.target"}, TARGET),
        ({"dataset.target_params"}, {"dataset.target_params"}),
        ({"encoder"}, {"encoder", "encoder.name"}),
        ({"encoder.depth"}, {"encoder", "encoder.name"}),
        ({"encoder._target_", "encoder.width"}, {"encoder", "encoder.name"}),
        ({"loss"}, {"loss"}),
        ({"loss._target_"}, {"loss"}),
        ({"loss.class_weights"}, set()),
        ({"augmentation"}, {"augmentation", *(f"augmentation.{k}" for k in ("crop_size", "orientation"))}),
        ({"augmentation.crop_size"}, {"augmentation.crop_size"}),
    ],
)
def test_what_the_user_chose_is_left_out(given, gone):
    chosen = choose(TOUCHING, MACHINE, LITE, ANY)
    keys = {choice.key for choice in chosen}
    assert keys >= TARGET | {"dataset.scale", "encoder.name", "augmentation.crop_size"}
    if "augmentation" in gone:
        gone = gone | {"augmentation.foreground_share"}
    assert keys - {choice.key for choice in without(chosen, given)} == gone
