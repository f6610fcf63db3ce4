"""A run that is asked to stop by a signal saves first: the signal is noted, and looked at between two updates."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from typing import Any

from unet_train.training.distributed import DistributedContext

ASKED_EVERY = 10
"""Updates after which several processes ask each other, which costs a round trip."""


class Stopped(Exception):
    """A signal asked the run to stop; everything is saved."""

    def __init__(self, signal_number: int):
        super().__init__(signal.Signals(signal_number).name)
        self.signal_number = signal_number


class Interrupts:
    """The signals that reached this process, first to last."""

    def __init__(self) -> None:
        self.signals: list[int] = []

    def seen(self, context: DistributedContext) -> bool:
        """Whether a signal reached any process of the run; all of them have to ask together."""
        return context.any(bool(self.signals))

    def seen_within_epoch(self, context: DistributedContext, update: int) -> bool:
        """As `seen`; several processes answer at every tenth update only."""
        return (context.size == 1 or update % ASKED_EVERY == 0) and self.seen(context)

    def stopped(self) -> Stopped:
        """The exception to raise once everything is saved."""
        return Stopped(self.signals[0] if self.signals else signal.SIGTERM)


@contextlib.contextmanager
def catch_signals() -> Iterator[Interrupts]:
    """Note SIGINT and SIGTERM instead of ending at once; a second one acts as usual."""
    interrupts = Interrupts()

    def note(number: int, frame: Any) -> None:
        interrupts.signals.append(number)
        signal.signal(number, before[number])

    numbers: list[int] = [signal.SIGINT, signal.SIGTERM]
    try:
        before: dict[int, Any] = {number: signal.signal(number, note) for number in numbers}
    except ValueError:  # not the main thread (a notebook's worker): nothing to catch
        yield interrupts
        return
    try:
        yield interrupts
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
