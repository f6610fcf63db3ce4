"""A written result folder is accepted by py-ctcmetrics, and holds what was predicted."""

import numpy as np
import pytest
import tifffile

from unet_train.errors import UserError
from unet_train.inference.challenge_results import ChallengeWriter, frame_number, sequence_frames
from unet_train.metrics.challenge import ChallengeCounts


def moving(n, size=(40, 60)):
    """Two objects that move apart; the second is missing in one frame, and frame 3 is empty."""
    for t in range(n):
        labels = np.zeros(size, np.int32)
        if t != 3:
            labels[5 + t : 15 + t, 5:15] = 1
            if t != 2:
                labels[20:30, 30 + t : 42 + t] = 70000
        yield labels


def test_the_folder_is_valid_and_scores_one_by_the_reference(tmp_path):
    ctc = pytest.importorskip("ctc_metrics")
    frames = list(moving(6))
    with ChallengeWriter(tmp_path / "01_RES") as writer:
        written = [writer.add(t, labels) for t, labels in enumerate(frames)]
    files = sorted(path.name for path in (tmp_path / "01_RES").iterdir())
    assert files == [*(f"mask00{t}.tif" for t in range(6)), "res_track.txt"], (
        "a file for every frame, no other"
    )
    for t, labels in enumerate(frames):
        mask = tifffile.imread(tmp_path / "01_RES" / f"mask00{t}.tif")
        assert mask.dtype == np.uint16
        np.testing.assert_array_equal(mask > 0, labels > 0)
        np.testing.assert_array_equal(mask, written[t])
    lines = (tmp_path / "01_RES" / "res_track.txt").read_bytes().decode("ascii").splitlines()
    assert lines == ["1 0 2 0", "2 0 1 0", "3 4 5 0", "4 4 5 0"]
    # The same folder as its own truth: valid, and everything found.
    for kind, name in (("SEG", "man_seg"), ("TRA", "man_track")):
        (tmp_path / "01_GT" / kind).mkdir(parents=True)
        for t, labels in enumerate(written):
            tifffile.imwrite(tmp_path / "01_GT" / kind / f"{name}00{t}.tif", labels)
    (tmp_path / "01_GT" / "TRA" / "man_track.txt").write_text("\n".join(lines))
    scores = ctc.evaluate_sequence(
        str(tmp_path / "01_RES"), str(tmp_path / "01_GT"), metrics=["Valid", "SEG", "DET", "TRA"], threads=1
    )
    assert scores["Valid"] == 1
    assert scores["SEG"] == scores["DET"] == scores["TRA"] == 1


def test_real_cells_are_linked_nearly_as_tracked_by_hand(tmp_path, real_data):
    """Silver outlines with shuffled ids, linked by overlap, against the tracks of the set."""
    ctc = pytest.importorskip("ctc_metrics")
    root = real_data / "DIC-C2DH-HeLa"
    rng = np.random.default_rng(0)
    counts = ChallengeCounts()
    (tmp_path / "GT" / "TRA").mkdir(parents=True)
    used: set[int] = set()
    with ChallengeWriter(tmp_path / "RES") as writer:
        for t in range(8):
            silver = tifffile.imread(root / "01_ST" / "SEG" / f"man_seg{t:03}.tif").astype(np.int32)
            markers = tifffile.imread(root / "01_GT" / "TRA" / f"man_track{t:03}.tif")
            ids = np.concatenate([[0], rng.permutation(200) + 1])
            labels = writer.add(t, ids[silver])
            counts.add(labels, None, markers, margin=50)
            tifffile.imwrite(tmp_path / "GT" / "TRA" / f"man_track{t:03}.tif", markers)
            used |= set(np.unique(markers).tolist())
    lines = (root / "01_GT" / "TRA" / "man_track.txt").read_text().splitlines()
    rows = [[int(v) for v in line.split()] for line in lines]
    kept = [f"{i} {b} {min(e, 7)} {p if p in used else 0}" for i, b, e, p in rows if i in used]
    (tmp_path / "GT" / "TRA" / "man_track.txt").write_text("\n".join(kept))
    scores = ctc.evaluate_sequence(
        str(tmp_path / "RES"), str(tmp_path / "GT"), metrics=["DET", "TRA", "Valid"], threads=1
    )
    assert scores["Valid"] == 1
    assert scores["DET"] == pytest.approx(counts.scores()["det"], abs=1e-6)
    assert scores["TRA"] > 0.95


def test_frames_are_ordered_by_number_and_named_like_their_source(tmp_path):
    frames, digits = sequence_frames(["t010.tif", "t002.tif", "größe t0003.tif"])
    assert [number for number, _ in frames] == [2, 3, 10]
    assert digits == 4
    assert frame_number("image (12).tif") == 12
    with ChallengeWriter(tmp_path / "new" / "01_RES", digits=4) as writer:
        writer.add(2, np.zeros((3, 3), int))
    assert (tmp_path / "new" / "01_RES" / "mask0002.tif").exists()
    assert (tmp_path / "new" / "01_RES" / "res_track.txt").read_text() == ""
    with pytest.raises(UserError, match=r"frame 2\b"):
        sequence_frames(["t002.tif", "a/t02.tif"])
    with pytest.raises(UserError, match="no frame number"):
        sequence_frames(["cells.tif"])


def test_old_results_are_kept_or_wholly_replaced(tmp_path):
    with ChallengeWriter(tmp_path) as writer:
        for t in range(3):
            writer.add(t, np.ones((3, 3), int))
    with pytest.raises(UserError, match="overwrite=true"):
        ChallengeWriter(tmp_path)
    with ChallengeWriter(tmp_path, overwrite=True) as writer:
        writer.add(0, np.ones((3, 3), int))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mask000.tif", "res_track.txt"]


def test_a_sequence_of_changing_size_is_refused(tmp_path):
    with ChallengeWriter(tmp_path) as writer:
        writer.add(0, np.ones((3, 3), int))
        with pytest.raises(UserError, match=r"t001\.tif: .*3×4.*3×3"):
            writer.add(1, np.ones((3, 4), int), "t001.tif")
