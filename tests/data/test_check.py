"""The data check finds every planted fault, with its file, and counts right."""

import re

import numpy as np
import pytest

from unet_train.data.check import Report, check_source, format_facts, format_problems, missing_classes
from unet_train.data.io.images import write_image, write_labels
from unet_train.data.layouts.challenge import Annotation, ChallengeSource
from unet_train.data.layouts.folder import folder_source
from unet_train.data.layouts.kaggle import KaggleSource
from unet_train.data.records import Record, Source, Truth

RNG = np.random.default_rng(0)


@pytest.fixture
def root(tmp_path):
    for index in range(6):
        write_image(tmp_path / f"images/{index}.png", RNG.integers(1, 200, (10, 12), dtype=np.uint8))
        mask = np.zeros((10, 12), np.uint8)
        mask[:index] = 255
        write_labels(tmp_path / f"masks/{index}.png", mask)
    return tmp_path


def test_a_sound_set(root):
    source = folder_source(root)
    report = check_source(source, source.records())
    assert report.problems == []
    assert report.warnings == []
    assert format_problems(report) == ""
    facts = report.facts
    assert facts["n"] == 6
    assert facts["sizes"] == {"10×12": 6}
    assert facts["channels"] == {1: 6}
    assert facts["class_pixels"] == {"background": 45 * 12, "foreground": 15 * 12}
    assert facts["ignored_pixels"] == 0
    assert facts["empty"] == 1
    assert len(set(report.hashes.values())) == 6
    assert "background 75.0 %, foreground 25.0 %" in format_facts(report)


def test_every_fault_is_listed_with_its_file(root):
    write_image(root / "images/lonely.png", np.zeros((10, 12), np.uint8))
    source = folder_source(root)
    assert (source.classes, source.channels) == (("background", "foreground"), 1)  # before it is damaged
    (root / "images/0.png").write_bytes(b"")
    (root / "images/1.png").write_bytes((root / "images/1.png").read_bytes()[:-30])
    write_labels(root / "masks/2.png", np.zeros((3, 3), np.uint8))
    write_image(root / "images/3.png", RNG.integers(0, 255, (10, 12, 3), dtype=np.uint8))
    bad = np.zeros((10, 12), np.uint8)
    bad[0, 0] = 77
    write_labels(root / "masks/4.png", bad)
    for workers in (1, 3):
        report = check_source(source, source.records(), workers=workers)
        found = {problem.file.removeprefix(f"{root}/"): problem.what for problem in report.problems}
        assert list(found) == [
            "images/lonely.png",
            "images/0.png",
            "images/1.png",
            "masks/2.png",
            "images/3.png",
            "masks/4.png",
        ]
        assert "mask" in found["images/lonely.png"]
        assert "empty" in found["images/0.png"]
        assert "truncated" in found["images/1.png"]
        assert re.search("3×3.*10×12", found["masks/2.png"])
        assert re.search(r"\b3 channels.* 1\b", found["images/3.png"])
        assert "77" in found["masks/4.png"]
        text = format_problems(report)
        assert re.match(r"6 problems.*\n", text)
        assert len(text.splitlines()) == 7


def test_the_same_picture_in_two_groups_is_said(root):
    (root / "images/5.png").write_bytes((root / "images/2.png").read_bytes())
    source = folder_source(root)
    report = check_source(source, source.records())
    assert report.hashes["2"] == report.hashes["5"]
    (warning,) = report.warnings
    assert re.match(r"1 image.*\b2 and 5", warning)


class Careless(Source):
    """A source of a user's own that keeps no promise."""

    name = "careless"
    notes: tuple = ()
    classes = ("background", "cell")
    channels = 1
    margin = 0

    def __init__(self):
        nan = np.full((4, 4, 1), 0.5, np.float32)
        nan[0, 0] = np.nan
        self.images = {
            "nan": nan,
            "bright": np.full((4, 4, 1), 7, np.float32),
            "flat": np.zeros((4, 4), np.uint8),
            "double": np.zeros((4, 4, 1)),
            "label": np.zeros((4, 4, 1), np.uint8),
            "unknown": np.ones((4, 4, 1), np.uint8),
        }

    def records(self):
        return [Record(key=key, image=f"<{key}>", group=key) for key in self.images]

    def read_image(self, record):
        return self.images[record.key]

    def read_truth(self, record, *, scoring=False):
        value = {"label": 2, "unknown": 255}.get(record.key, 0)
        return Truth(classes=np.full((4, 4), value, np.uint8))


def test_a_users_own_source():
    source = Careless()
    report = check_source(source, source.records())
    found = {problem.file: problem.what for problem in report.problems}
    assert set(found) == {"<nan>", "<bright>", "<flat>", "<double>", "label"}
    assert "label values 2 outside the 2 classes" in found["label"]
    (warning,) = report.warnings
    assert re.match(r"1 truth.* unknown$", warning)
    doubled = source.records() + source.records()[-1:]
    assert any(p.what.startswith("2 records ") for p in check_source(source, doubled).problems)


def test_gold_and_silver_are_both_read(tmp_path):
    write_image(tmp_path / "01/t000.tif", RNG.integers(0, 255, (20, 20), dtype=np.uint8))
    cell = np.zeros((20, 20), np.uint16)
    cell[5:9, 5:9] = 3
    write_labels(tmp_path / "01_GT/SEG/man_seg000.tif", cell)
    write_labels(tmp_path / "01_ST/SEG/man_seg000.tif", cell)
    source = ChallengeSource(tmp_path, Annotation(labels="silver"))
    report = check_source(source, source.records())
    assert report.problems == []
    assert report.facts["instances"] == 1
    for kind in ("ST", "GT"):
        path = tmp_path / f"01_{kind}/SEG/man_seg000.tif"
        before = path.read_bytes()
        write_labels(path, cell[:10])
        assert [problem.file for problem in check_source(source, source.records()).problems] == [str(path)]
        path.write_bytes(before)


def test_a_sequence_with_changing_sizes_is_refused(tmp_path):
    for number, size in enumerate([(40, 50), (40, 50), (40, 44)]):
        write_image(tmp_path / f"01/t{number:03}.tif", RNG.integers(1, 200, size, dtype=np.uint8))
        labels = np.zeros(size, np.uint16)
        labels[10:20, 10:20], labels[22:30, 22:30] = 1, 2
        write_labels(tmp_path / f"01_GT/SEG/man_seg{number:03}.tif", labels)
    source = ChallengeSource(tmp_path)
    (problem,) = check_source(source, source.records()).problems
    assert problem.file.endswith("t002.tif")
    assert re.search(r"40×44.* 01 .*40×50", problem.what)


def test_real_data_is_sound(real_data):
    u373 = ChallengeSource(real_data / "PhC-C2DH-U373", Annotation(margin=50))
    report = check_source(u373, u373.records())
    assert report.problems == []
    assert report.facts["instances"] == 210
    assert report.facts["values"] == [24.0, 186.0]
    brain = KaggleSource(real_data / "kaggle_3m")
    records = [record for record in brain.records() if record.group.startswith("TCGA_CS_494")]
    report = check_source(brain, records)
    assert report.problems == []
    assert report.facts["class_pixels"]["lesion"] == 7112 + 28110
    assert report.facts["empty"] == 40 - 15


def test_classes_that_only_some_parts_show():
    shown = {"a": [0, 1], "b": [0, 2], "c": [0, 1, 3]}
    report = Report(class_pixels={key: np.bincount(ids, minlength=4).tolist() for key, ids in shown.items()})
    names = ["sky", "road", "car", "bus"]
    said = missing_classes(report, names, {"train": ["a"], "val": ["b"], "test": ["c"]})
    assert len(said) == 3
    assert all(word in said[0] for word in ("car", "val"))
    assert all(word in said[1] for word in ("bus", "test"))
    assert all(word in said[2] for word in ("road", "val"))
    assert not any("sky" in line for line in said)
    assert missing_classes(report, names, {"train": ["a", "b", "c"], "val": [], "test": []}) == []


def test_mixed_grey_and_colour_name_the_key_that_reads_both(tmp_path):
    """3, or 1 where the colour images hold the same grey thrice; followed literally, it works."""

    def problems(root, grey, **keys):
        for i in range(5):
            image = RNG.integers(0, 255, (10, 12, 3 if i in (1, 3) else 1), dtype=np.uint8)
            if grey:
                image[:] = image[:, :, :1]
            write_image(root / f"images/{i}.png", image)
            write_labels(root / f"masks/{i}.png", np.eye(12, dtype=np.uint8)[:10])
        source = folder_source(root, **keys)
        return check_source(source, source.records()).problems

    for grey, channels, other in ((False, 3, 1), (True, 1, 3)):
        root = tmp_path / str(channels)
        found = problems(root, grey)
        assert [problem.file for problem in found] == [str(root / f"images/{i}.png") for i in (1, 3)]
        assert all(f"dataset.channels={channels}" in problem.what for problem in found)
        assert not any(f"dataset.channels={other}" in problem.what for problem in found)
        assert problems(root, grey, channels=channels) == []


def test_only_keys_that_there_are_are_proposed(tmp_path):
    for i in range(3):
        image = RNG.integers(0, 4000, (10, 12, 3 if i == 1 else 1)).astype(np.uint16)
        write_image(tmp_path / f"images/{i}.png", image)
        write_labels(tmp_path / f"masks/{i}.png", np.eye(12, dtype=np.uint8)[:10])
    source = folder_source(tmp_path)
    report = check_source(source, source.records())
    assert "dataset.channels" in report.problems[0].what
    assert any("dataset.intensity_range=[0,4095]" in note for note in report.notes)
    report = check_source(source, source.records(), keys=())
    assert "dataset.channels" not in report.problems[0].what
    assert report.notes == []
