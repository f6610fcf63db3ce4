"""Splits: apart by group, the same everywhere, blocks with a gap, files and shipped names."""

import json
import re

import pytest

from unet_train.data.layouts.challenge import Annotation, ChallengeSource
from unet_train.data.layouts.folder import folder_source
from unet_train.data.layouts.kaggle import KaggleSource
from unet_train.data.records import Record
from unet_train.data.splits import SplitRule, make_split, read_split_file, shipped_splits
from unet_train.errors import UserError


def record(group, order, **kwargs):
    return Record(key=f"{group}/{order}", image="x.png", group=group, order=order, **kwargs)


def keys(records):
    return [r.key for r in records]


def groups(records):
    return {r.group for r in records}


PATIENTS = [record(f"p{index}", n) for index in range(10) for n in range(3)]


def test_groups_are_never_torn_apart():
    split = make_split(PATIENTS, SplitRule(test_fraction=0.2, val_fraction=0.25))
    assert len(groups(split.test)) == 2
    assert len(groups(split.val)) == 2
    assert len(groups(split.train)) == 6
    assert not groups(split.test) & (groups(split.train) | groups(split.val))
    assert not groups(split.val) & groups(split.train)
    assert sorted(keys(split.train) + keys(split.val) + keys(split.test)) == sorted(keys(PATIENTS))


def test_same_seed_same_groups_whatever_else_is_there():
    first = make_split(PATIENTS, SplitRule(val_fraction=0.3, seed=1))
    assert make_split(list(reversed(PATIENTS)), SplitRule(val_fraction=0.3, seed=1)).keys.to_json()[
        "val"
    ] == list(reversed(keys(first.val)))
    assert any(
        make_split(PATIENTS, SplitRule(val_fraction=0.3, seed=s)).val != first.val for s in range(2, 5)
    )
    # pinned: must not change with a new version of Python or NumPy
    assert sorted(groups(make_split(PATIENTS, SplitRule(val_fraction=0.3, seed=0)).val)) == ["p2", "p4", "p7"]


def test_folds_deal_out_names_in_turn():
    held_out = []
    for fold in range(3):
        split = make_split(PATIENTS, SplitRule(folds=3, fold=fold, val_fraction=0))
        assert groups(split.test) == {f"p{index}" for index in range(fold, 10, 3)}
        assert not split.val
        held_out += keys(split.test)
    assert sorted(held_out) == sorted(keys(PATIENTS))
    split = make_split(PATIENTS, SplitRule(folds=3, fold=0, val_fraction=0.3))
    assert len(groups(split.val)) == 2
    assert not groups(split.val) & groups(split.test)


def test_named_test_groups():
    frames = [record(group, n) for group in ("01", "02") for n in range(10)]
    for name in ("02", "2"):
        split = make_split(frames, SplitRule(test_groups=[name]))
        assert groups(split.test) == {"02"}
    with pytest.raises(UserError, match=r"dataset\.test_groups: .*'03'.*01"):
        make_split(frames, SplitRule(test_groups=["03"]))
    with pytest.raises(UserError, match="nothing is left to train on"):
        make_split(frames, SplitRule(test_groups=["01", "02"]))


def test_one_sequence_gives_a_block_with_a_gap():
    """Frames next to a validation frame are near copies of it: they may not train."""
    scorable = {2, 5, 21, 31, 33, 34, 39, 54}
    frames = [record("01", n, scorable=n in scorable, trainable=True) for n in range(60)]
    split = make_split(frames, SplitRule(val_fraction=0.25))
    assert [r.order for r in split.val] == [39, 54]
    assert [r.order for r in split.train] == [*range(37), *range(57, 60)]
    assert any("block" in note and "18" in note for note in split.notes)
    gold = [record("01", n, scorable=n in scorable, trainable=n in scorable) for n in range(60)]
    split = make_split(gold, SplitRule(val_fraction=0.25))
    assert [r.order for r in split.train] == [2, 5, 21, 31, 33, 34]
    assert any(re.search(r"\b34\b.* train\b", note) for note in split.notes)


def test_nothing_near_a_validation_frame_trains():
    frames = [record("01", n, scorable=n % 3 == 0) for n in range(40)]
    for fraction in (0.1, 0.3, 0.6):
        split = make_split(frames, SplitRule(val_fraction=fraction))
        first, last = split.val[0].order, split.val[-1].order
        assert all(r.order < first - 2 or r.order > last + 2 for r in split.train)
        assert all(r.scorable for r in split.val)


def test_two_sequences_to_train_on_lose_a_block_not_a_half():
    frames = [record(group, n) for group in ("01", "02") for n in range(10)]
    split = make_split(frames, SplitRule(val_fraction=0.2))
    assert keys(split.val) == ["02/8", "02/9"]
    assert keys(split.train) == [f"01/{n}" for n in range(10)] + [f"02/{n}" for n in range(6)]


def test_no_truth_means_no_validation():
    split = make_split([record("01", n, scorable=False) for n in range(5)])
    assert len(split.train) == 5
    assert not split.val
    assert any("no validation" in note for note in split.notes)
    split = make_split(PATIENTS, SplitRule(val_fraction=0))
    assert not split.val
    assert len(split.train) == 30


def test_serial_sections():
    """30 sections, each its own group: 24–29 test, the sections before them val, one section of gap."""
    sections = [Record(key=f"{n:02d}", image="x.png", group=f"{n:02d}") for n in range(30)]
    split = make_split(sections, SplitRule(by="block", test_fraction=0.2, val_fraction=0.2))
    assert keys(split.test) == [f"{n:02d}" for n in range(24, 30)]
    assert keys(split.val) == [f"{n:02d}" for n in range(19, 24)]
    assert keys(split.train) == [f"{n:02d}" for n in range(18)]
    split = make_split(sections, SplitRule(by="block", test_fraction=0.2, val_fraction=0))
    assert keys(split.train) == [f"{n:02d}" for n in range(23)]
    split = make_split(sections, SplitRule(by="block", test_fraction=0.2, val_fraction=0, gap=0))
    assert keys(split.train) == [f"{n:02d}" for n in range(24)]


def test_blocks_of_several_volumes_come_back_from_their_file(tmp_path):
    sections = [record(group, n) for group in ("a", "b") for n in range(10)]
    split = make_split(sections, SplitRule(by="block", test_fraction=0.2, val_fraction=0.25))
    assert keys(split.test) == ["a/8", "a/9", "b/8", "b/9"]
    assert keys(split.val) == ["a/6", "a/7", "b/6", "b/7"]
    assert keys(split.train) == [f"{group}/{n}" for group in "ab" for n in range(5)]
    file = tmp_path / "split.json"
    file.write_text(json.dumps(split.keys.to_json()))
    again = make_split(sections, SplitRule(file=file))
    assert (again.train, again.val, again.test) == (split.train, split.val, split.test)


def test_the_layouts_own_parts_win():
    records = [record(f"g{n}", n, part=part) for n, part in enumerate(["train"] * 5 + ["val", "test"])]
    split = make_split(records, SplitRule(test_groups=["nobody"]))
    assert [len(split.train), len(split.val), len(split.test)] == [5, 1, 1]
    split = make_split(records[:5] + records[6:], SplitRule(val_fraction=0.2))
    assert [len(split.train), len(split.val), len(split.test)] == [4, 1, 1]
    split = make_split([*[record("01", n) for n in range(10)], record("02", 0, part="test")])
    assert [len(split.train), len(split.val), len(split.test)] == [6, 2, 1]  # no part: train
    leak = [*records, record("g0", 99, part="test")]
    with pytest.raises(UserError, match=r"'g0' .*test \(g0/99\).*train \(g0/0\)"):
        make_split(leak)
    with pytest.raises(UserError, match=r"split\.folds"):
        make_split(records, SplitRule(folds=2, fold=0))


def test_split_file(tmp_path):
    file = tmp_path / "my split.json"
    first = make_split(PATIENTS, SplitRule(test_fraction=0.2))
    file.write_text(json.dumps(first.keys.to_json()))
    again = make_split(PATIENTS, SplitRule(file=file, test_groups=["p0"], val_fraction=0.9))
    assert (again.train, again.val, again.test) == (first.train, first.val, first.test)
    (tmp_path / "split.json").write_text(file.read_text())
    assert make_split(PATIENTS, SplitRule(file=tmp_path)).val == first.val  # a run folder

    file.write_text(json.dumps({"train": ["p0", "p1/0"], "val": [], "test": ["p2"]}))
    split = make_split(PATIENTS, SplitRule(file=file))
    assert keys(split.train) == ["p0/0", "p0/1", "p0/2", "p1/0"]
    assert split.val == []
    assert any(re.search(r"\b23 of 30\b", note) for note in split.notes)
    file.write_text(json.dumps({"train": ["*"], "test": ["p2"]}))
    split = make_split(PATIENTS, SplitRule(file=file, val_fraction=0.2))
    assert groups(split.test) == {"p2"}
    assert len(groups(split.val)) == 2
    assert len(split.train) + len(split.val) == 27


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            '{"train": ["p0"], "test": ["p11"]}',
            r"'p11' .*\bp1\?",
        ),
        ('{"train": ["p0/0"], "test": ["p0/1"]}', r"'p0' .*test \(p0/1\).*train"),
        ('{"val": ["p0/0"], "train": ["p1"], "test": ["p0/1"]}', r"'p0' .*test .*val"),
        ('{"train": ["p0"], "val": ["p0/1"]}', r"p0/1 .*train.*val"),
        ('{"train": ["*"], "test": ["*"]}', r'"\*" .*train.*test'),
        ('{"trian": ["p0"]}', "unknown part 'trian'"),
        ('{"train": "p0"}', "no list of keys"),
        ('{"notes": []}', "has no part"),
        ("[1]", "not a JSON object"),
        ("{", "not readable as JSON"),
        ('{"folds": [["p0"], ["p1"]]}', r"split\.fold=None: choose 0 to 1"),
        ('{"folds": [["p0"], ["p1"]], "train": []}', r"\bfolds\b.*\bparts\b"),
    ],
)
def test_bad_split_files(tmp_path, content, message):
    file = tmp_path / "s.json"
    file.write_text(content)
    with pytest.raises(UserError, match=message) as caught:
        make_split(PATIENTS, SplitRule(file=file))
    assert "\n" not in str(caught.value)


def test_named_records_must_be_usable(tmp_path):
    records = [
        record("a", 0, trainable=False),
        record("a", 1),
        record("b", 0, scorable=False),
        record("b", 1),
    ]
    file = tmp_path / "s.json"
    file.write_text('{"train": ["a/0"], "val": []}')
    with pytest.raises(UserError, match=r"a/0 .*train.*label"):
        make_split(records, SplitRule(file=file))
    file.write_text('{"train": ["a/1"], "val": ["b/0"]}')
    with pytest.raises(UserError, match=r"b/0 .*\bval\b.*truth"):
        make_split(records, SplitRule(file=file))
    file.write_text('{"train": ["a"], "val": ["b"]}')  # groups: what cannot serve is left out and counted
    split = make_split(records, SplitRule(file=file))
    assert (keys(split.train), keys(split.val)) == (["a/1"], ["b/1"])
    assert sum("left out" in note for note in split.notes) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"folds": 11, "fold": 0}, r"split\.folds=11: choose 2 to 10"),
        ({"folds": 5}, r"split\.fold=None: choose 0 to 4"),
        ({"folds": 5, "fold": 5}, r"split\.fold=5"),
        ({"fold": 1}, r"split\.fold .*split\.folds"),
        (
            {"file": "lgg22-test5"},
            r"split\.file=lgg22-test5: .*lgg22-5fold, lgg22-test4, published",
        ),
        ({"file": "../split_files/published"}, r"split_files/published"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(UserError, match=message):
        make_split(PATIENTS, SplitRule(**arguments))


@pytest.mark.parametrize("arguments", [{"val_fraction": 1.0}, {"test_fraction": -0.1}, {"by": "slice"}])
def test_what_the_schema_lets_nobody_ask_for(arguments):
    (name,) = arguments
    with pytest.raises(ValueError, match=f"{name}="):
        make_split(PATIENTS, SplitRule(**arguments))


def test_one_image_cannot_be_divided():
    with pytest.raises(UserError, match=r"split\.val_fraction"):
        make_split([record("a", 0)])
    split = make_split([record("a", 0), record("b", 0)])
    assert (len(split.train), len(split.val)) == (1, 1)


def test_shipped_files_are_whole():
    assert shipped_splits() == ["lgg22-5fold", "lgg22-test4", "published"]
    published = read_split_file("published")
    assert len(set(published["test"])) == 10
    assert published["train"] == ["*"]
    test4 = read_split_file("lgg22-test4.json")
    assert len(test4["train"]) == 18
    assert not set(test4["train"]) & set(test4["test"])


# --- real data: the numbers of shared/data/README.md --------------------------------------------------------


def test_brain(real_data):
    records = KaggleSource(real_data / "kaggle_3m").records()
    split = make_split(records, SplitRule(file="lgg22-test4", val_fraction=0))
    assert (len(split.train), len(split.test)) == (442, 95)
    split = make_split(records, SplitRule(file="lgg22-test4"))
    assert len(groups(split.val)) == 4
    assert len(groups(split.train)) == 14
    for fold, slices in enumerate((113, 124, 103, 92, 105)):
        split = make_split(records, SplitRule(file="lgg22-5fold", fold=fold))
        assert len(split.test) == slices
        assert split.test == make_split(records, SplitRule(folds=5, fold=fold)).test
    with pytest.raises(UserError, match=r"\b8 more\b"):
        make_split(records, SplitRule(file="published"))


def test_cells(real_data):
    gold = ChallengeSource(real_data / "DIC-C2DH-HeLa", Annotation(leave_out=["01/067"])).records()
    split = make_split(gold, SplitRule(test_groups=["02"]))
    assert keys(split.val) == ["01/039", "01/054"]
    assert len(split.train) == 6
    assert len(split.test) == 9
    both = ChallengeSource(
        real_data / "DIC-C2DH-HeLa", Annotation(leave_out=["01/067"], labels="both")
    ).records()
    split = make_split(both, SplitRule(test_groups=["02"]))
    assert keys(split.val) == ["01/039", "01/054"]  # the same frames, so that label kinds compare
    assert len(split.train) == 84 - 20
    phc = ChallengeSource(real_data / "PhC-C2DH-U373").records()
    split = make_split(phc, SplitRule(test_groups=["02"]))
    assert [len(split.train), len(split.val), len(split.test)] == [12, 3, 19]
    assert [
        len(p) for p in (lambda s: (s.train, s.val, s.test))(make_split(phc, SplitRule(test_groups=["1"])))
    ][2] == 15


def test_membranes(real_data):
    records = folder_source(real_data / "isbi2012").records()
    split = make_split(records, SplitRule(by="block", test_fraction=0.2))
    assert keys(split.test) == ["24", "25", "26", "27", "28", "29"]
    assert keys(split.val) == ["19", "20", "21", "22", "23"]
