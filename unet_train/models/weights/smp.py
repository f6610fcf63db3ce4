"""Whole U-Nets of segmentation-models-pytorch in our names: its ResNet, ``tu-`` and EfficientNet encoders."""

import re
from collections import Counter
from collections.abc import Mapping

from torch import Tensor

from unet_train.errors import UserError
from unet_train.models.weights.key_maps import lite_name, lite_stages

HEAD = "segmentation_head.0.weight"
LIBRARY = "segmentation-models-pytorch"

RESNETS: dict[tuple[str, tuple[int, ...]], int] = {
    ("basic", (2, 2, 2, 2)): 18,
    ("basic", (3, 4, 6, 3)): 34,
    ("bottleneck", (3, 4, 6, 3)): 50,
    ("bottleneck", (3, 4, 23, 3)): 101,
    ("bottleneck", (3, 8, 36, 3)): 152,
}
"""Kind of block, blocks by layer → depth."""

EFFICIENTNETS = {
    (16, 320): "b0",
    (23, 320): "b1",
    (23, 352): "b2",
    (26, 384): "b3",
    (32, 448): "b4",
    (39, 512): "b5",
    (45, 576): "b6",
    (55, 640): "b7",
}
"""Number of blocks, output channels of the last → size."""

RESNET_PART = r"(?:conv1|bn1|layer[1-4]\.\d+\.(?:conv[123]|bn[123]|downsample\.[01]))\."
CLASSIFIER = r"(?:^|\.)(?:fc|conv_head|bn2|classifier)\.\w+$"  # what follows the last feature
UNET_PART = r"decoder\.blocks\.\d+\.(?:conv[12]\.[01]|attention[12])\."


def smp_tensors(
    tensors: Mapping[str, Tensor], target: Mapping[str, Tensor], source: str
) -> tuple[dict[str, Tensor], list[str]]:
    """A state dict of one of that library's U-Nets in our names.

    Its decoder doubles the size by repeating pixels and has a 3×3 head: ``model.upsample=nearest model.head_kernel=3``.
    A decoder that does not fit the model is left out as a whole; so is that of its EfficientNets, which joins other
    maps than timm's features.

    Parameters
    ----------
    tensors
        As saved; the names may have a prefix, such as Lightning's ``model.``.
    target
        The tensors of the model or encoder to be filled.
    source
        What messages call the file.

    Returns
    -------
    dict, list of str
        The tensors by our names, and what is to be said.

    Raises
    ------
    UserError
        For another decoder than the plain U-Net's, another encoder, or an encoder that does not fit the model; the last
        with the keys that do.
    """
    prefix = next(name for name in tensors if name.endswith(HEAD)).removesuffix(HEAD)
    tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    names, keys, whole = _encoder_names(tensors, target, source)
    decoder = [name for name in tensors if name.startswith("decoder.")]
    odd = next((name for name in decoder if not re.match(UNET_PART, name)), None)
    if odd is not None:
        raise UserError(
            f"{source}: a model of {LIBRARY} with another decoder than its Unet's ({odd}); only Unet is supported"
        )
    if attention := next((name for name in decoder if ".attention" in name), None):
        raise UserError(
            f"{source}: a Unet of {LIBRARY} with attention in its decoder ({attention}): decoder_attention_type is "
            "not supported"
        )
    is_model = any(name.startswith("decoder.") for name in target)
    inside = "encoder." if is_model else ""
    wanted = {name for name in target if name.startswith(inside)} if is_model else set(target)
    given = {f"{inside}{ours}": tensors[theirs] for theirs, ours in names.items()}
    unfit = [name for name in wanted if name not in given or not _fits(given[name], target[name])]
    unfit += [name for name in given if name not in target and not re.search(CLASSIFIER, name)]
    if [name for name in unfit if not name.endswith("num_batches_tracked")]:
        raise UserError(f"{source}: a Unet of {LIBRARY}, whose encoder does not fit; set {keys}")
    result = {f"{inside}{names[name]}" if name in names else name: value for name, value in tensors.items()}
    if not is_model:
        return result, []
    if not whole:
        notes = ["the file's decoder joins other maps than this encoder's features: left out"]
        if not keys.endswith("_b0"):
            notes.append(
                f"{LIBRARY} pads its EfficientNets b1 to b7 for one image size, this encoder as they were trained on "
                "ImageNet: features may be shifted by a pixel"
            )
        return result, notes
    renamed = {_decoder_name(name): value for name, value in result.items()}
    body = {name for name in target if name.startswith(("decoder.", "input_skip."))}
    if all(name in renamed and renamed[name].shape == target[name].shape for name in body):
        return renamed, []
    widths = [
        value.shape[0] for name, value in tensors.items() if re.search(r"blocks\.\d+\.conv1\.0\.weight", name)
    ]
    norm = "batch" if "decoder.blocks.0.conv1.1.weight" in tensors else "none"
    fitting = (
        f"model.upsample=nearest model.head_kernel={tensors[HEAD].shape[-1]} model.norm={norm} model.input_skip=0 "
        f"model.decoder_channels={str(widths).replace(' ', '')}"
    )
    return result, [f"the file's decoder is left out; it fits with {fitting}"]


def _encoder_names(
    tensors: Mapping[str, Tensor], target: Mapping[str, Tensor], source: str
) -> tuple[dict[str, str], str, bool]:
    """The file's names of the encoder → ours; the keys that choose it; whether the decoder joins the same maps."""
    inner = {name: name.removeprefix("encoder.") for name in tensors if name.startswith("encoder.")}
    parts = [name for name in inner.values() if not name.startswith("fc.")]
    if parts and all(name.startswith("model.") for name in parts):
        names = {theirs: f"net.{ours.removeprefix('model.')}" for theirs, ours in inner.items()}
        return names, "encoder=timm and, by encoder.name, the net that follows tu- in its encoder_name", True
    if (depth := _resnet_depth(tensors, parts)) is not None:
        return inner, f"encoder=resnet encoder.depth={depth}", True
    if "_conv_stem.weight" in parts:
        blocks = 1 + max(int(found[1]) for name in parts if (found := re.match(r"_blocks\.(\d+)\.", name)))
        last = tensors[f"encoder._blocks.{blocks - 1}._project_conv.weight"].shape[0]
        if (size := EFFICIENTNETS.get((blocks, last))) is not None:
            stages = lite_stages(target)
            names = {theirs: f"net.{lite_name(ours, stages)}" for theirs, ours in inner.items()}
            return names, f"encoder=timm encoder.name=tf_efficientnet_{size}", False
    shown = ", ".join(list(inner)[:2])
    raise UserError(
        f"{source}: a Unet of {LIBRARY} whose encoder ({shown}, …) is none of resnet18 to 152, tu-… and "
        "efficientnet-b0 to b7: not supported"
    )


def _resnet_depth(tensors: Mapping[str, Tensor], parts: list[str]) -> int | None:
    """Which of torchvision's ResNets an encoder is; None for none of them, such as a ResNeXt."""
    if not parts or not all(re.match(RESNET_PART, name) for name in parts):
        return None
    kind = "bottleneck" if "layer1.0.conv3.weight" in parts else "basic"
    blocks = Counter(
        name.split(".")[0] for name in parts if re.fullmatch(r"layer\d\.\d+\.conv1\.weight", name)
    )
    second = tensors.get("encoder.layer1.0.conv2.weight")
    if second is None or tuple(second.shape[:2]) != (64, 64):  # groups, or wider
        return None
    return RESNETS.get((kind, tuple(blocks[f"layer{number}"] for number in range(1, 5))))


def _decoder_name(name: str) -> str:
    """Our name of a tensor of that library's decoder or head; other names as they are."""
    if found := re.fullmatch(r"decoder\.blocks\.(\d+)\.conv([12])\.([01])\.(\w+)", name):
        level, number, part, leaf = found.groups()
        return f"decoder.levels.{level}.block.{'norm' if part == '1' else 'conv'}{number}.{leaf}"
    return name.replace("segmentation_head.0.", "head.")


def _fits(given: Tensor, wanted: Tensor) -> bool:
    """Whether shapes are the same, but for the input channels of a first convolution (without groups)."""
    if given.shape == wanted.shape:
        return True
    stem = given.ndim == wanted.ndim == 4 and given.shape[0] == wanted.shape[0]
    return stem and given.shape[2:] == wanted.shape[2:] and given.shape[1] in (1, 2, 3, 4)
