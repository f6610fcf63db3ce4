"""Files that are whole or not there: written beside their place, then put into it."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from unet_train.errors import UserError

_LEFTOVER = re.compile(r"\.[0-9a-f]{32}\.\w+")


def remove_leftovers(folder: Path) -> None:
    """Delete what a killed process was writing in `folder`; for a folder in which nobody else writes."""
    for path in folder.glob(".*"):
        if _LEFTOVER.fullmatch(path.name):
            path.unlink(missing_ok=True)


@contextmanager
def writing(folder: Path, key: str = "output") -> Iterator[None]:
    """Turn a full disk or a folder that may not be written into one line.

    Parameters
    ----------
    folder : Path
    key : str
        The key that names it.

    Raises
    ------
    UserError
        For any OSError of the block.
    """
    try:
        yield
    except OSError as error:
        raise UserError(f"{key}={folder}: cannot be written ({error.strerror or error})") from error


@contextmanager
def replacing(path: Path, *, ending: str = ".part") -> Iterator[Path]:
    """A hidden name beside `path` to write to; it takes the place of `path` if the block ends well.

    A reader or a crash never sees half a file. If the block fails, what it wrote is deleted and what stood at
    `path` stays.

    Parameters
    ----------
    path : Path
        In a folder that exists.
    ending : str
        Of the name to write to, for writers that go by it.
    """
    temporary = path.with_name(f".{uuid.uuid4().hex}{ending}")
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
