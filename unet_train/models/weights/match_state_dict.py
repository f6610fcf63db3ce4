"""Fitting the tensors of a file to a model: names matched, the first layer adapted, all of it reported."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from unet_train.errors import UserError
from unet_train.models.files import read_tensors
from unet_train.models.weights.key_maps import (
    brain_mri_names,
    lite_name,
    lite_stages,
    milesial_tensors,
)
from unet_train.models.weights.smp import HEAD, smp_tensors

# The model's own normalisation is the data set's; a file's must not silently replace it.
KEPT_AS_THEY_ARE = "normalisation."
WRAPPERS = ("module.", "_orig_mod.")


@dataclass
class LoadReport:
    """What became of each tensor.

    Attributes
    ----------
    source
        The file or URL.
    loaded
        Names of the model's tensors that were filled as they stood in the file.
    adapted
        Those that were filled after a change (the first convolution, for another number of channels).
    left_out
        Names of the file's tensors that the model has no use for, with the reason where it is a shape.
    missing
        Names of the model's tensors that the file did not fill; they keep their random start.
    notes
        Whatever else the user should know.
    """

    source: str
    loaded: list[str] = field(default_factory=list)
    adapted: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def summary(self) -> list[str]:
        """A few lines to print."""
        filled = len(self.loaded) + len(self.adapted)
        lines = [f"weights from {self.source}", f"  loaded: {filled} of {filled + len(self.missing)} tensors"]
        for title, names in (
            ("adapted", self.adapted),
            ("left out", self.left_out),
            ("random as before", self.missing),
        ):
            if names:
                lines.append(f"  {title}: {shorten(names)}")
        return lines + [f"  note: {note}" for note in self.notes]


def load_file(model: nn.Module, path: str | Path) -> LoadReport:
    """Fill a model (or an encoder) with what fits in a file, in place.

    Understands our checkpoints, plain state dicts and safetensors; files of the whole model or of the
    encoder alone; names with prefixes of wrappers (``module.``, ``_orig_mod.``, ``model.``, ``encoder.``, …);
    torchvision's and timm's names; those of the published brain MRI net, of milesial/Pytorch-UNet, of the U-Nets of
    segmentation-models-pytorch (:func:`unet_train.models.weights.smp.smp_tensors`), and of EfficientNet-Lite0 to 4
    as published on the package index. A first convolution of another number of channels
    is adapted by :func:`adapt_channels`.

    Raises
    ------
    UserError
        If the file cannot be read, or nothing in it fits.
    """
    return load_tensors(model, read_tensors(path), str(path))


def load_tensors(model: nn.Module, tensors: Mapping[str, Tensor], source: str) -> LoadReport:
    """As :func:`load_file`, with the tensors at hand; ``source`` is what messages call them."""
    target = {
        name: value for name, value in model.state_dict().items() if not name.startswith(KEPT_AS_THEY_ARE)
    }
    stem = _stem_of(model)
    tensors, notes = _our_names(_without_wrappers(tensors), target, source)
    pairs, meant = _best_pairs(target, tensors, stem)
    if not any(tensors[name].ndim >= 2 for name in pairs.values()):
        raise UserError(
            f"{source}: nothing in it fits the model; it holds {shorten(list(tensors), 3)}, the model wants "
            f"{shorten(list(target), 3)}: choose the encoder and the sizes these weights were made for"
        )
    report = LoadReport(source, notes=notes)
    used = set(pairs.values())
    for name, value in target.items():
        if name not in pairs:
            report.missing.append(name)
            continue
        given = tensors[pairs[name]]
        if not _usable(given):
            raise UserError(f"{source}: {pairs[name]} holds values that are no finite numbers")
        if given.shape == value.shape:
            report.loaded.append(name)
        else:
            given = adapt_channels(given, value.shape[1])
            report.adapted.append(name)
            report.notes.append(
                f"{name} adapted from {tensors[pairs[name]].shape[1]} to {value.shape[1]} input channels"
            )
        with torch.no_grad():
            value.copy_(given)
    for name, value in tensors.items():
        if name in used:
            continue
        ours = meant.get(name)
        reason = f" ({size_text(value)} there, {size_text(target[ours])} here)" if ours is not None else ""
        report.left_out.append(name + reason)
    return report


def adapt_channels(weight: Tensor, channels: int) -> Tensor:
    """Rewrite a first convolution for another number of input channels.

    Channel j of the image stands for channel j modulo C of the original. Fewer channels: the weights of those
    that fall together are summed (one channel: the sum over RGB). More: each weight is shared equally among
    the channels it is repeated for. Either way an image whose channels are all equal gets exactly the
    response it had before, so the statistics of the following norm stay right.

    Parameters
    ----------
    weight
        O×C×h×w.
    channels
        The new number of input channels.

    Returns
    -------
    Tensor
        O×channels×h×w.
    """
    given = weight.shape[1]
    if channels <= given:
        return torch.stack([weight[:, start::channels].sum(1) for start in range(channels)], 1)
    position = torch.arange(channels) % given
    share = torch.bincount(position, minlength=given)[position].to(weight.dtype)
    return weight[:, position] / share[None, :, None, None]


def _without_wrappers(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Strip what DataParallel and torch.compile put before every name."""
    result = dict(tensors)
    for wrapper in WRAPPERS * 2:
        if all(name.startswith(wrapper) for name in result):
            result = {name.removeprefix(wrapper): value for name, value in result.items()}
    return result


def _our_names(
    tensors: Mapping[str, Tensor], target: Mapping[str, Tensor], source: str
) -> tuple[dict[str, Tensor], list[str]]:
    """Rename the published naming schemes that we know; with what is to be said of it."""
    if any(name.endswith(HEAD) for name in tensors):
        return smp_tensors(tensors, target, source)
    if "encoder1.enc1conv1.weight" in tensors:
        names = brain_mri_names()
        return {names.get(name, name): value for name, value in tensors.items()}, []
    if "_conv_stem.weight" in tensors and "_blocks.0._depthwise_conv.weight" in tensors:
        stages = lite_stages(target)
        return {lite_name(name, stages): value for name, value in tensors.items()}, []
    stem = "inc.double_conv.0.weight"
    if whole := next((name for name in tensors if name == stem or name.endswith("." + stem)), None):
        wrapper = whole.removesuffix(stem)
        tensors = {name.removeprefix(wrapper): value for name, value in tensors.items()}
        return milesial_tensors(tensors, target, source), []
    return dict(tensors), []


def _stem_of(model: nn.Module) -> str | None:
    """Name of the first convolution's weight in a model's or an encoder's state dict."""
    encoder = getattr(model, "encoder", model)
    stem = getattr(encoder, "stem", None)
    if not isinstance(stem, str):
        return None
    return f"encoder.{stem}.weight" if encoder is not model else f"{stem}.weight"


def _aliases(names: Iterable[str]) -> dict[str, str]:
    """A model's names by the names a file may use: timm's feature nets write stages_0 for stages.0."""
    result: dict[str, str] = {}
    for name in names:
        result.setdefault(re.sub(r"_(\d+)(?=\.)", r".\1", name), name)
    return result | {name: name for name in names}


def _best_pairs(
    target: Mapping[str, Tensor], tensors: Mapping[str, Tensor], stem: str | None
) -> tuple[dict[str, str], dict[str, str]]:
    """Try all prefixes on both sides, and keep the two with which the most numbers fit.

    Returns
    -------
    dict, dict
        Model name → file name of what fits; file name → model name of what has a namesake, fitting or not.
    """
    prefixes = {""}
    for name in tensors:
        parts = name.split(".")
        prefixes.update(".".join(parts[:depth]) + "." for depth in range(1, min(3, len(parts))))
    scopes = [
        scope
        for scope in ("", "encoder.", "encoder.net.", "net.")
        if any(name.startswith(scope) for name in target)
    ]
    wanted = _aliases(target)
    best: tuple[dict[str, str], dict[str, str]] = ({}, {})
    best_score = 0
    for prefix in sorted(prefixes, key=lambda text: (len(text), text)):
        for scope in scopes:
            meant = {
                name: wanted[scope + name.removeprefix(prefix)]
                for name in tensors
                if name.startswith(prefix) and scope + name.removeprefix(prefix) in wanted
            }
            pairs = {
                ours: name for name, ours in meant.items() if _fits(target[ours], tensors[name], ours == stem)
            }
            score = sum(target[name].numel() for name in pairs)
            if score > best_score:
                best, best_score = (pairs, meant), score
    return best


def _usable(value: Tensor) -> bool:
    """Whether numbers can be trained on: real, finite, and few enough to be held."""
    return not value.is_complex() and bool(torch.isfinite(value.float()).all())


def _fits(wanted: Tensor, given: Tensor, is_stem: bool) -> bool:
    if wanted.shape == given.shape:
        return True
    same = wanted.ndim == given.ndim == 4 and wanted.shape[0] == given.shape[0]
    return is_stem and same and wanted.shape[2:] == given.shape[2:]


def shorten(names: Sequence[str], most: int = 6) -> str:
    """A list of names that stays readable."""
    shown = ", ".join(names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")


def size_text(tensor: Tensor) -> str:
    """A tensor's size in words."""
    return "×".join(str(length) for length in tensor.shape) or "one number"
