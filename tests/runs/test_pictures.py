"""Which picture is drawn: outlines as ever for two classes and objects, panels for more, in the masks' colours."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from unet_train.data.description import DataDescription
from unet_train.data.io.images import read_image, read_labels, write_image
from unet_train.models.files import read_checkpoint, write_checkpoint
from unet_train.runs.pictures import compared, viewable_mask

COLOURS = [(0, 0, 0), (128, 64, 0), (0, 200, 100), (30, 30, 220)]
NAMES = ["ground", "tree", "car", "road"]
TINY = ["trainer.epochs=1", "trainer.samples_per_epoch=2", "trainer.batch_size=2", "trainer.workers=0"]
TINY += ["augmentation.crop_size=32", "encoder.init_features=4", "encoder.depth=2"]


def outlined(image, truth, prediction):
    """The outlines of two maps by their definition, pixel by pixel, at three times the size."""
    big = [np.kron(ids, np.ones((3, 3), ids.dtype)) for ids in (truth, prediction)]
    picture = image.repeat(3, 0).repeat(3, 1)
    picture[big[0] == 255] = (picture[big[0] == 255] * 0.45).astype(np.uint8)
    lines = []
    for ids, ignore in zip(big, (255, None), strict=True):
        line = np.zeros(ids.shape, bool)
        for shift in ((0, 1), (0, -1), (1, 0), (-1, 0)):
            padded = np.pad(ids, 1, mode="edge")
            beside = np.roll(padded, shift, (0, 1))[1:-1, 1:-1]
            line |= (ids != 0) & (ids != beside) & (ids != ignore) & (beside != ignore)
        lines.append(line)
    picture[lines[0]] = (255, 176, 0)
    picture[lines[1]] = (0, 170, 255)
    picture[lines[0] & lines[1]] = (255, 60, 200)
    return picture


@pytest.mark.parametrize(("names", "instances"), [(NAMES[:2], False), (NAMES[:2], True), (NAMES[:3], True)])
def test_two_classes_and_objects_have_outlines(names, instances):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 200, (200, 210, 3), dtype=np.uint8)
    truth, prediction = np.zeros((2, 200, 210), np.uint8)
    truth[20:90, 30:120], prediction[25:90, 30:140] = 1, 1
    truth[150:170], truth[100:120, 60:90] = 255, len(names) - 1
    prediction[140:160, 20:50] = len(names) - 1
    data = DataDescription("x", tuple(names), 3, has_instances=instances)
    picture = compared(data, image, truth, prediction, caption="a")
    np.testing.assert_array_equal(picture[:600, :630], outlined(image, truth, prediction))


def test_two_classes_are_viewed_in_black_and_white_whatever_the_palette():
    classes = np.array([[0, 1]], np.uint8)
    data = DataDescription("x", ("a", "b"), 3, palette=((9, 0, 0), (0, 9, 0)))
    assert viewable_mask(data, classes).tolist() == [[0, 255]]


def write_indexed(root, colours=COLOURS):
    """Three images with indexed-colour masks of four classes."""
    rng = np.random.default_rng(0)
    ids = np.kron(np.array([[0, 1, 2], [3, 2, 0]], np.uint8), np.ones((16, 16), np.uint8))
    (root / "masks").mkdir(parents=True)
    for i in range(3):
        write_image(
            root / "images" / f"{i}.png", (ids * 60 + rng.integers(0, 20, ids.shape)).astype(np.uint8)
        )
        mask = Image.fromarray(ids, mode="P")
        mask.putpalette(np.array(colours, np.uint8).tobytes())
        mask.save(root / "masks" / f"{i}.png")


def test_the_masks_palette_reaches_every_picture(tmp_path, run_command):
    write_indexed(tmp_path / "data")
    words = ["dataset=folder", f"dataset.root={tmp_path}/data", f"dataset.classes=[{','.join(NAMES)}]"]
    assert run_command("train", *TINY, *words, "hydra.run.dir=run") == 0
    content = read_checkpoint(Path("run/best.pt"))
    assert [tuple(c) for c in DataDescription.from_dict(content["data"]).palette] == COLOURS
    assert run_command("eval", "ckpt=run", "part=val", "output=eval") == 0
    assert run_command("predict", "ckpt=run", f"input={tmp_path}/data/images", "output=out") == 0
    classes, mask = read_labels("out/classes/0.tif"), read_image("out/masks/0.png")
    np.testing.assert_array_equal(mask, np.array(COLOURS, np.uint8)[classes])
    for picture in (read_image(next(Path("eval/overlays").glob("*.png"))), read_image("out/overlays/0.png")):
        for colour in COLOURS[1:]:
            assert (picture[-60:] == np.array(colour)).all(-1).sum() > 150, "in the legend"


def test_a_run_from_before_palettes_is_resumed_and_read(tmp_path, run_command):
    """Colours make no other run: checkpoints of before have none, and their masks may."""
    write_indexed(tmp_path / "data")
    words = ["dataset=folder", f"dataset.root={tmp_path}/data", f"dataset.classes=[{','.join(NAMES)}]"]
    assert run_command("train", *TINY, *words, "hydra.run.dir=run") == 0
    for name in ("best.pt", "last.pt"):
        content = read_checkpoint(Path("run") / name)
        del content["data"]["palette"]
        write_checkpoint(Path("run") / name, content)
    assert DataDescription.from_dict(read_checkpoint(Path("run/best.pt"))["data"]).palette is None
    assert run_command("train", "resume=run", "trainer.epochs=2") == 0


def test_validation_pictures_are_panels_too(tmp_path, run_command):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    write_indexed(tmp_path / "data")
    words = ["dataset=folder", f"dataset.root={tmp_path}/data", f"dataset.classes=[{','.join(NAMES)}]"]
    assert run_command("train", *TINY, *words, "hydra.run.dir=run") == 0
    events = accumulator.EventAccumulator("run/tensorboard", size_guidance={"images": 0})
    events.Reload()
    (tag,) = [tag for tag in events.Tags()["images"] if tag.startswith("val/")]
    Path("shown.png").write_bytes(events.Images(tag)[-1].encoded_image_string)
    shown = read_image("shown.png")
    assert shown.shape[1] == 2 * 480 + 8, "48 pixels wide, enlarged ten times, two beside each other"
    assert (shown[-60:] == np.array(COLOURS[2])).all(-1).sum() > 150


def test_large_images_have_panels_too(tmp_path, run_command, monkeypatch):
    from unet_train.inference import streaming

    write_indexed(tmp_path / "data")
    words = ["dataset=folder", f"dataset.root={tmp_path}/data", f"dataset.classes=[{','.join(NAMES)}]"]
    assert run_command("train", *TINY, *words, "hydra.run.dir=run") == 0
    monkeypatch.setattr(streaming, "LARGE_PIXELS", 100)
    tifffile.imwrite("large.tif", read_image(tmp_path / "data/images/0.png")[:, :, 0])
    assert run_command("predict", "ckpt=run", "input=large.tif", "output=out") == 0
    mask = read_image("out/masks/large.png")
    assert {tuple(c) for c in np.unique(mask.reshape(-1, 3), axis=0).tolist()} <= set(COLOURS)
    picture = read_image("out/overlays/large.png")
    assert (picture[-60:] == np.array(COLOURS[1])).all(-1).sum() > 150
