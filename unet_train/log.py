"""What is said to a person: on the terminal and, where there is a run folder, in its train.log."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

LOGGER = logging.getLogger("unet_train")


class LogFile(logging.FileHandler):
    """train.log; what a full disk refuses is on the terminal all the same, and a run does not end for it."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Leave out a line that the disk does not take; anything else is logging's own affair."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


class Screen(logging.StreamHandler):
    """The terminal, or the pipe behind it: when the reader goes away (``unet-train | head``), the run goes on."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Fall silent on a broken pipe; anything else is logging's own affair."""
        if isinstance(sys.exc_info()[1], BrokenPipeError):
            # Not even the interpreter's last flush may complain.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            LOGGER.removeHandler(self)
        else:
            super().handleError(record)


def log_to(folder: Path | None, *, speaks: bool = True) -> None:
    """Say everything on the terminal and, where there is a run folder, in its train.log.

    Parameters
    ----------
    folder : Path or None
        The run folder.
    speaks : bool
        False for all processes of a run but the first, so that each line is said once.
    """
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False
    for handler in list(LOGGER.handlers):
        LOGGER.removeHandler(handler)
        handler.close()
    if not speaks:
        LOGGER.addHandler(logging.NullHandler())
        return
    plain = logging.Formatter("%(message)s")
    screen = Screen(sys.stdout)
    screen.setFormatter(plain)
    LOGGER.addHandler(screen)
    if folder is not None:
        file = LogFile(folder / "train.log", encoding="utf-8", errors="backslashreplace")
        file.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        LOGGER.addHandler(file)
