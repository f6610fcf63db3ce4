"""A share of the campaign of signals; tests/runs/test_reliability.py has a small test for each kind."""

import sys

import pytest

if sys.platform != "linux":
    pytest.skip("looks into Linux's /proc", allow_module_level=True)

from tests.stress import signals


def test_a_signal_at_a_random_moment_saves_and_the_run_goes_on(tmp_path):
    assert signals.run(0, tmp_path)
