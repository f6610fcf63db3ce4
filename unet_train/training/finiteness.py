"""Notices losses, gradients and weights that are not finite, without waiting for the device at every update."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unet_train.errors import UserError
from unet_train.training.distributed import DistributedContext

ASKED_EVERY = 50
"""Updates after which the device is asked, at most; before each save it is asked in any case."""

LOSS, GRADIENT = "loss", "gradient"

REMEDY = "lower optimizer.lr, set trainer.clip_grad_norm, or use trainer.precision=32"

SHOWN = 8
"""Records of a bad batch that the message names."""


@dataclass(frozen=True)
class BadUpdate:
    """An update whose loss or gradient was not finite.

    Attributes
    ----------
    update : int
        Its number, from 1.
    epoch : int
        From 1.
    what : str
        ``loss`` or ``gradient``.
    keys : tuple of str
        Records of the batches of the processes that saw it.
    """

    update: int
    epoch: int
    what: str
    keys: tuple[str, ...]


class FiniteWatch:
    """Remembers on the device whether each update was finite, and asks for all of them at once.

    Parameters
    ----------
    skips : bool
        Whether a gradient scaler leaves out updates with a gradient that is not finite (float16): they are then
        counted. Only where every one of `ASKED_EVERY` updates in a row was left out is the run ended.
    """

    def __init__(self, *, skips: bool = False):
        self.skips = skips
        self.skipped = 0
        """Updates left out since `take_skipped` was last called."""
        self._in_a_row: list[BadUpdate] = []
        self._flags: list[Tensor] = []
        self._about: list[tuple[int, int, tuple[str, ...]]] = []

    def note(self, numerators: Tensor, norm: Tensor, *, update: int, epoch: int, keys: Iterable[str]) -> None:
        """Take in an update; nothing is read from the device.

        Parameters
        ----------
        numerators : Tensor
            Numerators of the loss's terms over this process's part of the update.
        norm : Tensor
            Norm of the gradient, the same on every process.
        update, epoch : int
            From 1.
        keys : iterable of str
            Records in this process's part.
        """
        self._flags.append(torch.stack([torch.isfinite(numerators).all(), torch.isfinite(norm)]))
        self._about.append((update, epoch, tuple(dict.fromkeys(keys))))

    @property
    def due(self) -> bool:
        """Whether so many updates have been noted that it is time to `check`."""
        return len(self._flags) >= ASKED_EVERY

    def check(
        self,
        context: DistributedContext,
        weights: Mapping[str, Tensor],
        explain: Callable[[Sequence[str]], str] | None = None,
    ) -> None:
        """Ask the device; all processes of the run have to ask together.

        Parameters
        ----------
        context : DistributedContext
        weights : mapping of str to Tensor
            What is about to be saved: weights, and statistics of norms.
        explain : callable or None
            What is wrong with a file among the records of a bad batch, in a few words; empty if nothing is.

        Raises
        ------
        UserError
            For the first update that was not finite, with its epoch and its batch's records; for weights that are
            not finite though every update was.
        """
        found = self._read()
        if self.skips:
            first = next((bad for bad in found if bad.what == LOSS), None) or self._never_taken(found)
        else:
            first = next(iter(found), None)
        every = [bad for bad in context.gather(first) if bad is not None]
        if every:
            raise UserError(_message(every, explain))
        broken = first_not_finite(weights)
        if context.any(broken is not None):
            raise UserError(
                f"{broken or 'a weight'} is not finite any more, so nothing is saved over the last good checkpoint: "
                f"{REMEDY}"
            )

    def take_skipped(self) -> int:
        """How many updates were left out since the last call."""
        skipped, self.skipped = self.skipped, 0
        return skipped

    def _read(self) -> list[BadUpdate]:
        """The updates since the last question that were not finite, in their order."""
        if not self._flags:
            return []
        finite = torch.stack(self._flags).cpu().tolist()
        found = []
        for (loss_fine, gradient_fine), (update, epoch, keys) in zip(finite, self._about, strict=True):
            if loss_fine and gradient_fine:
                self._in_a_row = []
                continue
            bad = BadUpdate(update, epoch, GRADIENT if loss_fine else LOSS, keys)
            found.append(bad)
            self._in_a_row.append(bad)
        self._flags, self._about = [], []
        return found

    def _never_taken(self, left_out: Sequence[BadUpdate]) -> BadUpdate | None:
        """Count the updates a scaler left out; the first of them where it leaves out all."""
        self.skipped += len(left_out)
        return self._in_a_row[0] if len(self._in_a_row) >= ASKED_EVERY else None


def _message(found: Sequence[BadUpdate], explain: Callable[[Sequence[str]], str] | None) -> str:
    """One line for the first bad update that any process saw."""
    first = min(found, key=lambda bad: bad.update)
    same = [bad for bad in found if bad.update == first.update]
    keys = list(dict.fromkeys(key for bad in same for key in bad.keys))
    reason = explain(keys) if explain is not None else ""
    advice = f"{reason}; if that is not the cause, {REMEDY}" if reason else REMEDY
    more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
    what = LOSS if any(bad.what == LOSS for bad in same) else GRADIENT
    return (
        f"the {what} is not finite at update {first.update} in epoch {first.epoch}, whose batch holds "
        f"{', '.join(keys[:SHOWN])}{more}: {advice}"
    )


def first_not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """Name of the first tensor that holds a value that is not finite; the device is asked once for all of them."""
    floats = {name: value for name, value in tensors.items() if value.is_floating_point()}
    if not floats:
        return None
    finite = torch.stack([torch.isfinite(value).all() for value in floats.values()]).cpu().tolist()
    return next((name for name, fine in zip(floats, finite, strict=True) if not fine), None)
