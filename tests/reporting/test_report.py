"""report.html as a page: structure, nothing loaded from elsewhere, and names that are no HTML."""

import itertools
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from unet_train.reporting.report import GalleryItem, Picture, ReportContent, ScoreRow, jpeg, png, render, svg

NASTY = "<script>alert(\"1\")</script> & 'x' </title> {{ 7*7 }}"
VOID = {"meta", "img", "input", "br"}


class Page(HTMLParser):
    """A page taken apart: its tags with their attributes, its text; all that opens must be closed."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.open, self.text = [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text.append(data)

    def all(self, tag):
        return [attributes for found, attributes in self.tags if found == tag]

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())


def check_page(text):
    """What every report must be; the page taken apart."""
    page = Page(text)
    assert [tag for tag, _ in page.tags if tag in ("script", "link", "iframe", "object", "base")] == []
    for _, attributes in page.tags:
        for name, value in attributes.items():
            assert name not in ("srcset", "poster", "action", "background")
            assert not name.startswith("on")
            if name in ("src", "href"):
                assert value.startswith("data:image/")
    assert "url(" not in text.replace("url(#", "")
    assert "@import" not in text
    assert all(attributes.get("alt") is not None for attributes in page.all("img"))
    identifiers = [a["id"] for _, a in page.tags if "id" in a]
    assert len(identifiers) == len(set(identifiers))
    for _, attributes in page.tags:
        for name in ("for", "aria-labelledby"):
            assert attributes.get(name, identifiers[0]) in identifiers
    headings = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert headings[0] == 1
    assert headings.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(headings))
    assert page.all("html")[0]["lang"]
    assert all("scope" in attributes for attributes in page.all("th"))
    assert {"viewport", None} <= {a.get("name") for a in page.all("meta")}
    return page


@pytest.fixture
def picture():
    return jpeg(np.zeros((8, 8, 3), np.uint8), NASTY)


@pytest.fixture
def content(picture):
    row = ScoreRow(NASTY, "0.5", "0.4–0.6", "0.7", "", "1 %", "2 %", "#ff0000")
    layer = png(np.zeros((8, 8, 4), np.uint8))
    return ReportContent(
        title=NASTY,
        question=NASTY,
        facts=[(NASTY, NASTY)],
        warnings=[NASTY],
        classes=[row, row],
        others=[(NASTY, "1", "")],
        basis=NASTY,
        command=NASTY,
        folder=NASTY,
        config=NASTY,
        versions=[(NASTY, NASTY, NASTY)],
        has_intervals=True,
        patients=[(NASTY, "3", "0.1", "0.2")],
        by_class=picture,
        confusion=picture,
        images=[(NASTY, NASTY, ["0.1"])],
        image_columns=[NASTY],
        images_left_out=3,
        gallery=[GalleryItem(NASTY, NASTY, NASTY, picture, layer, layer, layer)],
        legend=[(NASTY, "")],
    )


def test_names_are_text_wherever_they_stand(content):
    page = check_page(render(content))
    # Shown as it is: title, question, warning, facts, classes, …; in attributes too.
    assert page.words.count(" ".join(NASTY.split())) >= 20
    assert {a["alt"] for a in page.all("img")} == {NASTY, ""}
    assert "49" not in page.words


def test_what_is_not_there_leaves_no_empty_section(content):
    full = check_page(render(content))
    bare = check_page(
        render(
            replace(
                content,
                gallery=[],
                images=[],
                patients=[],
                others=[],
                warnings=[],
                by_class=None,
                confusion=None,
            )
        )
    )
    assert {a.get("id") for a in full.all("h2")} - {a.get("id") for a in bare.all("h2")} == {
        "gallery",
        "images",
        "patients",
    }
    assert not bare.all("img")
    assert not bare.all("input")


def test_pictures_are_what_was_drawn():
    import base64

    import cv2

    layer = np.random.default_rng(0).integers(0, 256, (5, 7, 4), np.uint8)
    kind, _, code = png(layer).uri.partition(";base64,")
    assert kind == "data:image/png"
    back = cv2.imdecode(np.frombuffer(base64.b64decode(code), np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(cv2.cvtColor(back, cv2.COLOR_BGRA2RGBA), layer)
    assert svg("<svg/>", "x") == Picture("data:image/svg+xml;base64,PHN2Zy8+", "x")
