"""`unet-data`: check says every problem and counts, demo writes what check accepts, fetch says what it can."""

import json
import os
import re
import shlex
from pathlib import Path

import pytest

from unet_train.data import fetch as fetching
from unet_train.data.io.images import read_image
from unet_train.reporting.colours import class_colours


@pytest.fixture(autouse=True)
def _here(own_folder):
    pass


def test_a_sound_folder(run_command, write_images, capsys):
    root = write_images(Path("mine"))
    assert (
        run_command("data", "check", "dataset=folder", f"dataset.root={root}", "split.test_fraction=0.2") == 0
    )
    said = capsys.readouterr().out
    assert re.search(r"\b0 and 255 .* 0 and 1\b", said)
    assert "images    5" in said
    assert "48×64" in said
    assert "3 train, 1 val, 1 test" in said
    assert said.endswith("no problem found\n")


def test_every_problem_with_its_file_and_exit_code_1(run_command, write_images, capsys):
    root = write_images(Path("mine"))
    (root / "images/im_1.png").write_bytes((root / "images/im_1.png").read_bytes()[:100])
    (root / "masks/im_3.png").unlink()
    assert run_command("data", "check", "dataset=folder", f"dataset.root={root}") == 1
    said = capsys.readouterr().out
    assert re.search(r"\b2 problems\b", said)
    assert f"{root / 'images/im_1.png'}: " in said
    assert f"{root / 'images/im_3.png'}: " in said
    assert "no problem found" not in said


def test_the_split_is_checked_too(run_command, write_images, capsys):
    root = write_images(Path("mine"))
    Path("s.json").write_text(json.dumps({"train": ["im_0"], "val": ["im_9"]}))
    assert run_command("data", "check", "dataset=folder", f"dataset.root={root}", "split.file=s.json") == 2
    assert "im_9" in capsys.readouterr().err


def read_json(path):
    return json.loads(Path(path).read_text(encoding="utf-8"))


def test_what_was_understood_is_written_and_shown(run_command, write_images, capsys):
    root = write_images(Path("my images"))
    words = ["dataset=folder", f"dataset.root={root}", "output=the report"]
    assert run_command("data", "check", *words, "split.test_fraction=0.2") == 0
    said = capsys.readouterr().out
    assert "the report/data.json" in said
    assert "replacing" not in said
    found = read_json("the report/data.json")
    assert found["parts"] == {"train": 3, "val": 1, "test": 1}
    foreground = sum((24 - i) * (26 + i) for i in range(5))
    assert found["pixels"] == {"background": 5 * 48 * 64 - foreground, "foreground": foreground}
    assert found["unknown"] == 0
    assert found["sizes"] == [{"height": 48, "width": 64, "images": 5}]
    picture = read_image("the report/sheet.png")
    assert picture.shape[2] == 3
    assert (picture == class_colours(2)[1]).all(-1).sum() > 5 * 1000
    # An earlier report is replaced, and that is said.
    (root / "masks/im_2.png").unlink()
    (root / "images/im_2.png").unlink()
    assert run_command("data", "check", *words, "split.test_fraction=0") == 0
    said = capsys.readouterr().out
    assert re.search(r"replacing .*data\.json.*sheet\.png.*the report", said)
    assert read_json("the report/data.json")["parts"] == {"train": 3, "val": 1}
    assert sorted(path.name for path in root.iterdir()) == ["images", "masks"]


def test_the_layouts_own_parts(run_command, write_images):
    for part, count in (("train", 4), ("val", 2), ("test", 3)):
        write_images(Path("mine") / part, count)
    assert run_command("data", "check", "dataset=folder", "dataset.root=mine", "output=out") == 0
    assert read_json("out/data.json")["parts"] == {"train": 4, "val": 2, "test": 3}


def test_a_faulty_folder_is_shown_too_and_all_its_faults_are_in_the_file(run_command, write_images, capsys):
    root = write_images(Path("mine"), 9)
    for i in range(6):
        (root / f"images/im_{i}.png").write_bytes(b"")
    (root / "masks/im_7.png").unlink()
    words = ["dataset=folder", f"dataset.root={root}", "dataset.channels=1"]
    assert run_command("data", "check", *words) == 1
    said = capsys.readouterr().out
    assert "output=FOLDER" in said
    assert f"{root}/images/im_1.png" in said
    assert f"{root}/images/im_4.png" not in said
    assert run_command("data", "check", *words, "output=out") == 1
    said = capsys.readouterr().out
    assert said.index("im_0.png") < said.index("im_7.png"), "the commonest kind first"
    assert "all of them: out/data.json" in said
    found = read_json("out/data.json")
    broken = [f"images/im_{i}.png" for i in (7, 0, 1, 2, 3, 4, 5)]
    assert [problem["file"] for problem in found["problems"]] == broken
    assert set(broken) <= set(found["left_out"])
    assert found["sizes"] == [{"height": 48, "width": 64, "images": 2}]
    assert read_image("out/sheet.png").shape[1] < 1400, "two images"


def test_a_split_that_is_refused_hides_no_figures(run_command, write_images, capsys):
    root = write_images(Path("mine"))
    Path("s.json").write_text(json.dumps({"train": ["im_0"], "val": ["im_9"]}))
    words = ["dataset=folder", f"dataset.root={root}", "split.file=s.json", "output=out"]
    assert run_command("data", "check", *words) == 2
    assert "im_9" in capsys.readouterr().err
    assert read_json("out/data.json")["parts"] == {"all": 5}


def test_the_data_folder_is_never_written_to(run_command, write_images, capsys):
    root = write_images(Path("mine"))
    before = sorted(root.rglob("*"))
    for inside in (root, root / "report", root / "images"):
        words = ["dataset=folder", f"dataset.root={root}", f"output={inside}"]
        assert run_command("data", "check", *words) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert f"output={inside}" in error
    assert sorted(root.rglob("*")) == before


def test_generated_images_have_a_report_too(run_command):
    assert (
        run_command("data", "check", "dataset=demo", "dataset.images=5", "dataset.size=64", "output=out") == 0
    )
    found = read_json("out/data.json")
    assert found["root"] is None
    assert found["objects"]["count"] > 0
    assert found["classes"] == ["background", "cell"]


@pytest.mark.parametrize(
    ("layout", "named"),
    [("folder", "foreground"), ("challenge", "cell"), ("kaggle_3m", "lesion")],
)
def test_the_demo_on_disk_is_sound(run_command, capsys, monkeypatch, layout, named):
    from unet_train.data import write_demo as module

    write = module.write_demo
    monkeypatch.setattr(
        module, "write_demo", lambda *args, **keys: write(*args, **keys, images=7, size=(128, 128))
    )
    folder = "demo, drawn (1)"
    assert run_command("data", "demo", f"output={folder}", f"layout={layout}", "seed=3") == 0
    advice = shlex.split(capsys.readouterr().out.partition("try: ")[2])
    assert advice[0] == "unet-data"
    assert advice[-1] == f"dataset.root={folder}"
    assert run_command("data", *advice[1:]) == 0
    assert named in capsys.readouterr().out
    # A folder with something in it is never written to.
    assert run_command("data", "demo", f"output={folder}", f"layout={layout}") == 2
    assert folder in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], ["check", "fetch", "demo"]),
        (["chekc"], ["chekc", "check?"]),
        (["check"], ["dataset.root"]),
        (["check", "dataset=folder", "dataset.root=nowhere"], ["dataset.root=nowhere"]),
        (["check", "dataset.rot=x"], ["dataset.rot", "dataset.root?"]),
        (["check", "trainer.epochs=3"], ["trainer.epochs"]),
        (["fetch"], ["phc_u373", "dic_hela", "brain_mri"]),
        (["fetch", "phc_u737"], ["phc_u737", "phc_u373"]),
        (["fetch", "phc_u373", "rot=x"], ["rot=x", "root?"]),
        (["fetch", "brain_mri"], ["kaggle.com", "dataset.root"]),
        (["demo"], ["output"]),
        (["demo", "output=x", "layout=foldr"], ["layout=foldr", "folder", "challenge", "kaggle_3m"]),
        (["demo", "output=x", "seed=one"], ["seed=one"]),
        (["demo", "output=a_file"], ["output=a_file"]),
        (["check", "-m", "dataset=folder"], ["unet-data: ", "unet-train"]),
        (["check", "--fast"], ["--fast"]),
    ],
)
def test_mistakes_are_one_line(run_command, capsys, words, says):
    Path("a_file").touch()
    assert run_command("data", *words) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    for part in says:
        assert part in error


def test_fetch_goes_to_the_base_folder(run_command, monkeypatch, tmp_path, capsys):
    asked = []
    monkeypatch.setattr(fetching, "fetch", lambda name, root, **keys: asked.append((name, root)) or "fetched")
    assert run_command("data", "fetch", "phc_u373") == 0
    monkeypatch.setenv("UNET_TRAIN_DATA", str(tmp_path / "base"))
    assert run_command("data", "fetch", "dic_hela") == 0
    assert run_command("data", "fetch", "dic_hela", "root=other (1)") == 0
    assert asked == [
        ("phc_u373", Path("data/phc_u373")),
        ("dic_hela", tmp_path / "base" / "dic_hela"),
        ("dic_hela", Path("other (1)")),
    ]
    assert capsys.readouterr().out == "fetched\n" * 3


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_a_name_forges_no_line_and_no_colour(run_command, write_images, capsys):
    root = write_images(Path("mine"))
    for folder in ("images", "masks"):
        data = (root / folder / "im_0.png").read_bytes()
        (root / folder / "x\x1b[31mred\nunet-data: forged.png").write_bytes(data)
    run_command("data", "check", "dataset=folder", f"dataset.root={root}")
    said = capsys.readouterr().out
    assert "same picture" in said
    assert "\x1b" not in said
    assert not any(line.startswith("unet-data: forged") for line in said.splitlines())
