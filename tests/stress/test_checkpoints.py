"""A seeded share of the mutated checkpoints that `make stress` tries."""

from tests.stress import checkpoints


def test_mutated_checkpoints_are_refused_in_one_line_or_load_rightly(tmp_path):
    words = {checkpoints.run(seed, tmp_path).split()[0] for seed in range(100)}
    assert words == {"refused", "loaded"}
