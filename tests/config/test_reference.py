"""docs/reference.md is what the schema and the YAML say, and says all of it."""

import re
from collections.abc import Mapping

import pytest
import yaml

from unet_train.config.compose import compose_command
from unet_train.config.reference import first_sentence, reference_page, write_reference
from unet_train.config.schema import COMMANDS, SECTIONS
from unet_train.keys import schema_fields


@pytest.fixture(scope="module")
def rows():
    """Key → its cells, of each table that has it."""
    found = {}
    for line in reference_page().splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) == 4 and cells[0].startswith("`"):
            found.setdefault(cells[0].strip("`"), []).append(cells)
    return found


def test_the_page_is_up_to_date(repository, tmp_path):
    write_reference(tmp_path / "reference.md")
    written = (repository / "docs" / "reference.md").read_bytes()
    assert written == (tmp_path / "reference.md").read_bytes(), "run: make reference"


def test_every_key_is_there_with_its_meaning(rows):
    for section, (_, kinds) in SECTIONS.items():
        for schema in (kinds[kind] for kind in kinds):
            for name, (_, field) in schema_fields(schema).items():
                if name in ("kind", "layout", "_target_"):
                    continue
                meaning = field.metadata["meaning"].replace("|", "\\|").replace("<", "&lt;")
                assert any(meaning in cells[3] for cells in rows[f"{section}.{name}"]), f"{section}.{name}"
    for command, schema in COMMANDS.items():
        for name in set(schema_fields(schema)) - set(SECTIONS):
            assert name in rows, f"unet-{command} {name}"


def leaves(tree, prefix=""):
    for name, value in tree.items():
        if isinstance(value, Mapping) and f"{prefix}{name}" in SECTIONS:
            yield from leaves(value, f"{name}.")
        else:
            yield f"{prefix}{name}", value


def test_the_defaults_are_those_of_a_composed_run(rows):
    """Hydra composes the YAML, the page reads it: they must come to the same."""
    checked = 0
    for name, value in leaves(compose_command("train", []).tree):
        if name not in rows or "in its file" in rows[name][0][2]:
            continue
        shown = yaml.safe_dump(value, default_flow_style=True, width=1000).strip().removesuffix("...").strip()
        assert any(f"`{shown}`" in cells[2] for cells in rows[name]), name
        checked += 1
    assert checked > 50


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "# @package _global_\n# The demo, in minutes. unet-train experiment=demo\nx: 1\n",
            "The demo, in minutes.",
        ),
        ("# As published\n# (here): unet-train experiment=x\n", "As published (here)"),
        ("# One. Two.\nx: 1  # three\n", "One."),
    ],
)
def test_a_choice_says_its_first_sentence(text, sentence):
    assert first_sentence(text) == sentence
