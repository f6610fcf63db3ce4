"""The drawn data on disk: every real layout's loader reads it back, with the gaps that real labels have."""

import hashlib
import itertools
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from unet_train.data.io.images import read_labels
from unet_train.data.layouts.challenge import Annotation, ChallengeSource
from unet_train.data.layouts.folder import folder_source
from unet_train.data.layouts.kaggle import KaggleSource
from unet_train.data.records import IGNORE
from unet_train.data.write_demo import write_demo
from unet_train.demo.drawing import draw_demo_image, draw_demo_video
from unet_train.errors import UserError

SIZE = (96, 128)


def files(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): hashlib.sha1(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def challenge(tmp_path_factory) -> Path:
    return write_demo(tmp_path_factory.mktemp("demo") / "cells", "challenge", images=8, size=SIZE)


@pytest.mark.parametrize("layout", ["challenge", "folder", "kaggle_3m"])
def test_every_byte_follows_from_the_seed(tmp_path, layout):
    options = {"layout": layout, "images": 3, "groups": 1, "size": (48, 64)}
    first = files(write_demo(tmp_path / "a", seed=1, **options))
    assert first == files(write_demo(tmp_path / "b", seed=1, **options))
    other = files(write_demo(tmp_path / "c", seed=2, **options))
    assert set(first) == set(other)
    assert first != other


def test_challenge_layout_reads_back_with_cells_left_out(challenge):
    source = ChallengeSource(challenge, Annotation(labels="gold"))
    records = source.records()
    gold = [record for record in records if record.trainable]
    assert len(records) == 16
    assert [record.key for record in gold if record.group == "01"] == ["01/001", "01/004", "01/007"]
    unknown = []
    for record in gold:
        image, truth = source.read_image(record), source.read_truth(record)
        assert image.shape == (*SIZE, 1)
        assert truth.instances.max() == len(np.unique(truth.instances)) - 1
        np.testing.assert_array_equal(truth.classes == 1, truth.instances > 0)
        cells, markers = (len(np.unique(a)) - 1 for a in (truth.instances, truth.markers))
        unknown.append((truth.classes == IGNORE).any())
        assert markers - cells == (1 if record.order == 4 else 0)
    assert unknown == [record.order == 4 for record in gold], "the cell left out is unknown, not background"


def test_tracks_agree_with_the_markers(challenge):
    for sequence in ("01", "02"):
        folder = challenge / f"{sequence}_GT" / "TRA"
        frames = [read_labels(path) for path in sorted(folder.glob("*.tif"))]
        seen: dict[int, list[int]] = {}
        for t, frame in enumerate(frames):
            for number in np.unique(frame)[1:]:
                seen.setdefault(int(number), []).append(t)
        tracks = np.loadtxt(folder / "man_track.txt", dtype=int)
        assert (folder / "man_track.txt").read_bytes().count(b"\r") == 0
        assert {(n, first, last, 0) for n, first, last, _ in tracks} == {(*t,) for t in tracks.tolist()}
        assert {n: list(range(first, last + 1)) for n, first, last, _ in tracks} == seen
        assert max(len(frames) for frames in seen.values()) == 8


def test_silver_is_nearly_the_truth(challenge):
    source = ChallengeSource(challenge, Annotation(labels="silver"))
    exact = {
        f"{group:02d}/{t:03d}": instances
        for group in (1, 2)
        for t, (_, instances) in enumerate(draw_demo_video(group, 8, SIZE))
    }
    agreement = []
    for record in source.records():
        silver, truth = source.read_truth(record).instances, exact[record.key]
        for number in np.unique(truth)[1:]:
            own, found = truth == number, silver == number
            agreement.append((own & found).sum() / (own | found).sum())
    assert np.mean(np.array(agreement) == 0) < 0.15
    assert 0.75 < np.median(agreement) < 1


def test_a_video_keeps_the_cells_numbers():
    frames = [instances for _, instances in draw_demo_video(3, 6, (128, 128))]
    images = [image for image, _ in draw_demo_video(3, 6, (128, 128))]
    assert len({image.tobytes() for image in images}) == 6
    for before, after in itertools.pairwise(frames):
        for number in np.intersect1d(before, after)[1:]:
            if (before == number).sum() > 200:
                shift = np.subtract(*(ndimage.center_of_mass(f == number) for f in (after, before)))
                assert np.hypot(*shift) < 25


@pytest.mark.parametrize("seed", [3, 11])  # in 11 a cell leaves the field and comes back
def test_a_cell_that_comes_back_gets_a_number_of_its_own(seed):
    ever = [set(np.unique(f)) - {0} for _, f in draw_demo_video(seed, 12, (64, 64))]
    for number in set.union(*ever):
        present = [number in f for f in ever]
        assert np.count_nonzero(np.diff([False, *present, False])) == 2


def test_folder_layout_reads_back(tmp_path):
    source = folder_source(write_demo(tmp_path, "folder", images=2, size=SIZE, seed=5))
    records = source.records()
    assert len(records) == 4
    assert source.classes[0] == "background"
    for record, index in zip(records, [1000, 1001, 2000, 2001], strict=True):
        image, instances = draw_demo_image(5, index, SIZE)
        np.testing.assert_array_equal(source.read_image(record)[..., 0], image)
        np.testing.assert_array_equal(source.read_truth(record).classes, instances > 0)
        assert set(np.unique(read_labels(record.labels["mask"]))) == {0, 255}


def test_kaggle_layout_reads_back_as_volumes(tmp_path):
    source = KaggleSource(write_demo(tmp_path, "kaggle_3m", groups=4, images=9, size=(64, 64)))
    records = source.records()
    patients = sorted({record.group for record in records})
    assert [sum(r.group == p for r in records) for p in patients] == [9, 10, 11, 8]
    for number, patient in enumerate(patients, start=1):
        own = [r for r in records if r.group == patient]
        assert [r.order for r in own] == list(range(1, len(own) + 1))
        lesion = [int((source.read_truth(r).classes == 1).sum()) for r in own]
        assert lesion[0] == lesion[-1] == 0
        filled = np.flatnonzero(lesion)
        assert len(filled) >= 2
        assert np.ptp(filled) == len(filled) - 1, "a lesion is in one piece from slice to slice"
        image = source.read_image(own[filled[0]])
        assert image.shape == (64, 64, 3)
        assert (image[..., 1] == image[..., 2]).all() == (number == 3)
        inside = source.read_truth(own[filled[0]]).classes == 1
        assert image[inside][:, 1].mean() > image[inside][:, 0].mean() + 25


def test_mistakes_are_named(tmp_path):
    with pytest.raises(UserError, match=r"layout=ctc: .*challenge, folder, kaggle_3m"):
        write_demo(tmp_path, "ctc")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written to"):
        write_demo(tmp_path / "file", "folder")
