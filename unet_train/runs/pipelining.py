"""Reading, computing and writing of many files at once: one thread reads ahead, one writes what is done."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Generic, TypeVar

Item = TypeVar("Item")
Read = TypeVar("Read")


@contextmanager
def read_ahead(
    read: Callable[[Item], Read], items: Iterable[Item], ahead: int = 1
) -> Iterator[Iterator[tuple[Item, Callable[[], Read]]]]:
    """Items with what `read` makes of them; the next ones are read by a thread meanwhile.

    Parameters
    ----------
    read : callable
    items : iterable
    ahead : int
        How many items are read before they are asked for.

    Yields
    ------
    iterator of (item, callable)
        The callable waits for what was read, or raises what reading raised.
    """
    pool = ThreadPoolExecutor(1, thread_name_prefix="reading")
    waiting: deque[tuple[Item, Future[Read]]] = deque()

    def pairs() -> Iterator[tuple[Item, Callable[[], Read]]]:
        for item in items:
            waiting.append((item, pool.submit(read, item)))
            if len(waiting) > ahead:
                first, future = waiting.popleft()
                yield first, future.result
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result

    try:
        yield pairs()
    finally:
        pool.shutdown(cancel_futures=True)


class WriteBehind(Generic[Item]):
    """A thread that does one call after the other, in their order, with a bounded number of them waiting.

    As a context it waits at its end until all is done; if a call or the block fails, those that have not begun are
    dropped.

    Parameters
    ----------
    write : callable
        What it raises ends the block, at the next `add` or at its end.
    most : int
        Calls that wait or run before `add` waits.
    """

    def __init__(self, write: Callable[[Item], None], most: int = 2) -> None:
        self.write = write
        self.most = most
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="writing")
        self._waiting: deque[Future[None]] = deque()
        self._failed = False

    def __enter__(self) -> WriteBehind[Item]:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self.finish()
        finally:
            self._pool.shutdown(cancel_futures=True)

    def add(self, item: Item) -> None:
        """Have an item written."""
        self._waiting.append(self._pool.submit(self._write, item))
        self._wait(self.most - 1)

    def finish(self) -> None:
        """Wait until all is written."""
        self._wait(0)

    def _write(self, item: Item) -> None:
        if self._failed:
            return
        try:
            self.write(item)
        except BaseException:
            self._failed = True
            raise

    def _wait(self, left: int) -> None:
        while len(self._waiting) > left:
            self._waiting.popleft().result()
