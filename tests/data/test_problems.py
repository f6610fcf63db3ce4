"""Problems are grouped by kind, whatever names and numbers they hold, and none is hidden."""

import pytest

from unet_train.data.problems import Problem, by_kind, list_problems


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            ("/d/masks/a.png", "48×64 labels for the 50×64 image /d/images/a.png"),
            ("/d/masks/b.png", "9×8 labels for the 10×8 image /d/images/b.png"),
        ),
        (
            ("m/a.png", "pixel values 7, 9 are no class (known: 0, 255); declare dataset.values"),
            ("m/b.png", "pixel values 1, 2, 3, …, 99 are no class (known: 0, 255); declare dataset.values"),
        ),
        (("my data/first.png", "no mask 'first_mask'"), ("my data/last.png", "no mask 'last_mask'")),
        (
            ("p/a.tif", "float values from -1 to 2, not in [0, 1]"),
            ("p/b.tif", "float values from 0.5 to 7e+06, not in [0, 1]"),
        ),
        (
            ("masks/first.png", "another size than images/left/first.tif"),
            ("masks/second.png", "another size than images/right/b.tif"),
        ),
        (("x/cell.png", "cell.png is truncated"), ("x/nucleus.png", "nucleus.png is truncated")),
    ],
)
def test_the_same_fault_of_two_files_is_one_kind(one, other):
    assert Problem(*one).kind == Problem(*other).kind


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("empty file", "truncated file"),
        ("3 channels where the data set has 1", "3 channels where dataset.channels is 1"),
        ("set dataset.channels", "set dataset.values"),
    ],
)
def test_other_faults_are_other_kinds(one, other):
    assert Problem("a", one).kind != Problem("a", other).kind


def problems():
    rare = [Problem("z.png", "empty file")]
    common = [Problem(f"{i}.png", f"{i} channels where the data set has 1") for i in range(9)]
    some = [Problem(f"m{i}.png", "truncated") for i in range(3)]
    return [*rare, *some[:1], *common, *some[1:]]


def test_the_commonest_kind_is_first():
    assert [len(same) for same in by_kind(problems())] == [9, 3, 1]
    assert [same[0].file for same in by_kind(problems())] == ["0.png", "m0.png", "z.png"]
    listed = [problem for same in by_kind(problems()) for problem in same]
    assert sorted(map(str, listed)) == sorted(map(str, problems()))


def test_many_of_one_kind_are_a_few_lines():
    head, *lines, last = list_problems(problems(), "report/data.json").splitlines()
    assert head.startswith("13 problems")
    assert "3 kinds" in head
    assert [line.split(":")[0].strip() for line in lines[:2]] == ["0.png", "1.png"]
    assert "7 more" in lines[2]
    assert [line.split(":")[0].strip() for line in lines[3:]] == ["m0.png", "m1.png", "m2.png", "z.png"]
    assert "report/data.json" in last


def test_few_are_all_listed():
    few = [Problem("a.png", "empty file"), Problem("b.png", "truncated")]
    assert list_problems(few, "elsewhere").splitlines() == [
        "2 problems in the data:",
        "  a.png: empty file",
        "  b.png: truncated",
    ]
    assert list_problems([]) == ""
