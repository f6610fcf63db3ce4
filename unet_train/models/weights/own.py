"""Weights of one of our own checkpoints: its sizes are known, and its head has rows by the names of classes."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from unet_train.errors import UserError
from unet_train.models.spec import CUSTOM, ModelSpec
from unet_train.models.unet import UNet
from unet_train.models.weights.match_state_dict import KEPT_AS_THEY_ARE, LoadReport, load_tensors
from unet_train.overrides import as_override

Rows = dict[str, tuple[Tensor, Tensor]]
"""Class → its weights and bias in the head, as logits of a softmax."""


def load_own(
    model: UNet, spec: ModelSpec, tensors: Mapping[str, Tensor], outputs: Sequence[str], source: str
) -> LoadReport:
    """Fill a model from the weights of another of ours, in place; the rows of the head follow the classes' names.

    Parameters
    ----------
    model : UNet
        To be filled.
    spec : ModelSpec
        Of the model the weights are from.
    tensors : mapping of str to Tensor
        Its weights.
    outputs : sequence of str
        Classes of `model`.
    source : str
        What messages call the file.

    Returns
    -------
    LoadReport
        The normalisation, which is the data set's, is not loaded.

    Raises
    ------
    UserError
        If it does not fill the whole encoder, with the keys it was made by.
    """
    here = {f"encoder.{name}" for name in model.encoder.state_dict()}
    fits = all(name in here for name in tensors if name.startswith("encoder."))
    stem = f"{getattr(model.encoder, 'stem', None)}.weight"
    for name, value in model.encoder.state_dict().items():
        given = tensors.get(f"encoder.{name}")
        shape = None if given is None else tuple(given.shape)
        if shape == tuple(value.shape):
            continue
        adaptable = (
            name == stem
            and shape is not None
            and (shape[0], *shape[2:]) == (value.shape[0], *value.shape[2:])
        )
        fits = fits and adaptable
    if not fits:
        raise UserError(f"{source}: made by other sizes; set {' '.join(made_by(spec, model))}")
    tensors = {name: value for name, value in tensors.items() if not name.startswith(KEPT_AS_THEY_ARE)}
    note = ""
    if (spec.head, list(spec.outputs)) != (model.head_kind, list(outputs)):
        note = follow_names(tensors, model, _rows(spec, tensors), outputs)
    report = load_tensors(model, tensors, source)
    if note:
        report.notes.append(note)
    return report


def made_by(spec: ModelSpec, model: UNet) -> list[str]:
    """The keys that give a model the sizes of `spec`, as overrides; those of the rest of the net where they differ."""
    encoder = dict(spec.encoder)
    kind = encoder.pop("kind")
    words = (
        [as_override("encoder._target_", encoder.pop("target", ""))]
        if kind == CUSTOM
        else [f"encoder={kind}"]
    )
    words += [as_override(f"encoder.{name}", value) for name, value in encoder.items()]
    here: ModelSpec = model.spec  # type: ignore[assignment]
    for name in ("norm", "decoder_channels", "input_skip", "upsample", "head_kernel"):
        if getattr(spec, name) != getattr(here, name):
            words.append(as_override(f"model.{name}", getattr(spec, name)))
    return words


def follow_names(tensors: dict[str, Tensor], model: UNet, rows: Rows, outputs: Sequence[str]) -> str:
    """Put a head for `model` into `tensors`: rows of known classes as they were, the others as the model drew them.

    Two classes of a softmax become a sigmoid by the difference of their rows, which gives the same probabilities.

    Returns
    -------
    str
        What became of the rows, in words.
    """
    weight, bias = (tensors.pop(f"head.{leaf}", None) for leaf in ("weight", "bias"))
    assert model.head.bias is not None  # a head has one
    new_weight, new_bias = model.head.weight.detach().clone(), model.head.bias.detach().clone()
    if weight is None or bias is None or weight.shape[1:] != new_weight.shape[1:]:
        return "head: other sizes, starts anew"
    kept = [name for name in outputs if name in rows]
    with torch.no_grad():
        if model.head_kind == "sigmoid":
            background, foreground = outputs
            if len(kept) == 2:
                new_weight[0] = rows[foreground][0] - rows[background][0]
                new_bias[0] = rows[foreground][1] - rows[background][1]
            else:
                kept = []
        else:
            for index, name in enumerate(outputs):
                if name in rows:
                    new_weight[index], new_bias[index] = rows[name]
    anew = [name for name in outputs if name not in kept]
    if kept:
        tensors["head.weight"], tensors["head.bias"] = new_weight, new_bias
    said = [f"kept {', '.join(kept)}"] if kept else []
    said += [f"anew {', '.join(anew)}"] if anew else []
    return f"head, by the names of the classes: {'; '.join(said)}"


def _rows(spec: ModelSpec, tensors: Mapping[str, Tensor]) -> Rows:
    weight, bias = tensors.get("head.weight"), tensors.get("head.bias")
    if weight is None or bias is None:
        return {}
    if spec.head == "sigmoid":  # a softmax whose background has the logit 0
        weight, bias = (torch.cat((torch.zeros_like(value), value)) for value in (weight, bias))
    return {name: (weight[index], bias[index]) for index, name in enumerate(spec.outputs)}
