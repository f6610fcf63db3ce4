"""A run that is asked to stop by a signal saves first: the signal is noted, and looked at between two updates."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)
)
"""What stops a run. Clusters send SIGUSR1 or SIGUSR2 some time before a job's limit; Windows has neither."""


LAUNCHER = "UNET_TRAIN_LAUNCHER"
"""Environment variable: the process that has started this one as one of several, and without which it stops."""


class Stopped(Exception):
    """A signal asked the run to stop; everything is saved."""

    def __init__(self, signal_number: int):
        super().__init__(signal.Signals(signal_number).name)
        self.signal_number = signal_number


class Interrupts:
    """The signals that reached this process, first to last."""

    def __init__(self) -> None:
        self.signals: list[int] = []
        self.launcher = int(os.environ.get(LAUNCHER, "0"))
        self.handlers: dict[int, Any] = {}
        """What was set for each signal before."""

    @property
    def asked(self) -> bool:
        """Whether the run is to stop: a signal came, or the process that has started this one was killed."""
        return bool(self.signals) or (self.launcher > 0 and os.getppid() != self.launcher)

    def stopped(self) -> Stopped:
        """The exception to raise once everything is saved; a cluster's own handler is called first.

        Submitit, for one, listens to SIGUSR2 in order to queue the job again, and ends the process itself.
        """
        number = self.signals[0] if self.signals else signal.SIGTERM
        handler = self.handlers.get(number)
        own: tuple[Callable[..., Any], ...] = (signal.default_int_handler,)
        if callable(handler) and handler not in own:
            handler(number, None)
        return Stopped(number)


@contextlib.contextmanager
def catch_signals() -> Iterator[Interrupts]:
    """Note `SIGNALS` instead of ending at once; a second SIGINT or SIGTERM acts as usual.

    A second SIGUSR1 or SIGUSR2 is passed over: a cluster may send it to the process and to its group.
    """
    interrupts = Interrupts()

    def note(number: int, frame: Any) -> None:
        interrupts.signals.append(number)
        if number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, interrupts.handlers[number])

    try:
        for number in SIGNALS:
            interrupts.handlers[number] = signal.getsignal(number)
            signal.signal(number, note)
    except ValueError:  # not the main thread (a notebook's worker): nothing to catch
        interrupts.handlers.clear()
        yield interrupts
        return
    try:
        yield interrupts
    finally:
        for number, handler in interrupts.handlers.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
