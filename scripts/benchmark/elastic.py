"""Row: our elastic deformation beside albumentations'."""

from __future__ import annotations

from functools import partial

import numpy as np

from scripts.benchmark.measuring import Case, Measurement, interleaved
from unet_train.data.augmentation.elastic import PaperElastic
from unet_train.data.augmentation.pipeline import A, cv2

TITLE = "Elastic deformation"
ABOUT = """
Milliseconds for a grey image of 512² and its mask, one OpenCV thread.
"""

SIDE, ROUNDS = 512, 30


def measure() -> Measurement:
    """Ours, and albumentations' at three settings."""
    cv2.setNumThreads(1)
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (SIDE, SIDE, 1), dtype=np.uint8)
    mask = (image[..., 0] // 64).astype(np.uint8)
    elastic = partial(A.ElasticTransform, p=1.0)
    transforms = {
        "PaperElastic": PaperElastic(p=1.0),
        "albumentations, sigma 10": elastic(alpha=300, sigma=10),
        "albumentations, sigma 50 (default)": elastic(alpha=300, sigma=50),
        "albumentations, approximate": elastic(alpha=300, sigma=50, approximate=True),
    }

    def call(compose: A.Compose) -> None:
        compose(image=image, mask=mask)

    calls = {name: partial(call, A.Compose([transform])) for name, transform in transforms.items()}
    seconds = interleaved(calls, ROUNDS, warm=2)
    return Measurement("ms", {name: [1000 * second for second in found] for name, found in seconds.items()})


CASES: dict[str, Case] = {"512² with its mask": measure}
