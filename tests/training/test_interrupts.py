"""Signals while a run trains: the first is noted, the second ends the process, the handlers come back."""

import os
import signal
import threading

import pytest

from unet_train.training.interrupts import SIGNALS, Interrupts, Stopped, catch_signals


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_noted_and_the_handlers_come_back(number):
    before = signal.getsignal(number)
    with catch_signals() as interrupts:
        assert not interrupts.signals
        os.kill(os.getpid(), number)
        assert interrupts.signals == [number]
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


def test_a_second_signal_of_a_cluster_is_passed_over_and_its_own_handler_called_after_the_save():
    """Slurm may signal a process and its group; submitit queues the job again in a handler of its own."""
    called = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: called.append(number))
    try:
        with catch_signals() as interrupts:
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGUSR1)
            assert interrupts.signals == [signal.SIGUSR1] * 2
            assert not called, "nothing is saved yet"
            assert interrupts.stopped().signal_number == signal.SIGUSR1
        assert called == [signal.SIGUSR1]
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_process_whose_neighbour_was_signalled_ends_as_by_sigterm():
    assert Interrupts().stopped().signal_number == signal.SIGTERM
