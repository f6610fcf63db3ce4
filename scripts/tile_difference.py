"""How far tiled prediction is from whole-image prediction, for a trained model and its images.

    python scripts/tile_difference.py CKPT IMAGE [IMAGE …] [--tiles 128 192 256] [--overlap 0.25]

Tiles and overlaps count pixels at the working resolution. In float32, so that what differs is the tiles' doing. Squeeze
and excitation averages over what it sees, a tile instead of the image; other nets differ only where a tile's overlap
is narrower than their view.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np

import unet_train
from unet_train.inference.predictor import Tiling


def main() -> None:
    """Print one Markdown row per size of the tiles."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("ckpt")
    parser.add_argument("images", nargs="+")
    parser.add_argument("--tiles", type=int, nargs="+", default=[128, 192, 256])
    parser.add_argument("--overlap", type=float, default=0.25, help="share of a tile")
    options = parser.parse_args()
    model = unet_train.load(options.ckpt, precision="32")
    pictures = [model.read(path) for path in options.images]
    whole = [replace(model, tiling=Tiling(None)).predict(picture) for picture in pictures]
    print("| tile | overlap | greatest | mean difference of a probability | pixels of another class |")
    print("| --- | --- | --- | --- | --- |")
    for side in options.tiles:
        overlap = round(side * options.overlap)
        tiled = [replace(model, tiling=Tiling(side, overlap)).predict(picture) for picture in pictures]
        apart = [
            np.abs(a.probabilities - b.probabilities).max(0).ravel()
            for a, b in zip(whole, tiled, strict=True)
        ]
        other = [(a.classes != b.classes).ravel() for a, b in zip(whole, tiled, strict=True)]
        differences, changed = np.concatenate(apart), np.concatenate(other)
        print(
            f"| {side}² | {overlap} | {differences.max():.1e} | {differences.mean():.1e} | {changed.mean():.3%} |"
        )


if __name__ == "__main__":
    main()
