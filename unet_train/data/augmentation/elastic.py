"""The U-Net paper's elastic deformation, as an albumentations transform; the library has none like it."""

from __future__ import annotations

from typing import Any

import albumentations as A
import cv2
import numpy as np
from albumentations.core.type_definitions import Targets

Maps = tuple[np.ndarray, np.ndarray]


def displacement(
    rng: np.random.Generator, shape: tuple[int, int], sigma: float, grid: int = 3
) -> tuple[np.ndarray, np.ndarray]:
    """Random displacement field of Ronneberger et al. 2015, section 3.1.

    Vectors drawn from N(0, sigma) on a coarse grid, the pixels between by bicubic interpolation.

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : tuple of int
        Height and width.
    sigma : float
        In pixels.
    grid : int
        Vectors per side; each stands in the middle of its cell of the picture.

    Returns
    -------
    along_x, along_y : ndarray
        H×W float32 each, in pixels.
    """
    coarse = rng.normal(0.0, sigma, (2, grid, grid)).astype(np.float32)
    size = (shape[1], shape[0])
    along_x, along_y = (cv2.resize(part, size, interpolation=cv2.INTER_CUBIC) for part in coarse)
    return along_x, along_y


class PaperElastic(A.DualTransform):
    """Elastic deformation by a coarse grid of random displacements, bicubic between them.

    Parameters
    ----------
    sigma : float
        Standard deviation of the displacement vectors in pixels (of the working resolution).
    grid : int
        Vectors per side of the picture.
    interpolation, mask_interpolation : int
        OpenCV flags; masks and weight maps are never interpolated by default.
    border_mode : int
        OpenCV flag: what lies outside. Reflection, for image and mask alike, makes no false background.
    p : float
        Probability.

    Notes
    -----
    Image: uint8 or float32, any number of channels; masks: uint8, uint16, int16, int32 or float32.
    """

    _targets = (Targets.IMAGE, Targets.MASK)

    class InitSchema(A.DualTransform.InitSchema):
        """Limits of the arguments, checked by albumentations."""

        sigma: float
        grid: int
        interpolation: int
        mask_interpolation: int
        border_mode: int

    def __init__(
        self,
        sigma: float = 10.0,
        grid: int = 3,
        interpolation: int = cv2.INTER_LINEAR,
        mask_interpolation: int = cv2.INTER_NEAREST,
        border_mode: int = cv2.BORDER_REFLECT_101,
        p: float = 0.5,
    ):
        super().__init__(p=p)
        if sigma < 0 or grid < 2:
            raise ValueError(f"PaperElastic: sigma={sigma} must not be negative, grid={grid} be at least 2")
        self.sigma = sigma
        self.grid = grid
        self.interpolation = interpolation
        self.mask_interpolation = mask_interpolation
        self.border_mode = border_mode

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """The map of source positions, H×W float32 along either axis."""
        height, width = params["shape"][:2]
        map_x, map_y = displacement(self.random_generator, (height, width), self.sigma, self.grid)
        map_x += np.arange(width, dtype=np.float32)
        map_y += np.arange(height, dtype=np.float32)[:, None]
        return {"maps": (map_x, map_y)}

    def apply(self, img: np.ndarray, maps: Maps, **params: Any) -> np.ndarray:
        """Deform an image, H×W×C."""
        return _remap(img, maps, self.interpolation, self.border_mode)

    def apply_to_mask(self, mask: np.ndarray, maps: Maps, **params: Any) -> np.ndarray:
        """Deform a mask or weight map, H×W."""
        return _remap(mask, maps, self.mask_interpolation, self.border_mode)


def _remap(image: np.ndarray, maps: Maps, interpolation: int, border_mode: int) -> np.ndarray:
    """`cv2.remap` for any number of channels and for int32 labels; the shape is kept."""
    if image.dtype == np.int32:
        # OpenCV moves no int32. Its four bytes can travel as channels when no value is interpolated.
        if interpolation != cv2.INTER_NEAREST or image.ndim != 2:
            raise ValueError("int32 arrays are labels: H×W, moved by INTER_NEAREST")
        octets = np.ascontiguousarray(image).view(np.uint8).reshape(*image.shape, 4)
        moved = cv2.remap(octets, *maps, interpolation, borderMode=border_mode)
        return np.ascontiguousarray(moved).view(np.int32)[..., 0]
    if image.ndim == 2 or image.shape[-1] <= 4:
        moved = cv2.remap(image, *maps, interpolation, borderMode=border_mode)
        return moved.reshape(image.shape)
    parts = [
        cv2.remap(np.ascontiguousarray(image[..., c : c + 4]), *maps, interpolation, borderMode=border_mode)
        for c in range(0, image.shape[-1], 4)
    ]
    return np.concatenate([part.reshape(*image.shape[:2], -1) for part in parts], axis=-1)
