"""One process at a time in a run folder: a lock that the operating system takes back from a process that died."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from unet_train.errors import UserError
from unet_train.log import LOGGER

LOCK = ".lock"
"""The file in the run folder, there while a run is at work. What counts is the lock on it, not that it is there."""

FAR = 1 << 30
"""The byte that is locked: beyond the text, which others may thus read, on Windows too."""

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)
"""What a file system without locks answers."""

_held: set[str] = set()
"""Folders this process holds: the system's lock keeps out other processes alone."""


@contextmanager
def only_run(folder: Path) -> Iterator[None]:
    """Hold the lock of a run folder, which is made if it is missing and removed again if it stays empty.

    The lock is the operating system's on a byte of the file: `fcntl.lockf` (POSIX), `msvcrt.locking` (Windows). It
    ends with the process, however that ends, and network file systems pass it on: NFS by its own protocol. It is not
    `flock`, nor the library filelock, which uses that: loader processes forked from a run would inherit such a lock
    and keep it after a SIGKILL of the run itself.

    Raises
    ------
    UserError
        If another process, or this one, holds it already, or the folder cannot be written.
    """
    name = str(folder.resolve())
    if name in _held:
        raise UserError(
            f"{folder}: this process is training in it already; wait, or name another hydra.run.dir"
        )
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    file: IO[str] | None = None
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = _take(folder / LOCK)
        except OSError as error:
            reason = error.strerror or error
            raise UserError(f"hydra.run.dir={folder}: cannot be written ({reason})") from error
        _held.add(name)
        yield
    finally:
        _held.discard(name)
        if file is not None:
            # Removed while it is held, which Windows does not allow: there the file stays until the next run.
            with suppress(OSError):
                os.unlink(folder / LOCK)
            file.close()
        for path in made:
            with suppress(OSError):
                path.rmdir()  # refused where there is something in it


def _take(path: Path) -> IO[str]:
    """The file, opened and locked."""
    while True:
        file = open(path, "a+", encoding="utf-8")  # noqa: SIM115 (stays open as long as the lock is held)
        try:
            try_lock(file)
        except (BlockingIOError, PermissionError) as error:
            file.seek(0)
            by = file.read(200).strip()
            file.close()
            raise UserError(
                f"{path.parent}: a run is training in it ({by or 'by another process'}); wait for its end, or name "
                "another hydra.run.dir"
            ) from error
        except OSError as error:
            if error.errno not in NO_LOCKS:
                file.close()
                raise
            LOGGER.info(
                f"warning: {path.parent}: its file system has no locks ({error.strerror}): see to it yourself that "
                "one run at a time trains in this folder"
            )
        # Whoever held it before may have removed the file between our opening and our locking it.
        if _is_there(file, path):
            file.seek(0)
            file.truncate()
            file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            file.flush()
            return file
        file.close()


def _is_there(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


def try_lock(file: IO[str]) -> None:
    """Lock the byte `FAR` of a file, or raise at once (POSIX: BlockingIOError or PermissionError)."""
    try:
        import fcntl
    except ImportError:
        _lock_on_windows(file)
    else:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, FAR)


def _lock_on_windows(file: IO[str]) -> None:
    import msvcrt

    file.seek(FAR)
    msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
