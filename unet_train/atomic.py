"""Files that are whole or not there: written beside their place, then put into it."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from unet_train.errors import UserError


@contextmanager
def writing(output: Path) -> Iterator[None]:
    """Turn a full disk or a folder that may not be written into one line.

    Raises
    ------
    UserError
        For any OSError of the block.
    """
    try:
        yield
    except OSError as error:
        raise UserError(f"output={output}: cannot be written ({error.strerror or error})") from error


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
