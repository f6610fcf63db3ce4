"""ImageJ regions: kinds of outlines, where the classes are, stacks, and what is refused."""

from __future__ import annotations

import sys
import zipfile

import numpy as np
import pytest
from roifile import ROI_OPTIONS, ROI_SUBTYPE, ROI_TYPE, ImagejRoi

from unet_train.data.annotations.find import find_annotations
from unet_train.data.annotations.shapes import rasterise
from unet_train.errors import UserError

SQUARE = np.array([[1, 1], [4, 1], [4, 3], [1, 3]])


def square() -> np.ndarray:
    mask = np.zeros((6, 8), np.uint8)
    mask[1:3, 1:4] = 1
    return mask


def outline(points=SQUARE, **more):
    roi = ImagejRoi.frompoints(points, name=more.pop("name", "0001-0002"))
    for key, value in more.items():
        setattr(roi, key, value)
    return roi


def box(kind, left, top, right, bottom, **more):
    roi = ImagejRoi(roitype=kind, left=left, top=top, right=right, bottom=bottom, name="0001-0002")
    for key, value in more.items():
        setattr(roi, key, value)
    return roi


def write_zip(path, *rois):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        taken = set()
        for roi in rois:
            name, number = roi.name, 0
            while name in taken:  # as the ROI Manager does
                number += 1
                name = f"{roi.name}-{number}"
            taken.add(name)
            archive.writestr(f"{name}.roi", roi.tobytes())
    return path


def read(tmp_path, *rois):
    write_zip(tmp_path / "a.zip", *rois)
    found = find_annotations(tmp_path)
    assert found is not None
    assert found.format == "ImageJ ROI"
    return found


def draw(found, image="a.tif", height=6, width=8):
    return rasterise(found.shapes(image), height, width, {name: i for i, name in enumerate(found.classes, 1)})


@pytest.mark.parametrize("kind", [ROI_TYPE.POLYGON, ROI_TYPE.FREEHAND, ROI_TYPE.TRACED])
def test_outlines_in_whole_numbers_are_corners(tmp_path, kind):
    assert (draw(read(tmp_path, outline(roitype=kind)))[0] == square()).all()


def test_outlines_of_subpixel_resolution(tmp_path):
    classes, _ = draw(read(tmp_path, outline(SQUARE + np.array([0.4, -0.4]))))
    assert (classes == square()).all()
    classes, _ = draw(read(tmp_path / "b", outline(SQUARE + np.array([0.6, 0]))))
    assert (classes == np.roll(square(), 1, axis=1)).all()


def test_a_single_roi_file(tmp_path):
    outline(name="nucleus").tofile(tmp_path / "größe (1).roi")
    found = find_annotations(tmp_path)
    assert found.images() == ["größe (1)"]
    assert found.classes == ("nucleus",)
    assert (draw(found, tmp_path / "größe (1).tif")[0] == square()).all()


def test_rectangles_and_ovals(tmp_path):
    classes, _ = draw(read(tmp_path, box(ROI_TYPE.RECT, 1, 1, 4, 3)))
    assert (classes == square()).all()
    y, x = np.mgrid[:20, :24] + 0.5
    ellipse = ((x - 9) / 7) ** 2 + ((y - 10) / 5) ** 2 < 1
    classes, _ = draw(read(tmp_path / "b", box(ROI_TYPE.OVAL, 2, 5, 16, 15)), height=20, width=24)
    assert (classes == ellipse).all()


@pytest.mark.parametrize("kind", [ROI_TYPE.RECT, ROI_TYPE.OVAL])
def test_boxes_of_subpixel_resolution(tmp_path, kind):
    roi = box(kind, 2, 4, 17, 16, options=ROI_OPTIONS.SUB_PIXEL_RESOLUTION)
    roi.xd, roi.yd, roi.widthd, roi.heightd = 2.75, 4.25, 13.5, 11.25
    y, x = np.mgrid[:20, :24] + 0.5
    u, v = abs(x - 9.5) / 6.75, abs(y - 9.875) / 5.625
    expected = np.maximum(u, v) < 1 if kind == ROI_TYPE.RECT else u**2 + v**2 < 1
    assert (draw(read(tmp_path, roi), height=20, width=24)[0] == expected).all()


def test_round_corners(tmp_path):
    classes, _ = draw(
        read(tmp_path, box(ROI_TYPE.RECT, 2, 2, 22, 18, rounded_rect_arc_size=12)), height=20, width=24
    )
    y, x = np.mgrid[:20, :24] + 0.5
    beyond = np.hypot(np.maximum(abs(x - 12) - 4, 0), np.maximum(abs(y - 10) - 2, 0))
    assert (classes == (beyond < 6)).all()


def test_a_composite_with_a_hole(tmp_path):
    path = [0, 1, 1, 1, 7, 1, 1, 7, 5, 1, 1, 5, 4, 0, 3, 2, 1, 3, 4, 1, 5, 4, 1, 5, 2, 4]
    roi = box(ROI_TYPE.RECT, 1, 1, 7, 5, shape_roi_size=len(path))
    roi.multi_coordinates = np.array(path, np.float32)
    expected = np.zeros((6, 8))
    expected[1:5, 1:7] = 1
    expected[2:4, 3:5] = 0
    assert (draw(read(tmp_path, roi))[0] == expected).all()


def test_regions_are_drawn_in_the_file_s_order(tmp_path):
    around = box(ROI_TYPE.RECT, 0, 0, 8, 6)
    assert (draw(read(tmp_path / "a", around, outline()))[1] == square() + 1).all()
    assert (draw(read(tmp_path / "b", outline(), around))[1] == 2).all()


def test_groups_are_classes(tmp_path):
    write_zip(tmp_path / "b.zip", outline(group=12))
    found = read(tmp_path, outline(group=3), outline(group=300))
    assert found.classes == ("group_12", "group_3", "group_300")
    assert [shape.name for shape in found.shapes("a.png")] == ["group_3", "group_300"]
    assert len(found.notes) == 1


def test_some_without_a_group_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"a\.zip: 0001-0003 .*group.*1 of 2"):
        read(tmp_path, outline(group=3), outline(name="0001-0003"))


def test_words_are_classes_without_their_counters(tmp_path):
    write_zip(tmp_path / "b.zip", outline(name="debris"))
    found = read(tmp_path, outline(name="nucleus"), outline(name="nucleus"), outline(name="nucleus"))
    assert found.classes == ("debris", "nucleus")
    assert len(found.shapes("a.png")) == 3
    assert any("nucleus" in note for note in found.notes)


@pytest.mark.parametrize(
    "names",
    [
        ["0001-0002", "0001-0003", "0007-0002-1"],  # ImageJ's own
        ["F01-C1", "F01-C2"],  # roifile's own
        ["6fa459ea-ee8a-3ca4-894e-db77e160355e", "16fd2706-8baf-433b-82eb-8c7fada847da"],
        ["alpha", "beta", "gamma"],  # each once: objects
        ["cell7", "cell8"],
    ],
)
def test_names_of_objects_are_no_classes_and_that_is_said(tmp_path, names):
    found = read(tmp_path, *(outline(name=name) for name in names))
    assert found.classes == ("object",)
    assert {shape.name for shape in found.shapes("a.png")} == {"object"}
    assert any(names[0] in note for note in found.notes)


def test_words_beside_automatic_names_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"a\.zip: 0001-0002 .*nucleus"):
        read(tmp_path, outline(name="nucleus"), outline(name="nucleus"), outline())


def test_what_macos_adds_is_passed_over(tmp_path):
    path = write_zip(tmp_path / "a.zip", outline())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("__MACOSX/._x.roi", b"\x00\x05")
        archive.writestr("sub/", b"")
        archive.writestr("sub/.DS_Store", b"x")
    assert len(find_annotations(tmp_path).shapes("a.tif")) == 1


def test_another_zip_is_no_annotation(tmp_path):
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        archive.writestr("a.png", b"x")
    (tmp_path / "b.zip").write_bytes(b"PK\x03\x04 and nothing")
    assert find_annotations(tmp_path) is None


def test_regions_of_several_slices_are_refused(tmp_path):
    assert len(read(tmp_path, outline(position=2), outline(position=2), outline()).shapes("a.tif")) == 3
    with pytest.raises(UserError, match=r"a\.zip.*2 slices"):
        read(tmp_path, outline(position=1), outline(position=2))
    with pytest.raises(UserError, match=r"a\.zip.*3 slices"):
        read(tmp_path, *(outline(t_position=t) for t in (1, 2, 3)))


@pytest.mark.parametrize(
    ("roi", "message"),
    [
        (box(ROI_TYPE.LINE, 0, 0, 4, 4), "line"),
        (outline(roitype=ROI_TYPE.POINT), "point"),
        (outline(roitype=ROI_TYPE.POLYLINE), "polyline"),
        (outline(roitype=ROI_TYPE.ANGLE), "angle"),
        (outline(np.array([[1, 1], [2, 2]])), "2 points"),
        (outline(options=ROI_OPTIONS.SPLINE_FIT), "spline"),
        (box(ROI_TYPE.RECT, 0, 0, 4, 4, subtype=ROI_SUBTYPE.TEXT, text="x"), "text"),
        (
            box(
                ROI_TYPE.RECT,
                0,
                0,
                4,
                4,
                shape_roi_size=7,
                multi_coordinates=np.array([0, 1, 1, 2, 2, 2, 3.0]),
            ),
            "curves",
        ),
    ],
)
def test_bad_regions_are_refused_by_file_and_name(tmp_path, roi, message):
    with pytest.raises(UserError, match=rf"a\.zip: 0001-0002.*{message}"):
        read(tmp_path, outline(name="0000-0000"), roi)


@pytest.mark.parametrize("keep", [10, 70])
def test_truncated_regions_are_refused(tmp_path, keep):
    (tmp_path / "a.roi").write_bytes(outline().tobytes()[:keep])
    with pytest.raises(UserError, match=r"a\.roi"):
        find_annotations(tmp_path)


def test_damaged_files_are_refused(tmp_path):
    path = write_zip(tmp_path / "a.zip", *(outline(name=f"000{i}-0001") for i in range(5)))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"a\.zip.*damaged"):
        find_annotations(tmp_path)
    path.unlink()
    (tmp_path / "b.roi").write_bytes(b"not a region" * 10)
    with pytest.raises(UserError, match=r"b\.roi"):
        find_annotations(tmp_path)
    (tmp_path / "b.roi").write_bytes(b"")
    with pytest.raises(UserError, match=r"b\.roi.*empty"):
        find_annotations(tmp_path)


def test_what_else_lies_in_the_zip_is_refused(tmp_path):
    path = write_zip(tmp_path / "a.zip", outline())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("notes.txt", "x" * 100)
    with pytest.raises(UserError, match=r"a\.zip: notes\.txt"):
        find_annotations(tmp_path)


def test_one_image_in_two_files_is_refused(tmp_path):
    outline().tofile(tmp_path / "a.roi")
    with pytest.raises(UserError, match=r"(?=.*a\.roi)(?=.*a\.zip)"):
        read(tmp_path, outline())


def test_a_missing_library_is_named_with_its_remedy(tmp_path, monkeypatch):
    write_zip(tmp_path / "a.zip", outline())
    monkeypatch.setitem(sys.modules, "roifile", None)
    with pytest.raises(UserError, match=r'a\.zip.*roifile.*pip install "unet-train\[annotations\]"'):
        find_annotations(tmp_path)
