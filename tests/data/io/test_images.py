"""Every format, dtype and axis order comes back as written down; broken files are named in one line."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from unet_train.data.io.images import (
    image_size,
    list_images,
    read_image,
    read_labels,
    read_palette,
    write_image,
    write_labels,
)
from unet_train.errors import UserError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (21, 34), dtype=np.uint8)
RGB = RNG.integers(0, 256, (21, 34, 3), dtype=np.uint8)
DEEP = RNG.integers(0, 65536, (21, 34), dtype=np.uint16)
ODD_NAMES = ["größe", "image (1)", "it's", "a&b", "a,b", "x=1", "~tilde", "日本", "#1 %20"]


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp", ".PNG", ".TIFF"])
@pytest.mark.parametrize("array", [GREY, RGB], ids=["grey", "rgb"])
def test_lossless_round_trip(tmp_path, suffix, array):
    path = tmp_path / f"image{suffix}"
    write_image(path, array)
    image = read_image(path)
    expected = array if array.ndim == 3 else array[:, :, None]
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, expected)
    assert image_size(path) == expected.shape
    # an independent reader agrees about the order of the colours
    np.testing.assert_array_equal(np.asarray(Image.open(path)), array)


def test_jpg_is_close_and_rgb(tmp_path):
    smooth = np.zeros((32, 32, 3), np.uint8)
    smooth[..., 0] = 200
    write_image(tmp_path / "a.jpg", smooth)
    image = read_image(tmp_path / "a.jpg")
    assert np.abs(image.astype(int) - smooth).max() < 6


@pytest.mark.parametrize("name", ODD_NAMES)
@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
def test_odd_names(tmp_path, name, suffix):
    path = tmp_path / "odd folder ü" / (name + suffix)
    write_image(path, GREY)
    assert read_image(path).shape == (21, 34, 1)
    assert list_images(path.parent) == [path]
    assert image_size(path) == (21, 34, 1)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bit_is_divided_by_65535(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    write_image(path, DEEP)
    image = read_image(path)
    assert image.dtype == np.float32
    np.testing.assert_allclose(image[:, :, 0], DEEP / 65535, atol=1e-6)
    colour = np.stack([DEEP, DEEP // 2, DEEP // 3], axis=-1)
    write_image(path, colour)
    np.testing.assert_allclose(read_image(path), colour / 65535, atol=1e-6)


def test_declared_range_clips_and_rescales(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.array([[0, 1000, 2000, 3000, 5000]], np.uint16))
    image = read_image(path, intensity_range=(1000, 3000))
    np.testing.assert_allclose(image[0, :, 0], [0, 0, 0.5, 1, 1])
    tifffile.imwrite(path, np.array([[-200, 0, 200]], np.int16))
    np.testing.assert_allclose(read_image(path, intensity_range=(-200, 200))[0, :, 0], [0, 0.5, 1])
    with pytest.raises(UserError, match=r"a\.tif.*int16.*-200 to 200.*dataset\.intensity_range"):
        read_image(path)
    with pytest.raises(UserError, match="smaller"):
        read_image(path, intensity_range=(5, 5))


def test_float_files(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.array([[0.0, 0.25, 1.0]], np.float64))
    image = read_image(path)
    assert image.dtype == np.float32
    np.testing.assert_array_equal(image[0, :, 0], np.float32([0, 0.25, 1]))
    tifffile.imwrite(path, np.array([[0.0, 2.5]], np.float32))
    with pytest.raises(UserError, match=r"dataset\.intensity_range"):
        read_image(path)
    tifffile.imwrite(path, np.array([[0.0, np.nan]], np.float32))
    with pytest.raises(UserError, match="NaN"):
        read_image(path, intensity_range=(0, 1))


@pytest.mark.parametrize(
    ("shape", "options", "expected"),
    [
        ((21, 34), {}, (21, 34, 1)),
        ((1, 21, 34), {}, (21, 34, 1)),
        ((21, 34, 1), {}, (21, 34, 1)),
        ((21, 34, 3), {}, (21, 34, 3)),
        ((3, 21, 34), {"photometric": "rgb", "planarconfig": "separate"}, (21, 34, 3)),
        ((5, 21, 34), {"photometric": "minisblack", "planarconfig": "separate"}, (21, 34, 5)),
        ((21, 34, 5), {"photometric": "minisblack", "planarconfig": "contig"}, (21, 34, 5)),
        ((21, 34, 5), {}, (21, 34, 5)),  # the documented guess
        ((4, 21, 34), {"imagej": True, "metadata": {"axes": "CYX"}}, (21, 34, 4)),
        ((4, 21, 34), {"ome": True, "metadata": {"axes": "CYX"}}, (21, 34, 4)),
        ((21, 34, 4), {}, (21, 34, 3)),  # the fourth sample is marked as alpha
    ],
)
def test_tif_axes(tmp_path, shape, options, expected):
    path = tmp_path / "a.tif"
    array = RNG.integers(0, 255, shape, dtype=np.uint8)
    tifffile.imwrite(path, array, **options)
    image = read_image(path)
    assert image.shape == expected == image_size(path)
    moved = np.squeeze(array) if array.ndim == 2 or 1 in array.shape else array
    if moved.ndim == 2:
        moved = moved[:, :, None]
    elif moved.shape[0] < 10:
        moved = np.moveaxis(moved, 0, -1)
    np.testing.assert_array_equal(image, moved[:, :, : expected[2]])


def test_stacks_are_refused_unless_declared_as_channels(tmp_path):
    path = tmp_path / "a.tif"
    array = RNG.integers(0, 255, (5, 21, 34), dtype=np.uint8)
    tifffile.imwrite(path, array)
    with pytest.raises(UserError, match=r"a\.tif: a stack of 5 .*dataset\.channels=5"):
        read_image(path)
    np.testing.assert_array_equal(read_image(path, channels=5), np.moveaxis(array, 0, -1))
    assert image_size(path, channels=5) == (21, 34, 5)
    tifffile.imwrite(path, array, imagej=True, metadata={"axes": "ZYX"})
    with pytest.raises(UserError, match=r"stack.* 5 \(Z\)"):
        read_image(path, channels=5)
    with tifffile.TiffWriter(path) as file:
        file.write(GREY)
        file.write(GREY[:10])
    with pytest.raises(UserError, match="holds 2 images"):
        read_image(path)


def test_a_declared_fourth_channel_is_no_alpha(tmp_path):
    array = RNG.integers(0, 255, (21, 34, 4), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", array)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif", channels=4), array)


def test_channels_declared(tmp_path):
    write_image(tmp_path / "grey.png", GREY)
    write_image(tmp_path / "same.png", np.repeat(GREY[:, :, None], 3, axis=2))
    write_image(tmp_path / "rgb.png", RGB)
    assert read_image(tmp_path / "grey.png", channels=3).shape == (21, 34, 3)
    np.testing.assert_array_equal(read_image(tmp_path / "same.png", channels=1)[:, :, 0], GREY)
    with pytest.raises(UserError, match=r"rgb\.png: .*\b3 channels.*dataset\.channels.* 1\b"):
        read_image(tmp_path / "rgb.png", channels=1)


def test_alpha_palette_bits_and_white_is_zero(tmp_path):
    alpha = np.dstack([RGB, GREY])
    Image.fromarray(alpha).save(tmp_path / "rgba.png")
    np.testing.assert_array_equal(read_image(tmp_path / "rgba.png"), RGB)
    assert image_size(tmp_path / "rgba.png") == RGB.shape
    Image.fromarray(np.dstack([GREY, GREY // 2])).save(tmp_path / "la.png")
    np.testing.assert_array_equal(read_image(tmp_path / "la.png")[:, :, 0], GREY)

    indices = (GREY % 3).astype(np.uint8)
    palette = Image.fromarray(indices, mode="P")
    palette.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    for name in ("p.png", "p.bmp", "p.tif"):
        palette.save(tmp_path / name)
        colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)[indices]
        np.testing.assert_array_equal(read_image(tmp_path / name), colours)
        np.testing.assert_array_equal(read_labels(tmp_path / name), indices)
        assert image_size(tmp_path / name) == (21, 34, 3)

    bits = GREY > 128
    for name in ("b.png", "b.bmp", "b.tif"):
        Image.fromarray(bits).save(tmp_path / name)
        np.testing.assert_array_equal(read_image(tmp_path / name)[:, :, 0], bits * np.uint8(255))
        np.testing.assert_array_equal(read_labels(tmp_path / name) > 0, bits)

    tifffile.imwrite(tmp_path / "w.tif", GREY, photometric="miniswhite")
    np.testing.assert_array_equal(read_image(tmp_path / "w.tif")[:, :, 0], 255 - GREY)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_labels_round_trip(tmp_path, suffix, dtype):
    labels = RNG.integers(0, np.iinfo(dtype).max, (21, 34)).astype(dtype)
    write_labels(tmp_path / f"a{suffix}", labels)
    back = read_labels(tmp_path / f"a{suffix}")
    assert back.dtype == dtype
    np.testing.assert_array_equal(back, labels)


def test_labels_of_other_kinds(tmp_path):
    write_image(tmp_path / "same.png", np.repeat(GREY[:, :, None], 3, axis=2))
    np.testing.assert_array_equal(read_labels(tmp_path / "same.png"), GREY)
    write_image(tmp_path / "rgb.png", RGB)
    with pytest.raises(UserError, match=r"rgb\.png: a colour image"):
        read_labels(tmp_path / "rgb.png")
    tifffile.imwrite(tmp_path / "f.tif", np.float32([[0, 1], [2, 70000]]))
    assert read_labels(tmp_path / "f.tif").tolist() == [[0, 1], [2, 70000]]
    tifffile.imwrite(tmp_path / "f.tif", np.float32([[0, 0.5]]))
    with pytest.raises(UserError, match="whole numbers"):
        read_labels(tmp_path / "f.tif")
    with pytest.raises(ValueError, match="lose nothing"):
        write_labels(tmp_path / "a.jpg", GREY)
    with pytest.raises(ValueError, match="uint8 or uint16"):
        write_labels(tmp_path / "a.png", GREY.astype(np.int64))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif"])
def test_broken_files_are_named(tmp_path, suffix):
    """OpenCV paints the missing half of a truncated file black or grey in silence; here it is refused."""
    path = tmp_path / f"broken{suffix}"
    write_image(path, np.repeat(np.repeat(RGB, 4, 0), 4, 1))
    whole = path.read_bytes()
    for data in (whole[: len(whole) // 2], whole[:60], whole[:20], b"", b"not an image at all", b"\0" * 40):
        path.write_bytes(data)
        for reader in (read_image, read_labels):
            with pytest.raises(UserError, match=f"broken\\{suffix}: ") as caught:
                reader(path)
            assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=f"missing\\{suffix}"):
        read_image(tmp_path / f"missing{suffix}")


def test_one_flipped_byte_of_a_png(tmp_path):
    path = tmp_path / "a.png"
    write_image(path, RGB)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(UserError, match="checksum"):
        read_image(path)


def test_the_content_decides_not_the_suffix(tmp_path):
    write_image(tmp_path / "a.png", GREY)
    (tmp_path / "a.png").rename(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif")[:, :, 0], GREY)


def test_writing_is_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.png"
    write_image(path, GREY)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="cannot hold"):
        write_image(path, GREY.astype(np.float32))
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]  # no temporary file stays


def test_listing(tmp_path):
    for name in (
        "a10.png",
        "a2.PNG",
        "a1.tif",
        ".hidden.png",
        "._a1.tif",
        "notes.txt",
        "sub/b.jpg",
        ".git/c.png",
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    assert [path.name for path in list_images(tmp_path)] == ["a1.tif", "a2.PNG", "a10.png"]
    relative = [path.relative_to(tmp_path).as_posix() for path in list_images(tmp_path, recursive=True)]
    assert relative == ["a1.tif", "a2.PNG", "a10.png", "sub/b.jpg"]
    with pytest.raises(UserError, match="missing"):
        list_images(tmp_path / "missing")


def test_real_files(real_data):
    hela = real_data / "DIC-C2DH-HeLa" / "01" / "t000.tif"
    image = read_image(hela)
    assert image.shape == (512, 512, 1)
    np.testing.assert_array_equal(image[:, :, 0], tifffile.imread(hela))
    brain = real_data / "kaggle_3m" / "TCGA_CS_4942_19970222" / "TCGA_CS_4942_19970222_1.tif"
    assert read_image(brain).shape == image_size(brain) == (256, 256, 3)
    membrane = real_data / "isbi2012" / "images" / "00.png"
    assert read_image(membrane).shape == image_size(membrane) == (512, 512, 1)


def test_the_palette_of_an_image(tmp_path):
    colours = np.array([[0, 0, 0], [128, 64, 0], [1, 2, 255]], np.uint8)
    indices = np.array([[0, 1], [2, 1]], np.uint8)
    image = Image.fromarray(indices, mode="P")
    image.putpalette(colours.tobytes())
    for name in ("a.png", "a.bmp", "a.tif"):
        image.save(tmp_path / name)
        np.testing.assert_array_equal(read_palette(tmp_path / name)[:3], colours)
        np.testing.assert_array_equal(read_labels(tmp_path / name), indices)
    for name in ("grey.png", "grey.tif"):
        write_image(tmp_path / name, indices)
        assert read_palette(tmp_path / name) is None
    write_image(tmp_path / "rgb.png", colours[indices])
    assert read_palette(tmp_path / "rgb.png") is None
    (tmp_path / "b.png").write_bytes(b"text")
    with pytest.raises(UserError, match=r"b\.png"):
        read_palette(tmp_path / "b.png")
