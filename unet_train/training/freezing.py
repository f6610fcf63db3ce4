"""Stages of the encoder that stay as they were loaded, for a whole run or until an epoch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from unet_train.errors import UserError
from unet_train.models.unet import UNet

ALL = "all"
THAWED = "thawed_"
"""What the names of the optimizer's groups of thawed parameters begin with."""


@dataclass(frozen=True)
class Thaw:
    """When frozen stages begin to train, and what that takes.

    Attributes
    ----------
    epoch : int or None
        The epoch, counted from 1, at whose start they do; None: never.
    groups : callable
        The optimizer's parameter groups of all parameters that train by now.
    wrap : callable
        The model as called in a step: a wrapper for several processes knows only what trained when it was made.
    """

    epoch: int | None
    groups: Callable[[], list[dict[str, Any]]]
    wrap: Callable[[UNet], Callable[..., torch.Tensor]]


def frozen_parts(encoder: nn.Module, stages: int | str) -> list[str]:
    """Names of an encoder's parts that make up its first stages.

    Parameters
    ----------
    encoder : nn.Module
        With the attribute ``stages``: for each feature, finest first, the names of the parts that are computed before
        it and after the one before.
    stages : int or "all"

    Raises
    ------
    UserError
        For more stages than there are, or a number where the encoder does not say where its stages end.
    """
    if stages == ALL:
        return [""]
    declared = getattr(encoder, "stages", None)
    if declared is None:
        raise UserError(
            f"weights.freeze_encoder={stages}: {type(encoder).__name__} has no attribute stages that says where its "
            "stages end; say all or 0"
        )
    count = len(declared)
    if int(stages) > count:
        raise UserError(
            f"weights.freeze_encoder={stages}: this encoder has {count} stages; say 0 to {count}, or all"
        )
    names = [name for part in declared[: int(stages)] for name in part]
    known = dict(encoder.named_modules())
    for name in names:
        if name not in known:
            raise UserError(f"{type(encoder).__name__}.stages names {name}, which is no part of this encoder")
    return names


def freeze_encoder(model: UNet, stages: int | str) -> None:
    """Keep the first stages of a model's encoder as they are, in evaluation mode: norms, dropout, drop-path.

    No gradient is computed for them, and no backward pass runs through them.

    Parameters
    ----------
    model : UNet
        Changed in place.
    stages : int or "all"
        0 for none.

    Raises
    ------
    UserError
        As `frozen_parts`.
    """
    if not stages:
        return
    model.frozen = tuple(f"encoder.{name}".rstrip(".") for name in frozen_parts(model.encoder, stages))
    for name in model.frozen:
        model.get_submodule(name).requires_grad_(False)
    model.train(model.training)


def frozen_tensors(model: UNet) -> set[str]:
    """Names of the tensors of a model's state that are frozen."""
    return {name for name in model.state_dict() if any(name.startswith(f"{part}.") for part in model.frozen)}


def thaw_encoder(
    model: UNet, optimizer: torch.optim.Optimizer, groups: Callable[[], list[dict[str, Any]]]
) -> None:
    """Let all that is frozen train: its parameters join the optimizer, in groups of their own.

    Parameters
    ----------
    model : UNet
    optimizer : Optimizer
    groups : callable
        Parameter groups of all that trains; parameters that the optimizer has already are passed over.
    """
    for name in model.frozen:
        model.get_submodule(name).requires_grad_(True)
    model.frozen = ()
    model.train(model.training)
    known = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    for group in groups():
        new = [parameter for parameter in group["params"] if id(parameter) not in known]
        if new:
            optimizer.add_param_group({**group, "name": f"{THAWED}{group['name']}", "params": new})


def was_thawed(optimizer: dict[str, Any]) -> bool:
    """Whether the frozen stages trained already when the state of an optimizer was saved."""
    return any(str(group.get("name", "")).startswith(THAWED) for group in optimizer["param_groups"])
