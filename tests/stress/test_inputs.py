"""A share of the generated bad inputs; `make stress` takes them all."""

import sys

import pytest

if sys.platform != "linux":
    pytest.skip("looks at Linux's own files and limits", allow_module_level=True)

from tests.stress.inputs import CASES, KINDS, run

SHARE = 120


@pytest.mark.parametrize("start", range(0, SHARE, 24))
def test_bad_input_is_refused_in_one_line_or_read_rightly(tmp_path, start):
    step = CASES // SHARE
    outcomes = set()
    for number in range(start, start + 24):
        folder = tmp_path / str(number)
        folder.mkdir()
        outcomes.add(run(number * step + number % len(KINDS), folder).rpartition(": ")[2])
    assert outcomes == {"read", "refused"}
