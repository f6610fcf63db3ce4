"""Which class is the background: the rule, the key, and names that mean "not annotated"."""

import numpy as np
import pytest

from unet_train.data.check import check_source
from unet_train.data.io.images import write_image, write_labels
from unet_train.data.layouts.folder import FolderKeys, folder_source
from unet_train.data.masks.background import FIRST_CLASS, choose_background, describe_background
from unet_train.data.records import IGNORE
from unet_train.errors import UserError
from unet_train.keys import schema_fields

STREET = ["sky", "road", "car"]


def folder(root, *values, count=3):
    """Images with masks of these values in equal stripes."""
    labels = np.repeat(np.resize(np.array(values, np.uint8), 12)[:, None], 16, axis=1)
    for index in range(count):
        write_image(root / f"images/{index}.png", np.full((12, 16), 40 * index + 9, np.uint8))
        write_labels(root / f"masks/{index}.png", labels)
    return root


IDS = {0: 0, 1: 1, 2: 2}


@pytest.mark.parametrize(
    ("values", "names", "asked", "expected"),
    [
        # null: two classes, unnamed ones, a class 0 named background; else there is none
        ({0: 0, 255: 1}, None, None, (("background", "foreground"), {0: 0, 255: 1}, True)),
        ({0: 0, 1: 1}, ["soil", "leaf"], None, (("soil", "leaf"), {0: 0, 1: 1}, True)),
        (IDS, None, None, (("background", "class_1", "class_2"), IDS, True)),
        (IDS, ["Background", "a", "b"], None, (("Background", "a", "b"), IDS, True)),
        (IDS, STREET, None, (tuple(STREET), IDS, False)),
        # none
        ({0: 0, 255: 1}, None, "none", (("class_0", "class_1"), {0: 0, 255: 1}, False)),
        (IDS, ["background", "a", "b"], "none", (("background", "a", "b"), IDS, False)),
        # a name, a mask value: it becomes class 0, the others follow in ascending order
        (IDS, STREET, "sky", (tuple(STREET), IDS, True)),
        (IDS, STREET, "car", (("car", "sky", "road"), {0: 1, 1: 2, 2: 0}, True)),
        (IDS, STREET, "1", (("road", "sky", "car"), {0: 1, 1: 0, 2: 2}, True)),
        ({0: 0, 255: 1}, None, "255", (("background", "foreground"), {0: 1, 255: 0}, True)),
        ({1: 0, 2: 1, 3: 2}, None, "2", (("background", "class_1", "class_2"), {1: 1, 2: 0, 3: 2}, True)),
        # a class that is called like a number is meant by its name
        ({5: 0, 6: 1, 7: 2}, ["7", "8", "9"], "7", (("7", "8", "9"), {5: 0, 6: 1, 7: 2}, True)),
        # configs of before the key
        (IDS, STREET, FIRST_CLASS, (tuple(STREET), IDS, True)),
    ],
)
def test_the_background_is_chosen(values, names, asked, expected):
    found = choose_background(values, names, asked)
    assert (found.names, dict(found.values), found.has_background) == expected


def test_default_names_are_names_too():
    assert choose_background(IDS, None, "class_2").values == {0: 1, 1: 2, 2: 0}


def test_a_class_called_background_that_is_not_the_first_is_asked_about():
    with pytest.raises(UserError, match=r"dataset\.background=background.*dataset\.background=none"):
        choose_background(IDS, ["sky", "background", "car"], None)
    assert choose_background(IDS, ["sky", "background", "car"], "background").names[0] == "background"
    assert not choose_background(IDS, ["sky", "background", "car"], "None").has_background
    assert choose_background(IDS, ["sky", "background", "car"], FIRST_CLASS).names[0] == "sky"


@pytest.mark.parametrize(("asked", "hint"), [("raod", "road"), ("9", "0, 1, 2")])
def test_a_background_that_is_no_class_is_refused(asked, hint):
    with pytest.raises(UserError, match=rf"dataset\.background={asked}.*{hint}") as caught:
        choose_background(IDS, STREET, asked)
    assert "\n" not in str(caught.value)


def test_the_first_lines_say_which_it_is_and_the_key(tmp_path):
    folder(tmp_path, 0, 1, 2)
    for classes, asked, words in (
        (None, None, ["background", "mask value 0", "dataset.background=none"]),
        (STREET, None, ["3", "dataset.background=NAME"]),
        (STREET, "car", ["car", "mask value 2"]),
    ):
        (note,) = [
            n for n in folder_source(tmp_path, classes=classes, background=asked).notes if "iou/mean" in n
        ]
        for word in words:
            assert word in note
    assert describe_background(choose_background(IDS, STREET, FIRST_CLASS), FIRST_CLASS) == ""


def test_masks_are_read_with_the_background_first(tmp_path):
    source = folder_source(folder(tmp_path, 0, 1, 2), classes=STREET, background="car")
    truth = source.read_truth(source.records()[0])
    assert truth.classes[:3, 0].tolist() == [1, 2, 0]
    assert source.classes == ("car", "sky", "road")


def test_three_values_above_zero_ask_for_the_background_and_the_answer_is_taken(tmp_path):
    folder(tmp_path, 1, 2, 3)
    with pytest.raises(UserError, match=r"masks.0\.png: .*1, 2, 3.*dataset\.background=1.*=none"):
        folder_source(tmp_path)
    source = folder_source(tmp_path, background="2")
    assert source.values == {1: 1, 2: 0, 3: 2}
    assert source.has_background
    assert not folder_source(tmp_path, background="none").has_background
    assert folder_source(tmp_path, background=FIRST_CLASS).values == {1: 0, 2: 1, 3: 2}


@pytest.mark.parametrize(
    ("stripes", "classes", "ignore", "names", "known"),
    [
        ((0, 1, 2), ["a", "b", "void"], 2, ("a", "b"), {0: 0, 1: 1}),
        ((0, 1, 2), ["Unlabelled", "a", "b"], 0, ("a", "b"), {1: 0, 2: 1}),
        ((0, 1, 255), ["a", "b", "void"], 255, ("a", "b"), {0: 0, 1: 1}),
        ((0, 1, 3), ["a", "void", "b", "c"], 1, ("a", "b", "c"), {0: 0, 2: 1, 3: 2}),
    ],
)
def test_a_class_that_means_not_annotated(tmp_path, stripes, classes, ignore, names, known):
    folder(tmp_path, *stripes)
    with pytest.raises(UserError, match=r"dataset\.classes: (void|Unlabelled) .*dataset\.ignore_value=\d"):
        folder_source(tmp_path, classes=classes)
    source = folder_source(tmp_path, classes=classes, ignore_value=ignore)
    assert (source.classes, source.values) == (names, known)
    unknown = source.read_truth(source.records()[0]).classes == IGNORE
    assert unknown.mean() == pytest.approx(1 / 3)
    # Run folders of before the key keep such a class.
    old = folder_source(
        tmp_path, classes=classes, background=FIRST_CLASS, values={v: i for i, v in enumerate(stripes)}
    )
    assert old.classes == tuple(classes)


def test_a_list_that_contradicts_the_value_to_ignore_is_refused(tmp_path):
    folder(tmp_path, 0, 1, 2, 3)
    with pytest.raises(UserError, match=r"dataset\.classes: void stands at 3.*dataset\.ignore_value=2"):
        folder_source(tmp_path, classes=["a", "b", "c", "void"], ignore_value=2)
    with pytest.raises(UserError, match=r"dataset\.ignore_value=1.*\(b\)"):
        folder_source(tmp_path, classes=["a", "b", "c", "d"], ignore_value=1)
    source = folder_source(tmp_path, classes=["a", "c", "d"], ignore_value=1)
    assert source.values == {0: 0, 2: 1, 3: 2}


def test_declared_values_lose_the_class_that_means_not_annotated(tmp_path):
    folder(tmp_path, 10, 20, 30)
    declared = {10: 0, 20: 1, 30: 2}
    with pytest.raises(UserError, match=r"dataset\.ignore_value=20"):
        folder_source(tmp_path, classes=["a", "void", "b"], values=declared)
    source = folder_source(tmp_path, classes=["a", "void", "b"], values=declared, ignore_value=20)
    assert (source.classes, source.values) == (("a", "b"), {10: 0, 30: 1})


def test_object_masks_refuse_a_background(tmp_path):
    with pytest.raises(UserError, match=r"dataset\.background=none.*dataset\.instances"):
        folder_source(folder(tmp_path, 0, 1, 2), instances=True, background="none")


def test_a_list_of_classes_that_is_too_short_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"3 mask values \(0, 1, 2\).*dataset\.classes names 2"):
        folder_source(folder(tmp_path, 0, 1, 2), classes=["sky", "road"])
    with pytest.raises(UserError, match=r"mask values 0, 5.*0 to 2"):
        folder_source(folder(tmp_path / "gap", 0, 5), classes=STREET)


def test_an_image_without_foreground_counts_as_empty_only_where_there_is_a_background(tmp_path):
    folder(tmp_path, 0, 1, 2)
    write_labels(tmp_path / "masks/0.png", np.zeros((12, 16), np.uint8))
    for asked, empty in (("sky", 1), ("none", 0)):
        source = folder_source(tmp_path, classes=STREET, background=asked)
        report = check_source(source, source.records())
        assert report.facts["empty"] == empty
        assert report.class_ids == {"0": [0], "1": [0, 1, 2], "2": [0, 1, 2]}


def test_configs_of_before_the_key_mean_the_first_class():
    assert schema_fields(FolderKeys)["background"][1].metadata["before"] == FIRST_CLASS
