"""Batch norm folded into the convolution before it, for inference: one pass over each map instead of two."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from unet_train.models.unet import UNet

TOLERANCE = 1e-4
"""Greatest difference of a logit, as a share of the largest one (at least 1), at which a fused model is trusted."""


def fused_copy(model: UNet, weights: dict[str, Tensor] | None = None) -> UNet:
    """A copy of a model for inference, with fewer passes over memory.

    Which norm follows which convolution is seen while the copy predicts a small image, so that it holds for an
    encoder of any library. Where the result then differs (a convolution's output that is also used elsewhere, one
    that does not add its bias last), nothing is fused at all.

    Parameters
    ----------
    model : UNet
        Left as it is, its mode and the random generators too.
    weights : dict of str to Tensor, optional
        A state that the copy is to hold in place of the model's own, such as averaged weights.

    Returns
    -------
    UNet
        On the model's device, in evaluation mode. Not to be trained, and its state has other names.
    """
    device = model.head.weight.device
    # On the CPU: there float32 is float32, which the comparison needs and a GPU's TF32 is not.
    fused = _copy(model, weights).cpu()
    with torch.inference_mode():
        probe = _probe(fused)
        pairs, expected = find_pairs(fused, probe)
        fuse(fused, pairs)
        try:
            same = _agree(fused(*probe), expected)
        except (AttributeError, TypeError):  # an encoder that asks its norms for more than to be called
            same = False
    return fused.to(device) if same else _copy(model, weights)


def _copy(model: UNet, weights: dict[str, Tensor] | None) -> UNet:
    copied = copy.deepcopy(model).eval().requires_grad_(False)
    if weights is not None:
        copied.load_state_dict(weights)
    return copied


def find_pairs(model: UNet, probe: tuple[Tensor, ...]) -> tuple[list[tuple[str, str]], Tensor]:
    """Names of the convolutions and batch norms that can become one, and what the model makes of `probe`.

    A pair is a norm with running statistics that was given the very output of a convolution, each of them called
    once, and that output given to no other module.
    """
    # Tensors are told apart by their id, so all are kept: that of a freed one would be given out again.
    kept: list[Any] = []
    makers: dict[int, str] = {}
    calls: Counter[str] = Counter()
    uses: Counter[int] = Counter()
    norms: dict[str, int] = {}

    def before(name: str) -> Callable[..., None]:
        def note(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            kept.extend(inputs)
            calls[name] += 1
            uses.update(map(id, inputs))
            if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
                norms[name] = id(inputs[0])

        return note

    def after(name: str) -> Callable[..., None]:
        def note(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
            kept.append(output)
            makers[id(output)] = name

        return note

    hooks = []
    for name, module in model.named_modules():
        if any(module.children()) and not isinstance(module, nn.BatchNorm2d):
            continue
        hooks.append(module.register_forward_pre_hook(before(name)))
        if isinstance(module, nn.Conv2d):
            hooks.append(module.register_forward_hook(after(name)))
    try:
        result = model(*probe)
    finally:
        for hook in hooks:
            hook.remove()
    pairs = [(makers[given], name) for name, given in norms.items() if given in makers and uses[given] == 1]
    return [pair for pair in pairs if calls[pair[0]] == calls[pair[1]] == 1], result


def fuse(model: UNet, pairs: list[tuple[str, str]]) -> None:
    """Let convolutions do the work of the norms they are paired with, in place; the model is in evaluation mode."""
    for convolution, norm in pairs:
        old = model.get_submodule(norm)
        # timm's norms are followed by dropout and activation inside the same module.
        rest = [part for part in (getattr(old, "drop", None), getattr(old, "act", None)) if part is not None]
        joined = fuse_conv_bn_eval(model.get_submodule(convolution), old)  # type: ignore[type-var, arg-type]
        model.set_submodule(convolution, joined)
        model.set_submodule(norm, nn.Sequential(*rest) if rest else nn.Identity())
    model.eval()


def _probe(model: UNet) -> tuple[Tensor, Tensor, Tensor]:
    """A small image of noise, its mean and standard deviation; drawn apart, so that training's numbers stay."""
    side = max(64, 2 * model.stride)
    noise = torch.rand(1, model.in_channels, side, side, generator=torch.Generator().manual_seed(0))
    return noise, noise.mean((2, 3)), noise.std((2, 3))


def _agree(result: Tensor, expected: Tensor) -> bool:
    """Whether two logits are the same but for rounding; never where one of them is no number."""
    largest = max(1.0, float(expected.abs().max()))
    return bool(((result - expected).abs() <= TOLERANCE * largest).all())
