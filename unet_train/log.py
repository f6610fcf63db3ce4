"""What is said to a person: on the terminal and, where there is a run folder, in its train.log."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

LOGGER = logging.getLogger("unet_train")


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


def log_to(folder: Path | None) -> None:
    """Say everything on the terminal and, where there is a run folder, in its train.log."""
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False
    for handler in list(LOGGER.handlers):
        LOGGER.removeHandler(handler)
        handler.close()
    plain = logging.Formatter("%(message)s")
    screen = Screen(sys.stdout)
    screen.setFormatter(plain)
    LOGGER.addHandler(screen)
    if folder is not None:
        file = logging.FileHandler(folder / "train.log", encoding="utf-8", errors="backslashreplace")
        file.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        LOGGER.addHandler(file)
