"""A share of the campaign of killed runs: one net, a few kills."""

import pytest

from tests.stress import kills


@pytest.mark.skipif(not hasattr(kills.os, "fork"), reason="kills forked processes, which Windows has not")
def test_a_run_killed_at_random_moments_ends_like_the_undisturbed_one(tmp_path):
    """EMA, plateau, accumulation and loader workers at once."""
    assert kills.run(1, tmp_path, kills=3)
