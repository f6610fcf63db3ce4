"""Signals while a run trains: the first is noted, the second ends the process, the handlers come back."""

import os
import signal
import threading

import pytest

from unet_train.training.distributed import DistributedContext
from unet_train.training.interrupts import Interrupts, Stopped, catch_signals

ALONE = DistributedContext()


class TwoProcesses(DistributedContext):
    """The first of two, of which the other one got a signal."""

    def __init__(self):
        super().__init__(rank=0, size=2)

    def any(self, flag):
        return True


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_noted_and_the_handlers_come_back(number):
    before = signal.getsignal(number)
    with catch_signals() as interrupts:
        assert not interrupts.seen(ALONE)
        os.kill(os.getpid(), number)
        assert interrupts.seen(ALONE)
        stopped = interrupts.stopped()
    assert signal.getsignal(number) is before
    assert isinstance(stopped, Stopped)
    assert (stopped.signal_number, str(stopped)) == (number, number.name)


def test_a_second_signal_acts_as_usual():
    noted = []
    # A process that was started in the background ignores SIGINT from the start.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def train():
        with catch_signals() as interrupts:
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGINT)
                noted.append(interrupts.signals)

    try:
        with pytest.raises(KeyboardInterrupt):
            train()
    finally:
        signal.signal(signal.SIGINT, before)
    assert noted == [[signal.SIGINT]]


def test_outside_the_main_thread_nothing_is_caught():
    before, found = signal.getsignal(signal.SIGTERM), []

    def train():
        with catch_signals() as interrupts:
            found.append((interrupts.signals, signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert found == [([], before)]


def test_several_processes_ask_each_other_at_every_tenth_update():
    """A process alone looks after each one; what another got counts as SIGTERM."""
    interrupts = Interrupts()
    asked = [update for update in range(1, 31) if interrupts.seen_within_epoch(TwoProcesses(), update)]
    assert asked == [10, 20, 30]
    assert not interrupts.seen_within_epoch(ALONE, 10)
    assert interrupts.stopped().signal_number == signal.SIGTERM
    interrupts.signals.append(signal.SIGINT)
    assert interrupts.seen_within_epoch(ALONE, 1)
