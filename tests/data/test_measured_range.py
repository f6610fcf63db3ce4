"""``dataset.intensity_range=auto``: the range of the files' values, by hand."""

import numpy as np
import pytest
import tifffile

from tests.data.layouts import museum
from unet_train.data.intensities import has_own_range, measure_range
from unet_train.data.io.images import read_image
from unet_train.data.layouts.demo import DemoSource
from unet_train.data.layouts.folder import folder_source
from unet_train.errors import UserError


def folder(root, images):
    for index, image in enumerate(images):
        (root / "images").mkdir(exist_ok=True)
        tifffile.imwrite(root / f"images/{index}.tif", image)
        museum.save(root / f"masks/{index}.png", (np.indices(image.shape[:2]).sum(0) % 2).astype(np.uint8))
    return folder_source(root, intensity_range=(0.0, 1.0))


def ramps(*ends, dtype=np.uint16):
    return [np.linspace(low, high, 10_000).reshape(100, 100).astype(dtype) for low, high in ends]


def test_sixteen_bits(tmp_path):
    source = folder(tmp_path, ramps((300, 2300), (500, 4300)))
    low, high = measure_range(source, source.records())
    # The tails of the darkest and the brightest image, and a twentieth and a quarter of their distance more.
    least, most = 300 + 0.001 * 2000, 4300 - 0.001 * 3800
    assert low == pytest.approx(least - 0.05 * (most - least), abs=2)
    assert high == pytest.approx(most + 0.25 * (most - least), abs=2)
    assert low == int(low)
    assert high == int(high)
    only_first = measure_range(source, source.records()[:1])
    assert only_first[1] < 3000


def test_the_range_of_the_type_is_kept(tmp_path):
    source = folder(tmp_path, ramps((0, 65535)))
    assert measure_range(source, source.records()) == (0.0, 65535.0)


def test_a_hot_pixel_is_no_end(tmp_path):
    (image,) = ramps((1000, 2000))
    image[50, 50] = 65535
    source = folder(tmp_path, [image])
    assert measure_range(source, source.records())[1] < 2300


def test_floats_with_gaps(tmp_path):
    (image,) = ramps((-2, 6), dtype=np.float32)
    image[0, :5] = np.nan
    source = folder(tmp_path, [image])
    low, high = measure_range(source, source.records())
    assert low == pytest.approx(-2.4, abs=0.1)
    assert high == pytest.approx(8, abs=0.1)


def test_what_has_no_range_of_its_own(tmp_path):
    for name, image in {
        "eight_bits": np.arange(64, dtype=np.uint8).reshape(8, 8),
        "one_value": np.full((8, 8), 700, np.uint16),
    }.items():
        (tmp_path / name).mkdir()
        source = folder(tmp_path / name, [image])
        assert measure_range(source, source.records()) is None
    drawn = DemoSource(images=2, test_images=0, size=32, seed=0)
    assert measure_range(drawn, drawn.records()) is None


def test_a_broken_image_is_passed_over(tmp_path):
    source = folder(tmp_path, ramps((300, 2300), (500, 4300)))
    expected = measure_range(source, source.records()[1:])
    (tmp_path / "images/0.tif").write_bytes(b"II*\0 no tif")
    assert measure_range(source, source.records()) == expected
    assert has_own_range(source, source.records())


def test_eight_bits_are_not_read_by_a_range_of_more(tmp_path):
    museum.save(tmp_path / "a.png", np.full((4, 4), 200, np.uint8))
    with pytest.raises(UserError, match=r"a\.png: .*600 to 1900.*dataset\.intensity_range=\[0,255\]"):
        read_image(tmp_path / "a.png", intensity_range=(600.0, 1900.0))
    assert read_image(tmp_path / "a.png", intensity_range=(100.0, 300.0)).max() == pytest.approx(0.5)
