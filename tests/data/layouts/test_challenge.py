"""The challenge's layout: pairing by number, and every unknown region kept out of the background."""

import pickle

import numpy as np
import pytest
import tifffile

from unet_train.data.io.images import write_image, write_labels
from unet_train.data.layouts.challenge import Annotation, ChallengeSource, uncovered_markers
from unet_train.data.records import IGNORE, Source
from unet_train.errors import UserError

SIZE = (60, 80)


def frame(cells):
    """Labels with rectangles: {number: (first row, last row, first column, last column)}."""
    labels = np.zeros(SIZE, np.uint16)
    for number, (top, bottom, left, right) in cells.items():
        labels[top : bottom + 1, left : right + 1] = number
    return labels


CELL_A = (20, 29, 20, 29)
CELL_B = (30, 39, 45, 54)
CELL_EDGE = (0, 14, 60, 70)  # reaches from the margin into the field


@pytest.fixture
def root(tmp_path):
    """01: gold in 2 and 67 (there one of two cells), silver in 2, 3, 67, markers in all; 02: gold in 5."""
    image = np.random.default_rng(0).integers(0, 255, SIZE, dtype=np.uint8)
    for number in (2, 3, 4, 67):
        write_image(tmp_path / f"01/t{number:03d}.tif", image)
        markers = frame({7: (24, 25, 24, 25), 9: (34, 35, 49, 50)})
        write_labels(tmp_path / f"01_GT/TRA/man_track{number:03d}.tif", markers)
    write_labels(tmp_path / "01_GT/SEG/man_seg002.tif", frame({1: CELL_A, 3: CELL_EDGE}))
    write_labels(tmp_path / "01_GT/SEG/man_seg067.tif", frame({5: CELL_A}))
    write_labels(tmp_path / "01_ST/SEG/man_seg002.tif", frame({7: CELL_A, 9: CELL_B}))
    write_labels(tmp_path / "01_ST/SEG/man_seg0003.tif", frame({7: CELL_A}))  # four digits; 9 is missing
    write_labels(tmp_path / "01_ST/SEG/man_seg067.tif", frame({7: CELL_A, 9: CELL_B}))
    write_image(tmp_path / "02/t0005.tif", image)
    write_labels(tmp_path / "02_GT/SEG/man_seg005.tif", frame({4: CELL_B}))
    write_labels(tmp_path / "01_ERR_SEG/man_seg002.tif", frame({1: CELL_B}))  # faulty on purpose
    (tmp_path / "01_RES").mkdir()
    return tmp_path


def by_key(source):
    return {record.key: record for record in source.records()}


def test_listing(root):
    source = ChallengeSource(root, name="cells")
    assert isinstance(source, Source)
    records = source.records()
    assert [record.key for record in records] == ["01/002", "01/003", "01/004", "01/067", "02/0005"]
    assert [record.group for record in records] == ["01"] * 4 + ["02"]
    assert [record.order for record in records] == [2, 3, 4, 67, 5]
    assert source.channels == 1
    assert source.classes == ("background", "cell")
    assert source.read_image(records[0]).shape == (*SIZE, 1)
    assert set(by_key(source)["01/003"].labels) == {"silver", "markers"}
    assert pickle.loads(pickle.dumps(source)).records() == records
    assert source.layout_problems() == []


@pytest.mark.parametrize(
    ("labels", "trainable"),
    [
        ("gold", ["01/002", "02/0005"]),
        ("silver", ["01/002", "01/003", "01/067"]),
        ("both", ["01/002", "01/003", "01/067", "02/0005"]),
    ],
)
def test_who_trains_and_who_is_scored(root, labels, trainable):
    source = ChallengeSource(root, Annotation(labels=labels, leave_out=["1/67"]))
    assert [record.key for record in source.records() if record.trainable] == trainable
    assert [record.key for record in source.records() if record.scorable] == ["01/002", "02/0005"]
    assert any("01/067" in note for note in source.notes)


def test_gold_with_margin_and_silver_outline(root):
    source = ChallengeSource(root, Annotation(margin=10))
    record = by_key(source)["01/002"]
    truth = source.read_truth(record)
    gold, silver = frame({1: CELL_A, 3: CELL_EDGE}), frame({7: CELL_A, 9: CELL_B})
    expected = np.full(SIZE, IGNORE, np.uint8)
    expected[10:50, 10:70] = 0
    expected[silver == 9] = IGNORE  # marker 9 has no gold object; its silver outline is known
    expected[gold > 0] = 1  # an outlined cell stays, in the margin too
    np.testing.assert_array_equal(truth.classes, expected)
    np.testing.assert_array_equal(truth.instances, gold)
    assert truth.classes.dtype == np.uint8
    assert truth.instances.dtype == np.int32
    assert truth.markers.dtype == np.int32
    assert np.unique(truth.markers).tolist() == [0, 7, 9]


def test_a_ring_around_outlined_cells_is_background_in_the_margin_of_training_labels_only(root):
    source = ChallengeSource(root, Annotation(margin=10, ring=4))
    record = by_key(source)["01/002"]
    classes = source.read_truth(record).classes
    expected = ChallengeSource(root, Annotation(margin=10)).read_truth(record).classes.copy()
    # Distances to the rectangle CELL_EDGE by hand: to its side, or to its corner.
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    top, bottom, left, right = CELL_EDGE
    down = np.maximum(rows - bottom, top - rows).clip(0)
    across = np.maximum(columns - right, left - columns).clip(0)
    near = (np.hypot(down, across) <= 4) & (expected == IGNORE) & ((columns >= 70) | (rows < 10))
    assert near.sum() > 30
    expected[near] = 0
    np.testing.assert_array_equal(classes, expected)
    np.testing.assert_array_equal(
        source.read_truth(record, scoring=True).classes,
        ChallengeSource(root, Annotation(margin=10)).read_truth(record, scoring=True).classes,
    )


def test_a_marker_without_any_outline_gets_a_disc(root):
    (root / "01_ST/SEG/man_seg002.tif").unlink()
    source = ChallengeSource(root, Annotation(marker_radius=6))
    classes = source.read_truth(by_key(source)["01/002"]).classes
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    disc = np.hypot(rows - 34.5, columns - 49.5) <= 6
    np.testing.assert_array_equal(classes == IGNORE, disc)
    # marker 7 lies on gold object 1: no disc there, though the numbers differ
    assert (classes[20:30, 20:30] == 1).all()


def test_silver_misses_a_tracked_cell(root):
    source = ChallengeSource(root, Annotation(labels="silver", marker_radius=6, margin=10))
    truth = source.read_truth(by_key(source)["01/003"])
    assert truth.classes[34, 49] == IGNORE
    assert truth.classes[34, 49 + 8] == 0
    assert truth.classes[0, 0] == IGNORE
    assert np.unique(truth.instances).tolist() == [0, 7]


def test_scoring_is_gold_whatever_is_trained(root):
    source = ChallengeSource(root, Annotation(labels="silver", leave_out=["01/067"]))
    records = by_key(source)
    assert np.unique(source.read_truth(records["01/002"], scoring=True).instances).tolist() == [0, 1, 3]
    assert np.unique(source.read_truth(records["01/002"]).instances).tolist() == [0, 7, 9]
    for key, word in (("01/003", "no labels"), ("01/067", "left out")):
        with pytest.raises(UserError, match=f"{key}: .*{word}"):
            source.read_truth(records[key], scoring=True)


def test_both_takes_silver_where_gold_is_left_out(root):
    source = ChallengeSource(root, Annotation(labels="both", leave_out=["01/067"]))
    records = by_key(source)
    assert np.unique(source.read_truth(records["01/067"]).instances).tolist() == [0, 7, 9]
    assert np.unique(source.read_truth(records["01/002"]).instances).tolist() == [0, 1, 3]


def test_boxes_end_included_and_give_way_to_gold(root):
    source = ChallengeSource(root, Annotation(ignore_boxes={"02/005": [[25, 34, 40, 49], [0, 0, 0, 0]]}))
    classes = source.read_truth(by_key(source)["02/0005"]).classes
    expected = np.zeros(SIZE, np.uint8)
    expected[25:35, 40:50] = IGNORE
    expected[0, 0] = IGNORE
    expected[frame({4: CELL_B}) > 0] = 1
    np.testing.assert_array_equal(classes, expected)


def test_coverage_rule():
    markers = np.array([[1, 1, 2, 2, 3, 3, 3]])
    objects = np.array([[5, 0, 6, 6, 7, 7, 0]])
    assert uncovered_markers(markers, objects) == [1]  # exactly half is not enough
    assert uncovered_markers(np.zeros((2, 2), int), np.zeros((2, 2), int)) == []


def test_bad_labels_are_named(root):
    path = root / "01_GT/SEG/man_seg002.tif"
    source = ChallengeSource(root)
    record = by_key(source)["01/002"]
    write_labels(path, np.zeros((10, 10), np.uint16))
    with pytest.raises(UserError, match=r"man_seg002\.tif: .*10×10.*60×80.*t002\.tif"):
        source.read_truth(record)
    binary = ((frame({1: CELL_A, 2: CELL_B}) > 0) * 255).astype(np.uint8)
    write_labels(path, binary)
    with pytest.raises(UserError, match=r"man_seg002\.tif: a binary mask \(2 separate"):
        source.read_truth(record)
    tifffile.imwrite(path, np.full(SIZE, -1, np.int16))
    with pytest.raises(UserError, match=r"man_seg002\.tif: .*-1 to -1"):
        source.read_truth(record)
    one_with_crumb = frame({1: CELL_A})
    one_with_crumb[0, 0] = 1
    write_labels(path, one_with_crumb)
    source.read_truth(record)


def test_bad_files_are_listed(root):
    write_labels(root / "01_GT/SEG/man_seg099.tif", frame({1: CELL_A}))
    (root / "01/t0002.tif").write_bytes((root / "01/t002.tif").read_bytes())
    problems = dict(ChallengeSource(root).layout_problems())
    assert problems == {
        str(root / "01_GT/SEG/man_seg099.tif"): "gold labels without a frame of that number",
        str(root / "01/t002.tif"): "has the same number as t0002.tif",
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"leave_out": ["067"]}, r"dataset\.leave_out: .*067"),
        ({"ignore_boxes": {"02/005": [[5, 4, 0, 1]]}}, r"dataset\.ignore_boxes: \[5, 4, 0, 1\] of"),
        ({"ignore_boxes": {"02/005": [[5, 4, 0]]}}, r"is no box"),
    ],
)
def test_bad_arguments(root, arguments, message):
    with pytest.raises(UserError, match=message):
        ChallengeSource(root, Annotation(**arguments))
    with pytest.raises(UserError, match=r"dataset\.classes"):
        ChallengeSource(root, classes=["a", "b", "c"])
    with pytest.raises(ValueError, match="labels=bronze: choose gold, silver or both"):
        ChallengeSource(root, Annotation(labels="bronze"))


def test_bad_roots(root, tmp_path):
    with pytest.raises(UserError, match=r"dataset\.root: .*missing.*unet-data fetch dic_hela"):
        ChallengeSource(tmp_path / "missing", name="dic_hela")
    with pytest.raises(UserError, match="no sequence folder"):
        ChallengeSource(root / "01")
    for path in (root / "01_ST/SEG").iterdir():
        path.unlink()
    with pytest.raises(UserError, match=r"dataset\.labels=silver: .*01_ST"):
        ChallengeSource(root, Annotation(labels="silver"))


# --- real data: the numbers of shared/data/README.md --------------------------------------------------------

WITHOUT_OUTLINE = {
    "01/034": [54],
    "01/039": [54],
    "01/067": [4, 5, 8, 10, 12, 14, 16, 18, 21, 28, 30, 35, 36, 39, 56],
    "02/007": [32],
    "02/014": [32],
    "02/042": [35, 45],
    "02/061": [26],
    "02/067": [26],
}


def test_hela(real_data):
    source = ChallengeSource(
        real_data / "DIC-C2DH-HeLa",
        Annotation(labels="both", leave_out=["01/067"], margin=50, marker_radius=60),
    )
    records = by_key(source)
    assert len(records) == 168
    assert sum(record.scorable for record in records.values()) == 17
    assert all(record.trainable for record in records.values())
    whole = ChallengeSource(real_data / "DIC-C2DH-HeLa", Annotation(margin=50))  # with 01/067, for the table
    cells = 0
    for record in whole.records():
        if not record.scorable:
            continue
        truth = whole.read_truth(record, scoring=True)
        cells += len(np.unique(truth.instances)) - 1
        assert uncovered_markers(truth.markers, truth.instances) == WITHOUT_OUTLINE.get(record.key, [])
        assert (truth.classes[truth.instances > 0] == 1).all()
        inner = truth.classes[50:-50, 50:-50]
        partly = record.key in WITHOUT_OUTLINE
        assert (inner == IGNORE).any() == partly
        border = truth.classes.copy()
        border[50:-50, 50:-50] = IGNORE
        assert set(np.unique(border)) <= {1, IGNORE}
    assert cells == 195
    assert source.channels == 1
    silver = source.read_truth(records["01/067"])  # gold left out: 18 silver cells instead of 3
    assert len(np.unique(silver.instances)) - 1 == 18


def test_hela_silver_margin_rule(real_data):
    """Why silver's margin is ignored like gold's: no silver object lies wholly in it."""
    source = ChallengeSource(real_data / "DIC-C2DH-HeLa", Annotation(labels="silver", margin=50))
    for record in source.records()[::12]:
        instances = source.read_truth(record).instances
        assert set(np.unique(instances)) == set(np.unique(instances[50:-50, 50:-50]))


def test_u373(real_data):
    boxes = {"02/026": [[278, 354, 620, 695]], "02/106": [[290, 351, 0, 64], [272, 344, 628, 692]]}
    source = ChallengeSource(real_data / "PhC-C2DH-U373", Annotation(margin=50, ignore_boxes=boxes))
    records = by_key(source)
    assert [sum(r.group == group for r in records.values()) for group in ("01", "02")] == [15, 19]
    truths = {key: source.read_truth(record) for key, record in records.items()}
    counts = {
        group: sum(len(np.unique(t.instances)) - 1 for key, t in truths.items() if key[:2] == group)
        for group in ("01", "02")
    }
    assert counts == {"01": 100, "02": 110}
    assert (truths["02/026"].classes[278:355, 620:696] == IGNORE).all()
    assert truths["02/026"].classes[277, 630] == 0
    assert all(truth.markers is None for truth in truths.values())
