"""report.html, counts.csv and the intervals of unet-eval, on images whose scores follow from how they are drawn."""

import contextlib
import csv
import io
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
import torch

from tests.reporting.test_report import check_page
from tests.runs.conftest import command, save_threshold_model
from unet_train.config.compose import compose_train
from unet_train.data.io.images import read_image, write_image
from unet_train.metrics.challenge import ChallengeCounts
from unet_train.metrics.object_errors import ERRORS
from unet_train.metrics.pooled import ImageCounts, PooledCounts
from unet_train.reporting.overlays import ERROR_COLOURS
from unet_train.runs.counts_file import read_counts, write_counts
from unet_train.runs.evaluation import without_distance_lines
from unet_train.training.evaluation import Evaluation, ImageResult

NAMES = [f"im_{i}" for i in range(8)] + ['a<b>&"c"', "it's"]
"""Names of images that are not HTML as they stand."""

HELD_OUT = NAMES[:2]
"""What the checkpoint's validation part was."""

EDGE = 12
"""Columns of a foreground of 24 that the model finds in the first image; two more in each that follows."""


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Ten images of a bright strip that is a growing share of the true square."""
    root = tmp_path_factory.mktemp("drawn") / "lab & <co>"
    for i, name in enumerate(NAMES):
        mask, image = np.zeros((40, 48), np.uint8), np.full((40, 48), 20, np.uint8)
        mask[8:32, 8:32] = 255
        image[8:32, 8 : 8 + (EDGE + i)] = 230
        write_image(root / "images" / f"{name}.png", image)
        write_image(root / "masks" / f"{name}.png", mask)
    return root


@pytest.fixture(scope="module")
def run(drawn, tmp_path_factory):
    """A run on the drawn images: a threshold for a model, and curves of three epochs."""
    folder = tmp_path_factory.mktemp("run") / "run"
    folder.mkdir()
    words = ["dataset=folder", f"dataset.root={drawn}", "dataset.classes=[background,cell]"]
    path = save_threshold_model(folder / "best.pt", config=compose_train(words).tree)
    parts = {"train": NAMES[2:4], "val": HELD_OUT, "test": NAMES[4:]}
    saved = torch.load(path, weights_only=True)
    torch.save(saved | {"versions": {"torch": "2.<0>"}, "split": parts}, path)
    lines = ["epoch,step,train/loss,val/loss,val/iou/mean", "1,8,1.5,,", "2,16,1,1.1,0.4", "3,24,0.5,0.7,0.6"]
    (folder / "metrics.csv").write_text("\n".join(lines))
    (folder / "config.yaml").write_text("{}")
    return folder


def evaluate(run, output, *words):
    """Evaluate; the folder of the results and what was said."""
    with contextlib.redirect_stdout(io.StringIO()) as said:
        assert command("eval", f"ckpt={run}", f"output={output}", *words) == 0
    return output, said.getvalue()


@pytest.fixture(scope="module")
def evaluated(run, tmp_path_factory):
    """All ten images, evaluated once."""
    return evaluate(run, tmp_path_factory.mktemp("results") / "out", "part=all", "overlays=2")


@pytest.fixture(scope="module")
def results(evaluated):
    return evaluated[0]


def metrics_of(folder):
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))


def test_intervals_stand_beside_every_score(evaluated):
    """By hand: the found share of the square, images drawn anew by the same numbers."""
    results, said = evaluated
    metrics = metrics_of(results)
    found, whole = 24.0 * (EDGE + np.arange(10)), 24.0 * 24
    assert metrics["iou/cell"] == pytest.approx(found.sum() / (10 * whole))
    order = np.argsort(NAMES)
    rng = np.random.default_rng(0)
    draws = [found[order][rng.integers(10, size=10)].sum() / (10 * whole) for _ in range(1000)]
    low, high = np.percentile(draws, [2.5, 97.5])
    assert metrics["intervals"]["iou/cell"] == pytest.approx([low, high])
    assert metrics["intervals"]["iou/mean"] == metrics["intervals"]["iou/cell"]
    assert (metrics["interval_unit"], metrics["interval_n"]) == ("images", 10)
    # Nothing is found outside the square.
    assert [metrics[f"{kind}/cell"] for kind in ("precision", "specificity")] == [1, 1]
    assert metrics["recall/cell"] == pytest.approx(metrics["iou/cell"])
    for name in ("iou/background", "dice/cell", "dice/mean", "recall/cell", "accuracy"):
        assert metrics["intervals"][name][0] < metrics[name] < metrics["intervals"][name][1]
    assert f"{low:.3f}–{high:.3f}" in said
    assert "10 images" in said


def test_segments_between_boundaries_are_scored(run, tmp_path, capsys):
    """Each image has one cell, of which a part is found in one piece."""
    words = ["part=all", "overlays=0", "dataset.boundary=background"]
    out, said = evaluate(run, tmp_path / "out", *words)
    assert [metrics_of(out)[name] for name in ("v_rand", "v_info")] == [1.0, 1.0]
    assert re.search(r"^v_rand +1\.0000", said, re.M)
    assert "v_rand" in check_page((out / "report.html").read_text(encoding="utf-8")).words
    with open(out / "per_image.csv", newline="", encoding="utf-8") as file:
        assert {row["v_info"] for row in csv.DictReader(file)} == {"1"}
    assert metrics_of(out)["intervals"]["v_rand"] == [1.0, 1.0]
    assert command("eval", f"ckpt={run}", f"output={out}", "dataset.boundary=backgruond") == 2
    assert "dataset.boundary=backgruond is no class (did you mean background?)" in capsys.readouterr().err


def test_distances_between_outlines_where_they_are_asked_for(run, results, tmp_path):
    """The right part of each square is not found, so its left edge is right and the right one some columns short."""
    words = ["part=all", "overlays=0", "surface=true", "surface_tolerance=3"]
    out, said = evaluate(run, tmp_path / "out", *words)
    metrics = metrics_of(out)
    with open(out / "per_image.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert metrics["hd95/cell"] == pytest.approx(np.mean([float(row["hd95/cell"]) for row in rows]), rel=1e-5)
    assert metrics["nsd/cell"] == pytest.approx(np.mean([float(row["nsd/cell"]) for row in rows]), rel=1e-5)
    low, high = metrics["intervals"]["hd95/cell"]
    assert low < metrics["hd95/cell"] < high
    assert re.search(r"^assd/cell +\d", said, re.M)
    assert "hd95/cell" in check_page((out / "report.html").read_text(encoding="utf-8")).words
    assert "hd95/cell" not in metrics_of(results), "slow, and so only where it is asked for"


def test_images_without_a_distance_are_said():
    counts = np.array([[5, 1], [1, 5]])
    nan = float("nan")
    images = [ImageResult(str(i), "", counts, {}, False) for i in range(3)]
    for image, (hd95, nsd) in zip(images, [(2.0, 0.5), (nan, 0.0), (nan, nan)], strict=True):
        image.add_values({"hd95/b": hd95, "assd/b": hd95, "nsd/b": nsd})
    evaluation = Evaluation(("a", "b"), images)
    assert (evaluation.scores()["hd95/b"], evaluation.scores()["nsd/b"]) == (2.0, 0.25)
    (line,) = without_distance_lines(evaluation)
    assert line.startswith("b: no distances in 1 of 3 images")


def test_the_scores_of_segments_are_means_over_the_images():
    counts = np.array([[5, 1], [1, 5]])
    values = (0.5, 1.0, float("nan"))
    images = [ImageResult(str(v), "", counts, {}, False) for v in values]
    for image, value in zip(images, values, strict=True):
        image.add_values({"v_rand": value, "v_info": value / 2})
    scores = Evaluation(("a", "b"), images).scores()
    assert (scores["v_rand"], scores["v_info"]) == (0.75, 0.375)
    assert np.isnan(Evaluation(("a", "b"), images[2:]).scores()["v_rand"])


def test_few_groups_have_no_interval(run, tmp_path):
    words = ["part=all", "overlays=0", "report=false", "dataset.group_regex='^(.)'"]
    out, said = evaluate(run, tmp_path / "out", *words)
    metrics = metrics_of(out)
    assert (metrics["interval_unit"], metrics["interval_n"]) == ("groups", 2)
    assert set(metrics["intervals"].values()) == {None}
    assert "no intervals: 2 groups" in said
    assert not (out / "report.html").exists()


def test_counts_say_the_scores_again(results):
    images, classes = read_counts(results / "counts.csv")
    metrics = metrics_of(results)
    pooled = PooledCounts.of(images, classes, background=metrics["background"])
    assert pooled.scores() == pytest.approx({name: metrics[name] for name in pooled.scores()})
    assert {k: list(v) for k, v in pooled.intervals().items()} == metrics["intervals"]
    assert sorted(image.key for image in images) == sorted(NAMES)


def test_counts_of_objects_come_back(tmp_path):
    objects = ChallengeCounts(1.5, 2, 1, 0, 3, 4)
    pixels = np.array([[5, 1], [6, 2], [7, 0]])
    matches, values = np.arange(13) / 3, {"dsb": 1 / 3, "v_rand": 0.5}
    images = [ImageCounts('a,"b"', "g", pixels, objects, matches, values), ImageCounts("c", "", pixels)]
    write_counts(tmp_path / "counts.csv", images, ["x", "y/z"])
    back, classes = read_counts(tmp_path / "counts.csv")
    assert classes == ("x", "y/z")
    assert [(i.key, i.group, i.pixels.tolist(), i.objects) for i in back] == [
        (i.key, i.group, i.pixels.tolist(), i.objects) for i in images
    ]
    assert back[0].matches.tolist() == matches.tolist()
    assert back[1].matches is None
    assert dict(back[0].values) == values
    assert all(np.isnan(value) for value in back[1].values.values())


def test_what_chose_the_checkpoint_is_said(run, evaluated, tmp_path):
    """In the table and in the report; of the test part nothing."""
    parts = {part: evaluate(run, tmp_path / part, f"part={part}", "overlays=0") for part in ("val", "test")}
    told = {}
    for part, chosen in (("val", 2), ("test", 0), ("all", 2)):
        out, said = (parts | {"all": evaluated})[part]
        assert metrics_of(out)["chosen_on"] == chosen
        told[part] = [line for line in said.splitlines() if "warning" in line and "epoch" in line]
        page = check_page((out / "report.html").read_text(encoding="utf-8"))
        assert ("Warning" in page.words) == bool(chosen)
        assert bool(page.all("input")) == (part == "all"), "overlays=0 draws no images"
    assert "2 of these 10" in told["all"][0]
    assert len(told["val"]) == 1
    assert not told["test"]


def test_the_report_shows_everything(results, drawn):
    text = (results / "report.html").read_text(encoding="utf-8")
    page, metrics = check_page(text), metrics_of(results)
    low, high = metrics["intervals"]["iou/cell"]
    for shown in (
        *(f"{metrics[name]:.4f}" for name in ("iou/cell", "iou/background", "dice/mean", "accuracy")),
        f"{metrics['precision/background']:.4f}",
        f"{low:.3f}–{high:.3f}",
        *NAMES,
        str(drawn),
        "2.<0>",
        "epoch 3",
        "part=all",
        "unet-eval",
    ):
        assert shown in page.words
    alts = [a["alt"] for a in page.all("img")]
    for word in ("IoU and Dice", "single images", "Confusion", "iou/mean of training"):
        assert sum(word in alt for alt in alts) == 1
    ranks = [(NAMES.index(re.match(r"(.*): (\w+) ?\d?,", alt)[1]), alt) for alt in alts if ", IoU" in alt]
    assert [index for index, _ in ranks] == [0, 1, 4, 5, 8, 9], "found by a growing share of the square"
    assert len(page.all("input")) == 4
    assert len(text) < 3e6


BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

LOOK = """
<script>
addEventListener("load", () => {
  const seen = name => [...document.querySelectorAll(".stack ." + name)]
    .filter(layer => getComputedStyle(layer).visibility === "visible").length;
  const found = {pictures: [...document.images].map(image => image.naturalWidth), views: {},
    loaded: performance.getEntriesByType("resource").map(entry => entry.name), wide: document.body.scrollWidth};
  for (const view of ["both", "truth", "prediction", "image"]) {
    document.querySelector(`label[for=view-${view}]`).click();
    found.views[view] = ["truth", "prediction"].map(seen);
  }
  document.title = "found " + JSON.stringify(found);
});
</script>
"""


@pytest.mark.skipif(BROWSER is None, reason="needs chromium, to open report.html in it")
def test_a_browser_shows_it(results, tmp_path):
    """Opened without a window: every picture has pixels, the switch hides what it says, and nothing is fetched."""
    page = (results / "report.html").read_text(encoding="utf-8")
    probed = tmp_path / "probed.html"
    # The page itself allows no script: the probe needs one, and takes nothing else of the rule away.
    probed.write_text(
        page.replace("style-src", "script-src 'unsafe-inline'; style-src", 1) + LOOK, encoding="utf-8"
    )
    command = [
        BROWSER,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path / 'browser'}",
    ]
    command += ["--window-size=500,900", "--virtual-time-budget=4000", "--dump-dom", probed.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=120)
    found = re.search(r"<title>found (.*?)</title>", done.stdout)
    assert found, done.stderr[-2000:]
    found = json.loads(found[1])
    assert len(found["pictures"]) == 4 + 6 * 3
    assert all(width > 0 for width in found["pictures"])
    assert found["views"] == {"both": [6, 6], "truth": [6, 0], "prediction": [0, 6], "image": [0, 0]}
    assert [name for name in found["loaded"] if not name.startswith("data:")] == []
    assert found["wide"] <= 500


def test_per_image_scores_are_their_own(results):
    with open(results / "per_image.csv", newline="", encoding="utf-8") as file:
        rows = {row["key"]: float(row["iou/cell"]) for row in csv.DictReader(file)}
    assert rows == pytest.approx({name: (EDGE + i) / 24 for i, name in enumerate(NAMES)}, abs=1e-5)


@pytest.fixture(scope="module")
def scored_objects(tmp_path_factory):
    """Two true cells an image: under one bright area; one dark and brightness elsewhere; both too small."""
    root = tmp_path_factory.mktemp("cells")
    mask = np.zeros((40, 80), np.uint8)
    mask[8:32, 8:32], mask[8:32, 32:56] = 1, 2
    bright = {name: np.full(mask.shape, 20, np.uint8) for name in ("merged", "missed", "small")}
    bright["merged"][8:32, 8:56] = 230
    bright["missed"][8:32, 8:28], bright["missed"][4:20, 62:76] = 230, 230
    bright["small"][8:32, 8:24], bright["small"][8:32, 40:56] = 230, 230
    for name, image in bright.items():
        write_image(root / "images" / f"{name}.png", image)
        write_image(root / "masks" / f"{name}.png", mask)
    words = ["dataset=folder", f"dataset.root={root}", "dataset.instances=true"]
    run = save_threshold_model(
        root / "run" / "best.pt",
        config=compose_train([*words, "dataset.classes=[background,cell]"]).tree,
        has_instances=True,
        objects={"seed_threshold": 0.5, "threshold": 0.5, "min_size": 4, "open": 0},
    )
    return evaluate(run, root / "out", "part=all", "overlays=1")


def test_errors_of_objects_are_counted(scored_objects):
    results, said = scored_objects
    counts = {key: value for key, value in metrics_of(results).items() if key.startswith("objects/")}
    expected = {"true": 6, "matched": 3, "merged": 2, "split": 0, "missed": 1, "invented": 1}
    assert counts == {f"objects/{kind}": number for kind, number in expected.items()}
    assert all(f"{number} {kind}" in said for kind, number in expected.items() if kind != "matched")
    with open(results / "per_image.csv", newline="", encoding="utf-8") as file:
        rows = {row["key"]: [row[kind] for kind in ERRORS] for row in csv.DictReader(file)}
    assert rows == {"merged": list("2000"), "missed": list("0011"), "small": list("0000")}


def test_images_of_objects_are_ranked_by_seg(scored_objects):
    """By IoU the image with merged cells would be the best: none of its pixels is wrong."""
    results, _ = scored_objects
    assert (results / "overlays" / "best_1_small.png").is_file()
    alts = [a["alt"] for a in check_page((results / "report.html").read_text(encoding="utf-8")).all("img")]
    shown = [alt for alt in alts if ", SEG" in alt]
    assert len(shown) == 3
    assert shown[0].startswith("missed: worst")
    assert "missed 1, invented 1" in shown[0]
    assert shown[-1].startswith("small: best")


def test_objects_that_went_wrong_are_filled(scored_objects):
    results, _ = scored_objects
    picture = read_image(results / "overlays" / "worst_1_missed.png").astype(float)
    scale = picture.shape[1] // 80
    for row, column, kind in ((20, 44, "missed"), (10, 70, "invented")):
        left = picture[row * scale, column * scale] - 0.5 * np.array(ERROR_COLOURS[kind])
        assert np.ptp(left) <= 1, "half of the fill, the rest is the grey image"
    assert np.ptp(picture[20 * scale, 18 * scale]) == 0, "the cell that was found is left as it is"
