"""A file is replaced as a whole or not at all."""

import pytest

from unet_train.atomic import replacing


def test_the_new_file_takes_the_place_of_the_old_one_at_the_end(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.parent == tmp_path, "a rename within one file system is one step"
        assert temporary.name.startswith("."), "whoever lists the folder meanwhile passes it over"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
@pytest.mark.parametrize("before", [None, "old"])
def test_a_failure_leaves_what_was_there(tmp_path, error, before):
    path = tmp_path / "a.txt"
    if before is not None:
        path.write_text(before)

    def write_half():
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(type(error)):
        write_half()
    assert [file.read_text() for file in tmp_path.iterdir()] == ([] if before is None else [before])


def test_the_ending_is_the_one_a_writer_asks_for(tmp_path):
    with replacing(tmp_path / "net.pt2", ending=".part.pt2") as temporary:
        temporary.write_bytes(b"")
    assert temporary.name.endswith(".part.pt2")
