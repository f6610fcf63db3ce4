"""For mkdocs: links that leave docs/ for a file of the repository, which is no page of the site, become its name."""

import re

OUTSIDE = re.compile(r"\[([^\]]*)\]\((?:\.\./)+(?!\.)([^)#]*)(#[^)]*)?\)")
"""A Markdown link that goes up. Within docs/tutorials it may come down into docs/ again: see `to_the_name`."""


def to_the_name(markdown: str, depth: int) -> str:
    """Replace each link that leaves docs/ by its text and the file's path in the repository.

    Parameters
    ----------
    markdown : str
        Text of a page.
    depth : int
        How many folders below docs/ the page lies.
    """

    def replace(link: re.Match[str]) -> str:
        if link[0].count("../") <= depth:
            return link[0]
        text, path = link[1], link[2]
        return f"`{path}`" if path in text else f"{text} (`{path}`)"

    return OUTSIDE.sub(replace, markdown)


def on_page_markdown(markdown, page, **_):
    """Called by mkdocs for each page."""
    return to_the_name(markdown, page.file.src_uri.count("/"))
