"""The documentation as a site: every page is in its navigation, and it builds with every link checked."""

import importlib.util
import subprocess
import sys

import pytest
import yaml


@pytest.fixture(scope="module")
def site(repository):
    """mkdocs.yml."""
    return yaml.safe_load((repository / "mkdocs.yml").read_text(encoding="utf-8"))


def pages_of(nav):
    for entry in nav:
        if isinstance(entry, str):
            yield entry
        else:
            for below in entry.values():
                yield from pages_of(below if isinstance(below, list) else [below])


def test_every_page_is_in_the_navigation_once(site, repository):
    docs = repository / site["docs_dir"]
    written = sorted(path.relative_to(docs).as_posix() for path in docs.rglob("*.md"))
    assert sorted(pages_of(site["nav"])) == written


def test_nothing_is_loaded_from_elsewhere(site):
    assert site["theme"]["font"] is False
    assert not {"extra_javascript", "extra_css"} & set(site)


@pytest.mark.parametrize(
    ("link", "depth", "shown"),
    [
        ("[configs/x](../configs/x)", 0, "`configs/x`"),
        ("see [the tests](../tests/stress#a).", 0, "see the tests (`tests/stress`)."),
        ("[data](../data.md#masks)", 1, "[data](../data.md#masks)"),
        ("[it](../../data/README.md)", 1, "it (`data/README.md`)"),
        ("[a](b.md) [c](../d)", 0, "[a](b.md) c (`d`)"),
    ],
)
def test_links_that_leave_the_site_become_names(repository, link, depth, shown):
    spec = importlib.util.spec_from_file_location("docs_hook", repository / "scripts" / "docs_hook.py")
    hook = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hook)
    assert hook.to_the_name(link, depth) == shown


@pytest.mark.skipif(importlib.util.find_spec("material") is None, reason='needs pip install -e ".[docs]"')
def test_it_builds_with_every_link_checked(repository, tmp_path):
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "--quiet",
        "--site-dir",
        tmp_path / "site",
    ]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "tutorials" / "cells.html").is_file()
