"""What the layouts on disk share: a root that must exist, and labels that must have their image's size."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from unet_train.data.images import image_size, read_labels
from unet_train.errors import UserError


def existing_root(root: str | Path, remedy: str) -> Path:
    """The data set's folder, or a UserError that names ``dataset.root`` and how to get the data."""
    path = Path(root).expanduser()
    if not path.is_dir():
        what = "is a file, not a folder" if path.exists() else "does not exist"
        raise UserError(f"dataset.root: {path} {what}; {remedy}")
    return path


def read_sized_labels(path: str, image: str, channels: int | None = None) -> np.ndarray:
    """Labels as stored, refused where their size is not the image's.

    Raises
    ------
    UserError
        Names the label file and both sizes.
    """
    labels = read_labels(path)
    height, width, _ = image_size(image, channels=channels)
    if labels.shape != (height, width):
        raise UserError(
            f"{path}: {labels.shape[0]}×{labels.shape[1]} labels for the {height}×{width} image {image}"
        )
    return labels
