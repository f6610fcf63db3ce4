"""Bad files, and odd but good ones, drawn from a seed and handed to the check, the training samples and the prediction.

What is promised: a file is read rightly or refused in one line that names it. `run` raises AssertionError for anything
else: another exception, more than `SECONDS`, more than `BYTES` of memory, other pixels than were drawn, a file that is
passed over without a word.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import socket
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tifffile
from PIL import Image

from unet_train.data.check import check_source, format_facts, format_problems
from unet_train.data.layouts.folder import FolderSource, folder_source
from unet_train.data.loading.training_set import Sampling, TrainingSet
from unet_train.data.summary import summarise
from unet_train.data.targets.classes import ClassesTarget
from unet_train.errors import UserError, one_line
from unet_train.runs.data_report import write_report

CASES = 2000
SECONDS = 20
"""Longest time of one case; most take a few hundredths of a second."""
BYTES = 1 << 30
"""Most memory by which a case may raise the peak of the process."""

Array = np.ndarray
Rng = np.random.Generator


def run(seed: int, folder: Path) -> str:
    """Draw the case of a seed in an empty folder, read it as the commands do, and tell what came of it.

    Parameters
    ----------
    seed : int
    folder : Path
        Is filled with files; to be removed by the caller.

    Returns
    -------
    str
        ``refused`` or ``read``, after the kind of case: ``truncated: refused``.

    Raises
    ------
    AssertionError
        A promise is broken; names the seed.
    """
    import resource  # not on Windows, where other tests take files from here

    rng = np.random.default_rng([seed, 2000])
    kind = list(KINDS)[seed % len(KINDS)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        with _alarm(), _bounded(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            outcome = KINDS[kind](rng, Path(folder))
    except Exception as error:
        raise AssertionError(f"seed {seed}, {kind}: {type(error).__name__}: {error}") from error
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10
    assert grown < BYTES, f"seed {seed}, {kind}: {grown >> 20} MiB of memory"
    return f"{kind}: {outcome}"


class _TooLong(BaseException):
    """Not an Exception: code that catches those must not swallow it."""


@contextmanager
def _bounded() -> Iterator[None]:
    """What a case may ask for in all, so that a broken promise does not take the machine's memory."""
    import resource

    old = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as file:
        here = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (here + 4 * BYTES, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, old)


@contextmanager
def _alarm() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise _TooLong

    old = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    except _TooLong as error:
        raise AssertionError(f"took more than {SECONDS} seconds") from error
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)


# --- what is promised -----------------------------------------------------------------------------------


def _told(action: Callable[[], Any], name: str) -> tuple[Any, str]:
    """What an action gave, or the line in which it refused, which must name the file."""
    try:
        return action(), ""
    except UserError as error:
        line = one_line(str(error))
        assert line.isprintable(), f"not one line: {line!r}"
        line.encode()
        assert _named(name, line), f"{name!r} is not named in: {line}"
        return None, line


def _named(name: str, line: str) -> bool:
    """Whether a line names a file; by its stem at least, as records go by their keys."""
    return any(one_line(text) in line for text in (name, os.path.splitext(name)[0]))


def _sample(source: FolderSource, records: list[Any]) -> Callable[[], Any]:
    def draw() -> Any:
        sampling = Sampling(samples_per_epoch=len(records), seed=0, crop_size=16)
        samples = TrainingSet(source, records, target=ClassesTarget(), sampling=sampling)
        return [samples[0, index] for index in range(len(records))]

    return draw


class Expected(NamedTuple):
    """What a file holds.

    Attributes
    ----------
    pixels : ndarray or None
        H×W×C as `read_image` should give it; None: whatever is read is right.
    tolerance : float
        Greatest mean difference, for lossy formats.
    refused : bool
        Whether the file must not be read at all.
    odd : bool
        Whether it may hold zeros alone.
    damaged : bool
        Whether it may be refused; if it is read, then rightly.
    """

    pixels: Array | None = None
    tolerance: float = 0.0
    refused: bool = False
    odd: bool = False
    damaged: bool = False

    @property
    def may_be_refused(self) -> bool:
        """Whether a refusal breaks no promise."""
        return self.refused or self.damaged or self.pixels is None


def _as_image(folder: Path, path: Path, expected: Expected) -> str:
    """An image beside a good one, through the data check, training and prediction. `path` lies in `images/`."""
    outcomes = {_through_the_check(folder, path, expected), _through_prediction(folder, path, expected)}
    return "refused" if "refused" in outcomes else "read"


def _through_the_check(folder: Path, path: Path, expected: Expected) -> str:
    source, line = _told(lambda: folder_source(folder), path.name)
    if source is None:
        assert expected.may_be_refused, line
        return "refused"
    records = source.records()
    own = [record for record in records if Path(record.image) == path]
    report, line = _told(lambda: check_source(source, records, workers=1), path.name)
    if report is None:
        return "refused"
    format_facts(report).encode()
    format_problems(report).encode()
    (folder / "report").mkdir()
    write_report(folder / "report", summarise(source, records, report, None, folder), None, "sheet.png")
    told = [one_line(str(problem)) for problem in report.problems] + list(report.warnings)
    said = [one_line(text) for text in (*source.notes, *source.left_out, *told)]
    about = [line for line in said if _named(path.name, line)]
    assert own or about, f"{path.name} is passed over in silence: {said}"
    if not own:
        return "refused"
    bad = any(_named(path.name, line) for line in told)
    if not bad and report.problems:  # it is of another size or number of channels than the good one
        bad = True
    samples, _ = _told(_sample(source, own), path.name)
    if samples is None:
        assert bad, "a sample refuses what the check let pass"
        return "refused"
    pixels = source.read_image(own[0])
    if bad:
        assert expected.may_be_refused, told
        return "refused"
    _compare(pixels, expected)
    return "read"


def _through_prediction(folder: Path, path: Path, expected: Expected) -> str:
    from unet_train.config.schema import PredictConfig
    from unet_train.runs.prediction import is_large, predict_images
    from unet_train.runs.prediction_inputs import Inputs, find_inputs
    from unet_train.runs.prediction_models import Models

    inputs, _ = _told(lambda: find_inputs(str(path.parent), folder / "out"), path.parent.name)
    assert inputs is not None, "the good image was not found"
    jobs = [job for job in inputs.jobs if job.path == path]
    if not jobs:
        return "refused"
    assert len(jobs) == 1, f"{path.name} is predicted {len(jobs)} times"
    image, line = _told(lambda: None if is_large(path) else _predictor().read(path), path.name)
    if image is None:
        colours = expected.pixels is not None and expected.pixels.shape[2] != 1
        assert line == "" or colours or expected.may_be_refused, line
        return "refused"
    _compare(image, expected)
    models = Models([_predictor()], None, False, "drawn", "", [])
    config = PredictConfig(**{field.name: None for field in fields(PredictConfig)})
    config.overwrite = config.probabilities = False
    outcome = predict_images(config, models, Inputs(jobs, jobs, False, []), folder / "out")
    assert outcome.predicted == 1
    assert not outcome.bad, outcome.bad
    written = folder / "out" / "classes" / f"{jobs[0].name}.tif"
    assert tifffile.imread(written).shape == image.shape[:2]
    return "read"


def _compare(pixels: Array, expected: Expected) -> None:
    assert not expected.refused, f"read as {pixels.dtype} {pixels.shape}"
    assert expected.odd or pixels.any(), "read as nothing but zeros, which was not drawn"
    if expected.pixels is None:
        return
    wanted = expected.pixels
    if wanted.shape[2] == 3 and pixels.shape[2] == 1:
        wanted = wanted[:, :, :1]
    assert pixels.shape == wanted.shape, f"{pixels.shape} for {wanted.shape}"
    assert pixels.dtype == wanted.dtype, f"{pixels.dtype} for {wanted.dtype}"
    apart = float(np.abs(pixels.astype(np.float64) - wanted.astype(np.float64)).mean())
    assert apart <= expected.tolerance, f"other pixels than were drawn: {apart} apart on average"


@cache
def _predictor() -> Any:
    import torch

    from unet_train.data.description import DataDescription
    from unet_train.inference.predictor import Predictor
    from unet_train.models.spec import ModelSpec, build_model

    torch.set_num_threads(1)
    classes = ("background", "cell")
    spec = ModelSpec(
        encoder={"kind": "unet", "init_features": 2, "depth": 1},
        in_channels=1,
        outputs=list(classes),
        norm="none",
        normalisation={"mode": "fixed", "mean": None, "std": None},
    )
    data = DataDescription(name="drawn", classes=classes, channels=1, normalisation="fixed")
    return Predictor(build_model(spec).eval(), data)


# --- files ----------------------------------------------------------------------------------------------

HEIGHT, WIDTH = 24, 20


def _drawn(rng: Rng, channels: int = 1, dtype: type = np.uint8) -> Array:
    """H×W×C of smooth grey levels with a bright square, no two images alike."""
    ramp = np.linspace(0.1, 0.6, HEIGHT)[:, None, None] + np.linspace(0, 0.2, WIDTH)[None, :, None]
    image = ramp + rng.uniform(-0.05, 0.05, (HEIGHT, WIDTH, channels))
    image[6:14, 5:13] += 0.2
    if np.issubdtype(dtype, np.floating):
        return image.astype(dtype)
    return (image * np.iinfo(dtype).max).astype(dtype)


def _mask() -> Array:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[6:14, 5:13] = 255
    return mask


def _pillow(array: Array, form: str, mode: str | None = None, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image = Image.fromarray(array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array)
    (image.convert(mode) if mode else image).save(buffer, form, **options)
    return buffer.getvalue()


def _tif(array: Array, **options: Any) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, **options)
    return buffer.getvalue()


def _npy(array: Array) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _npz(array: Array) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, image=array)
    return buffer.getvalue()


def _nifti(array: Array) -> bytes:
    import nibabel

    return nibabel.Nifti1Image(array, np.eye(4)).to_bytes()


class Drawn(NamedTuple):
    """A good file: its bytes, its ending, what it holds."""

    data: bytes
    ending: str
    expected: Expected


def _good(rng: Rng) -> Drawn:
    return GOOD[int(rng.integers(len(GOOD)))](rng)


def _grey(form: str, ending: str, **options: Any) -> Callable[[Rng], Drawn]:
    def draw(rng: Rng) -> Drawn:
        image = _drawn(rng)
        return Drawn(_pillow(image, form, **options), ending, Expected(image))

    return draw


def _tif_of(channels: int = 1, dtype: type = np.uint8, **options: Any) -> Callable[[Rng], Drawn]:
    def draw(rng: Rng) -> Drawn:
        image = _drawn(rng, channels, dtype)
        stored = image if channels > 1 else image[:, :, 0]
        if options.get("planarconfig") == "separate":
            stored = np.moveaxis(stored, -1, 0)
        shown = (image / np.float32(65535)).astype(np.float32) if dtype == np.uint16 else image
        return Drawn(_tif(stored, **options), ".tif", Expected(shown, 1e-6))

    return draw


def _array_of(write: Callable[[Array], bytes], ending: str, dtype: type) -> Callable[[Rng], Drawn]:
    def draw(rng: Rng) -> Drawn:
        image = _drawn(rng, 1, dtype)
        shown = (image / np.float32(65535)).astype(np.float32) if dtype == np.uint16 else image
        return Drawn(write(image[:, :, 0]), ending, Expected(shown, 1e-6))

    return draw


def _rgb(form: str, ending: str, **options: Any) -> Callable[[Rng], Drawn]:
    def draw(rng: Rng) -> Drawn:
        image = _drawn(rng, 3)
        return Drawn(_pillow(image, form, **options), ending, Expected(image))

    return draw


def _png_16(rng: Rng) -> Drawn:
    image = _drawn(rng, 1, np.uint16)
    return Drawn(
        _pillow(image, "PNG"), ".png", Expected((image / np.float32(65535)).astype(np.float32), 1e-6)
    )


def _one_bit(form: str, ending: str) -> Callable[[Rng], Drawn]:
    def draw(rng: Rng) -> Drawn:
        image = (_drawn(rng) > 120).astype(np.uint8) * np.uint8(255)
        buffer = io.BytesIO()
        Image.fromarray(image[:, :, 0]).convert("1").save(buffer, form)
        return Drawn(buffer.getvalue(), ending, Expected(image))

    return draw


def _palette(form: str, ending: str) -> Callable[[Rng], Drawn]:
    def draw(rng: Rng) -> Drawn:
        indices = (_drawn(rng)[:, :, 0] // 16).astype(np.uint8)
        colours = rng.integers(0, 256, (16, 3), dtype=np.uint8)
        image = Image.fromarray(indices, "L")
        image.putpalette(colours.ravel().tolist())
        buffer = io.BytesIO()
        image.save(buffer, form)
        return Drawn(buffer.getvalue(), ending, Expected(colours[indices]))

    return draw


def _alpha(rng: Rng) -> Drawn:
    image = _drawn(rng, 3)
    alpha = rng.integers(0, 256, (HEIGHT, WIDTH, 1), dtype=np.uint8)
    return Drawn(_pillow(np.concatenate([image, alpha], 2), "PNG"), ".png", Expected(image))


def _ink(form: str, ending: str, tolerance: float) -> Callable[[Rng], Drawn]:
    def draw(rng: Rng) -> Drawn:
        inks = _drawn(rng, 4)
        image = Image.frombytes("CMYK", (WIDTH, HEIGHT), inks.tobytes())
        buffer = io.BytesIO()
        image.save(buffer, form, **({"quality": 95} if form == "JPEG" else {}))
        return Drawn(buffer.getvalue(), ending, Expected(np.asarray(image.convert("RGB")), tolerance))

    return draw


def _jpg(rng: Rng) -> Drawn:
    image = _drawn(rng)
    return Drawn(_pillow(image, "JPEG", quality=95), ".jpg", Expected(image, 4))


TIFS: list[Callable[[Rng], Drawn]] = [
    _tif_of(),
    _tif_of(3, photometric="rgb"),
    _tif_of(3, photometric="rgb", planarconfig="separate"),
    _tif_of(dtype=np.uint16, byteorder=">"),
    _tif_of(dtype=np.float32, compression="zlib"),
    _tif_of(compression="lzw", rowsperstrip=5),
    _tif_of(compression="zstd", tile=(16, 16)),
    _tif_of(bigtiff=True, compression="packbits"),
]

GOOD: list[Callable[[Rng], Drawn]] = [
    _grey("PNG", ".png"),
    _grey("BMP", ".bmp"),
    _rgb("WEBP", ".webp", lossless=True),
    _jpg,
    _rgb("PNG", ".png"),
    _png_16,
    _one_bit("PNG", ".png"),
    _one_bit("BMP", ".bmp"),
    _one_bit("TIFF", ".tif"),
    _palette("PNG", ".png"),
    _palette("GIF", ".gif"),
    _palette("TIFF", ".tif"),
    _alpha,
    _ink("JPEG", ".jpg", 6),
    _ink("TIFF", ".tif", 1),
    *TIFS,
    _array_of(_npy, ".npy", np.uint8),
    _array_of(_npy, ".npy", np.uint16),
    _array_of(_npy, ".npy", np.float32),
    _array_of(_npz, ".npz", np.uint8),
]


def _folder(folder: Path, rng: Rng, name: str, *, like: Array | None = None) -> Path:
    """`images/good.png`, `masks/good.png` and the mask of `name`; the path of the image that is to be written."""
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    good = _drawn(rng)
    if like is not None:  # of the same kind, so that all of the data set agree
        good = (like if like.dtype == np.uint8 else like * 255).astype(np.uint8)[::-1]
    (folder / "images" / "good.png").write_bytes(_pillow(good, "PNG"))
    (folder / "masks" / "good.png").write_bytes(_pillow(_mask(), "PNG"))
    stem = os.path.splitext(name)[0]
    (folder / "masks" / f"{stem}.png").write_bytes(_pillow(_mask(), "PNG"))
    return folder / "images" / name


# --- kinds of cases -------------------------------------------------------------------------------------


def _whole(rng: Rng, folder: Path) -> str:
    """A good file of any format."""
    drawn = _good(rng)
    path = _folder(folder, rng, f"odd{drawn.ending}", like=drawn.expected.pixels)
    path.write_bytes(drawn.data)
    return _as_image(folder, path, drawn.expected)


def _truncated(rng: Rng, folder: Path) -> str:
    """Cut off anywhere: refused, or, where only what follows the pixels is missing, read whole."""
    drawn = _good(rng)
    path = _folder(folder, rng, f"cut{drawn.ending}", like=drawn.expected.pixels)
    path.write_bytes(drawn.data[: int(rng.integers(len(drawn.data)))])
    return _as_image(folder, path, drawn.expected._replace(damaged=True))


def _zeroed(rng: Rng, folder: Path) -> str:
    """A stretch of zeros in the file, as a disk that was full leaves it."""
    drawn = _good(rng)
    path = _folder(folder, rng, f"zeros{drawn.ending}", like=drawn.expected.pixels)
    data = bytearray(drawn.data)
    start, stop = sorted(rng.integers(0, len(data) + 1, 2).tolist())
    data[start:stop] = bytes(stop - start)
    path.write_bytes(bytes(data))
    return _as_image(folder, path, Expected(odd=True))


def _flipped(rng: Rng, folder: Path) -> str:
    """Up to sixteen bytes changed, most of them near the beginning, where the header is."""
    drawn = _good(rng)
    path = _folder(folder, rng, f"flipped{drawn.ending}", like=drawn.expected.pixels)
    data = bytearray(drawn.data)
    for _ in range(int(rng.integers(1, 17))):
        reach = len(data) if rng.random() < 0.3 else min(len(data), 256)
        data[int(rng.integers(reach))] = int(rng.integers(256))
    path.write_bytes(bytes(data))
    return _as_image(folder, path, Expected())


def _tags_changed(rng: Rng, folder: Path) -> str:
    """Numbers of a tif's tags changed: sizes, offsets, counts, types."""
    drawn = TIFS[int(rng.integers(len(TIFS)))](rng)
    path = _folder(folder, rng, "tags.tif", like=drawn.expected.pixels)
    data = bytearray(drawn.data)
    with tifffile.TiffFile(io.BytesIO(drawn.data)) as file:
        tags = list(file.pages.first.tags)
        order = file.byteorder
    tag = tags[int(rng.integers(len(tags)))]
    wide = b"+" in drawn.data[2:4]
    field = int(rng.integers(3))  # type, count, value
    at = tag.offset + (2, 4, 12 if wide else 8)[field]
    value = [0, 1, 3, 255, 65535, 2**31 - 1, 2**32 - 1, 100_000][int(rng.integers(8))]
    form = order + ("H" if field == 0 else "I")
    struct.pack_into(form, data, at, value & (0xFFFF if field == 0 else 0xFFFFFFFF))
    path.write_bytes(bytes(data))
    return _as_image(folder, path, Expected())


def _noise(rng: Rng, folder: Path) -> str:
    """Random bytes, at times after the first bytes of a format."""
    ending = [".png", ".jpg", ".tif", ".bmp", ".gif", ".webp", ".npy", ".npz"][int(rng.integers(8))]
    path = _folder(folder, rng, f"noise{ending}")
    path.write_bytes(_noise_bytes(rng))
    return _as_image(folder, path, Expected())


def _noise_bytes(rng: Rng) -> bytes:
    magics = [
        b"",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff",
        b"II*\0",
        b"MM\0*",
        b"BM",
        b"GIF89a",
        b"RIFFxxxxWEBP",
    ]
    magics += [b"\x93NUMPY\x01\0", b"PK\x03\x04", b"II+\0\x08\0\0\0"]
    return magics[int(rng.integers(len(magics)))] + rng.bytes(int(rng.integers(600)))


def _empty(rng: Rng, folder: Path) -> str:
    drawn = _good(rng)
    path = _folder(folder, rng, f"empty{drawn.ending}")
    path.write_bytes(bytes(int(rng.choice([0, 0, 1, 7, 5000]))))
    return _as_image(folder, path, Expected(refused=True))


def _wrong_ending(rng: Rng, folder: Path) -> str:
    """The ending of another format: what counts are the first bytes."""
    drawn = _good(rng)
    ending = [".png", ".jpg", ".jpeg", ".tif", ".TIFF", ".bmp", ".gif", ".webp", ".npy", ".npz", ".PNG"]
    path = _folder(folder, rng, "ending" + ending[int(rng.integers(len(ending)))], like=drawn.expected.pixels)
    path.write_bytes(drawn.data)
    return _as_image(folder, path, drawn.expected)


def _huge(rng: Rng, folder: Path) -> str:
    """Headers that claim more pixels than any memory holds, with next to nothing after them."""
    side = int(rng.choice([60_000, 65_000, 100_000]))
    files = huge_files(side)
    name = list(files)[int(rng.integers(len(files)))]
    path = _folder(folder, rng, name)
    path.write_bytes(files[name])
    return _as_image(folder, path, Expected(refused=True))


@cache
def huge_files(side: int) -> dict[str, bytes]:
    """File name → a small file whose header claims `side`² pixels, or as many as the format can say."""
    forms = [_huge_png, _huge_tif, _huge_jpg, _huge_npy, _huge_bmp, _huge_gif, _huge_npz, _huge_webp]
    return {f"huge{ending}": data for data, ending in (form(side) for form in forms)}


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _huge_png(side: int) -> tuple[bytes, str]:
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes(1 << 20))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", rows) + _chunk(
        b"IEND", b""
    ), ".png"


def _huge_tif(side: int) -> tuple[bytes, str]:
    data = bytearray(_tif(np.zeros((HEIGHT, WIDTH), np.uint8), compression="zlib", metadata=None))
    with tifffile.TiffFile(io.BytesIO(bytes(data))) as file:
        for name in ("ImageWidth", "ImageLength", "RowsPerStrip"):
            tag = file.pages.first.tags[name]
            struct.pack_into("<HII", data, tag.offset + 2, 4, 1, side)
    return bytes(data), ".tif"


def _huge_jpg(side: int) -> tuple[bytes, str]:
    data = bytearray(_pillow(np.zeros((HEIGHT, WIDTH), np.uint8), "JPEG"))
    at = data.index(b"\xff\xc0") + 5
    struct.pack_into(">HH", data, at, min(side, 65_000), min(side, 65_000))
    return bytes(data), ".jpg"


def _huge_npy(side: int) -> tuple[bytes, str]:
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({side}, {side}), }}"
    text = text.ljust(117) + "\n"
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(text)) + text.encode() + bytes(100), ".npy"


def _huge_npz(side: int) -> tuple[bytes, str]:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("image.npy", _huge_npy(side)[0] + bytes(1 << 20))
    return buffer.getvalue(), ".npz"


def _huge_bmp(side: int) -> tuple[bytes, str]:
    data = bytearray(_pillow(np.zeros((HEIGHT, WIDTH), np.uint8), "BMP"))
    struct.pack_into("<ii", data, 18, side, side)
    return bytes(data), ".bmp"


def _huge_gif(side: int) -> tuple[bytes, str]:
    data = bytearray(_pillow(np.zeros((HEIGHT, WIDTH), np.uint8), "GIF"))
    struct.pack_into("<HH", data, 6, min(side, 65_000), min(side, 65_000))
    return bytes(data), ".gif"


def _huge_webp(side: int) -> tuple[bytes, str]:
    data = bytearray(_pillow(np.zeros((HEIGHT, WIDTH), np.uint8), "WEBP", lossless=True))
    at = data.index(b"VP8L") + 9
    struct.pack_into("<I", data, at, 16_383 | 16_383 << 14)
    return bytes(data), ".webp"


def _not_finite(rng: Rng, folder: Path) -> str:
    image = _drawn(rng, 1, np.float32)[:, :, 0]
    image[int(rng.integers(HEIGHT)), int(rng.integers(WIDTH))] = rng.choice([np.nan, np.inf, -np.inf])
    dtype = [np.float16, np.float32, np.float64][int(rng.integers(3))]
    as_tif = rng.random() < 0.5
    path = _folder(folder, rng, "nan.tif" if as_tif else "nan.npy")
    path.write_bytes((_tif if as_tif else _npy)(image.astype(dtype)))
    return _as_image(folder, path, Expected(refused=True))


def _odd_array(rng: Rng, folder: Path) -> str:
    """Dtypes and axes that are no image: most are refused; none gives another exception."""
    kinds = ["<i8", "<c8", "<U3", "<M8[s]", ">f4", "|b1", "<u4", "<f2", "|V5", "|i1", "<f8", ">u2", "|O"]
    dtype = np.dtype(kinds[int(rng.integers(len(kinds)))])
    shapes = [
        (),
        (0,),
        (5,),
        (HEIGHT, WIDTH),
        (0, WIDTH),
        (1, HEIGHT, WIDTH),
        (HEIGHT, WIDTH, 3),
        (3, HEIGHT, WIDTH),
    ]
    shapes += [
        (2, 2, HEIGHT, WIDTH),
        (HEIGHT, WIDTH, 1, 1),
        (1, 1, 1),
        (HEIGHT, WIDTH, 17),
        (1,) * 8,
        (HEIGHT, WIDTH, 0),
    ]
    array = np.zeros(shapes[int(rng.integers(len(shapes)))], dtype)
    path = _folder(folder, rng, "axes.npy")
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    path.write_bytes(buffer.getvalue())
    return _as_image(folder, path, Expected(odd=True))


NAMES = [
    *(
        "größe.png",
        "a b.png",
        " lead.png",
        "two\nlines.png",
        "-dash.png",
        "--help.png",
        "50%.v2.png",
        "it's.png",
    ),
    *(
        'say "hi".png',
        "x=1,y.png",
        "[1].png",
        "{name}.png",
        "$HOME.png",
        "a\\b.png",
        "tab\there.png",
        "*.png",
    ),
    *("细胞.png", "🔬.png", "e\u0301.png", "\u202edlrow.png", "n" * 250 + ".png", "?.png", "a;b&c|d.png"),
    *("\x1b[31mred.png", "~.png", "#.png", "null.png", "1e3.png", "\udcff.png", "a..b.png", "<b>.png"),
]


def _odd_name(rng: Rng, folder: Path) -> str:
    """Names that some system or some program takes amiss, of a good file or of a truncated one."""
    name = NAMES[int(rng.integers(len(NAMES)))]
    image = _drawn(rng)
    path = _folder(folder, rng, name, like=image)
    data = _pillow(image, "PNG")
    damaged = rng.random() < 0.5
    path.write_bytes(data[: len(data) // 2] if damaged else data)
    return _as_image(folder, path, Expected(refused=True) if damaged else Expected(image))


def _no_file(rng: Rng, folder: Path) -> str:
    """What is no file though it is named like one: pipe, device, socket, link to nothing or to itself, a folder."""
    path = _folder(folder, rng, "thing.png" if rng.random() < 0.5 else "thing.tif")
    kind = int(rng.integers(8))
    if kind == 0:
        os.mkfifo(path)
    elif kind == 1:
        path.symlink_to("/dev/zero")
    elif kind == 2:
        path.symlink_to("/dev/null")
    elif kind == 3:
        path.symlink_to(folder / "nowhere")
    elif kind == 4:
        path.symlink_to(path)
    elif kind == 5:
        path.mkdir()
        (path.parent / "other.png").write_bytes(_pillow(_drawn(rng), "PNG"))
    elif kind == 6:
        path.symlink_to("/proc/self/mem")  # a file that opens and cannot be read, even by root
    else:
        with socket.socket(socket.AF_UNIX) as server, suppress(OSError):
            here = os.getcwd()
            os.chdir(path.parent)
            try:
                server.bind(path.name)
            finally:
                os.chdir(here)
    return _as_image(folder, path, Expected(refused=True))


def _odd_mask(rng: Rng, folder: Path) -> str:
    """A mask that is no file, or a damaged one, or of other values or another size, beside a good image."""
    image = _drawn(rng)
    path = _folder(folder, rng, "of.png", like=image)
    path.write_bytes(_pillow(image, "PNG"))
    mask = folder / "masks" / "of.png"
    mask.unlink()
    good = _mask()
    must = True
    kind = int(rng.integers(14))
    if kind == 0:
        os.mkfifo(mask)
    elif kind == 1:
        mask.symlink_to("/dev/zero")
    elif kind == 2:
        mask.symlink_to(folder / "nowhere")
    elif kind == 3:
        data = _pillow(good, "PNG")
        mask.write_bytes(data[: int(rng.integers(len(data) - 12))])
    elif kind == 4:
        mask.write_bytes(_noise_bytes(rng))
    elif kind == 5:
        mask.write_bytes(_pillow(good[1:], "PNG"))
    elif kind == 6:
        mask.write_bytes(
            _tif(good.astype(np.float32) / 255 * np.float32(rng.choice([0.5, np.nan, np.inf, 1e30])))
        )
    elif kind == 7:
        mask.write_bytes(_huge_png(100_000)[0])
    elif kind == 8:
        mask.write_bytes(_huge_tif(100_000)[0])
    elif kind == 9:
        values = np.array([-5, 2**31 - 1, 2**40, 70_000])
        mask.write_bytes(_npy(np.where(good > 0, rng.choice(values), 0)))
        must = False  # two values are two classes, however large
    elif kind == 10:
        mask.write_bytes(_pillow(_drawn(rng, 3), "PNG"))
    elif kind == 11:
        mask.write_bytes(_pillow(_drawn(rng), "PNG"))
    elif kind == 12:
        other = good.copy()
        other[0, :3] = (7, 9, 13)
        mask.write_bytes(_pillow(other, "PNG"))
    else:
        mask.write_bytes(b"")
    keys: dict[str, Any] = [{}, {"instances": True}, {"classes": ["background", "cell"]}][
        int(rng.integers(3))
    ]
    source, _ = _told(
        lambda: folder_source(folder, **keys), ".png"
    )  # of values in all masks any mask is named
    if source is None:
        return "refused"
    records = source.records()
    report = check_source(source, records, workers=1)
    bad = [problem for problem in report.problems if _named("of.png", str(problem))]
    assert bad or not must or keys.get("instances") or kind in (4, 9, 11, 12), f"mask {kind} is passed over"
    samples, _ = _told(_sample(source, [r for r in records if r.key == "of"]), "of")
    assert samples is not None or bad, "a sample refuses what the check let pass"
    return "refused" if bad else "read"


def _missing_partner(rng: Rng, folder: Path) -> str:
    """An image without a mask or a mask without an image must be named."""
    path = _folder(folder, rng, "alone.png")
    path.write_bytes(_pillow(_drawn(rng), "PNG"))
    (path if rng.random() < 0.5 else folder / "masks" / "alone.png").unlink()
    source, _ = _told(lambda: folder_source(folder), "alone")
    if source is None:
        return "refused"
    said = [*source.notes, *source.left_out, *(" ".join(problem) for problem in source.layout_problems())]
    assert any("alone" in text for text in said), said
    return "refused"


def _loops(rng: Rng, folder: Path) -> str:
    """Folders that link to each other: every file is found once, and soon."""
    image = _drawn(rng)
    path = _folder(folder, rng, "one.png", like=image)
    path.write_bytes(_pillow(image, "PNG"))
    for part in ("images", "masks"):
        for number in range(int(rng.integers(1, 4))):
            (folder / part / f"loop{number}").symlink_to(folder / part, target_is_directory=True)
    if rng.random() < 0.5:
        (folder / "images" / "up").symlink_to(folder, target_is_directory=True)
        return _told(lambda: _as_image(folder, path, Expected()), "")[0] or "refused"
    return _as_image(folder, path, Expected(image))


def _vanishing(rng: Rng, folder: Path) -> str:
    """Files that are replaced, cut off or deleted after the check: the sample refuses, naming them."""
    image = _drawn(rng)
    path = _folder(folder, rng, "gone.png", like=image)
    path.write_bytes(_pillow(image, "PNG"))
    source = folder_source(folder)
    records = [record for record in source.records() if record.key == "gone"]
    assert not check_source(source, source.records(), workers=1).problems
    victim = path if rng.random() < 0.5 else folder / "masks" / "gone.png"
    data = victim.read_bytes()
    kind = int(rng.integers(6))
    victim.unlink()
    if kind == 1:
        victim.write_bytes(data[: len(data) // 2])
    elif kind == 2:
        victim.write_bytes(b"")
    elif kind == 3:
        victim.write_bytes(_pillow(_drawn(rng)[1:], "PNG"))
    elif kind == 4:
        os.mkfifo(victim)
    elif kind == 5:
        shutil.rmtree(folder / "images")
    samples, _ = _told(_sample(source, records), "gone")
    assert samples is None, f"{victim} was read after it changed ({kind})"
    job, _ = _told(lambda: _predictor().read(path), path.name)
    assert job is None or victim != path or kind == 3, "predicted what is no longer there"
    return "refused"


def _volume(rng: Rng, folder: Path) -> str:
    """A NIfTI volume, whole, cut off, with changed bytes, or with a header that claims too much."""
    stack = np.moveaxis(np.stack([_drawn(rng)[:, :, 0] for _ in range(3)]), 0, -1)
    masks = np.repeat(_mask()[:, :, None], 3, 2)
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    data = bytearray(_nifti(stack))
    kind = int(rng.integers(5))
    if kind == 1:
        del data[int(rng.integers(len(data) - 1)) :]
    elif kind == 2:
        for _ in range(8):
            data[int(rng.integers(352))] = int(rng.integers(256))
    elif kind == 3:
        struct.pack_into("<hhh", data, 42, 32_767, 32_767, 32_767)
    import gzip

    squeeze = rng.random() < 0.5
    name = "head.nii.gz" if squeeze else "head.nii"
    packed = gzip.compress(bytes(data)) if squeeze else bytes(data)
    if kind == 4:
        packed = packed[: len(packed) // 2] if squeeze else rng.bytes(len(packed))
    (folder / "images" / name).write_bytes(packed)
    (folder / "masks" / "head.nii").write_bytes(_nifti(masks))
    source, _ = _told(lambda: folder_source(folder), "head")
    if source is None:
        assert kind, "a good volume is refused"
        return "refused"
    records = source.records()
    report = check_source(source, records, workers=1)
    if report.problems:
        assert kind, report.problems
        assert all(_named("head", str(problem)) for problem in report.problems)
        _told(_sample(source, records), "head")
        return "refused"
    assert kind not in (3, 4), "a damaged volume is read"
    _told(_sample(source, records), "head")
    if kind in (0, 1):
        for number, record in enumerate(records):
            shown = np.rot90(stack[:, :, number])[:, :, None]
            assert np.array_equal(source.read_image(record), shown), "other voxels than were drawn"
    return "read"


# --- annotation files -----------------------------------------------------------------------------------

_CORNERS = ((5.0, 6.0), (13.0, 6.0), (13.0, 14.0), (5.0, 14.0))
_AREA = 64


def _coco(names: list[str]) -> Any:
    flat = [value for corner in _CORNERS for value in corner]
    return {
        "images": [{"id": i, "file_name": n, "height": HEIGHT, "width": WIDTH} for i, n in enumerate(names)],
        "annotations": [
            {
                "id": i,
                "image_id": i,
                "category_id": 1,
                "segmentation": [flat],
                "bbox": [5, 6, 8, 8],
                "area": 64,
            }
            for i in range(len(names))
        ],
        "categories": [{"id": 1, "name": "cell"}],
    }


def _labelme(name: str) -> Any:
    shape = {"label": "cell", "points": _CORNERS, "shape_type": "polygon", "group_id": None, "flags": {}}
    size = {"imageHeight": HEIGHT, "imageWidth": WIDTH}
    return {"version": "5.0", "flags": {}, "shapes": [shape], "imagePath": name, "imageData": None} | size


def _geojson() -> Any:
    ring = [*_CORNERS, _CORNERS[0]]
    properties = {"objectType": "annotation", "classification": {"name": "cell"}}
    geometry = {"type": "Polygon", "coordinates": [ring]}
    return {
        "type": "FeatureCollection",
        "features": [{"type": "Feature", "geometry": geometry, "properties": properties}],
    }


_VALUES: list[Any] = [
    None,
    "",
    "x",
    [],
    {},
    -1,
    0,
    1e308,
    10**30,
    float("nan"),
    float("inf"),
    True,
    [[[]]],
    "1",
    2**31,
]
_VALUES += [
    [1, 2],
    {"counts": "abc", "size": [24, 20]},
    {"counts": [10**12], "size": [24, 20]},
    [[0, 0]],
    "é\n",
]
_VALUES += [{"counts": [0, 480], "size": [10**6, 10**6]}, [[1e9] * 8], [[float("nan")] * 6], 100_000]


def _mutated(data: Any, rng: Rng) -> Any:
    """A JSON value with one of its parts replaced, removed or doubled."""
    data = json.loads(json.dumps(data))
    places: list[tuple[Any, Any]] = []

    def walk(part: Any) -> None:
        for key in part if isinstance(part, dict) else range(len(part)):
            places.append((part, key))
            if isinstance(part[key], dict | list):
                walk(part[key])

    walk(data)
    part, key = places[int(rng.integers(len(places)))]
    action = rng.random()
    if action < 0.15:
        del part[key]
    elif action < 0.25 and isinstance(part, list):
        part.append(part[key])
    else:
        part[key] = _VALUES[int(rng.integers(len(_VALUES)))]
    return data


def _roi() -> bytes:
    import roifile

    roi = roifile.ImagejRoi.frompoints(np.array(_CORNERS))
    roi.name = "cell"
    return roi.tobytes()


def _outlines(rng: Rng, folder: Path) -> str:
    """Outlines of one of five formats: as they should be, or with a part of them changed, cut off or replaced."""
    names = ["a.png", "b.png"]
    for name in names:
        (folder / name).write_bytes(_pillow(_drawn(rng), "PNG"))
    form = ["coco", "labelme", "yolo", "geojson", "imagej"][int(rng.integers(5))]
    damage = int(rng.integers(5))
    files: dict[str, bytes] = {}
    if form == "coco":
        files["cells.json"] = json.dumps(
            _mutated(_coco(names), rng) if damage == 1 else _coco(names)
        ).encode()
    elif form == "yolo":
        words = [f"{x / WIDTH} {y / HEIGHT}" for x, y in _CORNERS]
        if damage == 1:
            words[int(rng.integers(4))] = str(
                rng.choice(["nan 1", "1e400 0", "-5 0.5", "x", "", "0.5 0.5 0.5", "²"])
            )
        files = {f"{name[0]}.txt": ("0 " + " ".join(words) + "\n").encode() for name in names}
        files["classes.txt"] = b"cell\n"
    elif form == "imagej":
        files = {f"{name[0]}.roi": _roi() for name in names}
        if rng.random() < 0.5:
            buffer = io.BytesIO()
            with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr(
                    "cell-1.roi", _roi() + bytes(65 << 20 if damage == 1 else 0), compresslevel=1
                )
            files = {"a.zip": buffer.getvalue(), "b.roi": _roi()}
    else:
        made = {name[0]: _labelme(name) if form == "labelme" else _geojson() for name in names}
        if damage == 1:
            made["a"] = _mutated(made["a"], rng)
        ending = ".json" if form == "labelme" else ".geojson"
        files = {stem + ending: json.dumps(content).encode() for stem, content in made.items()}
    victim = sorted(files)[0]
    data = bytearray(files[victim])
    if damage == 2:
        del data[int(rng.integers(len(data))) :]
    elif damage == 3:
        for _ in range(int(rng.integers(1, 9))):
            data[int(rng.integers(len(data)))] = int(rng.integers(256))
    elif damage == 4:
        data = bytearray(
            [b"", b"[" * 100_000, b"{" * 5, b"null", b"\xff\xfe", b"[1e999]"][int(rng.integers(6))]
        )
    files[victim] = bytes(data)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    # Where no file is one of outlines any more, what is missing are masks: then the folder is named.
    source, line = _told(lambda: folder_source(folder), "")
    if source is None:
        assert damage, f"good outlines refused: {line}"
        assert any(text in line for text in (str(folder), *files, "dataset.")), line
        return "refused"
    records = source.records()
    report = check_source(source, records, workers=1)
    for problem in report.problems:
        assert any(text in str(problem) for text in (*files, *names, "a", "b")), problem
    samples, _ = _told(_sample(source, records), "")
    assert (samples is not None) or report.problems, "a sample refuses what the check let pass"
    if report.problems:
        assert damage, f"good outlines refused: {report.problems}"
        return "refused"
    if damage == 0:
        for record in records:
            marked = source.read_truth(record).classes
            assert (marked == 1).sum() == _AREA
            assert (marked[6:14, 5:13] == 1).all(), "another area than was drawn"
    return "read"


KINDS: dict[str, Callable[[Rng, Path], str]] = {
    "whole": _whole,
    "truncated": _truncated,
    "zeroed": _zeroed,
    "flipped": _flipped,
    "tags": _tags_changed,
    "noise": _noise,
    "empty": _empty,
    "wrong ending": _wrong_ending,
    "huge": _huge,
    "not finite": _not_finite,
    "odd array": _odd_array,
    "odd name": _odd_name,
    "no file": _no_file,
    "odd mask": _odd_mask,
    "missing partner": _missing_partner,
    "loops": _loops,
    "vanishing": _vanishing,
    "volume": _volume,
    "outlines": _outlines,
    "flipped again": _flipped,
    "outlines again": _outlines,
}
