"""Dockerfile and CITATION.cff: what can be checked of them without a builder of containers."""

import re
import tomllib

import pytest
import yaml

import unet_train


@pytest.fixture(scope="module")
def instructions(repository):
    """(instruction, arguments) of the Dockerfile, one per line of text."""
    text = (repository / "Dockerfile").read_text(encoding="utf-8")
    text = re.sub(r"^#.*\n", "", text, flags=re.M).replace("\\\n", " ")
    return [tuple(line.split(None, 1)) for line in text.splitlines() if line.strip()]


def test_what_is_copied_exists_and_reaches_the_builder(instructions, repository):
    """Of everything that .dockerignore shuts out, it lets these in again."""
    let_in = {
        line[1:]
        for line in (repository / ".dockerignore").read_text(encoding="utf-8").split()
        if line[0] == "!"
    }
    copied = [
        name
        for word, rest in instructions
        if word == "COPY" and not rest.startswith("--from")
        for name in rest.split()[:-1]
    ]
    assert set(copied) == let_in
    assert all((repository / name).exists() for name in copied)


def test_the_package_can_be_built_from_what_is_copied(instructions, repository):
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))
    copied = " ".join(rest for word, rest in instructions if word == "COPY")
    metadata = project["project"]
    build = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    for name in (metadata["readme"], *metadata["license-files"], *build["packages"], *build["force-include"]):
        assert name in copied.split()
    extras = next(rest for word, rest in instructions if word == "ARG" and rest.startswith("EXTRAS="))
    assert set(extras.partition("=")[2].split(",")) <= set(metadata["optional-dependencies"])
    python = next(rest for word, rest in instructions if word == "ARG" and rest.startswith("PYTHON="))
    assert (3, 11) <= tuple(map(int, python.partition("=")[2].split("."))) < (3, 14)


def test_it_runs_as_a_user_without_rights(instructions):
    words = [word for word, _ in instructions]
    last = len(words) - words[::-1].index("FROM")
    assert "USER" in words[last:]
    assert [rest for word, rest in instructions[last:] if word == "USER"] == ["user"]


def test_the_citation_names_this_version(repository):
    citation = yaml.safe_load((repository / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == unet_train.__version__
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert citation["license"] == project["license"]
