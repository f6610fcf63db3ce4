"""Times our elastic deformation beside albumentations' on 512×512: `python scripts/bench_elastic.py`."""

import argparse
import statistics
import time

import numpy as np

from unet_train.data.augmentation.elastic import PaperElastic
from unet_train.data.augmentation.pipeline import A, cv2


def milliseconds(transform: A.DualTransform, image: np.ndarray, mask: np.ndarray, rounds: int) -> float:
    """Median over the rounds for one image with its mask, after two rounds that do not count."""
    compose = A.Compose([transform])
    times = []
    for _ in range(rounds + 2):
        start = time.perf_counter()
        compose(image=image, mask=mask)
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times[2:])


def main() -> None:
    """Print one line per transform, and the ratio of each to ours."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, default=1, help="threads OpenCV may use")
    options = parser.parse_args()
    cv2.setNumThreads(options.threads)
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (options.size, options.size, 1), dtype=np.uint8)
    mask = (image[..., 0] // 64).astype(np.uint8)
    transforms = {
        "PaperElastic": PaperElastic(p=1.0),
        "ElasticTransform(sigma=10)": A.ElasticTransform(alpha=300, sigma=10, p=1.0),
        "ElasticTransform(sigma=50), the default": A.ElasticTransform(alpha=300, sigma=50, p=1.0),
        "ElasticTransform(approximate=True)": A.ElasticTransform(
            alpha=300, sigma=50, approximate=True, p=1.0
        ),
    }
    ours = None
    print(f"{options.size}×{options.size} uint8 image and mask, {options.threads} OpenCV thread(s), median")
    for name, transform in transforms.items():
        took = milliseconds(transform, image, mask, options.rounds)
        ours = ours or took
        print(f"{name:42s} {took:7.2f} ms  {took / ours:5.1f} ×")


if __name__ == "__main__":
    main()
