"""Any convolutional net of timm as the contracting path (the extra ``[timm]``)."""

from bisect import bisect_left

import torch
from torch import Tensor, nn

from unet_train.errors import UserError
from unet_train.models.encoders.depthwise import use_float32_where_bf16_is_slow
from unet_train.models.encoders.libraries import timm_library
from unet_train.models.encoders.same_padding import SameConv2d
from unet_train.nearest import nearest


class TimmEncoder(nn.Module):
    """A net of timm, by name, as a list of features.

    Parameters
    ----------
    in_channels
        Channels of the image.
    name
        timm's name of the net, for instance ``tf_efficientnet_lite0`` or ``convnext_tiny``. It must take
        images of any size, so window and patch transformers are refused.
    """

    def __init__(self, in_channels: int, name: str = "tf_efficientnet_lite0") -> None:
        super().__init__()
        timm = timm_library()
        if not timm.is_model(name):
            hint = nearest(name, timm.list_models(), count=5) or "; timm.list_models() names them"
            raise UserError(f"encoder.name={name} is not a net of timm{hint}")
        self.in_channels = in_channels
        self.channels, self.strides, stages = _probe(name, in_channels)
        self.stages = [[f"net.{part}" for part in parts] for parts in stages]
        self.net = timm.create_model(name, pretrained=False, features_only=True, in_chans=in_channels)
        for part in self.net.modules():
            if type(part).__name__ == "Conv2dSame":
                part.__class__ = SameConv2d
        use_float32_where_bf16_is_slow(self.net)
        first = next(key for key, part in self.net.named_modules() if isinstance(part, nn.Conv2d))
        self.stem = f"net.{first}"

    def forward(self, x: Tensor) -> list[Tensor]:
        """Features of N×C×H×W pixels, finest first; H and W multiples of the largest stride."""
        return list(self.net(x))


def _probe(name: str, in_channels: int) -> tuple[list[int], list[int], list[list[str]]]:
    """Channels, strides and stages of the features, read off a forward pass without memory or arithmetic."""
    height, width = 64, 96
    times: dict[str, int] = {}
    try:
        with torch.device("meta"):
            net = timm_library().create_model(
                name, pretrained=False, features_only=True, in_chans=in_channels
            )
            _note_times(net, times)
            with torch.enable_grad():
                features = net.eval()(torch.zeros(1, in_channels, height, width))
    # timm's nets refuse with whatever their authors chose: assertions, RuntimeError, AttributeError, …
    except Exception as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise UserError(
            f"encoder.name={name} cannot be the encoder of a U-Net ({reason}): choose a convolutional net"
        ) from error
    channels = [int(feature.shape[1]) for feature in features]
    strides = [height // max(1, int(feature.shape[2])) for feature in features]
    fits = all(
        feature.ndim == 4 and tuple(feature.shape[2:]) == (height // stride, width // stride)
        for feature, stride in zip(features, strides, strict=True)
    )
    if not fits or channels != list(net.feature_info.channels()) or sorted(set(strides)) != strides:
        raise UserError(
            f"encoder.name={name} cannot be the encoder of a U-Net (its features do not shrink step by step "
            "in halves): choose a convolutional net"
        )
    return channels, strides, _stages(net, times, [_time_of(feature) for feature in features])


def _note_times(net: nn.Module, times: dict[str, int]) -> None:
    """Have `times` say when each part of a net was done, in the order in which autograd recorded its operations."""

    def note(name: str, output: object) -> None:
        times[name] = max((_time_of(one) for one in _tensors(output)), default=-1)

    for name, part in net.named_modules():
        if name:
            part.register_forward_hook(lambda _part, _input, output, name=name: note(name, output))


def _tensors(output: object) -> list[Tensor]:
    if isinstance(output, Tensor):
        return [output]
    return [one for part in output for one in _tensors(part)] if isinstance(output, list | tuple) else []


def _time_of(tensor: Tensor) -> int:
    return -1 if tensor.grad_fn is None else tensor.grad_fn._sequence_nr()


def _stages(net: nn.Module, times: dict[str, int], ends: list[int]) -> list[list[str]]:
    """The largest parts that were done by the time of each feature, and not by that of the one before.

    A part that was never called by itself belongs to the last stage.
    """
    stages: list[list[str]] = [[] for _ in ends]
    placed: list[str] = []
    for name, part in net.named_modules():
        if not name or name.startswith(tuple(f"{whole}." for whole in placed)):
            continue
        within = [name, *(f"{name}.{inner}" for inner, _ in part.named_modules() if inner)]
        found = {bisect_left(ends, times[one]) for one in within if one in times}
        if len(within) == 1 and not found:
            found = {len(ends) - 1}
        if len(found) == 1 and min(found) < len(ends):
            stages[min(found)].append(name)
            placed.append(name)
    return stages
