"""Entry points for ``torch.hub.load``: the published brain MRI net by its usual call, and our checkpoints."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from unet_train.models.unet import UNet

dependencies = ["torch"]


class Probabilities(torch.nn.Module):
    """A U-Net with the sigmoid inside, as the published brain model has it."""

    def __init__(self, net: torch.nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalised images, N×C×H×W float, any H and W → N×K×H×W in [0, 1]."""
        return torch.sigmoid(self.net(x).float())


def unet(
    in_channels: int = 3,
    out_channels: int = 1,
    init_features: int = 32,
    pretrained: bool | str | Path = False,
    progress: bool = True,
) -> torch.nn.Module:
    """The U-Net for brain MRI of mateuszbuda/brain-segmentation-pytorch, by that repository's call.

    ``torch.hub.load(repo, "unet", in_channels=3, out_channels=1, init_features=32, pretrained=True)``

    Parameters
    ----------
    in_channels, out_channels, init_features
        As there; the published weights are for 3, 1 and 32.
    pretrained
        True: download the release file (sha256 checked). A path: that file. The net is then in evaluation
        mode, so that its norms use what they learnt; the published hub entry leaves that to the caller.
    progress
        Show a bar while downloading.

    Returns
    -------
    torch.nn.Module
        N×C×H×W float, *already normalised* (channels pre-contrast, FLAIR, post-contrast; cut to the brain
        and z-scored over the patient's volume, see ``unet_train.preprocessing.intensity.volume_statistics`` with
        ``mode="brain"``) → N×K×H×W in [0, 1].

    Raises
    ------
    unet_train.errors.UserError
        Without network, or for a file that does not fit, in one line.
    """
    from unet_train.errors import UserError, in_terms_of
    from unet_train.models.encoders import build_encoder
    from unet_train.models.unet import UNet
    from unet_train.models.weights import load_brain_mri

    single = out_channels == 1
    net = UNet(
        build_encoder("unet", in_channels, init_features=init_features, depth=4),
        # Several outputs have a sigmoid each there; ours has that many logits, and no softmax is applied.
        outputs=2 if single else out_channels,
        head="sigmoid" if single else "softmax",
    )
    net = net.to(memory_format=torch.channels_last)
    if pretrained is not False:
        try:
            load_brain_mri(net, None if pretrained is True else pretrained, progress=progress)
        except UserError as error:
            raise UserError(in_terms_of("hub", str(error))) from error
        net.eval()
    return Probabilities(net).train(net.training)


def checkpoint(path: str | Path, encoder: torch.nn.Module | None = None) -> "UNet":
    """A model from a checkpoint of ``unet-train``, built from that file alone.

    Parameters
    ----------
    path
        ``best.pt`` or ``last.pt`` of a run.
    encoder
        The encoder again, where the model was trained with one of your own: a file never builds that.

    Returns
    -------
    UNet
        In evaluation mode: N×C×H×W pixels (uint8, or float in [0, 1]) → logits;
        ``model.probabilities(logits)`` makes probabilities, ``model.spec`` describes it. A model that was
        normalised per volume takes ``mean`` and ``std`` too.

    Raises
    ------
    unet_train.errors.UserError
        For a file that cannot be read or is no checkpoint of ours, in one line.
    """
    from unet_train.checkpoint import Checkpoint

    return Checkpoint.read(path).to_model(encoder)
