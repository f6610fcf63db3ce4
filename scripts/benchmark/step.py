"""Row: a training step beside those of other libraries on the same batch."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from scripts.benchmark.measuring import Case, Measurement, interleaved
from scripts.benchmark.nets import OurStep, parameters, synchronise

TITLE = "A training step beside other libraries"
ABOUT = """
Milliseconds of a step on one batch in memory, 4 crops of 256², 3 channels, 3 classes, random weights. Ours is the
loop's whole step: normalisation, cross-entropy and Dice, clipping, AdamW, averaged weights, counts for the scores.
The others are the plain loops of their examples: float32, cross-entropy and Dice, Adam, the loss read back each step;
"same precision and layout" is the same loop in our precision and channels_last. The goals are for processors with bf16;
on one that computes in float32 (named above) our precision is that of the plain loops. Their decoders are their own,
hence other numbers of parameters. milesial's net and loop (RMSprop, clipping, channels_last) are rebuilt here, with 16
features in place of 64, as ours; MONAI's UNet is another net, the one of its tutorials.
"""

BATCH, CROP, CLASSES, ROUNDS = 4, 256, 3, 6


def library(name: str, notes: list[str]) -> ModuleType | None:
    """A library, or None and a note that its figures are left out."""
    try:
        return importlib.import_module(name)
    except ImportError:
        notes.append(f'{name} is not installed, so its figures are left out: pip install -e ".[bench]"')
        return None


plain_adam = partial(torch.optim.Adam, lr=1e-4)


def plain_step(
    net: nn.Module,
    loss_of: Callable[[Tensor, Tensor], Tensor],
    ours: OurStep,
    *,
    like_ours: bool = False,
    optimizer: Callable[..., torch.optim.Optimizer] = plain_adam,
    channels_last: bool = False,
    clip: float | None = None,
) -> Callable[[], None]:
    """A step of a plain loop on the batch of `ours`; `like_ours`: in its precision and layout."""
    device, precision = ours.state.device, ours.state.precision
    layout = torch.channels_last if channels_last or like_ours else torch.contiguous_format
    net = net.to(device, memory_format=layout).train()  # type: ignore[call-overload]
    changes = optimizer(net.parameters())
    pixels = ours.batch.image.to(device).float().div(255).contiguous(memory_format=layout)
    target = ours.batch.target.to(device).long()

    def step() -> None:
        with torch.autocast(
            device.type, dtype=precision.dtype, enabled=like_ours and precision.dtype is not None
        ):
            logits = net(pixels)
        loss = loss_of(logits.float(), target)
        changes.zero_grad()
        loss.backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(net.parameters(), clip)
        changes.step()
        loss.item()
        synchronise(device)

    return step


def measure(
    words: list[str], smp_name: str | None, monai_name: str | None, milesial: bool = False
) -> Measurement:
    """Ours and whatever of the others is there for this net."""
    ours = OurStep(words, CLASSES, BATCH, CROP)
    steps: dict[str, Callable[[], None]] = {"ours": ours}
    sizes = {"ours": ours.parameters}
    goals: dict[str, float] = {}
    notes: list[str] = []

    def add(name: str, net: nn.Module, loss: Any, goal: float | None = None, **options: Any) -> None:
        steps[name], sizes[name] = plain_step(net, loss, ours, **options), parameters(net)
        if goal is not None:
            goals[name] = goal

    smp = library("segmentation_models_pytorch", notes) if smp_name else None
    if smp is not None:
        dice = smp.losses.DiceLoss(smp.losses.MULTICLASS_MODE, from_logits=True)
        build = partial(smp.Unet, smp_name, encoder_weights=None, in_channels=3, classes=CLASSES)
        add("smp, plain loop", build(), plus_entropy(dice), 2.5)
        add("smp, same precision and layout", build(), plus_entropy(dice), 1.1, like_ours=True)
    monai = library("monai.networks.nets", notes) if monai_name else None
    if monai is not None:
        dice_entropy = importlib.import_module("monai.losses").DiceCELoss(softmax=True, to_onehot_y=True)
        if monai_name == "UNet":
            options: dict[str, Any] = {
                "channels": (16, 32, 64, 128, 256),
                "strides": (2, 2, 2, 2),
                "num_res_units": 2,
            }
            net = monai.UNet(2, 3, CLASSES, **options)
        else:
            net = monai.FlexibleUNet(3, CLASSES, monai_name, spatial_dims=2)
        name = "MONAI UNet (another net)" if monai_name == "UNet" else "MONAI FlexibleUNet, plain loop"
        goal = None if monai_name == "UNet" else 2.5
        add(name, net, lambda logits, target: dice_entropy(logits, target[:, None]), goal)
    if milesial:
        rms = partial(torch.optim.RMSprop, lr=1e-5, weight_decay=1e-8, momentum=0.999, foreach=True)
        net = Milesial(3, CLASSES, 16)
        add(
            "milesial, its loop", net, plus_entropy(one_hot_dice), optimizer=rms, channels_last=True, clip=1.0
        )
        add("milesial, plain loop", Milesial(3, CLASSES, 16), plus_entropy(one_hot_dice), 2.5)
    seconds = interleaved(steps, ROUNDS, warm=1)
    millions = "; ".join(f"{name} {count / 1e6:.1f}" for name, count in sizes.items())
    values = {name: [1000 * second for second in found] for name, found in seconds.items()}
    return Measurement("ms", values, goals, notes=[f"millions of parameters: {millions}", *notes])


def plus_entropy(dice: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """Cross-entropy plus a Dice loss."""
    return lambda logits, target: nn.functional.cross_entropy(logits, target) + dice(logits, target)


def one_hot_dice(logits: Tensor, target: Tensor) -> Tensor:
    """Dice over the batch, as milesial's train.py takes it."""
    probabilities = logits.softmax(1)
    truth = nn.functional.one_hot(target, CLASSES).permute(0, 3, 1, 2).float()
    both = 2 * (probabilities * truth).sum((0, 2, 3))
    return 1 - ((both + 1e-6) / ((probabilities + truth).sum((0, 2, 3)) + 1e-6)).mean()


class Milesial(nn.Module):
    """The net of github.com/milesial/Pytorch-UNet (transposed convolutions), with any number of features."""

    def __init__(self, channels: int, classes: int, features: int) -> None:
        super().__init__()
        widths = [features * 2**level for level in range(5)]
        self.first = double_convolution(channels, features)
        self.down = nn.ModuleList(
            nn.Sequential(nn.MaxPool2d(2), double_convolution(a, b)) for a, b in pairwise(widths)
        )
        self.up = nn.ModuleList(nn.ConvTranspose2d(a, a // 2, 2, 2) for a in widths[:0:-1])
        self.after = nn.ModuleList(double_convolution(a, a // 2) for a in widths[:0:-1])
        self.last = nn.Conv2d(features, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """N×C×H×W (sides multiples of 16) → N×K×H×W logits."""
        found = [self.first(x)]
        for down in self.down:
            found.append(down(found[-1]))
        x = found.pop()
        for up, after in zip(self.up, self.after, strict=True):
            x = after(torch.cat([found.pop(), up(x)], 1))
        return self.last(x)


def double_convolution(a: int, b: int) -> nn.Sequential:
    """Twice 3×3 convolution, batch norm and ReLU."""
    return nn.Sequential(
        nn.Conv2d(a, b, 3, padding=1, bias=False),
        nn.BatchNorm2d(b),
        nn.ReLU(inplace=True),
        nn.Conv2d(b, b, 3, padding=1, bias=False),
        nn.BatchNorm2d(b),
        nn.ReLU(inplace=True),
    )


CASES: dict[str, Case] = {
    "ResNet-34": partial(measure, ["encoder=resnet"], "resnet34", "resnet34"),
    "EfficientNet-B0": partial(measure, ["encoder=efficientnet"], "efficientnet-b0", "efficientnet-b0"),
    "EfficientNet-Lite0": partial(measure, ["encoder=timm"], "tu-tf_efficientnet_lite0", None),
    "classic, 16 features": partial(
        measure, ["encoder=unet", "encoder.init_features=16"], None, "UNet", milesial=True
    ),
}
