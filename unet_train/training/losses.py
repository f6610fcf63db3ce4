"""Losses that add up: over pixels in float32, over micro-batches and over processes, with one ignore mask.

A loss is a weighted sum of terms, and every term is a fraction: a *numerator*, which depends on the logits,
over a *total*, which depends on the target and the pixel weights alone. Numerators and totals are added
over whatever belongs to one update — the images of a batch, the micro-batches of an accumulation, the
processes — and divided once. So two micro-batches of four equal one batch of eight, whatever each of them
leaves out::

    totals = sum(loss.totals(batch.target, batch.weight) for batch in group)  # all-reduced over processes
    for batch in group:
        value = loss(model(batch.image), batch.target, batch.weight, totals=totals)
        (value * world_size).backward()  # DDP averages the gradients over the processes; this undoes it

The only terms that are not sums over images are Dice and Tversky with ``batch=True``; see there.

The sigmoid head (one channel) is read as a softmax whose background logit is 0, which is the same function,
so that each term is written once.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unet_train.data.records import IGNORE
from unet_train.errors import UserError
from unet_train.nearest import nearest
from unet_train.registry import Registry


@dataclass(frozen=True)
class Labels:
    """A target after the one masking that all terms share.

    Parameters
    ----------
    valid : Tensor
        N×H×W bool, False where the target is to be ignored.
    ids : Tensor
        N×H×W int64 class ids, 0 where ignored.
    weight : Tensor or None
        N×H×W float32 pixel weights, 0 where ignored.
    """

    valid: Tensor
    ids: Tensor
    weight: Tensor | None


def mask_target(target: Tensor, weight: Tensor | None = None) -> Labels:
    """Make the one ignore mask: N×H×W class ids (255 = ignore) and optional weights → `Labels`.

    Raises
    ------
    ValueError
        If the target is not N×H×W or the weight has another shape.
    """
    if target.ndim != 3:
        raise ValueError(f"the target must be N×H×W class ids, got the shape {tuple(target.shape)}")
    if weight is not None and weight.shape != target.shape:
        raise ValueError(f"the weight has the shape {tuple(weight.shape)}, the target {tuple(target.shape)}")
    valid = target != IGNORE
    ids = torch.where(valid, target, 0).long()
    if weight is not None:
        # where, not a product: a weight that is not finite under the mask must not come through.
        weight = torch.where(valid, weight.float(), 0.0)
    return Labels(valid, ids, weight)


def _log_probabilities(logits: Tensor, labels: Labels) -> Tensor:
    """N×K×H×W float32 log-probabilities, K ≥ 2; ignored pixels give a constant without a gradient."""
    if logits.ndim != 4 or logits.shape[0] != labels.ids.shape[0] or logits.shape[2:] != labels.ids.shape[1:]:
        raise ValueError(
            "logits must be N×K×H×W over the target's N×H×W, "
            f"got {tuple(logits.shape)} and {tuple(labels.ids.shape)}"
        )
    # float32 first (512² soft counts overflow float16), then where: 0·NaN under the mask would still be NaN.
    logits = torch.where(labels.valid[:, None], logits.float(), 0.0)
    if logits.shape[1] == 1:
        logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
    return F.log_softmax(logits, dim=1)


class Loss(nn.Module):
    """What the training loop sees: fractions that are added before they are divided.

    Calling it gives the scalar loss of one batch, or, with ``totals`` of a whole group, the batch's share
    of it.
    """

    def terms(self) -> list[tuple[float, Term]]:
        """The terms with their weights, in the order of `numerators` and `totals`."""
        raise NotImplementedError

    @property
    def names(self) -> list[str]:
        """A name for each term, for TensorBoard: ``cross_entropy``, ``dice``, a second one ``dice_2``."""
        names: list[str] = []
        seen: Counter[str] = Counter()
        for _, term in self.terms():
            seen[term.name] += 1
            names.append(term.name if seen[term.name] == 1 else f"{term.name}_{seen[term.name]}")
        return names

    def numerators(self, logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """The numerator of each term.

        Parameters
        ----------
        logits : Tensor
            N×K×H×W, any float type; K = 1 for the sigmoid head.
        target : Tensor
            N×H×W class ids below K (below 2 for K = 1), uint8; 255 is ignored.
        weight : Tensor, optional
            N×H×W, multiplies the terms that are sums over pixels.

        Returns
        -------
        Tensor
            One float32 value per term, with a gradient.
        """
        labels = mask_target(target, weight)
        log_p = _log_probabilities(logits, labels)
        return torch.stack([term.numerator(log_p, labels) for _, term in self.terms()])

    def totals(self, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """What each numerator is divided by: a float32 per term, no gradient, 0 if all is ignored."""
        with torch.no_grad():
            labels = mask_target(target, weight)
            return torch.stack([term.total(labels) for _, term in self.terms()])

    def combine(self, numerators: Tensor, totals: Tensor) -> dict[str, Tensor]:
        """Divide and weigh: ``{name: the term's share of the loss}``; the shares add up to the loss.

        A total of 0 (nothing but ignored pixels) gives a share of 0.
        """
        totals = torch.where(totals > 0, totals, torch.ones_like(totals))
        return {
            name: weight * numerators[i] / totals[i]
            for i, (name, (weight, _)) in enumerate(zip(self.names, self.terms(), strict=True))
        }

    def forward(
        self, logits: Tensor, target: Tensor, weight: Tensor | None = None, totals: Tensor | None = None
    ) -> Tensor:
        """The scalar float32 loss; see `numerators` for the arguments.

        Parameters
        ----------
        totals : Tensor, optional
            The totals of everything that belongs to the same update; this batch's own if not given.
        """
        if totals is None:
            totals = self.totals(target, weight)
        return torch.stack(list(self.combine(self.numerators(logits, target, weight), totals).values())).sum()


LOSSES: Registry[type[Term]] = Registry("unet_train.losses", type)
"""Terms by the name that ``loss.terms`` calls them by; other packages register theirs by an entry point."""


class Term(Loss):
    """One fraction. A loss of one's own is a subclass with a `name`, `numerator` and `total`."""

    name = "term"

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # Only ours: a class of a user's own, named by `_target_`, must not take the place of one of these; other
        # packages' are registered by their entry point.
        if "name" in cls.__dict__ and cls.__module__ == __name__:
            LOSSES.register(cls.name, cls)

    def terms(self) -> list[tuple[float, Term]]:
        """Itself."""
        return [(1.0, self)]

    def numerator(self, log_p: Tensor, labels: Labels) -> Tensor:
        """A float32 scalar from N×K×H×W float32 log-probabilities (K ≥ 2) and the masked target."""
        raise NotImplementedError

    def total(self, labels: Labels) -> Tensor:
        """A float32 scalar ≥ 0 from the masked target alone."""
        raise NotImplementedError


class CrossEntropy(Term):
    """Cross-entropy, averaged over the pixels that are not ignored.

    Σ w·c(y)·(−log p_y) / Σ w·c(y) with pixel weights w and class weights c: a weighted mean, as PyTorch's
    own, so that weights move the attention between pixels and not the size of the gradient.

    Parameters
    ----------
    class_weights : sequence of float, optional
        One per class (two for the sigmoid head), ≥ 0.
    needs_weight : bool
        Refuse to run without pixel weights (border-weighted training that lost its map would go unnoticed).
    """

    name = "cross_entropy"

    def __init__(self, class_weights: Sequence[float] | None = None, needs_weight: bool = False) -> None:
        super().__init__()
        if class_weights is not None:
            class_weights = [float(w) for w in class_weights]
            if min(class_weights) < 0 or max(class_weights) <= 0:
                raise UserError(f"loss.class_weights={class_weights} must be ≥ 0, and one of them > 0")
        self.class_weights: Tensor | None
        self.register_buffer(
            "class_weights",
            None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32),
            persistent=False,
        )
        self.needs_weight = needs_weight

    def pixel_weights(self, labels: Labels) -> Tensor:
        """N×H×W float32: pixel weight times class weight, 0 where ignored."""
        if labels.weight is None and self.needs_weight:
            raise ValueError("this loss needs a weight map with each target, got None")
        weights = labels.valid.float() if labels.weight is None else labels.weight
        if self.class_weights is not None:
            weights = weights * self.class_weights.to(weights.device)[labels.ids]
        return weights

    def pixel_loss(self, log_p: Tensor, labels: Labels) -> Tensor:
        """N×H×W float32, any value where ignored."""
        return F.nll_loss(log_p, labels.ids, reduction="none")

    def numerator(self, log_p: Tensor, labels: Labels) -> Tensor:
        return (self.pixel_weights(labels) * self.pixel_loss(log_p, labels)).sum()

    def total(self, labels: Labels) -> Tensor:
        return self.pixel_weights(labels).sum()


class Focal(CrossEntropy):
    """Focal loss (Lin et al., arXiv:1708.02002): cross-entropy times (1 − p_y)^γ, averaged alike.

    Parameters
    ----------
    gamma : float
        γ ≥ 0; 0 is the cross-entropy, 2 the paper's choice.
    class_weights : sequence of float, optional
        The paper's α, one per class.
    """

    name = "focal"

    def __init__(
        self,
        gamma: float = 2.0,
        class_weights: Sequence[float] | None = None,
        needs_weight: bool = False,
    ) -> None:
        super().__init__(class_weights, needs_weight)
        if gamma < 0:
            raise UserError(f"loss.terms: focal.gamma={gamma} must be ≥ 0")
        self.gamma = float(gamma)

    def pixel_loss(self, log_p: Tensor, labels: Labels) -> Tensor:
        loss = super().pixel_loss(log_p, labels)
        # expm1 keeps 1 − p exact for sure pixels; the clamp keeps the gradient of x^γ finite at 0 for γ < 1.
        return (-torch.expm1(-loss)).clamp_min(1e-7) ** self.gamma * loss


class Dice(Term):
    """Soft Dice loss, 1 − (2Σpy + s)/(Σp + Σy + s), per image and class, averaged over both.

    Per image by default, because a mean over images adds up over micro-batches and processes, which Dice
    over a whole batch does not. Pixel weights and class weights do not enter. A class that is absent from
    an image counts as well (its loss is Σp/(Σp + s), so that it falls to 0 with the false positives).

    Parameters
    ----------
    smooth : float
        s > 0.
    batch : bool
        Sum over the whole batch before dividing, as the published brain MRI training does: steadier where
        most images hold no object. Each micro-batch and each process then has a Dice of its own, of which
        the mean is taken, so accumulation only approximates the larger batch.
    background : bool
        Count class 0 as well. With two classes it would only say the same thing again.
    only_present : bool
        Leave out the classes that an image (with ``batch``, a batch) does not contain.
    """

    name = "dice"

    def __init__(
        self, smooth: float = 1.0, batch: bool = False, background: bool = False, only_present: bool = False
    ) -> None:
        super().__init__()
        if smooth <= 0:
            raise UserError(f"loss.terms: {self.name}.smooth={smooth} must be > 0")
        self.smooth, self.batch, self.background = float(smooth), batch, background
        self.only_present = only_present

    def numerator(self, log_p: Tensor, labels: Labels) -> Tensor:
        first = 0 if self.background else 1
        p = log_p.exp() * labels.valid[:, None]
        y = (labels.ids[:, None] == torch.arange(p.shape[1], device=p.device)[:, None, None]) & labels.valid[
            :, None
        ]
        over = (0, 2, 3) if self.batch else (2, 3)
        p_sum, y_sum = p.sum(over)[..., first:], y.float().sum(over)[..., first:]
        both = (p * y).sum(over)[..., first:]
        # An image (batch) without a valid pixel has sums of 0 and so a loss of exactly 0.
        return _over_classes(self.ratio_loss(both, p_sum, y_sum), y_sum, only_present=self.only_present)

    def ratio_loss(self, both: Tensor, p_sum: Tensor, y_sum: Tensor) -> Tensor:
        """The loss of each class from Σpy, Σp and Σy, all of one shape; 0 where all three are 0."""
        return 1 - (2 * both + self.smooth) / (p_sum + y_sum + self.smooth)

    def total(self, labels: Labels) -> Tensor:
        counted = _counted(labels, background=self.background, only_present=self.only_present)
        counted = counted.any() if self.batch else counted.flatten(1).any(1)
        return counted.float().sum()


class Tversky(Dice):
    """Tversky loss (Salehi et al., arXiv:1706.05721): 1 − (TP + s)/(TP + α·FP + β·FN + s), averaged as Dice.

    TP = Σpy, FP = Σp(1 − y), FN = Σ(1 − p)y, per image and class. α = β = ½ is Dice with a smoothing of 2s.

    Parameters
    ----------
    alpha, beta : float
        Weights ≥ 0 of false positives and false negatives, one of them > 0. β > α finds more of small classes, at the
        price of false positives; 0.3 and 0.7 are the paper's choice.
    smooth, batch, background, only_present
        As in `Dice`.
    """

    name = "tversky"

    def __init__(
        self,
        alpha: float = 0.3,
        beta: float = 0.7,
        smooth: float = 1.0,
        batch: bool = False,
        background: bool = False,
        only_present: bool = False,
    ) -> None:
        super().__init__(smooth, batch, background, only_present)
        if min(alpha, beta) < 0 or max(alpha, beta) <= 0:
            raise UserError(
                f"loss.terms: {self.name}.alpha={alpha}, beta={beta} must be ≥ 0, and one of them > 0"
            )
        self.alpha, self.beta = float(alpha), float(beta)

    def ratio_loss(self, both: Tensor, p_sum: Tensor, y_sum: Tensor) -> Tensor:
        wrong = self.alpha * (p_sum - both) + self.beta * (y_sum - both)
        return 1 - (both + self.smooth) / (both + wrong + self.smooth)


class Lovasz(Term):
    """Lovász-softmax (Berman et al., arXiv:1705.08790): the convex extension of 1 − IoU, per image and class.

    Averaged over classes and images as Dice. Pixel weights and class weights do not enter. It has no gradient but for
    the worst pixel of a class that is absent, so that cross-entropy beside it is advisable.

    Parameters
    ----------
    background : bool
        Count class 0 as well.
    only_present : bool
        Leave out the classes that an image does not contain, as the paper does.
    """

    name = "lovasz"

    def __init__(self, background: bool = False, only_present: bool = True) -> None:
        super().__init__()
        self.background, self.only_present = background, only_present

    def numerator(self, log_p: Tensor, labels: Labels) -> Tensor:
        first = 0 if self.background else 1
        p = log_p.exp().flatten(2)[:, first:]
        ids = torch.arange(first, first + p.shape[1], device=p.device)[:, None]
        valid = labels.valid.flatten(1)[:, None]
        y = (labels.ids.flatten(1)[:, None] == ids) & valid
        errors = torch.where(valid, (y.float() - p).abs(), 0.0)
        # Ignored pixels come last, behind valid ones without an error, and add nothing.
        order = torch.where(valid, errors.detach(), -1.0).argsort(-1, descending=True)
        errors, sorted_y = errors.gather(-1, order), y.gather(-1, order)
        # Counted in whole numbers, which float32 holds up to 2^24 pixels only.
        hits = sorted_y.cumsum(-1, dtype=torch.int64)
        y_sum = hits[..., -1:]
        place = torch.arange(1, errors.shape[-1] + 1, device=p.device)
        # With the i worst pixels wrong, the intersection has lost `hits` and the union has won the others.
        jaccard = 1 - (y_sum - hits).float() / (y_sum + place - hits).float()
        slopes = torch.cat([jaccard[..., :1], jaccard[..., 1:] - jaccard[..., :-1]], -1)
        loss = (errors * slopes).sum(-1)
        return _over_classes(loss, y_sum[..., 0].float(), only_present=self.only_present)

    def total(self, labels: Labels) -> Tensor:
        counted = _counted(labels, background=self.background, only_present=self.only_present)
        return counted.flatten(1).any(1).float().sum()


class TopKCrossEntropy(Term):
    """Cross-entropy averaged over the hardest pixels of each image (Wu et al., arXiv:1605.06885).

    Of an image with n known pixels, ⌊share·n⌋ count, at least one. Pixel weights and class weights do not enter: which
    pixels they would weigh is not known beforehand.

    Parameters
    ----------
    share : float
        In (0, 1]; 1 is the cross-entropy.
    """

    name = "topk_cross_entropy"

    def __init__(self, share: float = 0.1) -> None:
        super().__init__()
        if not 0 < share <= 1:
            raise UserError(f"loss.terms: {self.name}.share={share} must be > 0 and ≤ 1")
        self.share = float(share)

    def kept(self, labels: Labels) -> Tensor:
        """N int64: how many pixels of each image count."""
        known = labels.valid.flatten(1).sum(1)
        return torch.minimum((known * self.share).long().clamp_min(1), known)

    def numerator(self, log_p: Tensor, labels: Labels) -> Tensor:
        loss = F.nll_loss(log_p, labels.ids, reduction="none").flatten(1)
        order = torch.where(labels.valid.flatten(1), loss.detach(), -1.0).argsort(-1, descending=True)
        counted = torch.arange(loss.shape[1], device=loss.device) < self.kept(labels)[:, None]
        return torch.where(counted, loss.gather(-1, order), 0.0).sum()

    def total(self, labels: Labels) -> Tensor:
        return self.kept(labels).sum().float()


def _over_classes(loss: Tensor, y_sum: Tensor, *, only_present: bool) -> Tensor:
    """Mean over the classes (last axis), summed over the images; `y_sum` holds the pixels of each class."""
    if only_present:
        present = (y_sum > 0).float()
        # The mean over the present classes of each image; an image with none of them counts 0.
        return ((loss * present).sum(-1) / present.sum(-1).clamp_min(1)).sum()
    return loss.mean(-1).sum()


def _counted(labels: Labels, *, background: bool, only_present: bool) -> Tensor:
    """N×H×W bool: an image counts in a mean over images if it has one of these pixels."""
    return labels.valid & (labels.ids > 0) if only_present and not background else labels.valid


class WeightedSum(Loss):
    """A weighted sum of losses.

    Parameters
    ----------
    losses : sequence of (float, Loss)
        Weights and losses; sums inside are flattened.
    """

    def __init__(self, losses: Sequence[tuple[float, Loss]]) -> None:
        super().__init__()
        if not losses:
            raise UserError("loss.terms is empty: name at least one loss")
        self.weights = [float(weight) for weight, _ in losses]
        self.losses = nn.ModuleList(loss for _, loss in losses)

    def terms(self) -> list[tuple[float, Term]]:
        return [
            (outer * inner, term)
            for outer, loss in zip(self.weights, self.losses, strict=True)
            for inner, term in loss.terms()  # type: ignore[operator]
        ]


# Arguments that are not keys of a term: build_loss hands them on.
_HANDED_ON = ("class_weights", "needs_weight")


def build_loss(
    terms: Sequence[Mapping[str, Any]],
    classes: int,
    *,
    class_weights: Sequence[float] | None = None,
    needs_weight: bool = False,
    background: bool = True,
) -> WeightedSum:
    """Build a loss from the plain values of a ``loss`` group.

    Parameters
    ----------
    terms : sequence of mapping
        ``[{"name": "focal", "weight": 1.0, "gamma": 2.0}, …]``: the weight is 1 if not given, the rest are
        the term's own parameters.
    classes : int
        The model's classes: K of the softmax head, 2 for the sigmoid head.
    class_weights : sequence of float, optional
        For the terms that are sums over pixels (cross-entropy, focal).
    needs_weight : bool
        The data brings border weights: let those terms refuse to run without.
    background : bool
        Whether class 0 is the background: where there is none, terms over classes (Dice, Tversky, Lovász) count class 0
        unless their own key ``background`` says otherwise.

    Raises
    ------
    UserError
        For an unknown loss or parameter (with the nearest name), a bad value, class weights of another
        number or that no term uses.
    """
    if class_weights is not None and len(class_weights) != classes:
        raise UserError(f"loss.class_weights has {len(class_weights)} numbers, the model {classes} classes")
    losses: list[tuple[float, Loss]] = []
    pixel_terms = 0
    for entry in terms:
        params = dict(entry)
        name, weight = params.pop("name", None), params.pop("weight", 1.0)
        if name not in LOSSES:
            raise UserError(
                f"loss.terms: name={name} is no loss{nearest(name, LOSSES)}; choose from {', '.join(LOSSES)}"
            )
        if not isinstance(weight, int | float) or isinstance(weight, bool) or weight < 0:
            raise UserError(f"loss.terms: {name}.weight={weight} must be a number ≥ 0")
        known = list(inspect.signature(LOSSES[name]).parameters)
        own = [key for key in known if key not in _HANDED_ON]
        for key in params:
            if key not in own:
                raise UserError(
                    f"loss.terms: {name} has no key {key}{nearest(key, own)}; "
                    f"it takes {', '.join(['weight', *own])}"
                )
        if "background" in known and params.get("background") is None:
            params["background"] = not background
        if "class_weights" in known:
            pixel_terms += 1
            params.update(class_weights=class_weights, needs_weight=needs_weight)
        try:
            losses.append((float(weight), LOSSES[name](**params)))
        except (TypeError, ValueError) as error:
            raise UserError(f"loss.terms: {name}: {error}") from error
    if losses and not pixel_terms:
        for key, given in (("class_weights", class_weights is not None), ("border_weights", needs_weight)):
            if given:
                raise UserError(f"loss.{key}: no term uses it; add cross_entropy or focal to loss.terms")
    return WeightedSum(losses)


def median_frequency(pixels: np.ndarray) -> list[float]:
    """Class weights that make up for rare classes: the median of all frequencies over the class's own.

    A class's frequency is its share of the pixels of those images in which it occurs (Eigen and Fergus,
    arXiv:1411.4734, section 6.3.2).

    Parameters
    ----------
    pixels : ndarray
        R×K whole numbers: known pixels of each class in each of R images.

    Returns
    -------
    list of float
        K weights; 0 for a class that occurs nowhere.
    """
    pixels = np.asarray(pixels, np.float64)
    of_images_with_it = ((pixels > 0) * pixels.sum(1, keepdims=True)).sum(0)
    total = pixels.sum(0)
    frequency = np.divide(total, of_images_with_it, out=np.zeros_like(total), where=total > 0)
    middle = np.median(frequency[frequency > 0]) if (frequency > 0).any() else 0.0
    weights = np.divide(middle, frequency, out=np.zeros_like(frequency), where=frequency > 0)
    return [float(weight) for weight in weights]
