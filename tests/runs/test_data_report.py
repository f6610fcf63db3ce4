"""Which images the sheet shows, under which names, and where it may be written."""

import numpy as np
import pytest

from unet_train.data.check import check_source
from unet_train.data.io.images import read_image, write_image, write_labels
from unet_train.data.layouts.folder import folder_source
from unet_train.data.records import Record
from unet_train.data.summary import summarise
from unet_train.errors import UserError
from unet_train.reporting.colours import class_colours
from unet_train.runs.data_report import (
    FEWEST_IMAGES,
    MOST_EMPTY,
    choose_shown,
    draw_sheet,
    file_names,
    output_folder,
    title_of,
    write_report,
)


def records(count):
    return [Record(key=str(i), image=f"{i}.png") for i in range(count)]


def chosen(class_ids, classes, **keys):
    shown = choose_shown(
        records(len(class_ids)), {str(i): ids for i, ids in enumerate(class_ids)}, classes, **keys
    )
    return [int(record.key) for record in shown]


def test_few_are_all_shown():
    assert chosen([[0, 1]] * 5, 2) == list(range(5))
    assert chosen([[0]] * 5, 2) == list(range(5))


def test_many_are_shown_from_across_the_set():
    shown = chosen([[0, 1]] * 500, 2)
    assert len(shown) == 12
    assert shown == sorted(set(shown))
    assert shown[0] == 0
    assert shown[-1] == 499
    assert max(np.diff(shown)) < 70


def test_a_rare_class_is_shown():
    ids = [[0, 1]] * 300
    ids[123], ids[217] = [0, 2], [0, 1, 3]
    assert {123, 217} <= set(chosen(ids, 4))
    assert len(chosen(ids, 4)) == 12


def test_more_classes_than_images():
    shown = chosen([[i] for i in range(40)], 40, background=False)
    assert len(shown) == 12


@pytest.mark.parametrize("full", [1, 5, 40])
def test_images_without_foreground_are_few_where_there_are_others(full):
    ids = [[0, 1] if i < full else [0] for i in range(200)]
    shown = chosen(ids, 2)
    assert len(shown) == 12
    assert sum(i < full for i in shown) == min(full, 12 - MOST_EMPTY)


def test_broken_images_are_not_shown():
    shown = choose_shown(records(4), {"0": [0], "2": [1]}, 2)
    assert [record.key for record in shown] == ["0", "2"]


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["/d/images/a.png", "/d/images/b.png"], ["a.png", "b.png"]),
        (["/d/01/t1.tif", "/d/02/t1.tif"], ["01/t1.tif", "02/t1.tif"]),
        (["images/train/a.png", "images/train/s/a.png"], ["a.png", "s/a.png"]),
        (["<demo 01/000>", "<demo 02/000>"], ["<demo 01/000>", "<demo 02/000>"]),
        (["/d/only.png"], ["only.png"]),
        (
            [
                f"/d/a_very_long_name_of_one_and_the_same_study_slice_00{i}_of_a_long_series.png"
                for i in (18, 20)
            ],
            ["…0018…", "…0020…"],
        ),
    ],
)
def test_names_of_files(paths, names):
    assert file_names([Record(key=path, image=path) for path in paths]) == names


def test_the_title_tells_parts_and_pairing():
    title = title_of({"name": "mine", "parts": {"train": 3, "val": 1}, "pairing": "by name"})
    for part in ("mine", "4 images", "3 train", "1 val", "by name"):
        assert part in title
    assert title_of({"name": "mine", "parts": {"all": 1}, "pairing": ""}) == "mine: 1 image"


def drawn(source, root):
    report = check_source(source, source.records())
    summary = summarise(source, source.records(), report, None, root)
    return draw_sheet(source, source.records(), report, summary)


def test_a_folder_is_drawn_in_its_classes_colours(tmp_path):
    for i in range(4):
        mask = np.zeros((50, 60), np.uint8)
        mask[10:30, 10:30], mask[20:45, 40:55] = 1, 2
        write_image(tmp_path / f"images/{i}.png", np.full((50, 60), 60 + i, np.uint8))
        write_labels(tmp_path / f"masks/{i}.png", mask)
    (tmp_path / "images/3.png").write_bytes(b"")
    source = folder_source(tmp_path)
    picture = drawn(source, tmp_path)
    for colour in class_colours(3)[1:]:
        # Three images enlarged tenfold, each with one square: outlines two pixels wide, and the legend's square.
        assert (picture == colour).all(-1).sum() > 3 * 4 * 150 * 2


def test_nothing_to_show(tmp_path):
    write_image(tmp_path / "images/a.png", np.full((50, 60), 60, np.uint8))
    write_labels(tmp_path / "masks/a.png", np.eye(60, dtype=np.uint8)[:50])
    source = folder_source(tmp_path)
    (tmp_path / "images/a.png").write_bytes(b"")
    assert drawn(source, tmp_path) is None


def test_of_large_images_fewer_are_read(tmp_path, write_images, monkeypatch):
    from unet_train.runs import data_report

    root = write_images(tmp_path / "mine", 14)
    source = folder_source(root)
    read = []
    monkeypatch.setattr(
        source, "read_image", lambda record: read.append(record) or np.zeros((48, 64, 1), np.uint8)
    )
    report = check_source(source, source.records())
    summary = summarise(source, source.records(), report)
    for most_pixels, expected in ((48 * 64 * 100, 12), (48 * 64 * 6, 6), (48 * 64, FEWEST_IMAGES)):
        monkeypatch.setattr(data_report, "MOST_PIXELS", most_pixels)
        read.clear()
        assert draw_sheet(source, source.records(), report, summary) is not None
        assert len(read) == expected


def test_where_a_report_may_be_written(tmp_path):
    root = tmp_path / "mine"
    (root / "images").mkdir(parents=True)
    (tmp_path / "link").symlink_to(root)
    (tmp_path / "file").touch()
    for inside in (root, root / "images", root / "new" / "er", tmp_path / "link" / "x", root / ".." / "mine"):
        with pytest.raises(UserError, match=r"^output=.*mine"):
            output_folder(str(inside), root)
    with pytest.raises(UserError, match=r"^output=.*file"):
        output_folder(str(tmp_path / "file"), root)
    assert not (root / "new").exists()
    assert output_folder(str(tmp_path / "mine2"), root).is_dir()
    assert output_folder(str(tmp_path), root) == tmp_path
    assert output_folder(str(root / "x"), None).is_dir()


def test_an_earlier_picture_does_not_outlive_its_data(tmp_path):
    picture = np.zeros((5, 6, 3), np.uint8)
    assert [p.name for p in write_report(tmp_path, {"a": 1.0}, picture, "s.png")] == ["data.json", "s.png"]
    assert read_image(tmp_path / "s.png").shape == (5, 6, 3)
    assert [p.name for p in write_report(tmp_path, {"a": 1.0}, None, "s.png")] == ["data.json"]
    assert not (tmp_path / "s.png").exists()
