"""The published brain MRI U-Net of mateuszbuda/brain-segmentation-pytorch (MIT licence), loaded strictly."""

from pathlib import Path

import torch
from torch import nn

from unet_train.errors import UserError
from unet_train.models.files import read_tensors
from unet_train.models.spec import ModelSpec
from unet_train.models.weights.downloads import fetch, file_sha256, read_cached
from unet_train.models.weights.key_maps import brain_mri_names
from unet_train.models.weights.match_state_dict import KEPT_AS_THEY_ARE, LoadReport, shorten, size_text

BRAIN_MRI_URL = (
    "https://github.com/mateuszbuda/brain-segmentation-pytorch/releases/download/v1.0/unet-e012d006.pt"
)

PUBLISHED_SHA256 = "e012d006"
"""What the sha256 of the published file begins with."""

BRAIN_MRI_VIEWS = ("identity", "horizontal_flip")
"""The flips and turns its training used, see `unet_train.symmetries`."""

NOT_PUBLISHED = f"this is not the published file: its sha256 does not begin with {PUBLISHED_SHA256}"


def brain_mri_spec(in_channels: int = 3, init_features: int = 32) -> ModelSpec:
    """The model of mateuszbuda/brain-segmentation-pytorch in our terms.

    Pre-contrast, FLAIR, post-contrast → probability of a lesion; normalised over each patient's volume.
    """
    return ModelSpec(
        encoder={"kind": "unet", "init_features": init_features, "depth": 4},
        in_channels=in_channels,
        outputs=["background", "lesion"],
        head="sigmoid",
        norm="batch",
        normalisation={"mode": "volume", "mean": None, "std": None},
    )


def load_brain_mri(model: nn.Module, path: str | Path | None = None, *, progress: bool = True) -> LoadReport:
    """Fill a model with the published brain MRI weights, in place and strictly: every tensor used once.

    Parameters
    ----------
    model
        Built from :func:`brain_mri_spec`.
    path
        The release file ``unet-e012d006.pt`` (or a state dict of its names and of the model's shapes) where
        it is at hand; otherwise torch.hub's cache, otherwise a download, with its sha256 checked.

    Raises
    ------
    UserError
        Without network, at once; if model or file are of another shape.
    """
    file = Path(path) if path is not None else fetch(BRAIN_MRI_URL, progress=progress)
    tensors = read_tensors(file) if path is not None else read_cached(file)
    names = brain_mri_names()
    odd = [name for name in names if name not in tensors] + [name for name in tensors if name not in names]
    if odd:
        raise UserError(
            f"{file} is not the published brain MRI net: {shorten(odd, 3)} missing or unknown; a training starts "
            "from other files by weights=file, a checkpoint of ours predicts by ckpt="
        )
    target = {
        name: value for name, value in model.state_dict().items() if not name.startswith(KEPT_AS_THEY_ARE)
    }
    if set(target) != set(names.values()):
        raise UserError(
            "weights=brain_mri fits encoder=unet encoder.init_features=32 encoder.depth=4 model.head=sigmoid "
            "model.norm=batch alone: this model has other layers"
        )
    for theirs, ours in names.items():
        if tensors[theirs].shape != target[ours].shape:
            raise UserError(
                f"{file}: {theirs} is {size_text(tensors[theirs])}, this model wants "
                f"{size_text(target[ours])}: the published net has 3 channels, 32 features and "
                "1 output (encoder.init_features=32 model.head=sigmoid)"
            )
    report = LoadReport(str(file))
    with torch.no_grad():
        for theirs, ours in names.items():
            target[ours].copy_(tensors[theirs])
            report.loaded.append(ours)
    if not file_sha256(file).startswith(PUBLISHED_SHA256):
        report.notes.append(NOT_PUBLISHED)
    return report
