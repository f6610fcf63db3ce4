"""The rival: a plain loop over segmentation-models-pytorch on the same images, for the same minutes and protocol.

    pip install -e ".[bench]"
    python scripts/compare_smp.py --root camvid --split RUN_FOLDER/split.json --weights LITE0 --output smp

Its Unet with timm's EfficientNet-Lite0, fp32, batches of 4 random crops of 256², horizontal flips. Adam from 2e-4 on a
cosine to 1e-5, and the net as it is at the end, are its own example's (examples/camvid_segmentation_multiclass.ipynb of
github.com/qubvel-org/segmentation_models.pytorch), whose 50 epochs are of batches of 32: for few steps try `--lr 1e-3`
too. The cosine is over the minutes, which on one CPU thread are processor time, so that what else the machine does
takes none of them. The loss is cross-entropy plus Dice, with `--loss dice` the example's.
`--split` takes the images as a run of ours divided them: those of `train` train, those of `test` are scored, whole.
Without it all images train but those whose names begin with `--test-prefix`. Images wait in memory; reading them,
building the net and scoring cost the rival none of its minutes.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unet_train.data.layouts.folder import folder_source
from unet_train.data.records import IGNORE, Record
from unet_train.metrics.confusion import confusion_counts, scores_from_counts
from unet_train.models.weights import load_file

CAMVID = [
    "sky",
    "building",
    "pole",
    "road",
    "pavement",
    "tree",
    "sign",
    "fence",
    "car",
    "pedestrian",
    "cyclist",
]
ENCODER = "tu-tf_efficientnet_lite0"
STRIDE = 32  # the net takes sides that are multiples of this
FINAL_LR = 1e-5


def divide(records: Sequence[Record], split: Path | None, prefix: str) -> tuple[list[Record], list[Record]]:
    """Images to train on and to score: as in a split.json, else by the beginning of the name."""
    if split is None:
        test = [record for record in records if record.key.startswith(prefix)]
        return [record for record in records if record not in test], test
    parts = json.loads(split.read_text(encoding="utf-8"))
    by_key = {record.key: record for record in records}
    return [by_key[key] for key in parts["train"]], [by_key[key] for key in parts["test"]]


def learning_rate(peak: float, share: float) -> float:
    """Half a cosine from `peak` to FINAL_LR over the share of the time that has passed."""
    return FINAL_LR + (peak - FINAL_LR) * (1 + math.cos(math.pi * min(share, 1.0))) / 2


def batches(
    images: Sequence[np.ndarray], labels: Sequence[np.ndarray], size: int, crop: int, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches without end: every image once an epoch, in a new order, cropped and flipped at random."""
    rng = np.random.default_rng(seed)
    order: list[int] = []
    while True:
        pixels, classes = [], []
        for _ in range(size):
            order = order or list(rng.permutation(len(images)))
            index = order.pop()
            height, width = labels[index].shape
            top, left = rng.integers(height - crop + 1), rng.integers(width - crop + 1)
            window = slice(top, top + crop), slice(left, left + crop)
            step = 1 if rng.random() < 0.5 else -1
            pixels.append(images[index][window][:, ::step])
            classes.append(labels[index][window][:, ::step])
        yield as_tensor(np.stack(pixels)), torch.from_numpy(np.stack(classes).astype(np.int64))


def as_tensor(pixels: np.ndarray) -> Tensor:
    """N×H×W×C bytes → N×C×H×W in [-1, 1], the normalisation of these weights (mean and std 0.5)."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float() / 127.5 - 1


def build(classes: int, weights: Path | None) -> nn.Module:
    """The rival's Unet; its encoder filled from the file completely, or an error."""
    import segmentation_models_pytorch as smp

    net = smp.Unet(ENCODER, encoder_weights=None, in_channels=3, classes=classes)
    if weights is not None:
        report = load_file(net.encoder.model, weights)
        missing = [name for name in report.missing if not name.endswith("num_batches_tracked")]
        if missing:
            raise SystemExit(f"{weights} leaves {len(missing)} tensors of {ENCODER} empty: {missing[:3]}")
        print("\n".join(report.summary()))
    return net


def losses(kind: str) -> Any:
    """Cross-entropy plus Dice, or Dice alone; void counts in neither."""
    import segmentation_models_pytorch as smp

    dice = smp.losses.DiceLoss(smp.losses.MULTICLASS_MODE, from_logits=True, ignore_index=IGNORE)
    entropy = nn.CrossEntropyLoss(ignore_index=IGNORE)
    if kind == "dice":
        return dice
    return lambda logits, target: entropy(logits, target) + dice(logits, target)


def train(
    net: nn.Module, source: Iterator[tuple[Tensor, Tensor]], options: argparse.Namespace
) -> tuple[int, float]:
    """Train until the minutes are over; steps made and minutes taken."""
    loss_of = losses(options.loss)
    optimizer = torch.optim.Adam(net.parameters(), lr=options.lr)
    net.train()
    clock = time.process_time if options.device == "cpu" and options.threads == 1 else time.perf_counter
    start, steps, recent = clock(), 0, []
    while (passed := (clock() - start) / 60) < options.minutes:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(options.lr, passed / options.minutes)
        pixels, target = (tensor.to(options.device) for tensor in next(source))
        loss = loss_of(net(pixels), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steps += 1
        recent.append(loss.item())
        if steps % 50 == 0:
            print(f"step {steps}  {passed:.1f} min  loss {statistics.fmean(recent):.3f}", flush=True)
            recent = []
    return steps, (clock() - start) / 60


@torch.inference_mode()
def predict(net: nn.Module, image: np.ndarray, device: str) -> np.ndarray:
    """Class ids of a whole image, mirrored at the lower and right border up to multiples of STRIDE."""
    height, width = image.shape[:2]
    mirrored = np.pad(image, ((0, -height % STRIDE), (0, -width % STRIDE), (0, 0)), mode="reflect")
    logits = net(as_tensor(mirrored[None]).to(device))
    return logits[0, :, :height, :width].argmax(0).cpu().numpy()


def main(words: Sequence[str] | None = None) -> None:
    """Train, score, print and write metrics.json."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--root", required=True, help="folder with images/ and masks/ of class ids")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--split", type=Path, help="split.json of a run of ours")
    parser.add_argument(
        "--test-prefix", default="0006R0", help="without --split: names that are the test part"
    )
    parser.add_argument("--classes", nargs="+", default=CAMVID, help="names of the classes from id 0")
    parser.add_argument("--void", type=int, default=11, help="id that is in no loss and no measure")
    parser.add_argument(
        "--weights", type=Path, help="file of the encoder's ImageNet weights; random if not given"
    )
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--crop", type=int, default=256)
    parser.add_argument("--lr", type=float, default=2e-4)
    parser.add_argument("--loss", choices=["cross_entropy_dice", "dice"], default="cross_entropy_dice")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args(words)
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    data = folder_source(
        options.root,
        classes=options.classes,
        values={index: index for index in range(len(options.classes))},
        ignore_value=options.void,
        channels=3,
    )
    training, test = divide(data.records(), options.split, options.test_prefix)
    print(f"{len(training)} images train, {len(test)} are scored", flush=True)
    images = [data.read_image(record) for record in training]
    labels = [data.read_truth(record).classes for record in training]
    net = build(len(options.classes), options.weights).to(options.device)
    steps, minutes = train(net, batches(images, labels, options.batch, options.crop, options.seed), options)
    net.eval()
    counts = np.zeros((len(options.classes),) * 2, np.int64)
    for record in test:
        found = predict(net, data.read_image(record), options.device)
        counts += confusion_counts(found, data.read_truth(record).classes, len(options.classes), IGNORE)
    scores = scores_from_counts(counts, options.classes)
    iou = {f"iou/{name}": scores[f"iou/{name}"] for name in options.classes}
    # The mean over all classes that occur, the first, which is no background here, among them.
    iou["iou/mean"] = statistics.fmean(value for value in iou.values() if not math.isnan(value))
    result = {**iou, "steps": steps, "minutes": minutes, "images": len(test)}
    options.output.mkdir(parents=True, exist_ok=True)
    torch.save(net.state_dict(), options.output / "last.pt")
    settings = {
        name: value if isinstance(value, int | float | list) else str(value)
        for name, value in vars(options).items()
    }
    (options.output / "metrics.json").write_text(
        json.dumps({**result, "settings": settings}, indent=2) + "\n"
    )
    for name, value in result.items():
        print(f"{name:20} {value:.4f}" if isinstance(value, float) else f"{name:20} {value}")


if __name__ == "__main__":
    main()
