"""Words by which people tell images from masks in the names of folders and files."""

from __future__ import annotations

import re
from typing import Literal

Role = Literal["image", "mask"]

# fmt: off
IMAGE_WORDS = frozenset({
    "image", "images", "img", "imgs", "input", "inputs", "picture", "pictures", "photo", "photos", "raw", "original",
    "originals", "orig", "scan", "scans", "frame", "frames",
})
MASK_WORDS = frozenset({
    "mask", "masks", "label", "labels", "lbl", "lbls", "annotation", "annotations", "annotated", "annot", "annots",
    "gt", "groundtruth", "truth", "seg", "segs", "segm", "segmentation", "segmentations", "segmented", "manual",
    "target", "targets",
})
# fmt: on

_TOKEN = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_]+|\d+")


def tokens(name: str) -> list[str]:
    """Words and numbers of a name in small letters: ``leftImg8bit`` has left, img, 8, bit."""
    return [token.lower() for token in _TOKEN.findall(name)]


def role_of(name: str) -> Role | None:
    """What the words of a name say; a word for masks counts more: ``image_masks`` holds masks."""
    words = set(tokens(name))
    if words & MASK_WORDS:
        return "mask"
    return "image" if words & IMAGE_WORDS else None
