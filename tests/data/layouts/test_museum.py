"""Folders in about sixty conventions: each is read right with no key, or with the key that the refusal names."""

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import tests.data.layouts.museum as museum
from unet_train.data.check import check_source
from unet_train.data.layouts.folder import folder_source
from unet_train.data.splits import make_split
from unet_train.data.summary import summarise
from unet_train.errors import UserError


@pytest.mark.parametrize("name", museum.CONVENTIONS)
def test_a_convention_is_read_right(tmp_path, name):
    convention = museum.CONVENTIONS[name]
    convention.write(tmp_path)
    source = folder_source(tmp_path, **convention.keys)
    seen = []
    for record in source.records():
        scene = museum.scene_of(source.read_image(record))
        truth = source.read_truth(record)
        np.testing.assert_array_equal(truth.classes, convention.truth(scene), record.key)
        assert record.part == convention.parts[scene]
        if convention.objects:
            numbers, inverse = np.unique(truth.instances, return_inverse=True)
            expected, wanted = np.unique(museum.objects(scene), return_inverse=True)
            assert len(numbers) == len(expected)
            pairs = set(zip(inverse.ravel().tolist(), wanted.ravel().tolist(), strict=True))
            assert len(pairs) == len(numbers), "each object has one number, and no two share one"
        else:
            assert truth.instances is None
        seen.append(scene)
    assert sorted(seen) == [scene for scene in range(museum.COUNT) if convention.parts[scene] != ""]
    assert not source.layout_problems()
    assert len(Counter(record.key for record in source.records())) == len(seen)
    if convention.names:
        assert source.classes == convention.names
    if not any(convention.parts):
        assert len({record.group for record in source.records()}) == convention.groups


READ_WITHOUT_THEIR_KEY_TOO = ("declared parts", "object numbers", "COCO as objects", "NIfTI volumes")


@pytest.mark.parametrize("name", museum.CONVENTIONS)
def test_the_check_says_what_was_understood(tmp_path, name):
    """data.json's figures, by hand from the scenes."""
    convention = museum.CONVENTIONS[name]
    convention.write(tmp_path)
    source = folder_source(tmp_path, **convention.keys)
    records = source.records()
    found = summarise(source, records, check_source(source, records), make_split(records), tmp_path)
    used = [scene for scene in range(museum.COUNT) if convention.parts[scene] != ""]
    truths = [convention.truth(scene) for scene in used]
    pixels = np.bincount(np.concatenate(truths).ravel())
    assert [found["pixels"][name] for name in source.classes] == pixels.tolist()
    assert found["unknown"] == 0
    assert found["classes"] == list(source.classes)
    assert found["sizes"] == [{"height": museum.HEIGHT, "width": museum.WIDTH, "images": len(used)}]
    # Of pages in one training group, val is a block with a gap of two images beside it.
    gap = 2 if name == "pages of a tif" or "volumes" in name else 0
    assert sum(found["parts"].values()) == len(used) - gap
    told = [part for part in convention.parts if part]
    if "val" in told:
        assert found["parts"] == dict(Counter(told))
    if convention.objects:
        assert found["objects"]["count"] == sum(int(museum.objects(scene).max()) for scene in used)
    else:
        assert found["objects"] is None
    assert found["problems"] == []
    assert found["pairing"] == source.pairing
    assert convention.pairing in found["pairing"]
    assert len(found["left_out"]) == convention.left_out + (gap > 0)  # by file; the gap is two pages of one


@pytest.mark.parametrize(
    "name", [n for n, c in museum.CONVENTIONS.items() if c.keys and n not in READ_WITHOUT_THEIR_KEY_TOO]
)
def test_a_needed_key_is_named(tmp_path, name):
    """The refusal, or the problem that the check lists, names the key and a file."""
    convention = museum.CONVENTIONS[name]
    convention.write(tmp_path)
    try:
        said = [what for _, what in folder_source(tmp_path).layout_problems()]
    except UserError as error:
        said = [str(error)]
    for key in convention.keys:
        assert any(f"dataset.{key}" in line for line in said), said


def test_the_key_of_a_refusal_works_as_it_is_written(tmp_path):
    """Keys are taken out of the message, as a user copies them."""
    museum.CONVENTIONS["colours"].write(tmp_path)
    with pytest.raises(UserError) as refusal:
        folder_source(tmp_path)
    from unet_train.config.command_line import lay_over

    (word,) = re.findall(r"'(dataset\.colors=[^']*)'", str(refusal.value))
    colors = lay_over({"dataset": {"colors": None}}, [word])["dataset"]["colors"]
    source = folder_source(tmp_path, colors=colors)
    for record in source.records():
        scene = museum.scene_of(source.read_image(record))
        # The order of the classes is that of their shares: class 2 covers more than class 1.
        expected = np.array([0, 2, 1])[museum.classes(scene)]
        np.testing.assert_array_equal(source.read_truth(record).classes, expected)


def test_two_rules_that_fit_are_both_named_and_either_can_be_chosen(tmp_path):
    museum.pairs("leftImg8bit/{name}_x.png", "gtFine/{name}_gt_ids.png")(tmp_path)
    museum.pairs("leftImg8bit/{name}_x.png", "gtFine/{name}_gt_inverse.png", lambda i: 1 - museum.binary(i))(
        tmp_path
    )
    with pytest.raises(UserError) as refusal:
        folder_source(tmp_path)
    words = re.findall(r"'dataset\.(images|masks)=([^']*)'", str(refusal.value))
    assert len(words) == 4
    chosen = {}
    for (_, images), (_, masks) in (words[:2], words[2:]):
        source = folder_source(tmp_path, images=images, masks=masks)
        assert len(source.records()) == museum.COUNT
        chosen[Path(source.records()[0].labels["mask"]).stem] = source.read_truth(source.records()[0]).classes
    assert sorted(chosen) == ["a9_gt_ids", "a9_gt_inverse"]
    np.testing.assert_array_equal(chosen["a9_gt_ids"], 1 - chosen["a9_gt_inverse"])


LAYOUTS = [
    ("images/{}", "masks/{}"),
    ("images/img_{}", "masks/mask_{}"),
    ("{}_img", "{}_gt"),
    ("raw/{}", "drawn/{}_label"),
    ("{}/image", "{}/label"),
    ("photos/{}-x", "photos/{}-mask"),
]
STEMS = [
    [f"f{n}" for n in (1, 2, 10, 11, 100)],
    ["größe (1)", "größe (2)", "it's", "a b", "x=1"],
    ["s1/01", "s1/02", "s2/01", "s2/02", "s2/03"],
    ["plate_A_01", "plate_A_02", "plate_B_01", "plate_B_02", "plate_C_03"],
]
FORMS = {
    ".png": [
        museum.classes,
        lambda i: museum.classes(i) * np.uint8(1),
        lambda i: museum.coloured(museum.binary(i)),
    ],
    ".tif": [museum.classes, lambda i: museum.classes(i).astype(np.uint16)],
    ".npy": [museum.classes, lambda i: museum.classes(i).astype(np.int64)],
    ".bmp": [museum.classes, museum.white],
    ".gif": [museum.white],
    ".webp": [museum.binary],
}


@pytest.mark.parametrize("seed", range(40))
def test_a_random_scene_in_a_random_convention_comes_back(tmp_path, seed):
    rng = np.random.default_rng(seed)
    image, mask = LAYOUTS[rng.integers(len(LAYOUTS))]
    stems = STEMS[rng.integers(len(STEMS))]
    ending = str(rng.choice([".png", ".jpg", ".tif", ".bmp"]))
    mask_ending = str(rng.choice(list(FORMS)))
    form = FORMS[mask_ending][rng.integers(len(FORMS[mask_ending]))]
    for scene, stem in enumerate(stems):
        museum.save(tmp_path / (image.format(stem) + ending), museum.picture(scene))
        museum.save(tmp_path / (mask.format(stem) + mask_ending), form(scene))
    source = folder_source(tmp_path)
    assert not source.layout_problems()
    scenes = [museum.scene_of(source.read_image(record)) for record in source.records()]
    assert sorted(scenes) == list(range(len(stems)))
    for scene, record in zip(scenes, source.records(), strict=True):
        drawn = form(scene)
        truth = museum.classes(scene) if drawn.ndim == 2 and drawn.max() == 2 else museum.binary(scene)
        np.testing.assert_array_equal(source.read_truth(record).classes, truth, record.key)


def test_listing_and_pairing_open_no_image(tmp_path, monkeypatch):
    """Files that hold nothing pair all the same; only the sampled masks are read."""
    from unet_train.data.pairing.find import FilesRule, find_pairs

    for index in range(50):
        for path in (f"images/{index}.png", f"masks/{index}.png"):
            museum.text(path, "no image")(tmp_path)
            museum.text(f"deep/x_{path}", "no image")(tmp_path / "other")
    assert len(find_pairs(tmp_path, FilesRule()).pairs) == 50
    assert len(find_pairs(tmp_path / "other", FilesRule()).pairs) == 50


def test_masks_that_are_turned_with_their_images_are_told(tmp_path):
    museum.CONVENTIONS["turned by the camera, masks not"].write(tmp_path / "a")
    museum.CONVENTIONS["turned by the camera"].write(tmp_path / "b")
    assert any("a9.jpg" in note for note in folder_source(tmp_path / "a").notes)
    assert not any("a9.jpg" in note for note in folder_source(tmp_path / "b").notes)
