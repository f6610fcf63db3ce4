"""An export told top to bottom: checkpoint, graph, file, check of the file against PyTorch, model card."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unet_train import __version__
from unet_train.atomic import replacing, writing
from unet_train.config.checks import expand
from unet_train.config.schema import ExportConfig
from unet_train.errors import UserError
from unet_train.inference.graph import PIXELS, PredictionGraph, exportable
from unet_train.inference.predictor import Predictor
from unet_train.log import LOGGER, log_to
from unet_train.models.spec import ModelSpec, build_model
from unet_train.models.weights import load_file
from unet_train.models.weights.brain_mri import BRAIN_MRI_URL, NOT_PUBLISHED
from unet_train.runs.checkpoint_files import PredictorSettings, brain_mri_predictor, load_predictor
from unet_train.runs.export_check import Case, draw_cases, own_images
from unet_train.runs.model_card import Exported, Origin, model_card

FILES = {"onnx": "model.onnx", "torch_export": "model.pt2", "safetensors": "model.safetensors"}

EXACT, RESAMPLED = 1e-4, 2e-2
"""Greatest difference to PyTorch that is let pass; larger where the image is resampled, whose 8-bit rounding
OpenCV does in whole numbers."""

Runner = Callable[[Case], np.ndarray]
"""A written file, loaded again: the probabilities of the classes for one case."""


class WrongFile(Exception):
    """The exporter wrote a file that does not compute what PyTorch does."""


@dataclass(frozen=True)
class Writer:
    """One format: how the file is written, and how it is run again."""

    write: Callable[[PredictionGraph, Path], None]
    open: Callable[[PredictionGraph, Path], Runner]


def export_run(config: ExportConfig) -> Path:
    """Write the model and its card into the output folder; the path of the file.

    Raises
    ------
    UserError
        For a checkpoint that cannot be read or a folder that cannot be written.
    WrongFile
        If the written file does not compute what PyTorch does; it is removed.
    """
    log_to(None)
    output = expand(config.output)
    predictor, origin = load_model(config)
    if config.format != "safetensors" and not exportable(predictor.target):
        raise UserError(
            f"{origin.source}: target {predictor.data.target} cannot be exported as a graph; use format=safetensors"
        )
    images = own_images(origin.checkpoint, predictor.data)
    graph = PredictionGraph(predictor, choose_pixels(config.pixels, predictor, images.pictures)).eval()
    cases = draw_cases(graph, predictor, images)
    writer = WRITERS[config.format]
    path = output / FILES[config.format]
    try:
        output.mkdir(parents=True, exist_ok=True)
        with replacing(path, ending=f".part{path.suffix}") as temporary:
            with quiet():
                writer.write(graph, temporary)
                run = writer.open(graph, temporary)
                differences = {case.name: case.difference(run(case)) for case in cases}
            tell(config.format, differences, graph)
    except OSError as error:
        raise UserError(f"output={output}: cannot be written ({error.strerror or error})") from error
    exported = Exported(config.format, path.name, graph, predictor, differences, images.found)
    text = model_card(exported, origin)
    with writing(output), replacing(output / "model_card.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
    LOGGER.info(f"written   {path} ({path.stat().st_size / 1e6:.1f} MB), {output / 'model_card.md'}")
    return path


def load_model(config: ExportConfig) -> tuple[Predictor, Origin]:
    """What `ckpt` or `weights` names: the predictor, and where it comes from.

    Raises
    ------
    UserError
    """
    settings = PredictorSettings("cpu", "32")
    if config.ckpt:
        predictor, checkpoint, file = load_predictor(config.ckpt, settings, encoder=config.encoder)
        return predictor, Origin(file, checkpoint)
    path = config.weights.path if config.weights else None
    predictor, notes = brain_mri_predictor(path, settings)
    for note in notes:
        LOGGER.info(note)
    published = not any(NOT_PUBLISHED in note for note in notes)
    return predictor, Origin(expand(path) if path else Path(BRAIN_MRI_URL), published=published)


def choose_pixels(wanted: str, predictor: Predictor, pictures: list[np.ndarray]) -> str:
    """Type of the pixels that go in: 8 bits, unless the data say otherwise.

    Raises
    ------
    UserError
        For a type that does not go with the model.
    """
    data = predictor.data
    if data.preprocessing.per_volume:
        if wanted not in ("auto", "float32"):
            raise UserError(
                f"pixels={wanted}: a model normalised per volume takes float32, stretched to [0, 1] by the "
                "statistics of the volume"
            )
        return "float32"
    if wanted != "auto":
        return wanted
    eight_bits = all(picture.dtype == np.uint8 for picture in pictures)
    return "uint8" if eight_bits and data.intensity_range is None else "float32"


def tell(kind: str, differences: dict[str, float], graph: PredictionGraph) -> None:
    """Say how far the file is from PyTorch, and refuse it where that is too far.

    Raises
    ------
    WrongFile
    """
    engine = {
        "onnx": "onnxruntime",
        "torch_export": "torch.export",
        "safetensors": "the file, loaded again,",
    }[kind]
    for name, difference in differences.items():
        LOGGER.info(f"checked   {name}: {engine} differs from PyTorch by {difference:.1e} at most")
    worst = max(differences.values())
    LOGGER.info(f"greatest difference of a probability: {worst:.1e}")
    allowed = EXACT if graph.scale == 1 else RESAMPLED
    if not worst <= allowed:  # NaN too
        raise WrongFile(f"the written {kind} file differs from PyTorch by {worst:.1e}, more than {allowed:g}")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the exporters' warnings and progress off the screen; errors still come through."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


# --- formats ------------------------------------------------------------------------------------------
def export_program(graph: PredictionGraph) -> torch.export.ExportedProgram:
    """The graph for any batch, height and width."""
    channels = graph.model.in_channels
    # The example's sizes are no special cases: not 1, not alike, no multiples of the stride.
    image = torch.zeros(2, channels, 70, 86).to(PIXELS[graph.pixels])
    any_size = {0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    shapes: dict[str, Any] = {"image": any_size}
    arguments: tuple[torch.Tensor, ...] = (image,)
    if graph.per_volume:
        arguments = (image, torch.zeros(2, channels), torch.ones(2, channels))
        shapes |= {name: {0: torch.export.Dim.DYNAMIC} for name in ("mean", "std")}
    return torch.export.export(graph, arguments, dynamic_shapes=shapes, strict=False)


def write_torch_export(graph: PredictionGraph, path: Path) -> None:
    """Write what ``torch.export.load`` reads."""
    torch.export.save(export_program(graph), path)


def open_torch_export(graph: PredictionGraph, path: Path) -> Runner:
    """The file, without the guards that torch puts around the sizes of the example."""
    module = torch.export.load(path).module(check_guards=False)
    return lambda case: module(*map(torch.from_numpy, case.inputs))[0].numpy()


def write_onnx(graph: PredictionGraph, path: Path) -> None:
    """Write one ONNX file, its weights inside, inputs, outputs and sizes with names."""
    program = torch.onnx.export(export_program(graph), dynamo=True, external_data=False, verbose=False)
    assert program is not None  # None only without dynamo
    proto = program.model_proto
    axes = dict(zip((0, 2, 3), ("batch", "height", "width"), strict=True))
    first = proto.graph.input[0].type.tensor_type.shape.dim
    sizes = {first[axis].dim_param: name for axis, name in axes.items()}
    # What stands between inputs and outputs would go by the old names; readers work it out themselves.
    del proto.graph.value_info[:]
    outputs = ["probabilities", "outputs"][: len(proto.graph.output)]
    names = {value.name: name for value, name in zip(proto.graph.output, outputs, strict=True)}
    for value in [*proto.graph.input, *proto.graph.output]:
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param in sizes:
                size.dim_param = sizes[size.dim_param]
    for node in proto.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for value in proto.graph.output:
        value.name = names[value.name]
    proto.producer_name = "unet-train"
    proto.producer_version = __version__
    path.write_bytes(proto.SerializeToString())


def open_onnx(graph: PredictionGraph, path: Path) -> Runner:
    """The file in onnxruntime, on the CPU."""
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    return lambda case: session.run(["probabilities"], dict(zip(names, case.inputs, strict=True)))[0]


def write_safetensors(graph: PredictionGraph, path: Path) -> None:
    """Write the weights under our names, with the description of the model beside them."""
    from safetensors.torch import save

    description = {"model": graph.spec.to_dict(), "unet_train": __version__}
    # safetensors takes no channels_last tensors.
    tensors = {name: value.contiguous() for name, value in graph.model.state_dict().items()}
    # save_file would make a file that its owner alone may read.
    path.write_bytes(save(tensors, metadata={"format": "pt", "unet_train": json.dumps(description)}))


def open_safetensors(graph: PredictionGraph, path: Path) -> Runner:
    """A new model, built from the description in the file and filled by the way of weights=file."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        description = json.loads(file.metadata()["unet_train"])
    spec = ModelSpec.from_dict(description["model"])
    encoder = graph.model.encoder if spec.encoder["kind"] == "custom" else None
    model = build_model(spec, encoder)
    load_file(model, path)
    again = PredictionGraph(replace(graph.predictor, model=model.eval()), graph.pixels).eval()

    def run(case: Case) -> np.ndarray:
        with torch.inference_mode():
            probabilities: np.ndarray = again(*map(torch.from_numpy, case.inputs))[0].numpy()
        return probabilities

    return run


WRITERS = {
    "onnx": Writer(write_onnx, open_onnx),
    "torch_export": Writer(write_torch_export, open_torch_export),
    "safetensors": Writer(write_safetensors, open_safetensors),
}
