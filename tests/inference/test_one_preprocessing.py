"""One preprocessing: by hand, in training, whole, tiled, streamed, as exported graph and by the API it is the same."""

import cv2
import numpy as np
import pytest
import tifffile
import torch

import unet_train
from unet_train.checkpoint import FORMAT
from unet_train.data.description import DataDescription
from unet_train.data.io.images import read_image
from unet_train.data.loading.training_set import Sampling, TrainingSet
from unet_train.data.records import Record, Source, Truth
from unet_train.data.targets import get_target
from unet_train.inference import streaming
from unet_train.inference.graph import PredictionGraph
from unet_train.inference.predictor import Predictor
from unet_train.inference.tiled import Tiling
from unet_train.models.files import write_checkpoint
from unet_train.models.spec import ModelSpec, build_model
from unet_train.preprocessing.preprocessing import Preprocessing
from unet_train.runs.export import RESAMPLED
from unet_train.runs.export_check import OwnImages, draw_cases

VIEW = 12
"""Working pixels that the net looks far: two 3×3 convolutions at stride 1, 2 and 1 (2 + 4 + 2), pooling, up-step."""

TILES = Tiling(64, int(np.ceil(VIEW / 0.375)))

SAME = 1e-5
"""The same arithmetic in another order."""

BLENDED = 2e-5
"""Besides, a tile's edge has a weight of 1e-6."""

MATRICES = 5e-5
"""The graph resamples by matrices in float32, OpenCV by positions of its own rounding."""

KINDS = ["uint8", "uint16", "uint16 with a range", "float32"]


def model_of(kind: str, scale: float, normalisation: str = "image") -> Predictor:
    """A small net with random weights that says both classes."""
    torch.manual_seed(0)
    fixed = {"mean": [0.4], "std": [0.2]} if normalisation == "fixed" else {"mean": None, "std": None}
    spec = ModelSpec(
        encoder={"kind": "unet", "init_features": 4, "depth": 1},
        in_channels=1,
        outputs=["background", "cell"],
        normalisation={"mode": normalisation, **fixed},
    )
    data = DataDescription(
        "drawn",
        ("background", "cell"),
        1,
        scale=scale,
        normalisation=normalisation,
        intensity_range=(100.0, 3100.0) if "range" in kind else None,
    )
    model = build_model(spec).eval().requires_grad_(False)
    logits = model(torch.randint(0, 256, (1, 1, 64, 64), dtype=torch.uint8))
    model.head.bias[1] += (logits[:, 0] - logits[:, 1]).median()
    return Predictor(model, data)


def drawn(size: tuple[int, int], kind: str) -> np.ndarray:
    """Blobs and noise, H×W, as the numbers of a file."""
    rng = np.random.default_rng(sum(size))
    smooth = cv2.GaussianBlur(rng.random(size), (0, 0), 3)
    unit = np.clip(0.5 + 4 * (smooth - smooth.mean()) + 0.2 * (rng.random(size) - 0.5), 0, 1)
    if kind == "float32":
        return unit.astype(np.float32)
    if kind == "uint8":
        return (255 * unit).astype(np.uint8)
    return (unit * (3000 if "range" in kind else 65535)).astype(np.uint16)


def scaled_by_hand(raw: np.ndarray, kind: str) -> np.ndarray:
    """The numbers of a file as an image: 8 bits as they are, others float32 in [0, 1]."""
    if kind in ("uint8", "float32"):
        return raw
    low, high = (100, 3100) if "range" in kind else (0, 65535)
    return np.clip((raw.astype(np.float64) - low) / (high - low), 0, 1).astype(np.float32)


def by_hand(model: Predictor, raw: np.ndarray, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Prepared image (h×w) and probabilities (2×H×W), with OpenCV and the bare net."""
    image, scale = scaled_by_hand(raw, kind), model.data.scale
    height, width = (max(1, int(np.floor(length * scale + 0.5 + 1e-9))) for length in image.shape)
    small = image
    if scale != 1:
        way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        small = cv2.resize(image, (width, height), interpolation=way).reshape(height, width)
    unit = image.astype(np.float64) / (255 if kind == "uint8" else 1)
    keys = ()
    if model.data.normalisation == "image":
        keys = (torch.tensor([[unit.mean()]]).float(), torch.tensor([[max(unit.std(), 1 / 255)]]).float())
    with torch.no_grad():
        logits = model.model(torch.from_numpy(small[None, None]), *keys)
        probabilities = model.model.probabilities(logits)[0].numpy()
    if scale != 1:
        back = cv2.INTER_AREA if scale > 1 else cv2.INTER_LINEAR
        size = image.shape[::-1]
        probabilities = np.stack(
            [cv2.resize(p, size, interpolation=back).reshape(image.shape) for p in probabilities]
        )
    return small, probabilities


def streamed(model: Predictor, path, output, monkeypatch) -> np.ndarray:
    """Probabilities of a tif on their way through `predict_large`, and the classes it wrote."""
    size = tifffile.imread(path).shape
    result = np.full((2, *size), np.nan, np.float32)
    to_classes = streaming.to_classes

    def watched(blocks, *decision):
        def each():
            for top, left, part in blocks:
                result[:, top : top + part.shape[1], left : left + part.shape[2]] = part
                yield top, left, part

        return to_classes(each(), *decision)

    with monkeypatch.context() as patch:
        patch.setattr(streaming, "to_classes", watched)
        streaming.predict_large(model, path, output)
    np.testing.assert_array_equal(tifffile.imread(output), result.argmax(0))
    return result


class OneImage(Source):
    """A data set of one file, all of it background."""

    classes, channels = ("background", "cell"), 1

    def __init__(self, path, intensity_range):
        self.path, self.intensity_range = path, intensity_range

    def records(self):
        return [Record(key="one", image=self.path, labels={"mask": self.path}, group="one")]

    def read_image(self, record):
        return read_image(record.image, intensity_range=self.intensity_range)

    def read_truth(self, record):
        height, width = self.read_image(record).shape[:2]
        return Truth(np.zeros((height, width), np.uint8), None)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("size", "scale"),
    [
        ((150, 96), 1.0),
        ((97, 131), 1.0),
        ((1, 70), 1.0),
        ((200, 260), 0.5),
        ((173, 261), 0.5),
        ((260, 320), 0.3),
        ((259, 317), 0.3),
        ((1, 300), 0.3),
        ((48, 50), 2.0),
        ((37, 53), 2.0),
    ],
)
@pytest.mark.parametrize("normalisation", ["image", "fixed"])
def test_five_ways_are_one(tmp_path, monkeypatch, size, scale, kind, normalisation):
    raw = drawn(size, kind)
    tifffile.imwrite(tmp_path / "a.tif", raw)
    model = model_of(kind, scale, normalisation)
    small, expected = by_hand(model, raw, kind)
    assert expected.std() > 0.005, "a picture to tell apart"
    image = model.read(tmp_path / "a.tif")

    source = OneImage(tmp_path / "a.tif", model.data.intensity_range)
    crops = TrainingSet(
        source,
        source.records(),
        target=get_target("classes"),
        sampling=Sampling(4, seed=0, crop_size=(min(16, small.shape[0]), min(16, small.shape[1]))),
        preprocessing=Preprocessing(normalisation, scale),
    )
    for index in range(4):
        crop = crops[0, index]
        height, width = crop.image.shape[:2]
        windows = np.lib.stride_tricks.sliding_window_view(small, (height, width))
        assert (windows == crop.image[..., 0]).all((2, 3)).any(), "cut out of the prepared image"

    whole = model.predict(image)
    np.testing.assert_allclose(whole.outputs, expected, atol=SAME)
    tiled = Predictor(model.model, model.data, tiling=TILES)
    np.testing.assert_allclose(tiled.predict(image).outputs, expected, atol=BLENDED)
    found = streamed(tiled, tmp_path / "a.tif", tmp_path / "out.tif", monkeypatch)
    np.testing.assert_allclose(found, expected, atol=BLENDED)

    pixels = kind.split()[0]
    graph = PredictionGraph(model, pixels).eval()
    (found,) = graph(torch.from_numpy(raw[None, None].copy()))
    tolerance = SAME if scale == 1 else MATRICES
    if kind == "uint8" and scale != 1:
        tolerance = RESAMPLED  # a grey step: the graph rounds halves of 8 bits up, OpenCV to even ones
    np.testing.assert_allclose(found[0], expected, atol=tolerance)
    if min(small.shape) > 1:
        case = draw_cases(graph, tiled, OwnImages(["a"], [image], [None]))[0]
        in_range = np.clip(raw, 100, 3100) if "range" in kind else raw
        np.testing.assert_array_equal(case.inputs[0][0, 0], in_range)
        np.testing.assert_allclose(case.expected[0], expected, atol=SAME)


@pytest.mark.parametrize("scale", [1.0, 0.3])
@pytest.mark.parametrize("kind", KINDS)
def test_the_api_does_it_too(tmp_path, monkeypatch, kind, scale):
    raw = drawn((259, 317), kind)
    tifffile.imwrite(tmp_path / "a.tif", raw)
    model = model_of(kind, scale)
    _, expected = by_hand(model, raw, kind)
    content = {
        "format": FORMAT,
        "model": model.model.spec.to_dict(),
        "data": model.data.to_dict(),
        "config": {},
        "state_dict": model.model.state_dict(),
        "epoch": 0,
    }
    write_checkpoint(tmp_path / "best.pt", content)
    loaded = unet_train.load(tmp_path / "best.pt", accelerator="cpu", precision="32", tile=Tiling(64, 32))
    assert loaded.data.preprocessing == model.data.preprocessing, "kept in the checkpoint"
    np.testing.assert_allclose(loaded.predict(raw).probabilities, expected, atol=BLENDED)

    keys = {
        "precision": "32",
        "accelerator": "cpu",
        "tile": {"size": 64, "overlap": 32},
        "probabilities": True,
    }
    unet_train.predict(tmp_path / "best.pt", tmp_path / "a.tif", tmp_path / "whole", **keys)
    written = tifffile.imread(tmp_path / "whole" / "probabilities" / "a.tif")
    np.testing.assert_allclose(written.transpose(2, 0, 1), expected, atol=5e-4, err_msg="float16")
    monkeypatch.setattr(streaming, "LARGE_PIXELS", 1000)
    unet_train.predict(tmp_path / "best.pt", tmp_path / "a.tif", tmp_path / "large", **keys)
    assert not (tmp_path / "large" / "probabilities").exists(), "streamed"
    classes = tifffile.imread(tmp_path / "large" / "classes" / "a.tif")
    unsure = np.abs(expected[0] - expected[1]) < 4 * BLENDED
    assert ((classes == expected.argmax(0)) | unsure).all()
    assert unsure.mean() < 0.01
