"""Row: prediction over the forward pass alone, beside MONAI's sliding window, and a large tif."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import torch

import unet_train
from scripts.benchmark.measuring import (
    Case,
    Measurement,
    Missing,
    clock,
    command,
    interleaved,
    peak_mib,
    stopwatch,
)
from scripts.benchmark.nets import synchronise
from unet_train.data.io.images import read_image
from unet_train.data.write_demo import write_demo
from unet_train.inference.forward import make_forward
from unet_train.inference.predictor import Predictor
from unet_train.inference.tiled import Tiling
from unet_train.runs import prediction
from unet_train.runs.prediction_models import Models

TITLE = "Prediction"
ABOUT = """
The classic net with 16 features (the large tif: 4 features, depth 2). `unet-predict` reads files of 512² and writes
mask, class map and overlay of each; beside it the same fused net on the same pixels in memory. It is called in a
process that has torch already; see "Start" for what that costs. MONAI's `sliding_window_inference` and our
tiles share the net, 256² tiles and an overlap of a quarter, on one image of 1024² in memory; both blend, MONAI
by a Gaussian. The large tif is measured in processes of their own, with their peak of resident memory.
"""

IMAGES, ROUNDS = 10, 4
LARGE_SIDE, LARGE_TILE, LARGE_ROUNDS = 8448, 1024, 1


def trained(folder: Path, *words: str) -> Path:
    """A checkpoint that finds drawn cells well enough that its results look like those of any model."""
    os.environ["UNET_TRAIN_CHECK_CACHE"] = "off"
    root = write_demo(folder / "train", groups=1, images=6, size=(128, 128))
    short = (
        "augmentation.crop_size=64",
        "trainer.epochs=1",
        "trainer.samples_per_epoch=240",
        "optimizer.lr=3e-3",
    )
    where = ("dataset=folder", f"dataset.root={root}", f"hydra.run.dir={folder / 'run'}")
    return unet_train.train(["experiment=smoke", *where, *short, *words]).checkpoint


def forward_alone(model: Predictor, image: np.ndarray) -> None:
    """What the fused net makes of one image, with its softmax: no file, no tiles, no way back to classes."""
    statistics = model.data.preprocessing.apply(image, None).statistics
    numbers = (statistics.mean, statistics.std) if statistics else (None, None)
    make_forward(model.model, *numbers, device=model.device, autocast_dtype=model.dtype)(image[None])


def measure_files() -> Measurement:
    """`unet-predict` on IMAGES files a round."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        images = write_demo(folder / "data", groups=1, images=IMAGES, size=(512, 512)) / "images"
        ckpt = trained(folder, "encoder.init_features=16", "encoder.depth=4")
        model = unet_train.load(ckpt)
        pixels = [model.read(path) for path in sorted(images.iterdir())]

        def command_alone() -> None:
            unet_train.predict(ckpt, images, folder / "out", overwrite=True)

        def forward() -> None:
            for image in pixels:
                forward_alone(model, image)

        places = {
            "reading": (Models, "read"),
            "writing": (prediction, "write_results"),
            "loading": (Models, "load"),
        }
        with stopwatch(places) as seconds:
            found = interleaved({"unet-predict": command_alone, "forward alone": forward}, ROUNDS)
    values = {name: [1000 * second / IMAGES for second in rounds] for name, rounds in found.items()}
    named = ", ".join(f"{name} {1000 * s / IMAGES / (ROUNDS + 1):.0f} ms" for name, s in seconds.items())
    note = f"of `unet-predict`, an image: {named} (the model's, shared by {IMAGES} images)"
    return Measurement("ms an image", values, {"forward alone": 0.9}, notes=[note])


def measure_windows() -> Measurement:
    """Tiles of one image in memory, ours and MONAI's."""
    try:
        from monai.inferers import sliding_window_inference
    except ImportError as error:
        raise Missing('monai is not installed: pip install -e ".[bench]"') from error
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_demo(folder / "data", groups=1, images=1, size=(1024, 1024))
        image = read_image(next((folder / "data" / "images").iterdir()))
        ckpt = trained(folder, "encoder.init_features=16", "encoder.depth=4")
        model = unet_train.load(ckpt, tile=Tiling(256, 64))
        statistics = model.data.preprocessing.apply(image, None).statistics
        assert statistics is not None
        numbers = [torch.as_tensor(v, dtype=torch.float32)[None] for v in (statistics.mean, statistics.std)]
        stack = torch.from_numpy(image).permute(2, 0, 1)[None]

        def windows() -> None:
            with torch.inference_mode(), torch.autocast(model.device, model.dtype, model.dtype is not None):
                on = stack.to(model.device)
                mean, std = (number.to(model.device) for number in numbers)
                logits = sliding_window_inference(
                    on.float() / 255,
                    256,
                    1,
                    lambda x: model.model(x, mean, std),
                    overlap=0.25,
                    mode="gaussian",
                )
                logits.softmax(1).cpu()

        def ours() -> None:
            model.network(image, statistics)

        seconds = interleaved({"ours": ours, "MONAI": windows}, ROUNDS)
    return Measurement("s", seconds)


def measure_large() -> Measurement:
    """A tif that is streamed, and the forward pass of its tiles: seconds per million pixels of the image."""
    import tifffile

    from unet_train.demo.drawing import smooth_noise

    millions = LARGE_SIDE**2 / 1e6
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        small = (
            (smooth_noise(np.random.default_rng(0), (1024, 1024), 20) * 40 + 128)
            .clip(0, 255)
            .astype(np.uint8)
        )
        times = -(-LARGE_SIDE // 1024)
        large = np.tile(small, (times, times))[:LARGE_SIDE, :LARGE_SIDE]
        tifffile.imwrite(folder / "large.tif", large, tile=(256, 256), compression="zlib")
        del large
        ckpt = trained(folder, "encoder.init_features=4", "encoder.depth=2")
        model = unet_train.load(ckpt)
        peaks: list[float] = []
        tile = small[:, :, None]

        def whole() -> float:
            words = (
                f"ckpt={ckpt}",
                f"input={folder / 'large.tif'}",
                f"output={folder / 'out'}",
                "overwrite=true",
            )
            start = clock()
            peaks.append(peak_mib(command("predict"), *words))
            return (clock() - start) / millions

        def forward() -> float:
            found = interleaved({"": lambda: forward_alone(model, tile)}, 5)[""]
            synchronise(torch.device(model.device))
            return sorted(found)[2] / (LARGE_TILE**2 / 1e6)

        values = interleaved(
            {"unet-predict, whole process": whole, "forward alone": forward}, LARGE_ROUNDS, warm=0
        )
    took = values["unet-predict, whole process"][0] * millions
    libraries = peak_mib("import unet_train.runs.prediction")
    note = (
        f"{LARGE_SIDE}² grey pixels, {millions:.0f} million: {took:.0f} s, peak of resident memory {max(peaks):.0f} "
        f"MiB, of which the libraries alone take {libraries:.0f}"
    )
    return Measurement("s a million pixels", values, notes=[note])


CASES: dict[str, Case] = {
    f"{IMAGES} files of 512²": measure_files,
    "tiles of 256² in 1024²": measure_windows,
    f"a tif of {LARGE_SIDE}²": measure_large,
}
