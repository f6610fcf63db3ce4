"""When to save within an epoch, so that a crash costs minutes and not hours."""

from __future__ import annotations

import time


class SaveTimer:
    """Runs out so many minutes after the latest save.

    Parameters
    ----------
    minutes : float
    """

    def __init__(self, minutes: float):
        self.seconds = 60 * minutes
        self.restart()

    def restart(self) -> None:
        """Count from now on: something was saved."""
        self.started = time.monotonic()

    def due(self) -> bool:
        """Whether it is time to save."""
        return time.monotonic() - self.started > self.seconds
