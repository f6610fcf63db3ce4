"""TensorFlow's padding, which some of timm's nets were trained with, in a form that exports quickly."""

from torch import Tensor, nn
from torch.nn import functional


class SameConv2d(nn.Conv2d):
    """TensorFlow's SAME padding for sides that are multiples of the stride, where it is a constant.

    timm works the padding out of the image's size at every call, over which the export of a graph for any
    size takes many minutes. Our images always are multiples of the largest stride, so the result is the same.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Pad, the odd pixel at the end, and convolve."""
        padding: list[int] = []
        for kernel, stride, dilation in zip(self.kernel_size, self.stride, self.dilation, strict=True):
            total = max(dilation * (kernel - 1) + 1 - stride, 0)
            padding = [total // 2, total - total // 2, *padding]
        x = functional.pad(x, padding)
        return functional.conv2d(x, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)
