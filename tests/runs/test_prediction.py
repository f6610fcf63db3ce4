"""`unet-predict` on files: what it writes, under which names, what it skips, and what it says of bad input."""

import csv
import errno
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

from unet_train.checkpoint import Checkpoint
from unet_train.data.io.images import read_image, read_labels, write_image
from unet_train.errors import UserError
from unet_train.preprocessing.intensity import volume_statistics
from unet_train.runs import prediction
from unet_train.runs.checkpoint_files import PredictorSettings, brain_mri_predictor
from unet_train.runs.prediction_inputs import find_inputs, unique_names

ODD_NAMES = [
    "größe.tif",
    "image (1).tif",
    "it's.tif",
    "a,b.tif",
    "a&b.png",
    "x=1.png",
    "[1].tif",
    "50%.v2.png",
]


def drawn(seed: int = 0, size: tuple[int, int] = (20, 27), kind: type = np.uint8) -> np.ndarray:
    """An image of dark and bright pixels."""
    bright = np.random.default_rng(seed).random(size) > 0.6
    return (bright * np.iinfo(kind).max * 0.9).astype(kind)


def put(path: Path, image: np.ndarray) -> Path:
    write_image(path, image)
    return path


def files_below(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def one_line(capsys) -> str:
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    return error


def test_a_folder_gives_a_mask_a_class_map_and_an_overlay_per_image(
    tmp_path, threshold_model, run_command, capsys
):
    images = tmp_path / "images"
    names = [*ODD_NAMES, "sub/deep/a.png", "sub/b.bmp", "c.jpg"]
    for i, name in enumerate(names):
        put(images / name, drawn(i))
    (images / ".hidden.png").write_bytes(b"no image")
    output = tmp_path / "new" / "out put"
    model = threshold_model()
    assert run_command("predict", f"ckpt={model}", f"input={images}", f"output={output}") == 0
    stems = [str(Path(name).with_suffix("")) for name in names]
    assert files_below(output) == {
        "predicted.csv",
        *(
            f"{folder}/{stem}{end}"
            for stem in stems
            for folder, end in (("masks", ".png"), ("overlays", ".png"))
        ),
        *(f"classes/{stem}.tif" for stem in stems),
        "classes/dataset.json",
    }
    for i, (name, stem) in enumerate(zip(names, stems, strict=True)):
        truth = drawn(i) > 127 if not name.endswith("jpg") else read_image(images / name)[..., 0] > 127
        classes = tifffile.imread(output / "classes" / f"{stem}.tif")
        assert classes.dtype == np.uint8
        np.testing.assert_array_equal(classes, truth)
        mask = read_image(output / "masks" / f"{stem}.png")
        np.testing.assert_array_equal(mask[..., 0], truth * 255, err_msg="black and white, one channel")
        assert mask.shape[2] == 1
        assert min(read_image(output / "overlays" / f"{stem}.png").shape[:2]) > 20
    assert re.search(rf"\b{len(names)} of {len(names)} .*{re.escape(str(output))}", capsys.readouterr().out)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_single_image_of_any_name_as_typed(tmp_path, threshold_model, run_command, name):
    image = put(tmp_path / name, drawn())
    assert (
        run_command("predict", f"ckpt={threshold_model()}", f"input={image}", f"output={tmp_path / 'o'}") == 0
    )
    assert (tmp_path / "o" / "masks" / f"{Path(name).stem}.png").is_file()


def test_the_home_folder_a_run_folder_and_a_relative_output(
    tmp_path, monkeypatch, threshold_model, run_command
):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    put(tmp_path / "in" / "a.png", drawn())
    threshold_model("run/best.pt")
    assert run_command("predict", "ckpt=~/run", "input=~/in/a.png", "output=~/out") == 0
    assert (tmp_path / "out" / "masks" / "a.png").is_file()


def test_an_existing_path_wins_over_a_pattern(tmp_path):
    for name in ("[ab].png", "a.png", "b.png"):
        put(tmp_path / name, drawn())
    assert [j.name.name for j in find_inputs(str(tmp_path / "[ab].png")).jobs] == ["[ab]"]
    (tmp_path / "[ab].png").unlink()
    assert [j.name.name for j in find_inputs(str(tmp_path / "[ab].png")).jobs] == ["a", "b"]


def test_patterns_keep_the_folders_below_their_plain_part(tmp_path):
    for name in ("p1/s10.png", "p1/s2.png", "p2/x/s1.png", "p2/note.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    names = [j.name.as_posix() for j in find_inputs(str(tmp_path / "p*")).jobs]
    assert names == ["p1/s2", "p1/s10", "p2/x/s1"], (
        "a folder that matches stands for its images; natural order"
    )
    assert [j.name.as_posix() for j in find_inputs(str(tmp_path / "*" / "s1*.png")).jobs] == ["p1/s10"]
    assert [j.name.as_posix() for j in find_inputs(str(tmp_path / "**" / "s1.png")).jobs] == ["p2/x/s1"]


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["a.png", "b.tif"], ["a", "b"]),
        (["a.png", "a.tif", "b.tif"], ["a.png", "a.tif", "b"]),
        (["x/a.png", "y/a.tif"], ["x/a", "y/a"]),
        (["a.png", "A.tif"], ["a.png", "A.tif"]),
        (["a.png", "a.tif", "a.png.tif"], ["a.png", "a.tif", "a.png.tif"]),
        (["a.v1.png", "a.v2.png"], ["a.v1", "a.v2"]),
    ],
)
def test_the_ending_is_kept_where_names_would_collide(files, names):
    assert [n.as_posix() for n in unique_names(map(Path, files))] == names


def test_colliding_images_both_get_their_results(tmp_path, threshold_model, run_command):
    for i, name in enumerate(("a.png", "a.tif")):
        put(tmp_path / "in" / name, drawn(i))
    run_command(
        "predict", f"ckpt={threshold_model()}", f"input={tmp_path / 'in'}", f"output={tmp_path / 'o'}"
    )
    for i, name in enumerate(("a.png", "a.tif")):
        np.testing.assert_array_equal(read_labels(tmp_path / "o" / "classes" / f"{name}.tif"), drawn(i) > 127)


def test_a_second_run_skips_what_is_done_and_only_that(tmp_path, threshold_model, run_command, capsys):
    images, output = tmp_path / "in", tmp_path / "in" / "out"
    put(images / "a.png", drawn(0))
    put(images / "b.png", drawn(1))
    words = ["predict", f"ckpt={threshold_model()}", f"input={images}", f"output={output}"]
    assert run_command(*words) == 0
    before = {name: (output / name).stat().st_mtime_ns for name in files_below(output)}
    assert len(before) == 8
    capsys.readouterr()
    assert run_command(*words) == 0
    said = capsys.readouterr().out
    assert "2 of 2 done already" in said, "and results inside the input folder are no inputs"
    assert "overwrite=true" in said
    assert {name: (output / name).stat().st_mtime_ns for name in files_below(output)} == before

    (output / "masks" / "a.png").unlink()
    put(images / "b.png", drawn(5))
    put(images / "c.png", drawn(6))
    assert run_command(*words) == 0
    assert "3 of 3 images predicted" in capsys.readouterr().out, "a lost result, a changed and a new image"
    np.testing.assert_array_equal(read_labels(output / "classes" / "b.tif"), drawn(5) > 127)

    assert run_command(*words, "probabilities=true") == 0
    assert "3 of 3 images predicted" in capsys.readouterr().out, "probabilities were not there"
    assert run_command(*words, "probabilities=true") == 0
    assert "3 of 3 done already" in capsys.readouterr().out
    assert run_command(*words, "overwrite=true") == 0
    assert "3 of 3 images predicted" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("views", "word", "said"),
    [
        (("identity", "horizontal_flip"), "true", "horizontal flip"),
        (("identity",), "true", "tta=all"),
        (("identity",), "all", "8"),
    ],
)
def test_tta_says_what_it_averages_over(tmp_path, threshold_model, run_command, capsys, views, word, said):
    image = put(tmp_path / "a.png", drawn(0))
    path = threshold_model()
    replace(Checkpoint.read(path), views=views, path=None).write(path)
    words = ["predict", f"ckpt={path}", f"input={image}", f"output={tmp_path / 'out'}", f"tta={word}"]
    assert run_command(*words) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith(f"tta={word}")]
    assert said in line
    assert run_command(*words) == 0
    assert "1 of 1 done already" in capsys.readouterr().out


def test_results_of_another_model_or_of_a_namesake_are_not_mixed(
    tmp_path, threshold_model, run_command, capsys
):
    first, other = put(tmp_path / "x" / "a.png", drawn(0)), put(tmp_path / "y" / "a.png", drawn(1))
    output = f"output={tmp_path / 'out'}"
    model = threshold_model()
    assert run_command("predict", f"ckpt={model}", f"input={first}", output) == 0
    another = threshold_model("other.pt", threshold=0.2)
    assert run_command("predict", f"ckpt={another}", f"input={first}", output) == 2
    assert "another model" in one_line(capsys)
    assert run_command("predict", f"ckpt={model}", f"input={first}", output, "tta=all") == 2
    assert "overwrite=true" in one_line(capsys)
    assert run_command("predict", f"ckpt={model}", f"input={other}", output) == 1
    assert re.search(rf"{re.escape(str(other))}: .*{re.escape(str(first))}", capsys.readouterr().out)
    np.testing.assert_array_equal(read_labels(tmp_path / "out" / "classes" / "a.tif"), drawn(0) > 127)
    assert run_command("predict", f"ckpt={model}", f"input={other}", output, "overwrite=true") == 0
    np.testing.assert_array_equal(read_labels(tmp_path / "out" / "classes" / "a.tif"), drawn(1) > 127)


def test_bad_images_are_named_at_the_end_and_the_others_finished(
    tmp_path, threshold_model, run_command, capsys
):
    images = tmp_path / "in"
    put(images / "a.png", drawn())
    put(images / "colour.png", np.random.default_rng(0).integers(0, 255, (9, 9, 3), np.uint8))
    (images / "empty.tif").write_bytes(b"")
    (images / "text.png").write_text("no image")
    put(images / "z.png", drawn())
    (images / "cut.png").write_bytes((images / "z.png").read_bytes()[:-30])
    words = ["predict", f"ckpt={threshold_model()}", f"input={images}", f"output={tmp_path / 'out'}"]
    assert run_command(*words) == 1
    said = capsys.readouterr().out.splitlines()
    assert "2 of 6 images predicted" in said[-5]
    assert all(line.startswith("not predicted: ") for line in said[-4:])
    whats = [("colour.png", "3 channels"), ("cut.png", "truncated")]
    whats += [("empty.tif", "empty"), ("text.png", "not a")]
    for line, (name, what) in zip(said[-4:], whats, strict=True):
        assert name in line
        assert what in line
    assert {"classes/a.tif", "classes/z.tif"} <= files_below(tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.part"))
    assert run_command(*words) == 1, "the bad ones are tried, and named, again"


@pytest.mark.parametrize(("declared", "code"), [(None, 1), (3, 0)])
def test_grey_images_for_a_colour_model_only_where_training_took_them(
    tmp_path, threshold_model, run_command, capsys, declared, code
):
    model = threshold_model(channels=3, config={"dataset": {"channels": declared}})
    image = put(tmp_path / "grey.png", drawn())
    assert run_command("predict", f"ckpt={model}", f"input={image}", f"output={tmp_path / 'o'}") == code
    assert bool(re.search(r"\b1 channels.*model.* 3\b", capsys.readouterr().out)) == bool(code)


def test_all_kinds_of_pixels_give_the_same_classes(tmp_path, threshold_model, run_command):
    images = tmp_path / "in"
    grey = drawn()
    put(images / "g8.png", grey)
    put(images / "rgb_of_grey.png", np.repeat(grey[..., None], 3, 2))
    put(images / "g16.png", grey.astype(np.uint16) * 257)
    put(images / "g16.tif", grey.astype(np.uint16) * 257)
    put(images / "float.tif", grey.astype(np.float32) / 255)
    assert (
        run_command("predict", f"ckpt={threshold_model()}", f"input={images}", f"output={tmp_path / 'o'}")
        == 0
    )
    found = sorted((tmp_path / "o" / "classes").glob("*.tif"))
    assert len(found) == 5
    for path in found:
        np.testing.assert_array_equal(read_labels(path), grey > 127, err_msg=path.name)


def test_a_declared_range_counts_unless_another_is_given(tmp_path, threshold_model, run_command):
    image = put(tmp_path / "a.tif", np.arange(400, dtype=np.uint16).reshape(20, 20))
    model = threshold_model(intensity_range=(0.0, 399.0))
    for name, words, count in (("as_trained", [], 200), ("other", ["intensity_range=[0,199.5]"], 300)):
        assert (
            run_command(
                "predict",
                f"ckpt={model}",
                f"input={image}",
                f"output={tmp_path / name}",
                "precision=32",
                *words,
            )
            == 0
        )
        assert read_labels(tmp_path / name / "classes" / "a.tif").sum() == count


def test_many_channels_and_classes(tmp_path, threshold_model, run_command):
    image = np.random.default_rng(0).integers(0, 255, (16, 18, 5), np.uint8)
    put(tmp_path / "in" / "interleaved.tif", image)
    tifffile.imwrite(
        tmp_path / "in" / "planes.tif", np.moveaxis(image, -1, 0)
    )  # an axis only the model explains
    model = threshold_model(channels=5, classes=("background", "cell", "nucleus"), threshold=0.33)
    words = ["predict", f"ckpt={model}", f"input={tmp_path / 'in'}", f"output={tmp_path / 'o'}"]
    assert run_command(*words, "probabilities=true", "precision=32") == 0
    last = image[..., -1] / 255
    expected = (last > 0.33).astype(np.uint8) + (last > 0.66)
    for name in ("interleaved", "planes"):
        classes = read_labels(tmp_path / "o" / "classes" / f"{name}.tif")
        np.testing.assert_array_equal(classes, expected)
        probabilities = tifffile.imread(tmp_path / "o" / "probabilities" / f"{name}.tif")
        assert probabilities.dtype == np.float16
        assert probabilities.shape == (16, 18, 3)
        np.testing.assert_allclose(probabilities.astype(float).sum(2), 1, atol=2e-3)
        np.testing.assert_array_equal(probabilities.argmax(2), classes)
        colours = np.unique(read_image(tmp_path / "o" / "masks" / f"{name}.png").reshape(-1, 3), axis=0)
        assert len(colours) == 3


def test_several_checkpoints_are_averaged(tmp_path, threshold_model, run_command, capsys):
    image = put(tmp_path / "a.png", np.tile(np.arange(0, 255, 5, dtype=np.uint8), (8, 1)))
    a, b = (
        threshold_model("a.pt", threshold=0.3, steepness=10),
        threshold_model("b (2).pt", threshold=0.7, steepness=10),
    )
    for name, ckpt in (("a", a), ("b", b), ("both", f"[{a},{b}]")):
        words = [f"ckpt={ckpt}", f"input={image}", f"output={tmp_path / name}", "probabilities=true"]
        assert run_command("predict", *words) == 0
    one, two, both = (
        tifffile.imread(tmp_path / n / "probabilities" / "a.tif").astype(float) for n in ("a", "b", "both")
    )
    np.testing.assert_allclose(both, (one + two) / 2, atol=1e-3)
    np.testing.assert_array_equal(
        read_labels(tmp_path / "both" / "classes" / "a.tif"), read_image(image)[..., 0] / 255 > 0.5
    )
    other = threshold_model("c.pt", classes=("background", "nucleus"))
    capsys.readouterr()
    assert run_command("predict", f"ckpt=[{a},{other}]", f"input={image}", f"output={tmp_path / 'x'}") == 2
    assert "classes" in one_line(capsys)


def test_objects_where_the_checkpoint_knows_them(tmp_path, threshold_model, run_command):
    image = np.zeros((40, 50), np.uint8)
    image[5:15, 5:15] = image[20:35, 20:45] = image[5:7, 30:32] = 250
    put(tmp_path / "a.png", image)
    rule = {"min_size": 20, "min_seed": 1}
    model = threshold_model(has_instances=True, objects=rule)
    words = ["predict", f"ckpt={model}", f"input={tmp_path / 'a.png'}", f"output={tmp_path / 'o'}"]
    assert run_command(*words, "tile.size=32", "tta=all") == 0
    objects = tifffile.imread(tmp_path / "o" / "objects" / "a.tif")
    assert objects.dtype == np.uint16
    assert sorted(np.unique(objects, return_counts=True)[1][1:].tolist()) == [100, 375], (
        "the small one is dropped"
    )
    assert files_below(tmp_path / "o") == {
        "predicted.csv",
        "masks/a.png",
        "classes/a.tif",
        "classes/dataset.json",
        "objects.csv",
        "objects/a.csv",
        "objects/a.tif",
        "overlays/a.png",
    }
    plain = threshold_model("plain.pt", has_instances=True)
    assert (
        run_command("predict", f"ckpt={plain}", f"input={tmp_path / 'a.png'}", f"output={tmp_path / 'p'}")
        == 0
    )
    assert not (tmp_path / "p" / "objects").exists(), "no rule, no objects"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["ckpt={m}", "input={t}/nothing", "output={t}/o"], "/nothing"),
        (["ckpt={m}", "input={t}/x*.png", "output={t}/o"], "/x*.png"),
        (["ckpt={m}", "input={t}/none", "output={t}/o"], "/none"),
        (["ckpt={t}/no.pt", "input={t}/a.png", "output={t}/o"], "/no.pt"),
        (["ckpt=[]", "input={t}/a.png", "output={t}/o"], "ckpt"),
        (["input={t}/a.png", "output={t}/o"], "ckpt"),
        (["ckpt={m}", "output={t}/o"], "input"),
        (["ckpt={m}", "input={t}/a.png"], "output"),
        (["ckpt={m}", "weights=brain_mri", "input={t}/a.png", "output={t}/o"], "weights=brain_mri"),
        (["weights=imagenet", "input={t}/a.png", "output={t}/o"], "weights=imagenet"),
        (["weights=brain_mri", "weights.path={t}/no.pt", "input={t}/a.png", "output={t}/o"], "/no.pt"),
        (["ckpt={m}", "input={t}/a.png", "output={t}/a.png"], "is a file"),
        (["ckpt={m}", "input={t}/a.png", "output={t}/a.png/below"], "is a file"),
        (["ckpt={m}", "input={t}/a.png", "output={t}/o", "intensity_range=[3]"], "intensity_range"),
        (["ckpt={m}", "input={t}/a.png", "output={t}/o", "format=png"], "images, ctc"),
        (["ckpt={m}", "input={t}/a.png", "output={t}/o", "overwrit=true"], "overwrite?"),
        (["ckpt={m}", "input={t}/a.png", "output={t}/o", "tile.size=32", "tile.overlap=32"], "tile.overlap"),
        (["ckpt={t}/a.png", "input={t}/a.png", "output={t}/o"], "a.png"),
        (["ckpt={m}", "input={t}/a.png", "output={t}/o", "format=ctc"], "/a.png: format=ctc"),
        (["ckpt={m}", "input={t}/none", "output={t}/none", "format=ctc"], "/none: "),
    ],
)
def test_user_errors_are_one_line(tmp_path, threshold_model, run_command, capsys, words, says):
    put(tmp_path / "a.png", drawn())
    (tmp_path / "none").mkdir()
    model = threshold_model()
    assert run_command("predict", *(w.format(m=model, t=tmp_path) for w in words)) == 2
    assert says in one_line(capsys)
    assert not (tmp_path / "o" / "masks").exists()


def test_errors_of_the_command_line_come_without_torch(tmp_path):
    code = (
        "import sys\n"
        "from unet_train.commands import shell, predict\n"
        f"words = ['weights=brain_mri', 'input={tmp_path / 'no'}', 'output=o']\n"
        "assert shell.run('predict', predict.predict, words) == 2\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert str(tmp_path / "no") in done.stderr


def test_stopping_leaves_whole_files_and_a_second_run_goes_on(
    tmp_path, threshold_model, run_command, monkeypatch, capsys
):
    for i in range(3):
        put(tmp_path / "in" / f"{i}.png", drawn(i))
    words = ["predict", f"ckpt={threshold_model()}", f"input={tmp_path / 'in'}", f"output={tmp_path / 'o'}"]
    write, calls = prediction.write_image, []

    def stop_in_the_second(path, array):
        calls.append(path)
        if path.parent.name == "overlays" and path.stem == "1":
            raise KeyboardInterrupt
        write(path, array)

    monkeypatch.setattr(prediction, "write_image", stop_in_the_second)
    assert run_command(*words) == 130
    assert not list((tmp_path / "o").rglob("*.part"))
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    assert run_command(*words) == 0
    assert "1 of 3 done already" in capsys.readouterr().out


def test_a_full_disk_is_said_in_one_line(tmp_path, threshold_model, run_command, monkeypatch, capsys):
    put(tmp_path / "a.png", drawn())

    def full(path, array, **_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(prediction, "write_labels", full)
    words = [f"ckpt={threshold_model()}", f"input={tmp_path / 'a.png'}", f"output={tmp_path / 'o'}"]
    assert run_command("predict", *words) == 2
    assert "No space left" in one_line(capsys)


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_sigterm_ends_with_143(tmp_path, threshold_model):
    for i in range(200):
        put(tmp_path / "in" / f"{i}.png", drawn(i))
    words = [f"ckpt={threshold_model()}", f"input={tmp_path / 'in'}", f"output={tmp_path / 'o'}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "unet_train.commands.predict", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    until = time.monotonic() + 120
    while not (tmp_path / "o" / "predicted.csv").exists() and time.monotonic() < until:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 143
    assert not list((tmp_path / "o").rglob("*.part"))
    with open(tmp_path / "o" / "predicted.csv", newline="") as file:
        names = [row["name"] for row in csv.DictReader(file)]
    assert 0 < len(names) < 200
    assert all((tmp_path / "o" / "overlays" / f"{name}.png").is_file() for name in names)


# --- volumes ------------------------------------------------------------------------------------------
def slices(folder: Path, numbers: tuple[int, ...], seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    images = [rng.integers(0, 40 * (seed + 1), (32, 32, 3), np.uint8) for _ in numbers]
    for n, image in zip(numbers, images, strict=True):
        put(folder / f"{folder.name}_{n}.tif", image)
        put(folder / f"{folder.name}_{n}_mask.tif", np.zeros((32, 32), np.uint8))
    return images


def test_slices_are_normalised_by_patient(tmp_path, threshold_model, run_command, capsys):
    root = tmp_path / "kaggle_3m"
    patients = {f"TCGA_{p}_7": slices(root / f"TCGA_{p}_7", (2, 3, 10), s) for s, p in enumerate("AB")}
    model = threshold_model(channels=3, normalisation="volume", threshold=0.7)
    assert run_command("predict", f"ckpt={model}", f"input={root}", f"output={tmp_path / 'o'}") == 0
    assert re.search(r"\b6 masks\b", capsys.readouterr().out)
    for name, images in patients.items():
        # Percentiles, clipping and z-score of the whole patient, written out; the model looks at channel 2.
        volume = np.stack(images) / 255.0
        low, high = np.percentile(volume, (10, 99))
        volume = (np.clip(volume, low, high) - low) / (high - low)
        scores = ((volume - volume.mean((0, 1, 2))) / volume.std((0, 1, 2)))[..., 2]
        for score, n in zip(scores, (2, 3, 10), strict=True):
            written = read_labels(tmp_path / "o" / "classes" / name / f"{name}_{n}.tif")
            np.testing.assert_array_equal(written, score > 0.7)
    # One slice alone, or by a pattern: the other slices of the patient still count.
    one = root / "TCGA_A_7" / "TCGA_A_7_3.tif"
    whole = read_labels(tmp_path / "o" / "classes" / "TCGA_A_7" / "TCGA_A_7_3.tif")
    for place, typed, name in (
        ("one", one, one.stem),
        ("pattern", root / "*" / "*_3.tif", f"TCGA_A_7/{one.stem}"),
    ):
        assert run_command("predict", f"ckpt={model}", f"input={typed}", f"output={tmp_path / place}") == 0
        np.testing.assert_array_equal(read_labels(tmp_path / place / "classes" / f"{name}.tif"), whole)
    assert "the only slice" not in capsys.readouterr().out


def test_the_published_brain_model_in_place_of_a_checkpoint(tmp_path, brain_file, run_command, capsys):
    images = slices(tmp_path / "p_1", (1, 2, 3), 2)
    words = ["weights=brain_mri", f"weights.path={brain_file}", "probabilities=true", "precision=32"]
    typed = [f"input={tmp_path / 'p_1' / 'p_1_2.tif'}", f"output={tmp_path / 'o'}"]
    assert run_command("predict", *words, *typed) == 0
    assert "sha256" in capsys.readouterr().out, "this file is not the published one, and that is told"
    model = brain_mri_predictor(str(brain_file), PredictorSettings(precision="32"))[0]
    expected = model.predict(images[1], volume_statistics(images, "brain"))
    written = tifffile.imread(tmp_path / "o" / "probabilities" / "p_1_2.tif")
    np.testing.assert_allclose(written, expected.probabilities.transpose(1, 2, 0), atol=1e-3)
    assert np.ptp(written[..., 1]) > 0.01


def test_a_broken_slice_does_not_spoil_its_volume(tmp_path, threshold_model, run_command, capsys):
    model = threshold_model(normalisation="volume", threshold=1.0)
    folder = tmp_path / "p"
    images = [drawn(i) for i in range(3)]
    for i, image in enumerate(images):
        put(folder / f"s_{i}.png", image)
    (folder / "s_3.png").write_text("broken")
    assert run_command("predict", f"ckpt={model}", f"input={folder}", f"output={tmp_path / 'o'}") == 1
    assert "s_3.png" in capsys.readouterr().out
    statistics = volume_statistics([image[..., None] for image in images])
    assert statistics.std[0] > 0
    np.testing.assert_array_equal(read_labels(tmp_path / "o" / "classes" / "s_0.tif"), images[0] > 127)
    put(folder / "s_3.png", drawn(3, kind=np.uint16))
    assert (
        run_command("predict", f"ckpt={model}", f"input={folder / 's_1.png'}", f"output={tmp_path / 'q'}")
        == 1
    )
    assert "cannot be normalised as one volume" in capsys.readouterr().out


def test_a_single_slice_is_told_that_it_stands_alone(tmp_path, threshold_model, run_command, capsys):
    model = threshold_model(normalisation="volume")
    image = put(tmp_path / "alone" / "s_1.png", drawn())
    put(tmp_path / "alone" / "other_1.png", drawn())
    assert run_command("predict", f"ckpt={model}", f"input={image}", f"output={tmp_path / 'o'}") == 0
    assert "the only slice of its volume" in capsys.readouterr().out


# --- large images -------------------------------------------------------------------------------------
def test_large_tifs_are_streamed_with_previews(tmp_path, threshold_model, run_command, monkeypatch, capsys):
    monkeypatch.setattr(prediction.streaming, "LARGE_PIXELS", 1000)
    monkeypatch.setattr(prediction.streaming, "PREVIEW_SIDE", 40)
    image = drawn(size=(90, 120))
    put(tmp_path / "in" / "large.tif", image)
    put(tmp_path / "in" / "small.tif", drawn())
    model = threshold_model(has_instances=True, objects={"min_size": 1, "min_seed": 1})
    words = [
        "predict",
        f"ckpt={model}",
        f"input={tmp_path / 'in'}",
        f"output={tmp_path / 'o'}",
        "tile.size=48",
    ]
    assert run_command(*words, "probabilities=true") == 0
    said = capsys.readouterr().out
    assert re.search(r"large\.tif: 90×120 .*objects.*probabilities", said)
    assert "every 3th pixel" in said
    np.testing.assert_array_equal(read_labels(tmp_path / "o" / "classes" / "large.tif"), image > 127)
    assert read_image(tmp_path / "o" / "masks" / "large.png").shape == (30, 40, 1)
    assert {"objects/small.tif", "overlays/large.png", "overlays/small.png"} <= files_below(tmp_path / "o")
    assert not (tmp_path / "o" / "objects" / "large.tif").exists()
    assert run_command(*words, "probabilities=true") == 0
    assert "2 of 2 done already" in capsys.readouterr().out
    words[1], words[3] = f"ckpt=[{model},{model}]", f"output={tmp_path / 'p'}"
    assert run_command(*words) == 1
    assert "too large for several checkpoints" in capsys.readouterr().out


# --- the challenge's format ---------------------------------------------------------------------------
def sequence(folder: Path, count: int = 5) -> list[np.ndarray]:
    """Two squares that move; the third frame is empty."""
    frames = []
    for t in range(count):
        frame = np.zeros((48, 60), np.uint8)
        if t != 2:
            frame[5 + t : 17 + t, 8:20] = frame[24:40, 30 + t : 44 + t] = 250
        frames.append(frame)
        put(folder / f"t{t:03}.tif", frame)
    return frames


@pytest.fixture
def cell_model(threshold_model):
    return threshold_model(has_instances=True, objects={"min_size": 10, "min_seed": 1})


def test_a_sequence_becomes_a_result_folder_that_the_challenges_measure_takes(
    tmp_path, cell_model, run_command, capsys
):
    ctc = pytest.importorskip("ctc_metrics")
    frames = sequence(tmp_path / "01")
    result = tmp_path / "01_RES"
    words = ["predict", f"ckpt={cell_model}", f"input={tmp_path / '01'}", f"output={result}", "format=ctc"]
    assert run_command(*words) == 0
    masks = [f"mask{t:03}.tif" for t in range(5)]
    assert files_below(result) == {
        *masks,
        "res_track.txt",
        "predicted.csv",
        *(f"overlays/mask{t:03}.png" for t in range(5)),
    }
    for t, frame in enumerate(frames):
        mask = tifffile.imread(result / f"mask{t:03}.tif")
        assert mask.dtype == np.uint16
        np.testing.assert_array_equal(mask > 0, frame > 127)
    tracks = sorted(
        tuple(map(int, line.split())) for line in (result / "res_track.txt").read_text().splitlines()
    )
    assert sorted(t[1:] for t in tracks) == [(0, 1, 0), (0, 1, 0), (3, 4, 0), (3, 4, 0)]
    for kind, name in (("SEG", "man_seg"), ("TRA", "man_track")):
        (tmp_path / "01_GT" / kind).mkdir(parents=True)
        for t in range(5):
            tifffile.imwrite(
                tmp_path / "01_GT" / kind / f"{name}{t:03}.tif", tifffile.imread(result / masks[t])
            )
    (tmp_path / "01_GT" / "TRA" / "man_track.txt").write_text((result / "res_track.txt").read_text())
    scores = ctc.evaluate_sequence(
        str(result), str(tmp_path / "01_GT"), metrics=["Valid", "SEG", "DET"], threads=1
    )
    assert (scores["Valid"], scores["SEG"], scores["DET"]) == (1, 1, 1)
    capsys.readouterr()
    assert run_command(*words) == 0
    assert "5 of 5 done already" in capsys.readouterr().out
    (result / "res_track.txt").unlink()
    assert run_command(*words) == 2
    assert "overwrite=true" in one_line(capsys)
    assert run_command(*words, "overwrite=true") == 0


def test_an_unreadable_frame_is_written_empty_and_named(tmp_path, cell_model, run_command, capsys):
    sequence(tmp_path / "01")
    (tmp_path / "01" / "t003.tif").write_bytes(b"II*\0broken")
    words = [f"ckpt={cell_model}", f"input={tmp_path / '01'}", f"output={tmp_path / 'r'}", "format=ctc"]
    assert run_command("predict", *words) == 1
    assert "t003.tif" in capsys.readouterr().out
    assert not tifffile.imread(tmp_path / "r" / "mask003.tif").any()
    assert run_command("predict", *words) == 1, "not done, so named again"
    capsys.readouterr()
    # Mended, it is done again, and the whole sequence with it.
    sequence(tmp_path / "01")
    assert run_command("predict", *words) == 0
    assert "done again" in capsys.readouterr().out
    assert tifffile.imread(tmp_path / "r" / "mask003.tif").any()
    assert run_command("predict", *words) == 0
    assert "5 of 5 done already" in capsys.readouterr().out


def test_results_of_another_model_or_sequence_are_not_taken_for_done(
    tmp_path, cell_model, threshold_model, run_command, capsys
):
    for name in ("01", "02"):
        sequence(tmp_path / name)
    words = [f"output={tmp_path / 'r'}", "format=ctc"]
    first = [f"ckpt={cell_model}", f"input={tmp_path / '01'}"]
    assert run_command("predict", *first, *words) == 0
    other = threshold_model("other.pt", threshold=0.3, has_instances=True)
    capsys.readouterr()
    assert run_command("predict", f"ckpt={other}", first[1], *words) == 2
    assert "by another model" in one_line(capsys)
    assert run_command("predict", first[0], f"input={tmp_path / '02'}", *words) == 2
    assert "holds results of" in one_line(capsys)


def test_what_is_no_sequence_of_objects_is_refused(
    tmp_path, cell_model, threshold_model, run_command, capsys
):
    sequence(tmp_path / "01")
    words = [f"input={tmp_path / '01'}", f"output={tmp_path / 'r'}", "format=ctc"]
    plain = threshold_model("plain.pt")
    assert run_command("predict", f"ckpt={plain}", *words) == 2
    assert "single objects" in one_line(capsys)
    put(tmp_path / "01" / "t005.tif", np.zeros((48, 61), np.uint8))
    assert run_command("predict", f"ckpt={cell_model}", *words) == 2
    assert re.search(r"t005\.tif: .*48×61.*48×60", one_line(capsys))
    assert not list((tmp_path / "r").rglob("*.tif"))
    (tmp_path / "01" / "t005.tif").unlink()
    put(tmp_path / "01" / "t1.tif", np.zeros((48, 60), np.uint8))
    assert run_command("predict", f"ckpt={cell_model}", *words) == 2
    assert re.search(r"frame 1\b", one_line(capsys))


def test_masks_are_inputs_where_the_pattern_asks_for_them(tmp_path):
    for name in ("a.tif", "a_mask.tif", "lonely_mask.tif"):
        (tmp_path / "x_masks" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "x_masks" / name).write_bytes(b"")
    inputs = find_inputs(str(tmp_path / "x_masks"))
    assert [j.name.name for j in inputs.jobs] == ["a", "lonely_mask"]
    (note,) = inputs.notes
    assert re.match(r"1 mask.*a_mask\.tif", note)
    pattern = find_inputs(str(tmp_path / "x_masks" / "*_mask.tif"))
    assert [j.name.name for j in pattern.jobs] == ["a_mask", "lonely_mask"]
    with pytest.raises(UserError, match=r"nothing\.png"):
        find_inputs(str(tmp_path / "nothing.png"))


@pytest.mark.skipif(os.name == "nt", reason="links")
def test_a_link_to_nothing_is_one_bad_image(tmp_path, threshold_model, run_command, capsys):
    put(tmp_path / "in" / "a.png", drawn())
    (tmp_path / "in" / "b.png").symlink_to(tmp_path / "gone.png")
    words = [f"ckpt={threshold_model()}", f"input={tmp_path / 'in'}", f"output={tmp_path / 'o'}"]
    assert run_command("predict", *words) == 1
    assert "b.png: " in capsys.readouterr().out
    assert (tmp_path / "o" / "masks" / "a.png").is_file()
