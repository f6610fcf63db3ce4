"""The U-Net: any encoder, the expanding path, the head, and the normalisation kept with the weights."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from unet_train.errors import UserError
from unet_train.models.blocks import DoubleConv, initialise

HEADS = ("softmax", "sigmoid")
UPSAMPLINGS = ("transposed", "nearest")
HEAD_KERNELS = (1, 3)
NORMALISATIONS = ("fixed", "image", "volume")
DECODER_CHANNELS = (256, 128, 64, 32, 16)
# torch 2.6 does not tell an export from a compilation.
is_exporting = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)


class Normalisation(nn.Module):
    """Pixels → z-scores, on the device and inside the exported graph.

    Parameters
    ----------
    channels
        Channels of the image.
    mode
        ``fixed``: the buffers ``mean`` and ``std``; ``image``: each image's own; ``volume``: those of the
        volume the image belongs to, which the caller must give.
    mean, std
        One value, or one per channel, in units of the [0, 1] range. Default 0 and 1.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        channels: int,
        mode: str = "fixed",
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        if mode not in NORMALISATIONS:
            raise UserError(
                f"dataset.normalisation={mode} is not known: choose one of {', '.join(NORMALISATIONS)}"
            )
        self.mode = mode
        for name, values, default in (("mean", mean, 0.0), ("std", std, 1.0)):
            numbers = [float(value) for value in values] if values is not None else [default]
            if len(numbers) == 1:
                numbers *= channels
            if len(numbers) != channels:
                raise UserError(
                    f"the normalisation has {len(numbers)} values of {name}, the images have {channels} "
                    "channels: give one per channel"
                )
            if not all(map(math.isfinite, numbers)):
                raise UserError(f"the normalisation's {name} must be finite, not {numbers}")
            if name == "std" and min(numbers) <= 0:
                raise UserError(f"the normalisation's std must be above 0, not {min(numbers)}")
            self.register_buffer(name, torch.tensor(numbers, dtype=torch.float32))

    def forward(self, x: Tensor, mean: Tensor | None = None, std: Tensor | None = None) -> Tensor:
        """Normalise N×C×H×W uint8 (0…255) or float ([0, 1]) pixels.

        ``mean`` and ``std`` (N×C or C, in [0, 1] units) win over what the module would use by itself.
        """
        if x.dtype == torch.uint8:
            x = x.float() / 255
        elif x.is_floating_point():
            x = x.float()
        else:
            raise ValueError(f"pixels must be uint8 or float in [0, 1], not {x.dtype}")
        if (mean is None) != (std is None):
            raise ValueError("give both mean and std, or neither")
        if mean is None or std is None:
            if self.mode == "volume":
                raise ValueError("this model is normalised per volume: give the volume's mean and std")
            if self.mode == "image":
                # Written out: torch.std_mean keeps the ONNX exporter busy for minutes over symbolic sizes.
                mean = x.mean((2, 3))
                std = (x - mean[..., None, None]).square().mean((2, 3)).sqrt()
            else:
                mean, std = self.mean, self.std
        # A channel of one value has std 0; its z-score is 0, not 0/0.
        scale = std.float().clamp_min(1e-6)
        return (x - mean.float()[..., None, None]) / scale[..., None, None]

    def extra_repr(self) -> str:
        """What print(model) shows."""
        return f"mode={self.mode}"


class UpStep(nn.Module):
    """One level of the expanding path: doubled in size, (upsampled, skip), two convolutions.

    Doubled by a 2×2 transposed convolution, or by repeating each pixel (``nearest``). The order of the concatenation
    is that of the published brain model and of segmentation-models-pytorch, so that their weights fit.
    """

    def __init__(
        self, in_channels: int, skip_channels: int, out_channels: int, norm: str, upsample: str = "transposed"
    ) -> None:
        super().__init__()
        if upsample == "nearest":
            self.up: nn.Module = nn.Upsample(scale_factor=2, mode="nearest")
            self.block = DoubleConv(in_channels + skip_channels, out_channels, norm)
        else:
            self.up = nn.ConvTranspose2d(in_channels, out_channels, 2, stride=2)
            self.block = DoubleConv(out_channels + skip_channels, out_channels, norm)

    def forward(self, x: Tensor, skip: Tensor | None) -> Tensor:
        """Double the size of N×I×H×W, join it with the skip (N×S×2H×2W, or nothing)."""
        x = self.up(x)
        return self.block(x if skip is None else torch.cat((x, skip), dim=1))


class Decoder(nn.Module):
    """From the coarsest feature back to full size, joining the encoder's features where there are some."""

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[int],
        widths: Sequence[int],
        norm: str,
        upsample: str = "transposed",
    ) -> None:
        super().__init__()
        # (index of the feature to join or None, its channels), from the coarsest step to stride 1.
        self.skips: list[int | None] = []
        levels = []
        width, stride = channels[-1], strides[-1]
        for out_channels in widths:
            stride //= 2
            skip = strides.index(stride) if stride in strides else None
            self.skips.append(skip)
            skip_channels = 0 if skip is None else channels[skip]
            levels.append(UpStep(width, skip_channels, out_channels, norm, upsample))
            width = out_channels
        self.levels = nn.ModuleList(levels)
        initialise(self)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Features, finest first → N×(last width)×H×W."""
        x = features[-1]
        for level, skip in zip(self.levels, self.skips, strict=True):
            x = level(x, None if skip is None else features[skip])
        return x


class UNet(nn.Module):
    """A U-Net around an encoder.

    Parameters
    ----------
    encoder
        A module with ``in_channels``, ``channels``, ``strides`` and ``forward(x) -> list of features``,
        finest first (:func:`unet_train.models.encoders.build_encoder`, or one's own).
    outputs
        Number of classes, background included: 2 or more.
    head
        ``softmax``: one logit per class. ``sigmoid``: one logit for the one foreground class (``outputs``
        is 2).
    decoder_channels
        Widths of the expanding path from coarse to fine, one per doubling. Default: the encoder's own
        widths mirrored where it has a feature of stride 1 (the classic net), else 256, 128, 64, 32, 16.
    norm
        ``batch``, ``group`` or ``none``, in the expanding path.
    normalisation
        ``{"mode": "fixed"|"image"|"volume", "mean": […]|None, "std": […]|None}``, see
        :class:`Normalisation`. Default: pixels in [0, 1] as they are.
    input_skip
        The encoders of classification nets begin with a stride of 2, so that the last doubling of the
        expanding path has nothing to join and thin structures blur. Above 0: two convolutions of so many
        channels on the image itself give it a feature of stride 1. 0: none.
    upsample
        How the expanding path doubles the size: ``transposed`` (2×2 transposed convolutions) or ``nearest``.
    head_kernel
        Side of the last convolution's kernel, 1 or 3.

    Raises
    ------
    UserError
        For choices that do not go together, naming the key.

    Notes
    -----
    The image is padded at the bottom and the right to a multiple of the largest stride, by reflection as
    far as the image reaches and by replication beyond, and the logits are cropped. In training both sides
    are padded to at least two cells of the coarsest level: batch norm has nothing to compute a variance
    from when a batch of one image has one cell, and instance norm never has, so that it is padded so always.
    """

    def __init__(
        self,
        encoder: nn.Module,
        outputs: int,
        head: str = "softmax",
        decoder_channels: Sequence[int] | None = None,
        norm: str = "batch",
        normalisation: Mapping[str, Any] | None = None,
        input_skip: int = 0,
        upsample: str = "transposed",
        head_kernel: int = 1,
    ) -> None:
        super().__init__()
        if upsample not in UPSAMPLINGS:
            raise UserError(f"model.upsample={upsample} is not known: choose one of {', '.join(UPSAMPLINGS)}")
        if head_kernel not in HEAD_KERNELS:
            raise UserError(f"model.head_kernel={head_kernel}: choose one of {HEAD_KERNELS}")
        if head not in HEADS:
            raise UserError(f"model.head={head} is not known: choose one of {', '.join(HEADS)}")
        if outputs < 2:
            raise UserError(f"a model needs at least 2 classes (background counts as one), not {outputs}")
        if head == "sigmoid" and outputs != 2:
            raise UserError(
                f"model.head=sigmoid is for one foreground class, the data set has {outputs - 1}: "
                "choose model.head=softmax"
            )
        channels = [int(count) for count in cast(Sequence[int], encoder.channels)]
        strides = [int(stride) for stride in cast(Sequence[int], encoder.strides)]
        _check_features(channels, strides)
        widths = _decoder_widths(channels, strides, decoder_channels)
        self.in_channels = int(cast(int, encoder.in_channels))
        self.input_skip = None
        if input_skip:
            if strides[0] == 1:
                raise UserError(
                    f"model.input_skip={input_skip}: this encoder has a feature at full resolution already; set it to 0"
                )
            self.input_skip = DoubleConv(self.in_channels, input_skip, norm)
            initialise(self.input_skip)
            channels, strides = [input_skip, *channels], [1, *strides]
        self.outputs = outputs
        self.head_kind = head
        self.stride = strides[-1]
        self.norm = norm
        self.normalisation = Normalisation(self.in_channels, **(normalisation or {}))
        self.encoder = encoder
        self.decoder = Decoder(channels, strides, widths, norm, upsample)
        classes = 1 if head == "sigmoid" else outputs
        self.head = nn.Conv2d(widths[-1], classes, head_kernel, padding=head_kernel // 2)
        initialise(self.head, relu_follows=False)
        self.frozen: tuple[str, ...] = ()
        """Names of the parts that stay in evaluation mode: see `unet_train.training.freezing`."""

    def train(self, mode: bool = True) -> "UNet":
        """Training mode, or evaluation mode; what is frozen stays in evaluation mode as a whole."""
        super().train(mode)
        for name in self.frozen:
            self.get_submodule(name).eval()
        return self

    def forward(self, x: Tensor, mean: Tensor | None = None, std: Tensor | None = None) -> Tensor:
        """Logits of a batch.

        Parameters
        ----------
        x
            N×C×H×W, uint8 or float in [0, 1]; any H and W from 1 on.
        mean, std
            N×C in units of [0, 1]; needed where the model is normalised per volume, or per image when x is
            not a whole image. Default: the model's own rule.

        Returns
        -------
        Tensor
            N×K×H×W, K = classes (softmax) or 1 (sigmoid).

        Raises
        ------
        UserError
            If the image has other channels than the model.
        ValueError
            For another dtype or rank, or a missing mean and std.
        """
        if x.ndim != 4:
            raise ValueError(f"the model takes N×C×H×W, not {x.ndim} dimensions")
        if x.shape[1] != self.in_channels:
            raise UserError(
                f"the model takes {self.in_channels}-channel images, this one has {x.shape[1]} channels: "
                "use images like those it was trained on, or train a model for these"
            )
        height, width = x.shape[2:]
        x = self.normalisation(x, mean, std)
        cells = 2 if self.training or self.norm == "instance" else 1
        x = _pad_axis(_pad_axis(x, 2, self.stride, cells), 3, self.stride, cells)
        # Weights cast to bf16 or fp16 (inference) want their own dtype; under autocast these are float32.
        x = x.to(self.head.weight.dtype)
        features = self.encoder(x)
        if self.input_skip is not None:
            features = [self.input_skip(x), *features]
        logits = self.head(self.decoder(features))
        if is_exporting():
            # A slice leaves the graph with an assertion on whether it cuts anything, true of the example alone.
            rows = torch.arange(height, device=logits.device)
            columns = torch.arange(width, device=logits.device)
            return logits.index_select(2, rows).index_select(3, columns)
        return logits[:, :, :height, :width]

    def probabilities(self, logits: Tensor) -> Tensor:
        """N×K×H×W logits → N×outputs×H×W float32 probabilities; for sigmoid background, then foreground."""
        logits = logits.float()
        if self.head_kind == "softmax":
            return logits.softmax(dim=1)
        # sigmoid(-z), not 1 - sigmoid(z): a sure background stays exact.
        return torch.cat((torch.sigmoid(-logits), torch.sigmoid(logits)), dim=1)


def _pad_axis(x: Tensor, axis: int, stride: int, cells: int) -> Tensor:
    """Lengthen one axis at its end to a multiple of the stride, of at least so many cells.

    Mirrored, then the last pixel reached again.

    Written as one gather without a branch on the length, so that an exported graph takes any length.
    """
    size = x.shape[axis]
    padded: int | torch.SymInt = (size + stride - 1) // stride * stride
    if cells > 1:
        padded = torch.sym_max(padded, cells * stride)
    if not is_exporting() and padded == size:
        return x
    position = torch.arange(padded, device=x.device)
    source = (size - 1) - (position - (size - 1)).abs()
    return x.index_select(axis, source.clamp_min(0))


def _check_features(channels: list[int], strides: list[int]) -> None:
    powers = [2**power for power in range(11)]
    if len(channels) != len(strides) or not strides:
        raise UserError(f"an encoder needs as many channels as strides, not {channels} and {strides}")
    if any(stride not in powers for stride in strides) or sorted(set(strides)) != strides or strides[-1] < 2:
        raise UserError(f"an encoder's strides must be growing powers of two, finest first, not {strides}")


def _decoder_widths(
    channels: list[int], strides: list[int], decoder_channels: Sequence[int] | None
) -> list[int]:
    """One width per doubling, coarse to fine."""
    steps = strides[-1].bit_length() - 1
    if decoder_channels is not None:
        widths = [int(width) for width in decoder_channels]
        if len(widths) != steps or min(widths, default=0) < 1:
            raise UserError(
                f"model.decoder_channels={widths} does not fit: this encoder needs {steps} positive widths, "
                "from coarse to fine"
            )
        return widths
    if strides == [2**level for level in range(steps + 1)]:
        return channels[-2::-1]
    return [DECODER_CHANNELS[min(step, len(DECODER_CHANNELS) - 1)] for step in range(steps)]
