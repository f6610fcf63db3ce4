"""Draws cell-like images with exact instance masks, so that everything can be tried without a download.

The pictures imitate phase contrast: cells are about as grey as their surroundings and betray themselves by
a dark rim, a bright halo and a granular inside, under uneven light and noise; debris has halos too but is no
cell. So a threshold finds light, not cells (a test holds Otsu's under 0.6 IoU), and a small U-Net finds the
cells.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from scipy import ndimage


def draw_demo_image(
    seed: int, index: int, size: tuple[int, int] = (256, 256)
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one image, a function of its arguments alone.

    Parameters
    ----------
    seed, index : int
        Non-negative; different pairs give different pictures.
    size : tuple of int
        Height and width in pixels, at least 32 each. Cells are 15 to 30 pixels in radius at any size.

    Returns
    -------
    image : ndarray
        H×W uint8.
    instances : ndarray
        H×W int32, 0 for background, cells 1…n without gaps in the numbers.

    Raises
    ------
    ValueError
        A size below 32.
    """
    if min(size) < 32:
        raise ValueError(f"a demo image is at least 32 pixels high and wide, not {size}")
    rng = np.random.default_rng([seed, index, 20240])
    instances = _draw_cells(rng, size)
    return _photograph(rng, instances), instances


def _outline(rng: np.random.Generator, centre: np.ndarray, radius: float) -> np.ndarray:
    """A smooth closed curve around a centre: an ellipse with a few random waves, N×2 as x, y."""
    angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    stretch = rng.uniform(1.0, 1.6)
    turn = rng.uniform(0, np.pi)
    length = np.ones_like(angle)
    for waves in (2, 3, 4, 5):
        length += rng.normal(0, 0.24 / waves) * np.cos(waves * angle + rng.uniform(0, 2 * np.pi))
    x = radius * length * np.cos(angle) * stretch
    y = radius * length * np.sin(angle) / stretch
    c, s = np.cos(turn), np.sin(turn)
    return np.stack([centre[0] + c * x - s * y, centre[1] + s * x + c * y], axis=1)


def _draw_cells(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Cells alone and in touching clumps; a later cell stops at the outline of an earlier one."""
    height, width = size
    instances = np.zeros(size, np.int32)
    wanted = max(2, round(height * width / 65536 * rng.uniform(14, 21)))
    centres: list[np.ndarray] = []
    radii: list[float] = []
    label = 0
    for _ in range(5 * wanted):
        if label == wanted:
            break
        radius = rng.uniform(14, 25)
        if (
            centres and rng.random() < 0.55
        ):  # a neighbour that touches: its centre one reach away from another's
            friend = int(rng.integers(len(centres)))
            direction = rng.uniform(0, 2 * np.pi)
            reach = 0.85 * (radius + radii[friend])
            centre = centres[friend] + reach * np.array([np.cos(direction), np.sin(direction)])
        else:
            centre = rng.uniform((0, 0), (width, height))
        if not (-4 < centre[0] < width + 4 and -4 < centre[1] < height + 4):
            continue
        if any(np.hypot(*(centre - c)) < 0.72 * (radius + r) for c, r in zip(centres, radii, strict=True)):
            continue
        outline = np.round(_outline(rng, centre, radius)).astype(np.int32)
        left, top = np.maximum(outline.min(0), 0)
        right, bottom = np.minimum(outline.max(0) + 1, (width, height))
        if right <= left or bottom <= top:
            continue
        place = instances[top:bottom, left:right]
        shape = np.zeros(place.shape, np.uint8)
        cv2.fillPoly(shape, [outline - (left, top)], 1)
        free = (shape > 0) & (place == 0)
        # An earlier cell may cut this one in pieces: keep the largest, if that is most of it.
        count, pieces, facts, _ = cv2.connectedComponentsWithStats(free.astype(np.uint8), connectivity=4)
        if count < 2:
            continue
        largest = 1 + int(facts[1:, cv2.CC_STAT_AREA].argmax())
        if facts[largest, cv2.CC_STAT_AREA] < max(0.6 * np.count_nonzero(shape), 60):
            continue
        label += 1
        place[pieces == largest] = label
        centres.append(centre)
        radii.append(radius)
    return instances


def smooth_noise(rng: np.random.Generator, size: tuple[int, int], grain: float) -> np.ndarray:
    """Noise with structures of about `grain` pixels, standard deviation about 1, float32."""
    rows, columns = (max(2, int(np.ceil(length / grain)) + 1) for length in size)
    coarse = rng.standard_normal((rows, columns), dtype=np.float32)
    return cv2.resize(coarse, (size[1], size[0]), interpolation=cv2.INTER_CUBIC) * np.float32(1.3)


def _edges(instances: np.ndarray) -> np.ndarray:
    """Pixels with a right or lower neighbour of another label."""
    edge = np.zeros(instances.shape, bool)
    edge[:, :-1] |= instances[:, :-1] != instances[:, 1:]
    edge[:-1] |= instances[:-1] != instances[1:]
    return edge


def _photograph(
    rng: np.random.Generator,
    instances: np.ndarray,
    count: int | None = None,
    noise_rng: np.random.Generator | None = None,
) -> np.ndarray:
    """Turn a label map into a grey picture.

    With `count` (the greatest label of a whole video) and the same `rng`, light, debris and the look of each
    cell are the same for every frame; `noise_rng` makes the noise another.
    """
    height, width = size = instances.shape
    inside = instances > 0
    distance = cv2.distanceTransform((~_edges(instances)).astype(np.uint8), cv2.DIST_L2, 3)

    # Uneven light: a slope and slow waves, far stronger than the difference between cell and background.
    y, x = np.mgrid[:height, :width].astype(np.float32)
    direction = rng.uniform(0, 2 * np.pi)
    slope = (np.cos(direction) * (x / width - 0.5) + np.sin(direction) * (y / height - 0.5)) * rng.uniform(
        50, 90
    )
    picture: np.ndarray = 120 + slope + 9 * smooth_noise(rng, size, max(size) / 3)

    # The cells: a grey of their own near the background's, grains, organelles, a nucleus.
    count = int(instances.max()) if count is None else count
    greys = np.concatenate([[0], rng.normal(2, 5, count)]).astype(np.float32)
    grains = 9 * smooth_noise(rng, size, 3.0) + 6 * smooth_noise(rng, size, 7.0)
    nuclei: np.ndarray = np.zeros(size, np.float32)
    looks = rng.uniform((0.35, 0.3, 0), (0.55, 0.45, 180), (count, 3))
    for label, box in enumerate(ndimage.find_objects(instances), start=1):
        if box is None:
            continue
        depth = np.where(instances[box] == label, distance[box], 0)
        row, column = divmod(int(depth.argmax()), depth.shape[1])
        length, breadth, turn = looks[label - 1]
        axes = (max(3, int(depth.max() * length)), max(3, int(depth.max() * breadth)))
        place = (box[1].start + column, box[0].start + row)
        cv2.ellipse(nuclei, place, axes, float(turn), 0, 360, 1.0, -1)
    nuclei = cv2.GaussianBlur(nuclei, (0, 0), 1.2)
    body = greys[instances] + grains - 14 * nuclei * (1 - 0.1 * grains / 9)
    rim = -34 * np.exp(-((distance / 2.2) ** 2))
    halo = 38 * np.exp(-((distance / 4.0) ** 2)) * (1 + 0.3 * smooth_noise(rng, size, 40))
    picture += np.where(inside, body + rim, 2.5 * smooth_noise(rng, size, 9.0) + halo)

    _scatter_debris(rng, picture, inside)
    noise = rng.uniform(4, 7) * (noise_rng or rng).standard_normal(size, dtype=np.float32)
    return np.clip(cv2.GaussianBlur(picture, (0, 0), 0.7) + noise, 0, 255).astype(np.uint8)


def _scatter_debris(rng: np.random.Generator, picture: np.ndarray, inside: np.ndarray) -> None:
    """Things that are no cells: bright round bodies, dark specks, fibres; drawn into the picture in place."""
    height, width = picture.shape
    layer = np.zeros_like(picture)
    area = height * width / 65536
    for _ in range(rng.poisson(5 * area)):
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        radius = int(rng.integers(3, 7))
        cv2.circle(layer, centre, radius + 2, -30.0, 2)
        cv2.circle(layer, centre, radius, float(rng.uniform(40, 80)), -1)
    for _ in range(rng.poisson(8 * area)):
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        cv2.circle(layer, centre, int(rng.integers(1, 4)), float(rng.uniform(-60, -30)), -1)
    for _ in range(rng.poisson(1.5 * area)):
        start = rng.uniform((0, 0), (width, height))
        bends = np.cumsum(rng.normal(0, 9, (6, 2)) + rng.normal(0, 9, 2), axis=0)
        line = np.round(start + bends).astype(np.int32)
        cv2.polylines(layer, [line], False, 45.0, 1)
    picture += cv2.GaussianBlur(layer, (0, 0), 0.9)


def draw_demo_video(
    seed: int, frames: int, size: tuple[int, int] = (256, 256)
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Draw a video: the cells of one picture drift and change shape, some leave the field, others enter it.

    Parameters
    ----------
    seed : int
    frames : int
    size : tuple of int
        Height and width, at least 32 each.

    Yields
    ------
    image : ndarray
        H×W uint8.
    instances : ndarray
        H×W int32; a cell keeps its number in all frames it is seen in, without a break.
    """
    height, width = size
    rng = np.random.default_rng([seed, 20241])
    room = 40
    canvas = _draw_cells(rng, (height + 2 * room, width + 2 * room))
    # The view glides over the canvas by at most `room`, and the cells bend by a slow field of their own.
    end = rng.uniform(-0.7, 0.7, 2) * room
    bend = [5 * smooth_noise(rng, size, 60) for _ in range(2)]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    look = int(rng.integers(2**31))
    greatest = int(canvas.max())
    running: dict[int, int] = {}
    used = 0
    for frame in range(frames):
        share = frame / max(frames - 1, 1)
        map_x, map_y = (
            axis + room + np.float32(share * end[i]) + np.float32(np.sin(2.5 * share)) * bend[i]
            for i, axis in enumerate((x, y))
        )
        # float32 holds these labels exactly, and OpenCV remaps no int32.
        moved = cv2.remap(canvas.astype(np.float32), map_x, map_y, cv2.INTER_NEAREST)
        drawn = moved.astype(np.int32)
        image = _photograph(
            np.random.default_rng(look), drawn, greatest, np.random.default_rng([seed, frame])
        )
        seen = {int(label) for label in np.unique(drawn) if label}
        running = {label: number for label, number in running.items() if label in seen}
        for label in sorted(seen - set(running)):
            used += 1
            running[label] = used
        table = np.zeros(greatest + 1, np.int32)
        for label, number in running.items():
            table[label] = number
        yield image, table[drawn]
