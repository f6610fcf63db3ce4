"""Exponential moving average of a model's weights: smoother curves, and the weights that are kept."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor, nn

from unet_train.checkpoint import AverageState


class EMA:
    """Averaged copy of a model's state, under the bare model's names.

    After update n (from 0): average ← d·average + (1 − d)·model with d = min(decay, (1 + n)/(10 + n)). The
    warm-up lets the average forget the first, random weights soon.

    Running means and variances of norm layers are averaged like the weights: they then describe the same
    stretch of training. Integers (how many batches a norm has seen) are copied.

    Parameters
    ----------
    model : nn.Module
        The bare model (not wrapped for several processes, not compiled), whose state the average starts from.
    decay : float
        In [0, 1): 0.99 averages over about the last 100 updates.
    left_out : collection of str
        Names of tensors that do not change, such as those of a frozen encoder: nothing is averaged there.
    """

    def __init__(self, model: nn.Module, decay: float, left_out: Collection[str] = ()) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay={decay} must be in [0, 1)")
        self.decay = float(decay)
        self.left_out = frozenset(left_out)
        self.updates = 0
        self.average: dict[str, Tensor] = {
            name: value.detach().clone() for name, value in model.state_dict().items()
        }

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take in the model's state; call it after every optimizer step."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        averages, values = [], []
        for name, value in model.state_dict().items():
            if name in self.left_out:
                continue
            if value.is_floating_point():
                averages.append(self.average[name])
                values.append(value)
            else:
                self.average[name].copy_(value)
        # a + (1 − d)·(b − a): a constant (the normalisation's mean) stays exactly what it is.
        torch._foreach_lerp_(averages, values, 1 - decay)

    @property
    def state(self) -> AverageState:
        """What a resume needs; the tensors are the average's own, not copies."""
        return AverageState(self.updates, self.average)

    def restore(self, state: AverageState) -> None:
        """Go on from `state`; the names must be the same.

        Raises
        ------
        ValueError
            If the state belongs to another model.
        """
        if set(state.average) != set(self.average):
            odd = sorted(set(state.average) ^ set(self.average))
            raise ValueError(f"the average is of another model: {odd[0]} is on one side only")
        self.updates = state.updates
        for name, value in state.average.items():
            self.average[name].copy_(value)
