"""The card that lies beside an exported model: what it is, on what it was trained, how it is called."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import SupportsFloat

from unet_train import __version__
from unet_train.checkpoint import Checkpoint
from unet_train.data.description import DataDescription
from unet_train.data.targets.foreground import ForegroundTarget
from unet_train.data.targets.foreground_border import ForegroundBorderTarget
from unet_train.inference.graph import GREATEST, PredictionGraph
from unet_train.inference.predictor import Predictor
from unet_train.preprocessing.intensity import HIGH_PERCENTILE, LOW_PERCENTILE
from unet_train.runs.export_check import smallest_side

CHALLENGE = (
    "Cell Tracking Challenge (celltrackingchallenge.net). Its terms: cite the challenge; scientific use outside "
    "it needs the consent of the data's providers, commercial use explicit permission."
)
LICENCES = {
    "demo": "None: the images are drawn by unet-train.",
    "phc_u373": f"PhC-C2DH-U373, provided by S. Kumar, University of California, Berkeley, to the {CHALLENGE}",
    "dic_hela": f"DIC-C2DH-HeLa, provided by G. van Cappellen, Erasmus Medical Center, to the {CHALLENGE}",
    "brain_mri": "LGG segmentation (Kaggle, mateuszbuda/lgg-mri-segmentation): CC BY-NC-SA 4.0; the images belong to "
    "TCGA-LGG of The Cancer Imaging Archive, whose data usage policy applies. Not for clinical use.",
}
"""By the data set's name. What a model learnt from data may be bound by the data's terms."""

PUBLISHED = "the weights published with mateuszbuda/brain-segmentation-pytorch, release v1.0"
PUBLISHED_DATA = (
    "LGG segmentation, 110 patients: brain MRI, the channels pre-contrast, FLAIR and post-contrast. The weights were "
    "selected on ten of these patients, the others were presumably trained on, so that no figure on any of them is a "
    "test."
)
PUBLISHED_SCORES = (
    "None were measured here. Their authors report a mean Dice of 0.91 over the ten patients that chose the "
    "weights."
)

UNKNOWN_LICENCE = (
    "Not known to unet-train: the owner of the images says it. Fill this in before passing the model on."
)


@dataclass(frozen=True)
class Exported:
    """What was written and how it was checked."""

    format: str
    file: str
    graph: PredictionGraph
    predictor: Predictor
    differences: dict[str, float]
    own_images: bool


@dataclass(frozen=True)
class Origin:
    """Where an exported model comes from.

    Attributes
    ----------
    source : Path
        The file, or the address it was downloaded from.
    checkpoint : Checkpoint or None
        None for the published brain MRI model, which has none of ours.
    published : bool
        Without a checkpoint: whether it is the published file, not another one of its shape.
    """

    source: Path
    checkpoint: Checkpoint | None = None
    published: bool = False


def model_card(exported: Exported, origin: Origin) -> str:
    """The card, in Markdown."""
    data, graph = exported.predictor.data, exported.graph
    spec = graph.spec
    told = _told(origin, data)
    encoder = " ".join(f"{k}={v}" for k, v in spec.encoder.items() if v is not None)
    count = sum(p.numel() for p in graph.model.parameters())
    lines = [
        f"# U-Net for {data.name}: {', '.join(data.classes[1 if data.has_background else 0 :])}",
        "",
        f"`{exported.file}`, exported by unet-train {__version__} from {told.source}.",
        "",
        "## Model",
        "",
        f"A U-Net, encoder {encoder}, {count:,} parameters, {spec.head} head, trained {told.training}.",
        "",
        *_inputs(exported, data),
        "## Classes",
        "",
        *[f"{index}. {name}" for index, name in enumerate(data.classes)],
        "",
        f"0, {data.classes[0]}, is the background, which the means below leave out."
        if data.has_background
        else "None of them is the background: the means below run over all.",
        "",
        *_target(exported),
        "## Preprocessing",
        "",
        *_preprocessing(exported, data),
        "",
        "## Data",
        "",
        told.data,
        "",
        f"Licence of the data: {LICENCES.get(data.name, UNKNOWN_LICENCE)}",
        "",
        "## Scores",
        "",
        *told.scores,
        "",
        "## Check",
        "",
        f"The file was run again after writing, on {'images of the run' if exported.own_images else 'drawn images'} "
        "and on a batch of an odd size. Greatest difference of a probability to PyTorch:",
        "",
        *[f"- {name}: {difference:.1e}" for name, difference in exported.differences.items()],
        "",
    ]
    return "\n".join(lines)


@dataclass(frozen=True)
class OriginInWords:
    """Where a model comes from, in words for the card."""

    source: str
    training: str
    data: str
    scores: list[str]


def _told(origin: Origin, data: DataDescription) -> OriginInWords:
    """Of a checkpoint of ours, of the published file, or of another one of its shape."""
    source, checkpoint = origin.source, origin.checkpoint
    if checkpoint is not None:
        epochs = "?" if checkpoint.epoch is None else checkpoint.epoch
        steps = "?" if checkpoint.step is None else checkpoint.step
        weights = checkpoint.section("weights").get("kind", "unknown")
        return OriginInWords(
            source=f"`{source.name}` of the run `{source.resolve().parent.name}`",
            training=f"for {epochs} epochs ({steps} steps), started from {weights} weights",
            data=f"{data.name}: {_parts(checkpoint)}. Image channels: {data.channels}.",
            scores=_scores(checkpoint, source),
        )
    if origin.published:
        licence = "(MIT licence, © 2019 mateuszbuda)"
        return OriginInWords(f"{PUBLISHED} {licence}", "by its authors", PUBLISHED_DATA, [PUBLISHED_SCORES])
    return OriginInWords(
        f"`{source.name}`, a file of the shape of {PUBLISHED}, but not that file",
        "elsewhere",
        "Unknown.",
        ["None."],
    )


def _parts(checkpoint: Checkpoint) -> str:
    counts = [f"{len(keys)} {part}" for part, keys in checkpoint.split.parts.items() if keys]
    return ", ".join(counts) + " images" if counts else "split unknown"


def _inputs(exported: Exported, data: DataDescription) -> list[str]:
    """Inputs, outputs and a call that works as it stands."""
    graph, file = exported.graph, exported.file
    if exported.format == "safetensors":
        return [
            f"The weights alone, under unet-train's names: `unet-train weights=file weights.path={file}`, or",
            "`safetensors.torch.load_file`; the description of the model is in the file's metadata (`unet_train`).",
            "",
        ]
    volume = graph.per_volume
    rows = [
        "| | name | type | shape |",
        "| --- | --- | --- | --- |",
        f"| input | `image` | {graph.pixels} | batch × {data.channels} × height × width |",
    ]
    if volume:
        rows += [f"| input | `{name}` | float32 | batch × {data.channels} |" for name in ("mean", "std")]
    rows.append(f"| output | `probabilities` | float32 | batch × {len(data.classes)} × height × width |")
    if graph.has_outputs:
        outputs = len(graph.spec.outputs)
        rows.append(f"| output | `outputs` | float32 | batch × {outputs} × height × width |")
    more = ", mean, std" if volume else ""
    if exported.format == "onnx":
        feed = '"image": image' + (', "mean": mean, "std": std' if volume else "")
        call = [
            "import onnxruntime",
            f'session = onnxruntime.InferenceSession("{file}")',
            f'classes = session.run(["probabilities"], {{{feed}}})[0].argmax(1)',
        ]
    else:
        call = [
            "import torch",
            f'model = torch.export.load("{file}").module(check_guards=False)',
            f"classes = model(image{more})[0].argmax(1)",
        ]
    tail = "Any batch, height and width: images are padded inside to what the network needs, and cut again."
    if exported.format == "torch_export":
        tail += (
            " Without `check_guards=False` torch lets only some sizes pass; images with a side below "
            f"{smallest_side(graph)} pixels may be refused."
        )
    return [*rows, "", "```python", *call, "```", "", tail, ""]


def _target(exported: Exported) -> list[str]:
    graph = exported.graph
    if not graph.has_outputs:
        return []
    outputs: list[str] = list(graph.spec.outputs)
    way = "mapped back to the classes"
    if isinstance(graph.target, ForegroundBorderTarget):
        way = f"{', '.join(outputs[1:-1])} and {outputs[-1]} together are the foreground"
    elif isinstance(graph.target, ForegroundTarget):
        way = "gaps between touching objects, which the network draws as background, are closed again"
    return [
        f"The network learnt the target `{exported.predictor.data.target}` with the outputs {', '.join(outputs)}; in "
        f"the classes {way}.",
        "",
        *_objects(exported),
    ]


def _objects(exported: Exported) -> list[str]:
    rule = exported.predictor.postprocessing
    if rule is None:
        return []
    return [
        "Single objects are cut out of these outputs (unet-train: `inference.objects.objects_from_maps`) with "
        f"`{json.dumps(rule.to_dict())}`.",
        "",
    ]


def _preprocessing(exported: Exported, data: DataDescription) -> list[str]:
    graph = exported.graph
    inside = exported.format != "safetensors"
    if graph.per_volume:
        cut = (
            "set voxels below a tenth of the volume's maximum to 0, cut it to the box of what is left, pad it to a "
            "square and resize it to 256² (first and last slice left out), then "
            if data.normalisation == "brain"
            else ""
        )
        return [
            f"To be done before: over the whole volume, all slices and channels, {cut}clip to the percentiles "
            f"{LOW_PERCENTILE:g} and {HIGH_PERCENTILE:g} and stretch to [0, 1]; `mean` and `std` are those of every "
            "channel over that volume (unet-train: `data.normalisation.volume_statistics`, `rescale`). The z-score "
            + ("is in the graph." if inside else "follows."),
        ]
    if data.intensity_range is not None:
        low, high = data.intensity_range
        unit = f"pixel values from {low:g} to {high:g} become 0 to 1, the rest is clipped"
    elif graph.pixels == "float32":
        unit = "pixels are from 0 to 1 (16-bit files: divided by 65535)"
    else:
        unit = f"pixels are divided by {GREATEST[graph.pixels]:g}"
    score = {
        "image": "every channel of an image is standardised by its own mean and standard deviation",
        "fixed": f"channels are standardised by mean {_numbers(graph.model.normalisation.mean)} and standard "
        f"deviation {_numbers(graph.model.normalisation.std)}",
    }[data.normalisation]
    scale = f"; the network works at {data.scale:g} of the image's resolution" if data.scale != 1 else ""
    where = "All of it is in the graph, raw pixels go in" if inside else "To be done before"
    return [f"{where}: {unit}; {score}{scale}."]


def _numbers(values: Iterable[SupportsFloat]) -> str:
    return ", ".join(f"{float(v):.4g}" for v in values)


def _scores(checkpoint: Checkpoint, source: Path) -> list[str]:
    """Validation scores of the checkpoint, and those of evaluations that lie in its run folder."""
    lines = []
    validation = _table(checkpoint.metrics or {})
    if validation:
        lines += ["Validation part, which chose the weights:", "", *validation]
    for file in sorted(source.parent.glob("eval/*/metrics.json")):
        try:
            metrics = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if metrics.get("epoch") == checkpoint.epoch:
            title = f"{metrics.get('dataset')}, {metrics.get('part')} part, {metrics.get('n_images')} images:"
            lines += ["", title, "", *_table(metrics)]
    return lines or ["None were measured."]


def _table(metrics: Mapping[str, object]) -> list[str]:
    names = (
        "iou/",
        "dice",
        "precision/",
        "recall/",
        "accuracy",
        "seg",
        "det",
        "op_csb",
        "ap50",
        "ap75",
        "pq",
    )
    rows = [
        f"| {name} | {value:.4f} |"
        for name, value in ((str(k).removeprefix("val/"), v) for k, v in metrics.items())
        if name.startswith(names)
        and isinstance(value, int | float)
        and math.isfinite(value)
        and not name.endswith("mean_over")
    ]
    return ["| score | value |", "| --- | --- |", *rows] if rows else []
