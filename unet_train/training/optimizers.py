"""Optimizers by name, with weight decay where it belongs: on the weights, not on norms and biases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from unet_train.errors import UserError

KINDS = ("adamw", "sgd", "adam")


def decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Split a model's trainable parameters into those that decay and those that are spared.

    Spared are vectors and scalars: the biases, and the scales and shifts of every norm layer. (A norm layer
    has no other parameters, so the shape is enough, and norms of other libraries are covered as well.)

    Parameters
    ----------
    model : nn.Module
        Frozen parameters (``requires_grad`` False) are left out.
    weight_decay : float
        For the first group; the second gets 0.

    Returns
    -------
    list of dict
        Parameter groups, empty ones left out, each with a ``name``: ``decay`` or ``no_decay``.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"name": "decay", "params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"name": "no_decay", "params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _apart(groups: list[dict[str, Any]], encoder: set[int], factor: float) -> list[dict[str, Any]]:
    """The groups with the encoder's parameters (by `id`) apart, at their own rate; those of the rest come first."""
    parted = []
    for group in groups:
        for inside in (False, True):
            params = [p for p in group["params"] if (id(p) in encoder) == inside]
            if params:
                rate = group["base_lr"] * (factor if inside else 1.0)
                name = f"encoder_{group['name']}" if inside else group["name"]
                parted.append({**group, "name": name, "params": params, "base_lr": rate})
    return parted


def parameter_groups(
    model: nn.Module, lr: float, weight_decay: float = 0.0, encoder_lr_factor: float = 1.0
) -> list[dict[str, Any]]:
    """`decay_groups`, the encoder's parameters apart where they have a rate of their own.

    Each group keeps its highest rate as ``base_lr``; the loop sets ``lr`` to it times the factor of the schedule.
    """
    groups = [{**group, "lr": lr, "base_lr": lr} for group in decay_groups(model, weight_decay)]
    if encoder_lr_factor == 1:
        return groups
    encoder = {id(parameter) for parameter in model.get_submodule("encoder").parameters()}
    return _apart(groups, encoder, encoder_lr_factor)


def build_optimizer(
    model: nn.Module,
    kind: str,
    *,
    lr: float,
    weight_decay: float = 0.0,
    betas: Sequence[float] = (0.9, 0.999),
    momentum: float = 0.9,
    nesterov: bool = False,
    encoder_lr_factor: float = 1.0,
) -> torch.optim.Optimizer:
    """Build an optimizer over `parameter_groups`.

    Parameters
    ----------
    kind : str
        ``adamw`` (decoupled decay), ``adam`` or ``sgd`` (both: L2).
    lr : float
        The highest learning rate.
    betas : two floats
        For adamw and adam.
    momentum, nesterov
        For sgd.
    encoder_lr_factor : float
        Learning rate of `model.encoder` over that of the rest.

    Raises
    ------
    ValueError
        For an unknown kind or, from torch, a value out of its range.
    UserError
        If all parameters are frozen.
    """
    groups = parameter_groups(model, lr, weight_decay, encoder_lr_factor)
    if not groups:
        raise UserError("nothing to train: all parameters of the model are frozen")
    if kind == "sgd":
        return torch.optim.SGD(groups, lr=lr, momentum=momentum, nesterov=nesterov)
    if kind not in KINDS:
        raise ValueError(f"{kind} is no optimizer; choose from {', '.join(KINDS)}")
    optimizer = torch.optim.AdamW if kind == "adamw" else torch.optim.Adam
    return optimizer(groups, lr=lr, betas=(float(betas[0]), float(betas[1])))
