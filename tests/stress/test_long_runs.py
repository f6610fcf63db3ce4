"""A share of the campaign of long runs: fewer epochs, with loader workers, which have the most to leave behind."""

import sys

import pytest

if sys.platform != "linux":
    pytest.skip("looks into Linux's /proc", allow_module_level=True)

from tests.stress import long_runs


def test_memory_and_open_files_do_not_grow_with_the_epochs(tmp_path):
    assert long_runs.run(1, tmp_path, epochs=40)
