"""Wide depthwise convolutions in float32 on a CPU: in bf16 they take three times as long.

PyTorch 2.14 on a processor with AMX, forward and backward of 4×1152×6×6 by 5×5, one thread: bf16 42 ms, float32
14 ms (672×12×12: 49 and 14; 3×3 kernels do not differ). In EfficientNets they were a third of a training step.
"""

import torch
from torch import Tensor, nn

from unet_train.models.encoders.same_padding import SameConv2d

SLOW_FROM = 5
"""Side of the kernel from which on bf16 is the slower one."""


class WideDepthwise(nn.Conv2d):
    """A depthwise convolution that leaves a CPU's autocast for its own duration; its output has its input's dtype."""

    def forward(self, x: Tensor) -> Tensor:
        """N×C×H×W → N×C×H'×W'."""
        if x.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            return super().forward(x.float()).to(x.dtype)


class WideDepthwiseSame(WideDepthwise, SameConv2d):
    """The same with TensorFlow's padding."""


def use_float32_where_bf16_is_slow(net: nn.Module) -> None:
    """Change the class of the wide depthwise convolutions of a net in place; parameters and names stay."""
    for part in net.modules():
        if not isinstance(part, nn.Conv2d) or part.groups != part.in_channels or part.groups == 1:
            continue
        if max(part.kernel_size) >= SLOW_FROM:
            part.__class__ = WideDepthwiseSame if isinstance(part, SameConv2d) else WideDepthwise
