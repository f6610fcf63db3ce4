"""Writes the drawn images to disk in the layout of a real data set."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from scipy import ndimage

from unet_train.data.io.images import write_image, write_labels
from unet_train.demo.drawing import draw_demo_image, draw_demo_video, smooth_noise
from unet_train.errors import UserError

_GOLD_EVERY = 3
_MARKER_RADIUS = 4


def write_demo(
    destination: str | Path,
    layout: str = "folder",
    *,
    seed: int = 0,
    groups: int | None = None,
    images: int = 12,
    size: tuple[int, int] = (256, 256),
) -> Path:
    """Write drawn data to disk in the layout of a real data set, every byte a function of the arguments.

    Parameters
    ----------
    destination : path
        Folder to write into; made if missing, and the root of the data set afterwards.
    layout : {'challenge', 'folder', 'kaggle_3m'}
        challenge: a video per sequence ``01``, ``02``, … with markers and silver labels in every frame and
        gold in every third, of which every other leaves a cell out; folder: ``images/`` and ``masks/`` of 0
        and 255;
        kaggle_3m: a folder of slices per patient, three channels, with masks of 0 and 255.
    seed : int
    groups : int or None
        Sequences, groups of names, or patients; None: 2, or 4 patients.
    images : int
        Frames or images of a group; patients have this many slices, one more, two more, one fewer, in turn.
    size : tuple of int
        Height and width.

    Returns
    -------
    Path
        The destination.

    Raises
    ------
    UserError
        Unknown layout, or a folder that cannot be written to.
    """
    writers = {"challenge": _write_challenge, "folder": _write_folder, "kaggle_3m": _write_kaggle}
    if layout not in writers:
        raise UserError(f"layout={layout}: choose one of {', '.join(writers)}")
    destination = Path(destination)
    try:
        destination.mkdir(parents=True, exist_ok=True)
        for group in range(1, (groups or (4 if layout == "kaggle_3m" else 2)) + 1):
            writers[layout](destination, seed, group, images, size)
    except OSError as error:
        raise UserError(f"{destination}: cannot be written to ({error.strerror})") from error
    return destination


def _make(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _write_folder(root: Path, seed: int, group: int, images: int, size: tuple[int, int]) -> None:
    """``images/01_000.png`` and ``masks/01_000.png``."""
    pictures, masks = _make(root / "images"), _make(root / "masks")
    for index in range(images):
        image, instances = draw_demo_image(seed, 1000 * group + index, size)
        write_image(pictures / f"{group:02d}_{index:03d}.png", image)
        write_labels(masks / f"{group:02d}_{index:03d}.png", ((instances > 0) * 255).astype(np.uint8))


def _write_challenge(root: Path, seed: int, group: int, images: int, size: tuple[int, int]) -> None:
    """A sequence with gold, silver and markers, as the Cell Tracking Challenge lays it out."""
    rng = np.random.default_rng([seed, group, 20242])
    sequence = f"{group:02d}"
    frames = _make(root / sequence)
    gold, markers = _make(root / f"{sequence}_GT" / "SEG"), _make(root / f"{sequence}_GT" / "TRA")
    silver = _make(root / f"{sequence}_ST" / "SEG")
    tracks: dict[int, list[int]] = {}
    for t, (image, instances) in enumerate(draw_demo_video(1000 * seed + group, images, size)):
        write_image(frames / f"t{t:03d}.tif", image)
        write_labels(markers / f"man_track{t:03d}.tif", _markers(instances))
        write_labels(silver / f"man_seg{t:03d}.tif", _blurred_labels(rng, instances).astype(np.uint16))
        if t % _GOLD_EVERY == 1:
            outlined = np.unique(instances)[1:]
            if t // _GOLD_EVERY % 2 == 1 and len(outlined) > 1:
                outlined = np.delete(outlined, rng.integers(len(outlined)))
            table = np.zeros(instances.max() + 1, np.uint16)
            table[outlined] = np.arange(1, len(outlined) + 1)  # gold's numbers hold within a frame only
            write_labels(gold / f"man_seg{t:03d}.tif", table[instances])
        for number in np.unique(instances)[1:]:
            tracks.setdefault(int(number), [t, t])[1] = t
    lines = [f"{number} {first} {last} 0\n" for number, (first, last) in sorted(tracks.items())]
    (markers / "man_track.txt").write_text("".join(lines), encoding="ascii", newline="\n")


def _markers(instances: np.ndarray) -> np.ndarray:
    """A disc deep inside every cell, H×W uint16: where a cell is, not how it looks."""
    markers = np.zeros(instances.shape, np.uint16)
    for number, box in enumerate(ndimage.find_objects(instances), start=1):
        if box is None:
            continue
        own = np.pad(instances[box] == number, 1).astype(np.uint8)
        depth = cv2.distanceTransform(own, cv2.DIST_L2, 3)
        disc = np.zeros(own.shape, np.uint8)
        row, column = divmod(int(depth.argmax()), depth.shape[1])
        cv2.circle(disc, (column, row), min(_MARKER_RADIUS, int(depth.max())), 1, -1)
        markers[box][((disc > 0) & (own > 0))[1:-1, 1:-1]] = number
    return markers


def _blurred_labels(rng: np.random.Generator, instances: np.ndarray) -> np.ndarray:
    """What a good method would find: outlines a pixel off, now and then a cell missed."""
    silver = np.zeros_like(instances)
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    for number in np.unique(instances)[1:]:
        own = (instances == number).astype(np.uint8)
        missed, kind = rng.random() < 0.03, rng.integers(3)
        if kind:
            own = (cv2.erode if kind == 1 else cv2.dilate)(own, cross)
        if not missed:
            silver[(own > 0) & (silver == 0) & ((instances == 0) | (instances == number))] = number
    return silver


def _write_kaggle(root: Path, seed: int, group: int, images: int, size: tuple[int, int]) -> None:
    """A patient's slices: a head with a lesion, bright in the middle channel, nothing at either end."""
    rng = np.random.default_rng([seed, group, 20243])
    patient = f"DEMO_AA_{group:04d}_20000101"
    folder = _make(root / patient)
    slices = max(3, images + (0, 1, 2, -1)[(group - 1) % 4])
    height, width = size
    y, x = np.mgrid[:height, :width].astype(np.float32)
    wave = [smooth_noise(rng, size, max(size) / 4) for _ in range(3)]
    centre = np.array([height, width]) * (0.5 + rng.uniform(-0.12, 0.12, 2))
    depth, thickness = rng.uniform(0.35, 0.65), rng.uniform(0.15, 0.3)
    for number in range(1, slices + 1):
        z = (number - 1) / (slices - 1)
        girth = np.sqrt(max(0.0, 1 - (2 * z - 1) ** 2)) * 0.42
        radius = np.hypot((y / height - 0.5) / max(girth, 1e-3), (x / width - 0.5) / max(0.85 * girth, 1e-3))
        head = radius < 1 + 0.03 * wave[0]
        size_here = 0.16 * min(size) * np.sqrt(max(0.0, 1 - ((z - depth) / thickness) ** 2))
        lesion = (np.hypot(y - centre[0], x - centre[1]) < size_here * (1 + 0.2 * wave[1])) & head
        tissue = np.where(head, 90 + 12 * wave[2], 4) + 60 * np.exp(-(((radius - 1) / 0.05) ** 2)) * head
        channels = [tissue, tissue + 55 * lesion, tissue * 0.9 + 15 * lesion]
        if group % 3 == 0:
            channels[2] = channels[1]  # a sequence that was not acquired is a copy of FLAIR
        picture = cv2.GaussianBlur(np.stack(channels, -1).astype(np.float32), (0, 0), 0.8)
        picture += rng.normal(0, 5, (height, width, 1)).astype(np.float32)
        write_image(folder / f"{patient}_{number}.tif", np.clip(picture, 0, 255).astype(np.uint8))
        write_labels(folder / f"{patient}_{number}_mask.tif", (lesion * 255).astype(np.uint8))
