"""report.html: what an evaluation found, in one file that opens anywhere, offline, and prints."""

from __future__ import annotations

import base64
import importlib.resources
from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

REPORT = "report.html"


@dataclass(frozen=True)
class Picture:
    """A picture inside the page.

    Attributes
    ----------
    uri : str
        ``data:`` and all its bytes.
    alt : str
        What it shows, for those who cannot see it.
    """

    uri: str
    alt: str = ""


@dataclass(frozen=True)
class ScoreRow:
    """A line of the table of classes; texts as they are shown."""

    name: str
    iou: str
    iou_interval: str
    dice: str
    dice_interval: str
    true: str = ""
    predicted: str = ""
    colour: str = ""
    """``#rrggbb``, or nothing."""


@dataclass(frozen=True)
class ScoreTable:
    """A table of scores and their intervals.

    Attributes
    ----------
    label : str
        What it shows, for those who cannot see it.
    head : sequence of str
        Names of the columns.
    rows : sequence of (name, cells)
        A cell is a value and its interval; texts as they are shown.
    """

    label: str
    head: Sequence[str]
    rows: Sequence[tuple[str, Sequence[tuple[str, str]]]]


@dataclass(frozen=True)
class GalleryItem:
    """An image with a layer of the ground truth, one of the prediction, and what is drawn where both are shown.

    Attributes
    ----------
    rank : str
        ``worst 1``, ``median``, …
    key, caption : str
    image : Picture
    truth, prediction, outline : Picture or None
        Transparent layers of the image's size. Where there is an `outline`, it stands for the ground truth when both
        are shown.
    """

    rank: str
    key: str
    caption: str
    image: Picture
    truth: Picture
    prediction: Picture
    outline: Picture | None = None


@dataclass(frozen=True)
class ReportContent:
    """What the page says, from top to bottom.

    Attributes
    ----------
    title, question : str
    facts : sequence of (str, str)
        What was scored: data, part, model, ….
    warnings : sequence of str
        What makes the scores other than they look.
    classes : sequence of ScoreRow
        The last one is the mean.
    tables : sequence of ScoreTable
        More scores per class, or per threshold.
    others : sequence of (name, value, interval)
        Scores that are not per class.
    patients : sequence of (name, slices, Dice, Dice of the largest part)
    basis : str
        What the intervals rest on.
    by_class, by_image, confusion, curves : Picture or None
    images : sequence of (key, group, scores)
        Single images, worst first.
    image_columns : sequence of str
        Names of their scores.
    images_left_out : int
    gallery : sequence of GalleryItem
    legend : sequence of (name, colour)
    command, folder : str
        What was typed, and where.
    config : str
        The run's config, as YAML.
    versions : sequence of (library, in training, here)
    """

    title: str
    question: str
    facts: Sequence[tuple[str, str]]
    warnings: Sequence[str]
    classes: Sequence[ScoreRow]
    others: Sequence[tuple[str, str, str]]
    basis: str
    command: str
    folder: str
    config: str
    versions: Sequence[tuple[str, str, str]]
    has_intervals: bool = False
    tables: Sequence[ScoreTable] = ()
    patients: Sequence[tuple[str, str, str, str]] = ()
    by_class: Picture | None = None
    by_image: Picture | None = None
    confusion: Picture | None = None
    curves: Picture | None = None
    images: Sequence[tuple[str, str, Sequence[str]]] = ()
    image_columns: Sequence[str] = ()
    images_left_out: int = 0
    gallery: Sequence[GalleryItem] = ()
    legend: Sequence[tuple[str, str]] = field(default_factory=tuple)


def render(content: ReportContent) -> str:
    """The page: HTML with everything in it, and every name escaped."""
    from jinja2 import Environment, StrictUndefined

    template = importlib.resources.files("unet_train.reporting").joinpath("templates/report.html")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(template.read_text(encoding="utf-8")).render(page=content)


def svg(text: str, alt: str) -> Picture:
    """A diagram."""
    return Picture(_uri("image/svg+xml", text.encode()), alt)


def png(pixels: np.ndarray, alt: str = "") -> Picture:
    """H×W×3 (RGB) or H×W×4 (RGBA) uint8, without loss."""
    order = cv2.COLOR_RGBA2BGRA if pixels.shape[2] == 4 else cv2.COLOR_RGB2BGR
    return Picture(_uri("image/png", _encoded(".png", cv2.cvtColor(pixels, order), [])), alt)


def jpeg(pixels: np.ndarray, alt: str = "") -> Picture:
    """H×W×3 uint8 RGB; for photographs, a tenth of the bytes."""
    quality = [cv2.IMWRITE_JPEG_QUALITY, 88]
    return Picture(
        _uri("image/jpeg", _encoded(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), quality)), alt
    )


def _encoded(ending: str, pixels: np.ndarray, options: list[int]) -> bytes:
    done, written = cv2.imencode(ending, pixels, options)
    if not done:
        raise ValueError(f"OpenCV cannot write {ending} of {pixels.shape}")
    return written.tobytes()


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
