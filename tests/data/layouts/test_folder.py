"""The folder layout: pairing by name, classes by pixel value, groups by regex or table."""

import pickle
import re

import numpy as np
import pytest

from unet_train.data.io.images import write_image, write_labels
from unet_train.data.layouts.folder import folder_source
from unet_train.data.masks.values import discover_values
from unet_train.data.records import IGNORE, Source
from unet_train.errors import UserError

IMAGE = np.random.default_rng(0).integers(0, 255, (12, 16), dtype=np.uint8)


def mask(*values):
    """12×16 mask with these values in equal stripes."""
    return np.repeat(np.resize(np.array(values, np.uint8), 12)[:, None], 16, axis=1)


def pair(root, name, *values, image_ending=".png", mask_ending=".png", suffix=""):
    write_image(root / "images" / (name + image_ending), IMAGE)
    write_labels(root / "masks" / (name + suffix + mask_ending), mask(*(values or (0, 255))))


def test_pairs_by_stem_whatever_the_ending(tmp_path):
    for name in ("a10", "a2", "größe (1)", "it's"):
        pair(tmp_path, name, mask_ending=".tif")
    pair(tmp_path, "sub/deep/b", image_ending=".JPG")
    source = folder_source(tmp_path)
    assert isinstance(source, Source)
    keys = [record.key for record in source.records()]
    assert sorted(keys) == ["a10", "a2", "größe (1)", "it's", "sub/deep/b"]
    assert keys.index("a2") < keys.index("a10")
    assert all(record.group == record.key and record.order == 0 for record in source.records())
    assert source.classes == ("background", "foreground")
    assert source.channels == 1
    assert any(re.search(r"\b0 and 255 .* 0 and 1$", note) for note in source.notes)
    truth = source.read_truth(source.records()[0])
    np.testing.assert_array_equal(truth.classes, mask(0, 1))
    assert truth.classes.dtype == np.uint8
    assert truth.instances is None
    assert source.read_image(source.records()[0]).shape == (12, 16, 1)
    assert pickle.loads(pickle.dumps(source)).records() == source.records()
    assert source.layout_problems() == []


def test_suffix(tmp_path):
    pair(tmp_path, "a", suffix="_mask")
    pair(tmp_path, "b", suffix="_mask")
    assert [record.key for record in folder_source(tmp_path, suffix="_mask").records()] == ["a", "b"]
    assert [record.key for record in folder_source(tmp_path).records()] == ["a", "b"]
    with pytest.raises(UserError, match=r"images.a\.png.*dataset\.suffix"):
        folder_source(tmp_path, suffix="_label")


def test_images_and_masks_in_one_folder(tmp_path):
    write_image(tmp_path / "all/a.png", IMAGE)
    write_labels(tmp_path / "all/a_mask.png", mask(0, 1))
    source = folder_source(tmp_path, images="all", masks="all", suffix="_mask")
    assert [record.key for record in source.records()] == ["a"]
    with pytest.raises(UserError, match=r"dataset\.suffix"):
        folder_source(tmp_path, images="all", masks="all")


def test_missing_partners_are_all_listed(tmp_path):
    pair(tmp_path, "a")
    write_image(tmp_path / "images/lonely.png", IMAGE)
    write_image(tmp_path / "images/lonely2.png", IMAGE)
    write_labels(tmp_path / "masks/widow.png", mask(0, 255))
    problems = dict(folder_source(tmp_path).layout_problems())
    assert {path.rsplit("/", 1)[-1]: what.split(" (")[0] for path, what in problems.items()} == {
        "lonely.png": "has no mask",
        "lonely2.png": "has no mask",
        "widow.png": "is a mask without an image",
    }


def test_colliding_stems_keep_their_ending(tmp_path):
    for ending in (".png", ".tif"):
        pair(tmp_path, "a", image_ending=ending, mask_ending=ending)
    pair(tmp_path, "b")
    source = folder_source(tmp_path)
    assert sorted(record.key for record in source.records()) == ["a.png", "a.tif", "b"]
    for record in source.records():
        assert record.labels["mask"].endswith(record.image[-4:])
    (tmp_path / "masks/a.tif").unlink()
    source = folder_source(tmp_path)
    assert sorted(record.key for record in source.records()) == ["a.png", "b"]
    assert len(source.layout_problems()) == 1


def test_parts(tmp_path):
    for part, names in (("train", "ab"), ("val", "a"), ("test", "c")):
        for name in names:
            pair(tmp_path / part, name)
    records = folder_source(tmp_path).records()
    assert [(record.key, record.part) for record in records] == [
        ("train/a", "train"),
        ("train/b", "train"),
        ("val/a", "val"),
        ("test/c", "test"),
    ]


def test_ignore_value_and_declared_values(tmp_path):
    pair(tmp_path, "a", 0, 128, 200, 7)
    source = folder_source(tmp_path, values={"0": 0, "128": 2, 200: 1}, ignore_value=7)
    np.testing.assert_array_equal(source.read_truth(source.records()[0]).classes, mask(0, 2, 1, IGNORE))
    assert source.classes == ("background", "class_1", "class_2")
    pair(tmp_path, "b", 0, 99)
    with pytest.raises(UserError, match=r"b\.png: .*99.*0, 7, 128, 200"):
        source.read_truth(folder_source(tmp_path, values={0: 0, 128: 2, 200: 1, 99: 1, 7: 0}).records()[1])
    with pytest.raises(UserError, match=r"dataset\.values: .*class id 1"):
        folder_source(tmp_path, values={0: 0, 1: 2})
    with pytest.raises(UserError, match=r"dataset\.values: .*0, 5.*\b2 classes"):
        folder_source(tmp_path, values={0: 0, 1: 5}, classes=["bg", "x"])


def test_sizes_differ(tmp_path):
    pair(tmp_path, "a")
    source = folder_source(tmp_path)
    write_labels(tmp_path / "masks/a.png", np.zeros((5, 5), np.uint8))
    with pytest.raises(UserError, match=r"a\.png: .*5×5.*12×16"):
        source.read_truth(source.records()[0])


@pytest.mark.parametrize(
    ("found", "classes", "ignore", "mapping", "note"),
    [
        ([0, 255], None, None, {0: 0, 255: 1}, "0 and 255"),
        ([0, 255], 2, None, {0: 0, 255: 1}, "0 and 255"),
        ([0, 1], None, None, {0: 0, 1: 1}, ""),
        ([0, 1, 2], None, None, {0: 0, 1: 1, 2: 2}, ""),
        ([0, 3], None, None, {0: 0, 1: 1, 2: 2, 3: 3}, "1, 2 did not occur"),
        ([0, 1, 255], None, 255, {0: 0, 1: 1}, ""),
        ([0, 40], None, None, {0: 0, 40: 1}, "0 is class 0, 40 is class 1"),
        ([1, 2], 2, None, {1: 0, 2: 1}, "1 is class 0"),
        ([0, 128, 255], 3, None, {0: 0, 128: 1, 255: 2}, "128 is class 1"),
        ([0], 3, None, {0: 0, 1: 1, 2: 2}, "1, 2 did not occur"),
    ],
)
def test_values_discovered(found, classes, ignore, mapping, note):
    assert discover_values([("a.png", found)], classes=classes, ignore_value=ignore)[0] == mapping
    assert note in discover_values([("a.png", found)], classes=classes, ignore_value=ignore)[1]


@pytest.mark.parametrize(
    ("found", "classes", "message"),
    [
        (list(range(0, 250, 5)), None, r"bad\.png: 50 mask values \(0, 5, 10, .* 245\).*at most 32"),
        ([0, 1, 2], 2, r"bad\.png: 3 mask values \(0, 1, 2\) where dataset\.classes names 2"),
        ([0, 64, 128, 255], None, r"bad\.png: .*0, 64, 128, 255 .*'dataset\.values=\{0:0,64:1"),
        ([0, 1, 2, 255], None, r"bad\.png: .*dataset\.ignore_value=255"),
        ([0, 255], 3, r"bad\.png: .*0, 255 .*0 to 2"),
        ([1, 2, 3], None, r"bad\.png: .*1, 2, 3 .*dataset\.background=1"),
        ([7], None, "one value only, 7"),
        ([], None, "one value only, none"),
        ([-1, 0], None, "negative"),
    ],
)
def test_values_refused(found, classes, message):
    with pytest.raises(UserError, match=message) as caught:
        discover_values([("bad.png", found)], classes=classes)
    assert "\n" not in str(caught.value)


def test_jpeg_masks_are_refused_with_a_file(tmp_path):
    """A mask saved as JPEG looks right and has dozens of values around its edges."""
    disc = ((np.hypot(*(np.mgrid[:64, :64] - 32)) < 20) * 255).astype(np.uint8)
    write_image(tmp_path / "images/a.png", disc)
    write_image(tmp_path / "masks/a.jpg", disc)
    with pytest.raises(UserError, match=r"masks.a\.jpg: .*dataset\.threshold=1\d\d"):
        folder_source(tmp_path)


def test_group_regex(tmp_path):
    for name in ("p1_s1", "p1_s2", "p2_s1"):
        pair(tmp_path, name)
    records = folder_source(tmp_path, group_regex=r"^(p\d+)_").records()
    assert [(record.group, record.order) for record in records] == [("p1", 0), ("p1", 1), ("p2", 0)]
    with pytest.raises(UserError, match=r"dataset\.group_regex=\(x\): .*\b3 keys.*'p1_s1'"):
        folder_source(tmp_path, group_regex="(x)")
    with pytest.raises(UserError, match="needs brackets"):
        folder_source(tmp_path, group_regex="p1")
    with pytest.raises(UserError, match="no regular expression"):
        folder_source(tmp_path, group_regex="(")


def test_group_csv(tmp_path):
    for name in ("a", "sub/b", "c"):
        pair(tmp_path, name)
    table = tmp_path / "groups.csv"
    table.write_text("group,file\nmouse 1,a.png\nmouse 1,sub/b\nmouse 2,c\n", encoding="utf-8-sig")
    groups = {
        record.key: record.group for record in folder_source(tmp_path, group_csv="groups.csv").records()
    }
    assert groups == {"a": "mouse 1", "sub/b": "mouse 1", "c": "mouse 2"}
    table.write_text("file,group\na,1\n")
    with pytest.raises(UserError, match=r"groups\.csv .*c\.png"):
        folder_source(tmp_path, group_csv=table)
    table.write_text("name,group\na,1\n")
    with pytest.raises(UserError, match=r"groups\.csv.*\bfile\b.*\bgroup\b"):
        folder_source(tmp_path, group_csv=table)
    with pytest.raises(UserError, match="not both"):
        folder_source(tmp_path, group_csv=table, group_regex="(a)")


def test_bad_roots(tmp_path):
    with pytest.raises(UserError, match=r"dataset\.root: .*nothing .*images/.*masks/"):
        folder_source(tmp_path / "nothing")
    with pytest.raises(UserError, match=r" pictures/ .*train/pictures/"):
        folder_source(tmp_path, images="pictures")
    (tmp_path / "notes.txt").write_text("nothing here")
    with pytest.raises(UserError, match=r"dataset\.root: .*notes\.txt"):
        folder_source(tmp_path)
    write_image(tmp_path / "images/a.png", IMAGE)
    with pytest.raises(UserError, match=r"images/a\.png.*dataset\.masks"):
        folder_source(tmp_path)
    with pytest.raises(UserError, match=r"masks .*dataset\.masks"):
        folder_source(tmp_path, images="images")


def test_membranes(real_data):
    source = folder_source(real_data / "isbi2012", classes=["membrane", "cell"])
    records = source.records()
    assert [record.key for record in records] == [f"{index:02d}" for index in range(30)]
    assert source.values == {0: 0, 255: 1}
    assert source.channels == 1
    share = np.mean([(source.read_truth(record).classes == 0).mean() for record in records])
    assert round(100 * share, 1) == 22.0  # membrane, as the data's README says


def test_one_number_per_object(tmp_path):
    for name, numbers in {"a": (0, 1, 2), "b": (0, 3, 9, 250, 1), "c": (0, 300)}.items():
        write_image(tmp_path / f"images/{name}.png", IMAGE)
        labels = np.repeat(np.resize(np.array(numbers, np.uint16), 12)[:, None], 16, axis=1)
        write_labels(tmp_path / f"masks/{name}.tif", labels)
    source = folder_source(tmp_path, instances=True, ignore_value=250)
    assert source.classes == ("background", "object")
    truth = source.read_truth(source.records()[1])
    labels = np.resize(np.array([0, 3, 9, 250, 1]), 12)
    np.testing.assert_array_equal(truth.instances[:, 0], np.where(labels == 250, 0, labels))
    np.testing.assert_array_equal(truth.classes[:, 5], np.where(labels == 250, IGNORE, labels > 0))
    assert truth.instances.dtype == np.int32
    named = folder_source(tmp_path, instances=True, classes=["no", "nucleus"])
    assert named.classes == ("no", "nucleus")
    assert named.read_truth(named.records()[2]).instances.max() == 300
    for wrong in ({"classes": ["a", "b", "c"]}, {"values": {0: 0, 1: 1}}):
        with pytest.raises(UserError, match=r"dataset\.instances=true: .*dataset\.values"):
            folder_source(tmp_path, instances=True, **wrong)


def test_binary_masks_are_no_object_numbers(tmp_path):
    pair(tmp_path, "a", 0, 255, 0, 255)
    source = folder_source(tmp_path, instances=True)
    with pytest.raises(UserError, match=r"a\.png: a binary mask .* dataset\.instances=false"):
        source.read_truth(source.records()[0])


def test_object_numbers_are_not_taken_for_classes(tmp_path):
    for name, count in {"a": 6, "b": 4, "c": 5}.items():
        pair(tmp_path, name, *range(count))
    with pytest.raises(UserError, match=r"b\.png to 3, .*a\.png to 5.*dataset\.instances=true"):
        folder_source(tmp_path)
    assert len(folder_source(tmp_path, classes=list("abcdef")).classes) == 6
    pair(tmp_path, "d", 0, 5)  # gaps: classes that do not all occur
    assert len(folder_source(tmp_path).classes) == 6


@pytest.mark.parametrize(
    ("table", "values", "found"),
    [
        ({0: (0, 0, 0), 1: (9, 0, 0), 2: (0, 9, 0)}, None, [(0, 0, 0), (9, 0, 0), (0, 9, 0)]),
        (
            {0: (0, 0, 0), 7: (9, 0, 0), 9: (0, 9, 0), 12: (0, 0, 9)},
            {0: 0, 7: 2, 9: 1, 12: 1},
            [(0, 0, 0), (0, 9, 0), (9, 0, 0)],
        ),
        ({i: (i, i, i) for i in range(256)}, None, None),
        ({0: (0, 0, 0), 1: (9, 0, 0), 2: (9, 0, 0)}, None, None),
        ({0: (0, 0, 0), 1: (9, 0, 0)}, {0: 0, 1: 1, 300: 2}, None),
    ],
)
def test_the_masks_palette_gives_the_classes_colours(tmp_path, table, values, found):
    """Not where it is a ramp of greys, or does not tell every class apart."""
    from PIL import Image

    used = sorted(value for value in (values or {0: 0, 1: 1, 2: 2}) if value < 256)
    colours = np.zeros((256, 3), np.uint8)
    for value, colour in table.items():
        colours[value] = colour
    write_image(tmp_path / "images/a.png", IMAGE)
    (tmp_path / "masks").mkdir()
    indexed = Image.fromarray(mask(*used), mode="P")
    indexed.putpalette(colours.tobytes())
    indexed.save(tmp_path / "masks/a.png")
    source = folder_source(tmp_path, classes=["a", "b", "c"], values=values)
    assert source.palette == found
    write_labels(tmp_path / "masks/a.png", mask(*used))
    assert folder_source(tmp_path, classes=["a", "b", "c"], values=values).palette is None
