"""Which picture a model's data ask for: outlines for two classes and for objects, filled panels for more classes."""

from __future__ import annotations

import numpy as np

from unet_train.data.description import DataDescription
from unet_train.metrics.object_errors import ERRORS, ObjectErrors
from unet_train.reporting.overlays import ERROR_COLOURS, Mark, class_picture, overlay
from unet_train.reporting.panels import panels


def compared(
    data: DataDescription,
    image: np.ndarray,
    truth: np.ndarray | None,
    prediction: np.ndarray,
    *,
    caption: str,
) -> np.ndarray:
    """The image with true (if known) and predicted classes.

    Parameters
    ----------
    data : DataDescription
        Its classes, their colours, and whether objects are told apart.
    image : ndarray
        H×W×C, uint8 or float.
    truth, prediction : ndarray
        H×W class ids, `truth` with 255 where nothing is known.
    caption : str

    Returns
    -------
    ndarray
        H'×W'×3 uint8.
    """
    if len(data.classes) == 2 or data.has_instances:
        return overlay(image, truth, prediction, caption=caption)
    return panels(
        image,
        truth,
        prediction,
        class_names=data.classes,
        palette=data.palette,
        background=data.has_background,
        caption=caption,
    )


def compared_objects(
    image: np.ndarray, truth: np.ndarray, found: np.ndarray, errors: ObjectErrors, *, caption: str
) -> np.ndarray:
    """The image with true and found objects outlined, and those that went wrong filled in a colour for each error.

    Parameters
    ----------
    image : ndarray
        H×W×C, uint8 or float.
    truth, found : ndarray
        H×W object ids, 0 for none.
    errors : ObjectErrors
    caption : str

    Returns
    -------
    ndarray
        H'×W'×3 uint8.
    """
    of_truth, of_found = marks_of(errors, truth, found)
    return overlay(image, truth, found, caption=caption, ignore=None, marks=of_truth + of_found)


def marks_of(errors: ObjectErrors, truth: np.ndarray, found: np.ndarray) -> tuple[list[Mark], list[Mark]]:
    """A fill for each kind of error that occurs, with how often, for true objects and for found ones.

    Parameters
    ----------
    errors : ObjectErrors
    truth, found : ndarray
        H×W object ids, 0 for none.
    """
    marks: tuple[list[Mark], list[Mark]] = ([], [])
    for kind in ERRORS:
        ids = getattr(errors, kind)
        on_found = kind == "invented"
        if ids:
            pixels = np.isin(found if on_found else truth, ids)
            marks[on_found].append(Mark(f"{kind} {len(ids)}", pixels, ERROR_COLOURS[kind]))
    return marks


def viewable_mask(data: DataDescription, classes: np.ndarray) -> np.ndarray:
    """H×W class ids to look at: two classes in black and white (H×W uint8), more in colours (H×W×3 uint8)."""
    picture = class_picture(classes, len(data.classes), palette=data.palette, background=data.has_background)
    return np.ascontiguousarray(picture[:, :, 0]) if len(data.classes) == 2 else picture
