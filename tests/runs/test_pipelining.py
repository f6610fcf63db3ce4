"""Reading ahead and writing behind: in order, bounded, and nothing goes on after an error."""

import threading

import pytest

from unet_train.runs.pipelining import WriteBehind, read_ahead


def test_the_next_one_is_read_while_this_one_is_used():
    read_now = threading.Semaphore(0)
    seen = []

    def read(item):
        seen.append((item, threading.current_thread() is threading.main_thread()))
        read_now.release()
        return 10 * item

    with read_ahead(read, [1, 2, 3]) as pairs:
        item, wait = next(pairs)
        assert (item, wait()) == (1, 10)
        assert read_now.acquire(timeout=10)
        assert read_now.acquire(timeout=10), "the second was not read ahead"
        assert not read_now.acquire(timeout=0.05), "the third must not be read yet"
        assert [(item, wait()) for item, wait in pairs] == [(2, 20), (3, 30)]
    assert seen == [(1, False), (2, False), (3, False)]


def test_what_reading_raises_belongs_to_its_item():
    def read(item):
        if item == 2:
            raise ValueError("broken")
        return item

    with read_ahead(read, [1, 2, 3]) as pairs:
        found = dict(pairs)
        assert found[1]() == 1
        with pytest.raises(ValueError, match="broken"):
            found[2]()
        assert found[3]() == 3


def test_items_are_written_in_order_and_all_of_them():
    written = []
    with WriteBehind(written.append) as writer:
        for item in range(20):
            writer.add(item)
    assert written == list(range(20))


def test_only_so_many_wait():
    go, begun = threading.Semaphore(0), []

    def write(item):
        begun.append(item)
        assert go.acquire(timeout=10)

    done = []
    with WriteBehind(write, most=2) as writer:

        def add():
            for item in range(3):
                writer.add(item)
                done.append(item)

        thread = threading.Thread(target=add)
        thread.start()
        thread.join(0.2)
        assert done == [0], "the second call waits until the first is written"
        for _ in range(3):
            go.release()
        thread.join(10)
        assert done == [0, 1, 2]


@pytest.mark.parametrize("fails_in", ["write", "block"])
def test_after_an_error_nothing_more_is_written(fails_in):
    written, begun, go = [], threading.Event(), threading.Event()

    def write(item):
        begun.set()
        assert go.wait(10)
        if fails_in == "write" and item == 0:
            raise OSError(28, "No space left on device")
        written.append(item)

    def block():
        with WriteBehind(write, most=3) as writer:
            writer.add(0)
            writer.add(1)
            assert begun.wait(10)
            if fails_in == "block":
                threading.Timer(0.2, go.set).start()
                raise KeyboardInterrupt
            go.set()

    with pytest.raises((OSError, KeyboardInterrupt)):
        block()
    assert written == ([] if fails_in == "write" else [0]), "what had begun is finished, no more"
