"""A second check opens no file that has not changed, and finds whatever has."""

import builtins
import multiprocessing
import os
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from unet_train.data import check_cache
from unet_train.data.check import check_source
from unet_train.data.check_cache import cache_folder
from unet_train.data.io.images import write_image, write_labels
from unet_train.data.layouts.folder import FolderSource, folder_source
from unet_train.data.records import Record

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _settled(monkeypatch):
    """Files that the tests have just written count as settled."""
    monkeypatch.setattr(check_cache, "SETTLED_NS", -(10**9))


@pytest.fixture
def root(tmp_path):
    for index in range(4):
        image = RNG.integers(1, 200, (10, 12), dtype=np.uint8)
        write_image(tmp_path / f"data/images/{index}.png", image if index else image.astype(np.uint16) * 9)
        mask = np.zeros((10, 12), np.uint8)
        mask[:index] = 255
        write_labels(tmp_path / f"data/masks/{index}.png", mask)
    return tmp_path / "data"


@pytest.fixture
def opened(monkeypatch):
    """The files that are opened to be read, of a data set."""
    seen = []
    real = builtins.open

    def spy(path, *args, **kwargs):
        if str(path).endswith((".png", ".tif")):
            seen.append(Path(str(path)).parent.name + "/" + Path(str(path)).name)
        return real(path, *args, **kwargs)

    monkeypatch.setattr(builtins, "open", spy)
    return seen


def check(root: Path, folder: Path | None, **keys):
    source = folder_source(root, **keys)
    _ = source.channels
    return source, lambda: check_source(source, source.records(), cache_folder=folder, workers=1)


def test_a_second_check_opens_no_file_and_says_the_same(root, tmp_path, opened):
    _, run = check(root, tmp_path / "cache", instances=True)
    first = run()
    assert {"images/0.png", "masks/3.png"} <= set(opened)
    opened.clear()
    assert asdict(run()) == asdict(first)
    assert opened == []
    assert asdict(first) == asdict(check(root, None, instances=True)[1]())
    assert not list(root.rglob("*.check")), "nothing is written into the data folder"


def rewrite_in_place(path: Path) -> None:
    """Other pixels in the same inode, with the old size and mtime: only ctime tells."""
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace_by_another(path: Path) -> None:
    other = path.with_suffix(".new")
    write_image(other.with_suffix(".tmp.png"), RNG.integers(1, 200, (10, 12), dtype=np.uint8))
    os.replace(other.with_suffix(".tmp.png"), path)


@pytest.mark.parametrize("change", [rewrite_in_place, replace_by_another, Path.unlink])
@pytest.mark.parametrize("file", ["images/2.png", "masks/2.png"])
def test_a_changed_file_is_read_again(root, tmp_path, opened, change, file):
    source, run = check(root, tmp_path / "cache")
    run()
    opened.clear()
    change(root / file)
    found = run()
    assert change is Path.unlink or file in opened
    assert "masks/1.png" not in opened
    assert asdict(found) == asdict(check_source(source, source.records(), workers=1))


def test_a_file_with_a_problem_is_read_and_reported_each_time(root, tmp_path):
    _, run = check(root, tmp_path / "cache")
    (root / "images/1.png").write_bytes(b"no image")
    assert (
        [p.file for p in run().problems] == [p.file for p in run().problems] == [str(root / "images/1.png")]
    )


@pytest.mark.parametrize(
    "keys", [{"intensity_range": (0, 100)}, {"instances": True}, {"channels": 3}, {"values": {0: 1, 255: 0}}]
)
def test_another_key_finds_what_it_finds_alone(root, tmp_path, keys):
    write_image(root / "images/0.png", RNG.integers(1, 200, (10, 12), dtype=np.uint8))
    check(root, tmp_path / "cache")[1]()
    assert asdict(check(root, tmp_path / "cache", **keys)[1]()) == asdict(check(root, None, **keys)[1]())


@pytest.mark.parametrize("damage", [b"", b"\xff\x00", b"nonsense\n" * 3, "flip", "half"])
def test_a_damaged_cache_is_ignored_and_written_anew(root, tmp_path, opened, damage):
    _, run = check(root, tmp_path / "cache")
    first = run()
    (file,) = (tmp_path / "cache").iterdir()
    data = file.read_bytes()
    if damage == "flip":
        damage = data.replace(b'"low":', b'"lov":').replace(b'"digest":"', b'"digest":"f')
    file.write_bytes(data[: len(data) // 2] if damage == "half" else damage)
    assert asdict(run()) == asdict(first)
    opened.clear()
    run()
    assert opened == []


def test_a_file_changed_just_now_is_not_trusted(root, tmp_path, opened, monkeypatch):
    """Within one tick of its time stamp it could change once more and look the same."""
    monkeypatch.setattr(check_cache, "SETTLED_NS", 3600 * 10**9)
    _, run = check(root, tmp_path / "cache")
    run()
    opened.clear()
    run()
    assert "images/0.png" in opened


def test_a_class_of_the_users_own_is_never_remembered(root, tmp_path):
    class Own(FolderSource):
        def read_image(self, record: Record) -> np.ndarray:
            return 255 - super().read_image(record)

    source = Own(root)
    check_source(source, source.records(), cache_folder=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_a_folder_that_cannot_be_written_is_no_error(root, tmp_path):
    (tmp_path / "file").write_text("")
    assert check(root, tmp_path / "file" / "cache")[1]().problems == []


def _check_in_a_process(root: str, folder: str) -> int:
    check_cache.SETTLED_NS = -(10**9)
    return check(Path(root), Path(folder))[1]().facts["n"]


def test_two_processes_at_once(root, tmp_path, opened):
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        found = pool.starmap(_check_in_a_process, [(str(root), str(tmp_path / "cache"))] * 4)
    assert found == [4] * 4
    assert len(list((tmp_path / "cache").iterdir())) == 1
    _, run = check(root, tmp_path / "cache")
    opened.clear()
    run()
    assert opened == []


def test_the_cache_is_bounded(root, tmp_path, monkeypatch):
    check(root, tmp_path / "cache")[1]()
    (old,) = (tmp_path / "cache").iterdir()
    os.utime(old, (1, 1))
    monkeypatch.setattr(check_cache, "MOST_BYTES", old.stat().st_size + 100)
    check(root, tmp_path / "cache", instances=True)[1]()
    (new,) = (tmp_path / "cache").iterdir()
    assert new != old
    monkeypatch.setattr(check_cache, "MOST_BYTES", 1000)
    check(root, tmp_path / "small")[1]()
    assert sum(file.stat().st_size for file in (tmp_path / "small").iterdir()) <= 1000
    monkeypatch.setattr(check_cache, "MOST_ENTRY_BYTES", 10)
    check(root, tmp_path / "other")[1]()
    assert not (tmp_path / "other").exists()


def test_the_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("UNET_TRAIN_CHECK_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "unet-train" / "checks"
    monkeypatch.setenv("UNET_TRAIN_CHECK_CACHE", str(tmp_path / "here"))
    assert cache_folder() == tmp_path / "here"
    monkeypatch.setenv("UNET_TRAIN_CHECK_CACHE", "off")
    assert cache_folder() is None
