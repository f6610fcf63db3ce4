"""Every key a user can set: its type, its meaning and its choices. The values stand in the YAML of `configs/`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from unet_train.data.layouts import LAYOUTS, DatasetKeys
from unet_train.keys import key, schema_fields
from unet_train.models.encoders import ENCODERS, EncoderKeys
from unet_train.registry import Schemas
from unet_train.symmetries import TTA

OwnObject = dict[str, Any]
"""An object of the user's own, ``_target_`` with its arguments, in place of a section."""


# --- weights ------------------------------------------------------------------------------------------
@dataclass
class Weights:
    """What the model starts from."""

    kind: str = key("chosen by weights=…", choices=("random", "imagenet", "file", "brain_mri"))
    path: str | None = key(
        "a local file: checkpoint, state dict, safetensors or torchvision's download; or a run folder"
    )
    freeze_encoder: Any = key(
        "stages of the encoder, from the input, that stay as they were loaded: a number, or all; 0: none",
        before=0,
    )
    unfreeze_epoch: int | None = key(
        "the epoch at whose start frozen stages begin to train too; null: never", at_least=2, before=None
    )


# --- model --------------------------------------------------------------------------------------------
@dataclass
class Model:
    """The rest of the net."""

    head: str = key("softmax, or sigmoid for one foreground class", choices=("softmax", "sigmoid"))
    decoder_channels: list[int] | None = key("channels of the decoder, coarse to fine; null: by the encoder")
    norm: str = key(
        "normalisation layers of the decoder and the classic encoder",
        choices=("batch", "group", "instance", "none"),
    )
    input_skip: int = key(
        "channels of a skip at full resolution, for encoders that begin at half of it; 0: none",
        at_least=0,
        before=0,
    )
    upsample: str = key(
        "how the decoder doubles the size: transposed convolutions, or nearest (repeated pixels)",
        choices=("transposed", "nearest"),
        before="transposed",
    )
    head_kernel: int = key("side of the last convolution's kernel", choices=(1, 3), before=1)


# --- split --------------------------------------------------------------------------------------------
@dataclass
class Split:
    """Who is held out."""

    file: str | None = key("a split.json, or the name of a shipped split")
    folds: int | None = key("cross-validation: number of folds over the groups")
    fold: int | None = key(
        "cross-validation: which fold is the test part, from 0; all: each in turn (unet-train)"
    )
    val_fraction: float = key(
        "share of the training groups (or frames) held out for validation", at_least=0, below=1
    )
    test_fraction: float = key(
        "share held out as test where the data set names no test part", at_least=0, below=1
    )
    by: str = key(
        "what is held out together: groups, or blocks of serial sections", choices=("group", "block")
    )
    seed: int = key("which groups are drawn; not touched by `seed`")


# --- augmentation -------------------------------------------------------------------------------------
@dataclass
class Augmentation:
    """Random crops and the albumentations pipeline."""

    crop_size: Any = key(
        "height and width of training crops, working pixels: one number, or [height,width]; null: whole images"
    )
    foreground_share: float = key(
        "share of crops centred on a class that is not the background", at_least=0, at_most=1
    )
    touching_share: float = key(
        "share of crops in which a copy of an object is pasted to touch another",
        at_least=0,
        at_most=1,
        before=0.0,
    )
    balance: bool = key("draw the class of such a crop evenly from the whole training part")
    orientation: str = key(
        "upright: no vertical flip, no turn by more than 15 degrees; fixed: no flip at all either, where left is not "
        "right; any: all transforms; auto: any or upright, by the data set, of a folder by its masks, in doubt upright",
        choices=("any", "upright", "fixed", "auto"),
        before="any",
    )
    transforms: list[Any] = key("albumentations transforms: name and arguments, in order")


# --- loss ---------------------------------------------------------------------------------------------
@dataclass
class Loss:
    """A weighted sum of terms."""

    terms: list[Any] = key(
        "name (cross_entropy, focal, dice, tversky, lovasz, topk_cross_entropy), weight, and the term's own arguments"
    )
    class_weights: Any = key(
        "a number per class of the model's output; auto: by median frequency in the training part; sqrt: the "
        "square root of that; null: none"
    )
    border_weights: dict[str, Any] | None = key("the U-Net paper's border weight map: w0, sigma; null: none")


# --- optimizer, scheduler -----------------------------------------------------------------------------
@dataclass
class Optimizer:
    """Keys of every optimizer."""

    kind: str = key("chosen by optimizer=…")
    lr: float = key("learning rate at its highest", above=0)
    weight_decay: float = key("decoupled weight decay with adamw, else L2", at_least=0)
    encoder_lr_factor: float = key("learning rate of the encoder over that of the rest", above=0, before=1.0)


@dataclass
class AdamW(Optimizer):
    """AdamW; weight decay spares norms and biases."""

    betas: list[float] = key("Adam's two decay rates", at_least=0, below=1)


@dataclass
class Adam(AdamW):
    """Adam, with L2 weight decay."""


@dataclass
class SGD(Optimizer):
    """SGD with momentum."""

    momentum: float = key("momentum", at_least=0, below=1)
    nesterov: bool = key("Nesterov momentum")


@dataclass
class Scheduler:
    """Learning rate as a function of the update number."""

    kind: str = key("chosen by scheduler=…", choices=("poly", "cosine", "plateau", "constant"))
    warmup_steps: int = key("updates of linear warm-up", at_least=0)


@dataclass
class PolyScheduler(Scheduler):
    """(1 − t)^power."""

    power: float = key("exponent of the decay", at_least=0)


@dataclass
class CosineScheduler(Scheduler):
    """Half a cosine, down to final_factor."""

    final_factor: float = key("share of the learning rate left at the end", at_least=0)


@dataclass
class PlateauScheduler(Scheduler):
    """Lowered when the validation score stops rising."""

    factor: float = key("what the rate is multiplied with", above=0, below=1)
    patience: int = key("validations without a better score", at_least=0)


@dataclass
class ConstantScheduler(Scheduler):
    """The same rate throughout."""


# --- trainer, checkpoint ------------------------------------------------------------------------------
@dataclass
class Trainer:
    """How it is trained."""

    epochs: int = key("epochs", at_least=1)
    samples_per_epoch: int = key("crops per epoch, however few the images", at_least=1)
    batch_size: int = key("crops per step and process", at_least=1)
    workers: int = key("loader processes; -1: by the machine", at_least=-1)
    accumulate: int = key("batches summed per update", at_least=1)
    clip_grad_norm: float | None = key("greatest gradient norm; null: not clipped", at_least=0)
    precision: str = key(
        "auto: bf16 where the hardware supports it natively", choices=("auto", "32", "bf16", "16")
    )
    accelerator: str = key("where it runs", choices=("auto", "cpu", "cuda", "mps"))
    devices: int = key("processes, one device each; more than 1 starts torchrun", at_least=1)
    ema_decay: float | None = key("exponential moving average of the weights; null: off", at_least=0, below=1)
    early_stopping: int | None = key(
        "stop after so many validations without a better score; null: never", at_least=1
    )
    compile: bool = key("torch.compile the model")
    val_every: Any = key(
        "epochs between validations; auto: so many that they take a fifth of the time; the last always is validated"
    )
    log_every: int = key(
        "updates between points of loss and learning rate within an epoch; 0: none", at_least=0, before=0
    )
    pictures: int = key("validation images shown in TensorBoard", at_least=0)


@dataclass
class Checkpoint:
    """When it is saved."""

    every_minutes: float = key(
        "minutes between saves within an epoch; each epoch's end is saved anyway", at_least=0
    )
    monitor: str = key("the validation score that chooses best.pt")


@dataclass
class Tile:
    """Overlapping tiles for images too large to be predicted whole."""

    size: int | None = key("side of a tile in working pixels; null: whole where memory allows", at_least=32)
    overlap: int | None = key("overlap of neighbouring tiles in working pixels; null: a quarter", at_least=0)
    batch: int = key("tiles per forward pass", at_least=1)


@dataclass
class Objects:
    """How objects are cut out of a model's probabilities, where that is to be otherwise than in its checkpoint."""

    seed_threshold: float | None = key(
        "seed probability above which connected pixels begin an object; higher merges less, and misses more; null: "
        "as chosen on validation images",
        at_least=0,
        below=1,
    )
    threshold: float | None = key(
        "foreground probability above which a pixel can belong to an object; null: as chosen",
        at_least=0,
        below=1,
    )
    min_size: int | None = key("objects of fewer pixels are dropped; null: as chosen", at_least=0)
    open: int | None = key(
        "parts of an object thinner than twice as many pixels are cut off; null: as chosen", at_least=0
    )


_TTA = "average over flips and quarter turns; true: those that training used, all: all eight"
_THRESHOLD = (
    "for two classes: probability from which a pixel is foreground, a number or {CLASS: number}; null: 0.5"
)
_SCALE = "working resolution over the image's own; null: as in training"
"""Meanings of keys that both unet-eval and unet-predict have."""


# --- the commands' own keys ---------------------------------------------------------------------------
@dataclass
class TrainConfig:
    """Everything `unet-train` is told."""

    encoder: EncoderKeys | OwnObject = key("the contracting path")
    weights: Weights = key("what it starts from")
    model: Model = key("the rest of the net")
    dataset: DatasetKeys = key("what is learnt")
    split: Split = key("who is held out")
    augmentation: Augmentation = key("random crops and transforms")
    loss: Loss | OwnObject = key("what is minimised")
    optimizer: Optimizer = key("how")
    scheduler: Scheduler = key("learning rate over time")
    trainer: Trainer = key("length, batches, device")
    checkpoint: Checkpoint = key("when it is saved")
    tile: Tile = key("tiles for large validation images")
    seed: int = key("of weights, crops and augmentation", at_least=0, at_most=2**32 - 1)
    resume: str | None = key(
        "a run folder to go on with; auto: start, or go on with the run in hydra.run.dir"
    )
    logger: Any = key(
        "where the curves go: tensorboard, wandb, mlflow, or a list of these; metrics.csv is always written",
        before=["tensorboard"],
    )
    plan: str | None = key(
        "a file of keys from `unet-data plan`; auto: made before the run, for minutes=30", before=None
    )


@dataclass
class EvalConfig:
    """Everything `unet-eval` is told."""

    ckpt: str | None = key("checkpoint to evaluate, runs/…/best.pt, or a run folder")
    predictions: str | None = key(
        "in place of ckpt: a folder of masks to score, such as the output of unet-predict; needs dataset=…"
    )
    part: str | None = key(
        "what is scored; null: test if the split has one, else val; of predictions all",
        choices=("train", "val", "test", "all"),
    )
    tta: bool | str = key(_TTA, choices=TTA)
    threshold: Any = key(_THRESHOLD)
    objects: Objects = key("how objects are cut out; null: as in the checkpoint")
    scale: float | None = key(_SCALE, at_least=0.01, at_most=100)
    surface: bool = key("measure the distances between outlines too (HD95, ASSD, NSD); slow", before=False)
    surface_tolerance: float = key("pixels by which NSD lets outlines differ", above=0, before=2.0)
    overlays: int = key("how many of the best and of the worst images are drawn", at_least=0)
    report: bool = key("write report.html: scores, diagrams and images in one file")
    output: str | None = key("folder of the results; null: eval/<dataset>-<part> in the run folder")
    accelerator: str = key("where it runs", choices=("auto", "cpu", "cuda", "mps"))
    precision: str = key(
        "auto: bf16 where the hardware supports it natively", choices=("auto", "32", "bf16", "16")
    )
    tile: Tile = key("tiles for large images")
    split: Split | None = key("another split than the run's; null: the run's")
    dataset: DatasetKeys | None = key("another data set than the run's; null: the run's")
    encoder: OwnObject | None = key(
        "only for a run with an encoder of one's own (_target_): the same override again"
    )


@dataclass
class PredictConfig:
    """Everything `unet-predict` is told."""

    ckpt: str | list[str] | None = key(
        "checkpoint or run folder, or a list [a,b,c] whose probabilities are averaged"
    )
    weights: Weights | None = key("weights=brain_mri in place of ckpt: the published brain MRI model")
    input: str = key("an image, a folder (with its sub-folders) or a pattern; an existing path wins")
    output: str = key(
        "folder for masks/, classes/, overlays/ and, where the model knows them, objects/ and objects.csv"
    )
    format: str = key(
        "ctc: input is a sequence, output a result folder of the Cell Tracking Challenge",
        choices=("images", "ctc"),
    )
    overwrite: bool = key("do again what is already there")
    shard: str | None = key(
        "k/n: only every n-th image from the k-th on, for n processes or jobs side by side"
    )
    ignore_below: float = key(
        "write unknown (255) where the class is less probable than this; 0: nowhere", at_least=0, at_most=1
    )
    probabilities: bool = key("write probabilities too (float16 tif)")
    roi: bool = key("write each object's outline as a region of ImageJ and Fiji (rois/NAME.zip)")
    tta: bool | str = key(_TTA, choices=TTA)
    threshold: Any = key(_THRESHOLD)
    objects: Objects = key("how objects are cut out; null: as in the checkpoint")
    scale: float | None = key(_SCALE, at_least=0.01, at_most=100)
    intensity_range: list[float] | None = key("pixel values mapped to 0 and 1; null: as in training")
    accelerator: str = key("where it runs", choices=("auto", "cpu", "cuda", "mps"))
    precision: str = key(
        "auto: bf16 where the hardware supports it natively", choices=("auto", "32", "bf16", "16")
    )
    tile: Tile = key("tiles for large images")
    encoder: OwnObject | None = key(
        "only for a model with an encoder of one's own (_target_): the same override again"
    )


@dataclass
class ExportConfig:
    """Everything `unet-export` is told."""

    ckpt: str | None = key("checkpoint to export, runs/…/best.pt, or a run folder")
    weights: Weights | None = key("weights=brain_mri in place of ckpt: the published brain MRI model")
    format: str = key("what is written", choices=("onnx", "torch_export", "safetensors"))
    output: str = key("folder for model.onnx, model.pt2 or model.safetensors, and model_card.md")
    pixels: str = key(
        "type of the pixels that go in; auto: uint8, or float32 where the data need it",
        choices=("auto", "uint8", "uint16", "float32"),
    )
    encoder: OwnObject | None = key(
        "only for a model with an encoder of one's own (_target_): the same override again"
    )


@dataclass
class DataConfig:
    """Everything `unet-data check` is told."""

    dataset: DatasetKeys = key("what is checked")
    split: Split = key("who is held out")
    output: str | None = key(
        "check: folder for data.json (figures) and sheet.png (a dozen images with their labels); null: none"
    )


@dataclass
class RunsConfig:
    """Everything `unet-runs` is told, beside what it does and the folders."""

    score: str | None = key(
        "what is compared, as in metrics.json: iou/mean, dice/<class>, seg; null: the runs' checkpoint.monitor"
    )
    part: str | None = key(
        "whose evaluation counts; null: test where all runs have it, else the validation of the training",
        choices=("train", "val", "test", "all"),
    )
    csv: str | None = key("write the table into this file too")
    plot: str | None = key("draw the scores with their intervals into this file (.png, .svg, .pdf)")


COMMANDS: dict[str, type] = {
    "train": TrainConfig,
    "eval": EvalConfig,
    "predict": PredictConfig,
    "export": ExportConfig,
    "data": DataConfig,
    "runs": RunsConfig,
}

SECTIONS: dict[str, tuple[str, Mapping[str, type]]] = {
    "encoder": (
        "kind",
        Schemas(ENCODERS),
    ),
    "weights": ("kind", {name: Weights for name in ("random", "imagenet", "file", "brain_mri")}),
    "model": ("", {"": Model}),
    "dataset": (
        "layout",
        Schemas(LAYOUTS),
    ),
    "split": ("", {"": Split}),
    "augmentation": ("", {"": Augmentation}),
    "loss": ("", {"": Loss}),
    "optimizer": ("kind", {"adamw": AdamW, "adam": Adam, "sgd": SGD}),
    "scheduler": (
        "kind",
        {
            "poly": PolyScheduler,
            "cosine": CosineScheduler,
            "plateau": PlateauScheduler,
            "constant": ConstantScheduler,
        },
    ),
    "trainer": ("", {"": Trainer}),
    "checkpoint": ("", {"": Checkpoint}),
    "tile": ("", {"": Tile}),
    "objects": ("", {"": Objects}),
}
"""Section of a config → (the key that tells the kinds apart, schema by kind)."""

PATH_KEYS = (
    "ckpt",
    "predictions",
    "weights.path",
    "dataset.root",
    "dataset.group_csv",
    "split.file",
    "input",
    "output",
    "resume",
    "plan",
    "hydra.run.dir",
    "hydra.sweep.dir",
    "csv",
    "plot",
    "dataset.images",
    "dataset.masks",
    "dataset.suffix",
    "dataset.group_regex",
)
"""Keys whose values are paths, or parts or patterns of file names, taken as typed."""

CUSTOM = ("encoder", "loss")
"""Sections that may be somebody's own object, named by `_target_`."""


def mapping_keys() -> set[str]:
    """Dotted names of the keys that hold a mapping of the user's own, such as ``dataset.target_params``."""
    return {
        f"{section}.{name}"
        for section, (_, kinds) in SECTIONS.items()
        for schema in kinds.values()
        for name, (hint, _) in schema_fields(schema).items()
        if "dict[" in str(hint)
    }
