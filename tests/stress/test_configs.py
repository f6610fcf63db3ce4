"""A seeded share of the mutated configs that `make stress` tries."""

from tests.stress import configs


def test_mutated_configs_are_refused_in_one_line_or_composed(tmp_path):
    words = {configs.run(seed, tmp_path).split()[0] for seed in range(80)}
    assert words == {"refused", "composed"}
