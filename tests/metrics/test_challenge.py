"""SEG and DET by hand, against py-ctcmetrics, and where py-ctcmetrics is known to be wrong."""

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from unet_train.errors import UserError
from unet_train.metrics.challenge import (
    ChallengeCounts,
    det,
    det_counts,
    drop_outside_field,
    op_csb,
    scorer,
    seg,
    seg_sum,
)


def blocks(*boxes, size=(20, 30), dtype=np.int32):
    """A label map with a rectangle (label, top, bottom, left, right) for each box."""
    labels = np.zeros(size, dtype)
    for label, top, bottom, left, right in boxes:
        labels[top:bottom, left:right] = label
    return labels


REFERENCE = blocks((5, 0, 10, 0, 10), (2, 0, 10, 10, 20), (9, 12, 20, 0, 10))


def test_seg_by_hand():
    # 5: 80 of 100 pixels found, 10 too many; 2: exactly half found, which is not more than half; 9: missed.
    result = blocks((1, 0, 8, 0, 10), (1, 8, 9, 10, 20), (7, 0, 5, 10, 20))
    total, n = seg_sum(result, REFERENCE)
    assert n == 3
    assert total == pytest.approx(80 / 110)
    assert seg(total, n) == pytest.approx(80 / 330)


def test_two_equal_cells_merged_score_half_each():
    result = blocks((1, 0, 10, 0, 20))
    assert seg_sum(result, blocks((5, 0, 10, 0, 10), (2, 0, 10, 10, 20))) == (pytest.approx(1.0), 2)


def test_det_by_hand():
    markers = blocks((1, 2, 5, 2, 5), (2, 2, 5, 12, 15), (3, 14, 17, 2, 5), (4, 14, 16, 20, 22))
    # One object holds two markers, one holds none, one holds half of marker 4 (not more), marker 3 is missed.
    result = blocks((1, 0, 10, 0, 20), (2, 0, 4, 24, 30), (3, 15, 20, 20, 30))
    assert det_counts(result, markers) == (2, 1, 2, 4)
    assert det(2, 1, 2, 4) == pytest.approx(1 - 27 / 40)
    assert det(9, 0, 0, 4) == 0.0, "never below zero"
    assert op_csb(0.5, 1.0) == 0.75


def test_nothing_to_find_and_nothing_found():
    empty = np.zeros((4, 5), np.uint16)
    assert seg_sum(empty, empty) == (0.0, 0)
    assert seg_sum(empty, REFERENCE[:4, :5]) == (0.0, 1)
    assert det_counts(empty, empty) == (0, 0, 0, 0)
    assert np.isnan(seg(0.0, 0))
    assert np.isnan(det(0, 0, 3, 0))
    assert ChallengeCounts().scores() == {}
    full = np.ones((4, 5), np.uint8)  # not one pixel of background
    assert seg_sum(full, full) == (1.0, 1)
    assert seg_sum(full > 0, full > 0) == (1.0, 1)


def test_the_mean_runs_over_all_objects_not_over_frames():
    counts = ChallengeCounts()
    counts.add(REFERENCE, REFERENCE)
    counts.add(np.zeros_like(REFERENCE), blocks((1, 0, 3, 0, 3)))
    assert counts.scores() == {"seg": 0.75}, "without markers no det"
    both = ChallengeCounts(1.0, 2, 1, 0, 0, 2) + ChallengeCounts(1.0, 2, 0, 1, 5, 2)
    assert both.scores() == {"seg": 0.5, "det": 0.5, "op_csb": 0.5}
    assert scorer([REFERENCE], None)([REFERENCE]) == (1.0, -1.0)
    assert scorer([REFERENCE], [REFERENCE])([REFERENCE]) == (1.0, 1.0)


def test_margin_drops_what_lies_wholly_in_it_and_nothing_else():
    result = blocks(
        (1, 0, 5, 0, 30), (2, 3, 6, 0, 8), (40000, 15, 20, 12, 16), (4, 8, 9, 25, 26), dtype=np.uint16
    )
    kept = drop_outside_field(result, 5)
    assert kept.dtype == np.uint16
    # 1, 40000 (row 15 is the first of the lower border) and 4 (column 25) lie in the border; 2 reaches into
    # the field by three pixels and stays whole.
    assert np.unique(kept).tolist() == [0, 2]
    assert (kept == 2).sum() == (result == 2).sum()
    assert drop_outside_field(result, 0) is result
    with pytest.raises(UserError, match=r"dataset\.margin: .*\b10\b"):
        drop_outside_field(result, 10)


def slow_seg(result, reference):
    """The definition, word for word."""
    total = 0.0
    ids = [i for i in np.unique(reference) if i]
    for i in ids:
        r = reference == i
        for j in np.unique(result):
            s = result == j
            if j and (r & s).sum() > 0.5 * r.sum():
                total += (r & s).sum() / (r | s).sum()
    return total, len(ids)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(1, 9))
def test_seg_and_det_are_their_definitions(seed, count):
    rng = np.random.default_rng(seed)
    maps = []
    for _ in range(2):
        labels = np.zeros((16, 18), np.int32)
        for _ in range(count):
            top, left, height, width = rng.integers(0, [12, 12, 9, 9])
            labels[top : top + height + 1, left : left + width + 1] = rng.integers(0, 70000)
        maps.append(labels)
    result, reference = maps
    expected, n = slow_seg(result, reference)
    total, m = seg_sum(result, reference)
    assert m == n
    assert total == pytest.approx(expected, abs=1e-12)
    # Names of objects are only names.
    names = rng.permutation(80000)[: int(max(result.max(), reference.max())) + 1] + 1
    names[0] = 0
    assert seg_sum(names[result], names[reference])[0] == pytest.approx(expected, abs=1e-12)
    assert det_counts(names[result], names[reference]) == det_counts(result, reference)


@pytest.mark.parametrize(
    "labels",
    [np.zeros((2, 2), np.float32), np.array([[-1, 0]], np.int32).repeat(2, 0), np.zeros((3, 3), np.uint8)],
)
def test_maps_that_cannot_be_scored_are_refused(labels):
    with pytest.raises(ValueError, match=r"labels must|cannot be compared"):
        seg_sum(labels, np.zeros((2, 2), np.uint8))


def test_huge_ids_do_not_need_a_huge_table():
    reference = np.array([[0, 2**31 - 1, 2**31 - 1]], np.int64)
    assert seg_sum(reference, reference) == (1.0, 1)
    assert seg_sum(reference[:, 1:], reference[:, 1:]) == (1.0, 1)


# ---- against py-ctcmetrics --------------------------------------------------------------------------------


def write_sequence(folder, results, references, markers):
    """Both sides in the challenge's layout; each object gets its own label and a track of one frame."""
    for name in ("GT/SEG", "GT/TRA", "RES"):
        (folder / name).mkdir(parents=True)
    for kind, maps, file in (
        ("GT/SEG", references, "man_seg{:03}.tif"),
        ("GT/TRA", markers, "man_track{:03}.tif"),
        ("RES", results, "mask{:03}.tif"),
    ):
        lines, used = [], 0
        for frame, labels in enumerate(maps):
            ids, new = np.unique(labels, return_inverse=True)
            new = new.reshape(labels.shape)
            assert ids[0] == 0, "py-ctcmetrics counts on some background in every frame"
            new = np.where(new > 0, new + used, 0).astype(np.uint16)
            tifffile.imwrite(folder / kind / file.format(frame), new)
            lines += [f"{i} {frame} {frame} 0" for i in range(used + 1, used + len(ids))]
            used += len(ids) - 1
        if kind != "GT/SEG":
            track = "man_track.txt" if kind == "GT/TRA" else "res_track.txt"
            (folder / kind / track).write_text("\n".join(lines) + "\n")


def reference_scores(folder):
    pytest.importorskip("ctc_metrics")
    from ctc_metrics import evaluate_sequence

    return evaluate_sequence(
        str(folder / "RES"), str(folder / "GT"), metrics=["DET", "SEG", "OP_CSB"], threads=1
    )


def random_labels(rng, size=(48, 64), count=14):
    labels = np.zeros(size, np.int32)
    for i in range(1, count + 1):
        top, left = rng.integers(0, [size[0] - 8, size[1] - 8])
        height, width = rng.integers(4, 16, 2)
        labels[top : top + height, left : left + width] = i
    labels[0, 0] = 0
    return labels


def disturbed(labels, rng):
    """A plausible result: shifted, one object merged into another, one lost, one made up."""
    result = np.roll(labels, rng.integers(-3, 4, 2), (0, 1))
    ids = rng.permutation(np.unique(result[result > 0]))
    result[result == ids[0]] = ids[1]
    result[result == ids[2]] = 0
    result[3:9, 50:58] = 500
    result[0, 0] = 0
    return result


def test_agrees_with_py_ctcmetrics_on_random_label_images(tmp_path):
    rng = np.random.default_rng(0)
    references = [random_labels(rng) for _ in range(6)]
    results = [disturbed(labels, rng) for labels in references]
    markers = [np.where(rng.random(labels.shape) < 0.5, labels, 0) for labels in references]
    write_sequence(tmp_path, results, references, markers)
    counts = ChallengeCounts()
    for result, reference, marker in zip(results, references, markers, strict=True):
        counts.add(result, reference, marker)
    assert counts.splits > 0
    assert counts.missed > 0
    assert counts.extra > 0
    expected = reference_scores(tmp_path)
    for name, value in counts.scores().items():
        assert value == pytest.approx(float(expected[name.upper()]), abs=1e-6), name


@pytest.mark.parametrize("sequence", ["01", "02"])
def test_agrees_with_py_ctcmetrics_on_dic_hela_gold_against_silver(tmp_path, real_data, sequence):
    root = real_data / "DIC-C2DH-HeLa"
    counts, frames = ChallengeCounts(), ([], [], [])
    for gold in sorted((root / f"{sequence}_GT" / "SEG").glob("man_seg*.tif")):
        number = gold.stem[-3:]
        reference = tifffile.imread(gold)
        marker = tifffile.imread(root / f"{sequence}_GT" / "TRA" / f"man_track{number}.tif")
        result = tifffile.imread(root / f"{sequence}_ST" / "SEG" / f"man_seg{number}.tif")
        # Every object in the set reaches into the field, so the margin of 50 must not change anything here.
        counts.add(result, reference, marker, margin=50)
        for maps, labels in zip(frames, (result, reference, marker), strict=True):
            maps.append(
                labels[::2, ::2]
            )  # a quarter of the pixels: the reference takes seconds per full frame
    assert counts.scores()["seg"] == pytest.approx(0.965, abs=0.0006), "as the data's README says"
    small = ChallengeCounts()
    for labels in zip(*frames, strict=True):
        small.add(*labels)
    write_sequence(tmp_path, *frames)
    expected = reference_scores(tmp_path)
    for name, value in small.scores().items():
        assert value == pytest.approx(float(expected[name.upper()]), abs=1e-6), name


def test_labels_near_65535_are_where_py_ctcmetrics_is_wrong(tmp_path):
    """It adds an offset to the 16-bit labels of the result, which wraps round; a perfect result scores 0."""
    reference = blocks((1, 0, 10, 0, 10), (2, 0, 10, 10, 20), dtype=np.uint16)
    result = np.where(reference > 0, reference + np.uint16(65533), 0).astype(np.uint16)
    assert result.max() == 65535
    assert seg_sum(result, reference) == (2.0, 2)
    pytest.importorskip("ctc_metrics")
    from ctc_metrics.utils.representations import match

    tifffile.imwrite(tmp_path / "reference.tif", reference)
    tifffile.imwrite(tmp_path / "result.tif", result)
    values = match(str(tmp_path / "reference.tif"), str(tmp_path / "result.tif"))[4]
    assert sum(values) < 1.5, "if this fails, py-ctcmetrics was repaired: take the sentence out of the docs"


def test_the_margin_is_where_py_ctcmetrics_is_wrong(tmp_path):
    """A cell wholly in the border is annotated in no frame; py-ctcmetrics counts it as a false one."""
    reference = blocks((1, 8, 14, 8, 20))
    result = reference + blocks((2, 0, 4, 0, 10))
    write_sequence(tmp_path, [result] * 2, [reference] * 2, [reference] * 2)  # it fails on a single frame
    assert float(reference_scores(tmp_path)["DET"]) == pytest.approx(0.9)
    counts = ChallengeCounts()
    counts.add(result, reference, reference, margin=5)
    assert counts.scores()["det"] == 1.0
    without = ChallengeCounts()
    without.add(result, reference, reference)
    assert without.scores()["det"] == pytest.approx(0.9), "margin 0 agrees"
